package interop

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	flynn "github.com/flynn/noise"
	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// TestFlynnVectors replays the vectors that come with flynn/noise, in both
// roles.
func TestFlynnVectors(t *testing.T) {
	is := is.New(t)
	all := readFlynnVectors(t)
	is.Equal(len(all), 1920) // all of them
	for _, v := range all {
		if err := replay(v); err != nil {
			t.Errorf("%s: %v", v["handshake"], err)
		}
	}
}

// readFlynnVectors finds vectors.txt in the module's directory.
func readFlynnVectors(t *testing.T) []map[string]string {
	t.Helper()
	is := is.New(t)
	is.Helper()
	out, err := exec.Command("go", "mod", "download", "-json", "github.com/flynn/noise").Output()
	is.NoErr(err) // find the module
	var module struct{ Dir string }
	is.NoErr(json.Unmarshal(out, &module)) // parse where it is
	file, err := os.Open(filepath.Join(module.Dir, "vectors.txt"))
	is.NoErr(err) // open the vectors
	defer file.Close()

	var all []map[string]string
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		name, value, ok := strings.Cut(scanner.Text(), "=")
		if !ok {
			continue
		}
		if name == "handshake" {
			all = append(all, make(map[string]string))
		}
		all[len(all)-1][name] = value
	}
	is.NoErr(scanner.Err()) // read the vectors
	return all
}

// replay runs one vector with ourselves on both sides. Of the messages after
// the handshake the ciphertexts have no associated data, unlike our records, so
// that flynn's cipher makes them from our keys.
func replay(v map[string]string) error {
	field := func(name string) []byte {
		b, err := hex.DecodeString(v[name])
		if err != nil {
			panic(err) // a broken file
		}
		return b
	}
	sent := make(map[string][]byte)
	sides, err := vectorSides(v["handshake"], field, func(label string, secret []byte) { sent[label] = secret })
	if err != nil {
		return err
	}
	number := 0
	for ; sides[number%2].Next() == mechanism.Send; number++ {
		payload, want := field(fmt.Sprintf("msg_%d_payload", number)), field(fmt.Sprintf("msg_%d_ciphertext", number))
		got, err := sides[number%2].AppendMessage(nil, payload)
		if err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("message %d is not as expected (%v)", number, err)
		}
		got, err = sides[1-number%2].ReadMessage(nil, want)
		if err != nil || !bytes.Equal(got, payload) {
			return fmt.Errorf("message %d was not read (%v)", number, err)
		}
	}
	if _, err := sides[0].Session(); err != nil { // logs the keys
		return err
	}
	part := strings.Split(v["handshake"], "_")
	ciphers := [2]*flynn.CipherState{}
	for i, label := range []string{"I2R_TRAFFIC_SECRET", "R2I_TRAFFIC_SECRET"} {
		ciphers[i] = flynn.UnsafeNewCipherState(flynnSuite(part[3], part[4]), [32]byte(sent[label]), 0)
	}
	first := number
	for ; v[fmt.Sprintf("msg_%d_ciphertext", number)] != ""; number++ {
		got, err := ciphers[(number-first)%2].Encrypt(nil, nil, field(fmt.Sprintf("msg_%d_payload", number)))
		if err != nil || !bytes.Equal(got, field(fmt.Sprintf("msg_%d_ciphertext", number))) {
			return fmt.Errorf("message %d after the handshake is not as expected (%v)", number, err)
		}
	}
	if number == first {
		return fmt.Errorf("no messages after the handshake")
	}
	return nil
}

// vectorSides returns our handshakes for both sides of a vector.
func vectorSides(protocol string, field func(string) []byte, keyLog func(string, []byte)) (sides [2]*noise.Handshake, err error) {
	static := [2][]byte{field("init_static"), field("resp_static")}
	ephemeral := [2][]byte{field("gen_init_ephemeral"), field("gen_resp_ephemeral")}
	for role := range sides {
		config := mechanism.Config{
			Role:     mechanism.Role(role),
			Prologue: field("prologue"),
			Rand:     bytes.NewReader(ephemeral[role]),
			KeyLog:   keyLog,
		}
		if len(static[role]) > 0 {
			if config.Identity, err = keys.NewPrivate(static[role]); err != nil {
				return sides, err
			}
		}
		if len(static[1-role]) > 0 {
			peer, err := keys.NewPrivate(static[1-role])
			if err != nil {
				return sides, err
			}
			config.Peer = peer.Public()
		}
		if psk := field("preshared_key"); len(psk) > 0 {
			if config.PSK, err = keys.NewShared(psk); err != nil {
				return sides, err
			}
		}
		if sides[role], err = noise.New(protocol, config); err != nil {
			return sides, err
		}
	}
	return sides, nil
}
