package mechanism_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/mechanism"
)

func TestSuiteNames(t *testing.T) {
	is := is.New(t)
	seen := make(map[mechanism.Suite]bool)
	for _, s := range mechanism.Suites() {
		is.True(!seen[s]) // listed once
		seen[s] = true
		for _, name := range []string{s.String(), strings.ToUpper(s.String()), strings.ToLower(s.String())} {
			parsed, err := mechanism.ParseSuite(name)
			is.NoErr(err) // parsing a suite's name
			is.Equal(parsed, s)
		}
		text, err := json.Marshal(s)
		is.NoErr(err) // encoding a suite
		var back mechanism.Suite
		is.NoErr(json.Unmarshal(text, &back)) // decoding a suite
		is.Equal(back, s)
	}
	is.Equal(len(seen), 18) // SPEC §1
}

// TestSuiteNumbers: the number says what the name says (SPEC §1).
func TestSuiteNumbers(t *testing.T) {
	for _, s := range mechanism.Suites() {
		if s == mechanism.Null || s == mechanism.Curve {
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			is := is.New(t)
			name := s.String()
			is.Equal(strings.Contains(name, "AESGCM"), s&0xF0 == 0x10)
			is.Equal(strings.Contains(name, "ChaChaPoly"), s&0xF0 == 0x00)
			is.Equal(strings.Contains(name, "psk"), s>>8 == 3)
			is.Equal(strings.Contains(name, "hfs"), s>>8 != 2)
			pattern := map[mechanism.Suite]string{1: "XX", 2: "IK", 3: "NK", 4: "NN", 5: "XX"}[s&0x0F]
			is.True(strings.HasPrefix(name, "Noise_"+pattern))
			is.True(strings.HasSuffix(name, "_SHA256"))
		})
	}
}

func TestUnknownSuites(t *testing.T) {
	is := is.New(t)
	for _, name := range []string{"", "0101", "Noise_XX_25519_AESGCM_SHA512", "suite 9999"} {
		_, err := mechanism.ParseSuite(name)
		is.True(errors.Is(err, mechanism.ErrConfig))
		s := mechanism.Curve
		is.True(s.UnmarshalText([]byte(name)) != nil)
		is.Equal(s, mechanism.Curve) // a failure changes nothing
	}
	is.Equal(mechanism.Suite(0x9999).String(), "suite 9999")
}

func TestStrings(t *testing.T) {
	is := is.New(t)
	is.Equal(fmt.Sprint(mechanism.Initiator, mechanism.Responder), "initiator responder")
	is.Equal(fmt.Sprint(mechanism.Send, mechanism.Receive, mechanism.Done), "send receive done")
}

func ExampleParseSuite() {
	s, err := mechanism.ParseSuite("noise_xxhfs_25519+mlkem768_aesgcm_sha256")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%04x %v\n", uint16(s), s)
	// Output: 0111 Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256
}
