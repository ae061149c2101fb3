package securesp

import (
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// TestCipherOrder: every default list begins with the cipher that the
// processor is better at, and has the other one, too (SPEC §1).
func TestCipherOrder(t *testing.T) {
	identity, err := keys.Generate()
	is.New(t).NoErr(err)
	psk, err := keys.GenerateShared()
	is.New(t).NoErr(err)
	defer func(was bool) { hardwareAES = was }(hardwareAES)
	for _, tc := range []struct {
		name            string
		config          Config
		aes, chaChaPoly mechanism.Suite
	}{
		{"any key", Config{Identity: identity, Trust: trust.Anyone()}, mechanism.XXhfsAESGCM, mechanism.XXhfsChaChaPoly},
		{"one key", Config{Identity: identity, Trust: trust.Keys(identity.Public())}, mechanism.IKhfsAESGCM, mechanism.IKhfsChaChaPoly},
		{"key and secret", Config{Identity: identity, PSK: psk}, mechanism.XXhfsPSK3AESGCM, mechanism.XXhfsPSK3ChaChaPoly},
		{"secret", Config{PSK: psk}, mechanism.NNhfsPSK0AESGCM, mechanism.NNhfsPSK0ChaChaPoly},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			hardwareAES = true
			is.Equal(tc.config.defaultSuites(true), []mechanism.Suite{tc.aes, tc.chaChaPoly})
			hardwareAES = false
			is.Equal(tc.config.defaultSuites(true), []mechanism.Suite{tc.chaChaPoly, tc.aes})
		})
	}
}
