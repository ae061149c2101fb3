package noise_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// wycheproof is a file of project Wycheproof: the union of the fields that
// are used here.
type wycheproof struct {
	TestGroups []struct {
		IVSize, KeySize, TagSize int
		Tests                    []wycheproofTest
	}
}

type wycheproofTest struct {
	TcID   int
	Result string
	Flags  []string

	Public, Private, Shared    hexBytes // XDH
	Key, IV, AAD, Msg, Ct, Tag hexBytes // AEAD
	Seed, Ek, C, M, K          hexBytes // ML-KEM
}

// forEachTest runs test for every vector of a file, if keep wants it.
func forEachTest(t *testing.T, name string, keep func(iv, key, tag int) bool, test func(is *is.I, v wycheproofTest)) {
	t.Helper()
	is := is.New(t)
	var file wycheproof
	is.NoErr(json.Unmarshal(vectorFile(t, name), &file)) // parsing vectors
	ran := 0
	for _, group := range file.TestGroups {
		if !keep(group.IVSize, group.KeySize, group.TagSize) {
			continue
		}
		for _, v := range group.Tests {
			ran++
			if test(is, v); t.Failed() {
				t.Fatalf("vector %d %v", v.TcID, v.Flags)
			}
		}
	}
	is.True(ran >= 50)
}

func every(int, int, int) bool { return true }

func TestWycheproofX25519(t *testing.T) {
	forEachTest(t, "wycheproof_x25519.json", every, func(is *is.I, v wycheproofTest) {
		got, err := noise.DH(v.Private, v.Public)
		if slices.Contains(v.Flags, "ZeroSharedSecret") {
			is.True(errors.Is(err, mechanism.ErrAuthentication))
			return
		}
		is.NoErr(err) // X25519 of a sound key
		is.True(bytes.Equal(got, v.Shared))
	})
}

func TestWycheproofAEAD(t *testing.T) {
	ours := func(iv, key, tag int) bool { return iv == 96 && key == 256 && tag == 128 }
	for name, file := range map[string]string{
		"ChaChaPoly": "wycheproof_chacha20_poly1305.json",
		"AESGCM":     "wycheproof_aes_gcm.json",
	} {
		t.Run(name, func(t *testing.T) {
			forEachTest(t, file, ours, func(is *is.I, v wycheproofTest) {
				aead := noise.Cipher(name, v.Key)
				sealed := slices.Concat(v.Ct, v.Tag)
				got, err := aead.Open(nil, v.IV, sealed, v.AAD)
				is.Equal(err == nil, v.Result == "valid")
				if err == nil {
					is.True(bytes.Equal(got, v.Msg))
					is.True(bytes.Equal(aead.Seal(nil, v.IV, v.Msg, v.AAD), sealed))
				}
			})
		})
	}
}

// hybridNN sends its encapsulation key in the clear, where vectors can be put
// in.
const hybridNN = "Noise_NNhfs_25519+MLKEM768_ChaChaPoly_SHA256"

// hybridInitiator returns an initiator whose ML-KEM key comes from seed, and
// its first message.
func hybridInitiator(is *is.I, seed []byte) (*noise.Handshake, []byte) {
	h, err := noise.New(hybridNN, mechanism.Config{
		Role: mechanism.Initiator,
		Rand: bytes.NewReader(append(bytes.Repeat([]byte{1}, 32), seed...)),
	})
	is.NoErr(err) // starting the initiator
	message, err := h.AppendMessage(nil, nil)
	is.NoErr(err) // making message 1
	return h, message
}

func TestWycheproofMLKEMKeys(t *testing.T) {
	forEachTest(t, "wycheproof_mlkem_768_keygen_seed.json", every, func(is *is.I, v wycheproofTest) {
		_, message := hybridInitiator(is, v.Seed)
		is.True(bytes.Equal(message[32:], v.Ek))
	})
}

func TestWycheproofMLKEMEncapsulate(t *testing.T) {
	_, genuine := hybridInitiator(is.New(t), make([]byte, 64))
	forEachTest(t, "wycheproof_mlkem_768_encaps.json", every, func(is *is.I, v wycheproofTest) {
		h, err := noise.New(hybridNN, mechanism.Config{Role: mechanism.Responder})
		is.NoErr(err) // starting the responder
		_, err = h.ReadMessage(nil, append(bytes.Repeat([]byte{9}, 32), v.Ek...))
		if v.Result == "invalid" {
			// A key of a wrong length may leave its end as a payload; it
			// is the vectors with the right length that have to fail.
			if len(v.Ek) <= 1184 {
				is.True(errors.Is(err, mechanism.ErrMalformed))
				_, err = h.ReadMessage(nil, genuine)
				is.NoErr(err) // a genuine message after a forged one
			}
			return
		}
		is.NoErr(err) // reading a sound encapsulation key
		noise.Derandomize(h, bytes.NewReader(v.M))
		shared, ciphertext := noise.Encapsulate(h)
		is.True(bytes.Equal(shared, v.K))
		is.True(bytes.Equal(ciphertext, v.C))
	})
}

func TestWycheproofMLKEMDecapsulate(t *testing.T) {
	forEachTest(t, "wycheproof_mlkem_768.json", every, func(is *is.I, v wycheproofTest) {
		if len(v.Seed) != 64 || len(v.C) != 1088 {
			is.Equal(v.Result, "invalid")
			return // such sizes do not come up here
		}
		h, message := hybridInitiator(is, v.Seed)
		is.True(bytes.Equal(message[32:], v.Ek))
		shared, err := noise.Decapsulate(h, v.C)
		is.NoErr(err) // decapsulating
		is.Equal(bytes.Equal(shared, v.K), v.Result == "valid")
	})
}
