package mechanism

import (
	"fmt"
	"strings"
)

// Suite identifies a complete mechanism (SPEC §1). Nothing inside a suite is
// negotiable.
type Suite uint16

// The suites (SPEC §1). Names without "hfs" are classical: their secrecy does
// not survive a quantum computer.
const (
	Null Suite = 0x0000

	XXhfsChaChaPoly Suite = 0x0101
	IKhfsChaChaPoly Suite = 0x0102
	NKhfsChaChaPoly Suite = 0x0103
	XXhfsAESGCM     Suite = 0x0111
	IKhfsAESGCM     Suite = 0x0112
	NKhfsAESGCM     Suite = 0x0113

	XXChaChaPoly Suite = 0x0201
	IKChaChaPoly Suite = 0x0202
	NKChaChaPoly Suite = 0x0203
	XXAESGCM     Suite = 0x0211
	IKAESGCM     Suite = 0x0212
	NKAESGCM     Suite = 0x0213

	NNhfsPSK0ChaChaPoly Suite = 0x0304
	XXhfsPSK3ChaChaPoly Suite = 0x0305
	NNhfsPSK0AESGCM     Suite = 0x0314
	XXhfsPSK3AESGCM     Suite = 0x0315

	Curve Suite = 0x4301
)

var suiteNames = []struct {
	suite Suite
	name  string
}{
	{XXhfsAESGCM, "Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256"},
	{XXhfsChaChaPoly, "Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256"},
	{IKhfsAESGCM, "Noise_IKhfs_25519+MLKEM768_AESGCM_SHA256"},
	{IKhfsChaChaPoly, "Noise_IKhfs_25519+MLKEM768_ChaChaPoly_SHA256"},
	{NKhfsAESGCM, "Noise_NKhfs_25519+MLKEM768_AESGCM_SHA256"},
	{NKhfsChaChaPoly, "Noise_NKhfs_25519+MLKEM768_ChaChaPoly_SHA256"},
	{NNhfsPSK0AESGCM, "Noise_NNhfs+psk0_25519+MLKEM768_AESGCM_SHA256"},
	{NNhfsPSK0ChaChaPoly, "Noise_NNhfs+psk0_25519+MLKEM768_ChaChaPoly_SHA256"},
	{XXhfsPSK3AESGCM, "Noise_XXhfs+psk3_25519+MLKEM768_AESGCM_SHA256"},
	{XXhfsPSK3ChaChaPoly, "Noise_XXhfs+psk3_25519+MLKEM768_ChaChaPoly_SHA256"},
	{XXAESGCM, "Noise_XX_25519_AESGCM_SHA256"},
	{XXChaChaPoly, "Noise_XX_25519_ChaChaPoly_SHA256"},
	{IKAESGCM, "Noise_IK_25519_AESGCM_SHA256"},
	{IKChaChaPoly, "Noise_IK_25519_ChaChaPoly_SHA256"},
	{NKAESGCM, "Noise_NK_25519_AESGCM_SHA256"},
	{NKChaChaPoly, "Noise_NK_25519_ChaChaPoly_SHA256"},
	{Curve, "CURVE"},
	{Null, "NULL"},
}

// Suites returns every suite that has a name, the hybrid ones first.
func Suites() []Suite {
	all := make([]Suite, len(suiteNames))
	for i, s := range suiteNames {
		all[i] = s.suite
	}
	return all
}

// String returns the suite's full name, or its number in hexadecimal if it has
// none.
func (s Suite) String() string {
	for _, n := range suiteNames {
		if n.suite == s {
			return n.name
		}
	}
	return fmt.Sprintf("suite %04x", uint16(s))
}

// ParseSuite returns the suite with the given full name, ignoring case.
func ParseSuite(name string) (Suite, error) {
	for _, n := range suiteNames {
		if strings.EqualFold(n.name, name) {
			return n.suite, nil
		}
	}
	return 0, fmt.Errorf("%w: no suite has that name", ErrConfig)
}

// MarshalText returns the name that String returns.
func (s Suite) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts what ParseSuite accepts.
func (s *Suite) UnmarshalText(text []byte) error {
	parsed, err := ParseSuite(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
