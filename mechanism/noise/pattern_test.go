package noise_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// TestScripts compares what modifiers make of patterns with the scripts that
// SPEC §1 and Noise §9 write out.
func TestScripts(t *testing.T) {
	for name, want := range map[string]string{
		"Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256":           "e e1 / e ee ekem1 s es / s se",
		"Noise_IKhfs_25519+MLKEM768_AESGCM_SHA256":           "e es e1 s ss / e ee ekem1 se",
		"Noise_NKhfs_25519+MLKEM768_AESGCM_SHA256":           "e es e1 / e ee ekem1",
		"Noise_NNhfs+psk0_25519+MLKEM768_AESGCM_SHA256":      "psk e e1 / e ee ekem1",
		"Noise_XXhfs+psk3_25519+MLKEM768_AESGCM_SHA256":      "e e1 / e ee ekem1 s es / s se psk",
		"Noise_XXpsk3+hfs_25519+MLKEM768_ChaChaPoly_BLAKE2b": "e e1 / e ee ekem1 s es / s se psk",
		"Noise_IKhfs+psk0_25519+MLKEM768_ChaChaPoly_SHA512":  "psk e es e1 s ss / e ee ekem1 se",
		"Noise_KKhfs+psk2_25519+MLKEM768_ChaChaPoly_BLAKE2s": "e es e1 ss / e ee ekem1 se psk",
		"Noise_IXhfs_25519+MLKEM768_AESGCM_SHA256":           "e e1 s / e ee ekem1 se s es",
		"Noise_IKpsk0_25519_ChaChaPoly_SHA256":               "psk e es s ss / e ee se",
		"Noise_Xpsk0_25519_ChaChaPoly_SHA256":                "psk e es s ss",
		"Noise_Xpsk1_25519_ChaChaPoly_SHA256":                "e es s ss psk",
		"Noise_XKpsk3_25519_ChaChaPoly_SHA256":               "e es / e ee / s se psk",
		"Noise_XKpsk2_25519_ChaChaPoly_SHA256":               "e es / e ee psk / s se",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			messages, _, err := noise.Script(name)
			is.NoErr(err) // parsing the name
			is.Equal(strings.Join(messages, " / "), want)
		})
	}
}

func TestUnknownNames(t *testing.T) {
	for _, name := range []string{
		"",
		"Noise",
		"noise_XX_25519_AESGCM_SHA256",
		"Noise_XX_25519_AESGCM",
		"Noise_XX_25519_AESGCM_SHA256_",
		"Noise_ZZ_25519_AESGCM_SHA256",
		"Noise_X1X_25519_AESGCM_SHA256",
		"Noise_XX_448_AESGCM_SHA256",
		"Noise_XX_25519_AES_SHA256",
		"Noise_XX_25519_AESGCM_SHA3",
		"Noise_XXpsk_25519_AESGCM_SHA256",
		"Noise_XXpsk4_25519_AESGCM_SHA256",
		"Noise_XXpsk-1_25519_AESGCM_SHA256",
		"Noise_XXpsk+3_25519_AESGCM_SHA256",
		"Noise_XXpsk03_25519_AESGCM_SHA256",
		"Noise_XXpsk256_25519_AESGCM_SHA256",
		"Noise_XXpsk0+psk3_25519_AESGCM_SHA256",
		"Noise_XX+psk3_25519_AESGCM_SHA256",
		"Noise_XXpsk3+_25519_AESGCM_SHA256",
		"Noise_XXfallback_25519_AESGCM_SHA256",
		"Noise_Xpsk2_25519_AESGCM_SHA256",
		"Noise_XXhfs_25519_AESGCM_SHA256",
		"Noise_XX_25519+MLKEM768_AESGCM_SHA256",
		"Noise_XXhfs+hfs_25519+MLKEM768_AESGCM_SHA256",
		"Noise_Xhfs_25519+MLKEM768_AESGCM_SHA256",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			h, err := noise.New(name, mechanism.Config{Identity: newKey(t), Peer: newKey(t).Public(), PSK: newPSK(t)})
			is.True(errors.Is(err, mechanism.ErrConfig))
			is.True(h == nil)
		})
	}
}

func newKey(t testing.TB) *keys.Private {
	t.Helper()
	key, err := keys.Generate()
	is.New(t).NoErr(err) // generating a key
	return key
}

func newPSK(t testing.TB) *keys.Shared {
	t.Helper()
	psk, err := keys.GenerateShared()
	is.New(t).NoErr(err) // generating a pre-shared key
	return psk
}

// TestNeeds takes from a full configuration what each pattern's roles need.
func TestNeeds(t *testing.T) {
	const identity, peer, psk = "identity ", "peer ", "psk "
	for _, tt := range []struct {
		pattern string
		needs   [2]string // by role
	}{
		{"N", [2]string{peer, identity}},
		{"K", [2]string{identity + peer, identity + peer}},
		{"X", [2]string{identity + peer, identity}},
		{"Xpsk0", [2]string{identity + peer + psk, identity + psk}},
		{"NN", [2]string{"", ""}},
		{"NNpsk2", [2]string{psk, psk}},
		{"NK", [2]string{peer, identity}},
		{"NX", [2]string{"", identity}},
		{"KN", [2]string{identity, peer}},
		{"KK", [2]string{identity + peer, identity + peer}},
		{"KX", [2]string{identity, identity + peer}},
		{"XN", [2]string{identity, ""}},
		{"XK", [2]string{identity + peer, identity}},
		{"XX", [2]string{identity, identity}},
		{"IN", [2]string{identity, ""}},
		{"IK", [2]string{identity + peer, identity}},
		{"IKpsk0", [2]string{identity + peer + psk, identity + psk}},
		{"IX", [2]string{identity, identity}},
	} {
		for role, needs := range tt.needs {
			full := mechanism.Config{Role: mechanism.Role(role), Identity: newKey(t), Peer: newKey(t).Public(), PSK: newPSK(t)}
			for what, remove := range map[string]func(*mechanism.Config){
				identity: func(c *mechanism.Config) { c.Identity = nil },
				peer:     func(c *mechanism.Config) { c.Peer = keys.Public{} },
				psk:      func(c *mechanism.Config) { c.PSK = nil },
			} {
				t.Run(tt.pattern+" "+full.Role.String()+" without "+what, func(t *testing.T) {
					is := is.New(t)
					config := full
					remove(&config)
					_, err := noise.New("Noise_"+tt.pattern+"_25519_ChaChaPoly_SHA256", config)
					is.Equal(errors.Is(err, mechanism.ErrConfig), strings.Contains(needs, what))
					is.Equal(err != nil, strings.Contains(needs, what))
				})
			}
		}
	}
}

func TestRoleOutOfRange(t *testing.T) {
	is := is.New(t)
	_, err := noise.New("Noise_NN_25519_AESGCM_SHA256", mechanism.Config{Role: 2})
	is.True(errors.Is(err, mechanism.ErrConfig))
}

func TestMechanismTable(t *testing.T) {
	is := is.New(t)
	for _, s := range mechanism.Suites() {
		m, ok := noise.Mechanism(s)
		_, want := messageSizes[s]
		is.Equal(ok, want) // exactly the Noise suites
		if !ok {
			is.True(m == nil)
			continue
		}
		is.Equal(m.Suite(), s)
		name := s.String()
		traits := m.Traits()
		is.True(traits.Secure && !traits.Curve)
		is.Equal(traits.Hybrid, strings.Contains(name, "MLKEM768"))
		is.Equal(traits.PSK, strings.Contains(name, "psk"))
		is.Equal(traits.InitiatorKey, strings.HasPrefix(name, "Noise_XX") || strings.HasPrefix(name, "Noise_IK"))
		is.Equal(traits.ResponderKey, !strings.HasPrefix(name, "Noise_NN"))
		is.Equal(traits.KnownResponder, strings.HasPrefix(name, "Noise_IK") || strings.HasPrefix(name, "Noise_NK"))
	}
	_, ok := noise.Mechanism(0x9999)
	is.True(!ok)
}
