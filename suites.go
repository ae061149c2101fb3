package securesp

import (
	"golang.org/x/sys/cpu"

	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/curve"
	"github.com/securesp/securesp/mechanism/noise"
	"github.com/securesp/securesp/mechanism/null"
)

// mechanismFor is the table of mechanisms: one case a mechanism, whose suites
// (SPEC §1) may then be listed in Config.Suites.
func mechanismFor(s mechanism.Suite) (mechanism.Mechanism, bool) {
	switch s {
	case mechanism.Null:
		return null.Mechanism(), true
	case mechanism.Curve:
		return curve.Mechanism(), true
	default:
		return noise.Mechanism(s)
	}
}

// hardwareAES reports whether the processor has the instructions that make
// AES-GCM both fast and constant-time.
var hardwareAES = cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41 ||
	cpu.ARM64.HasAES && cpu.ARM64.HasPMULL ||
	cpu.S390X.HasAES && cpu.S390X.HasAESGCM

// withBothCiphers returns the two given suites, the one first whose cipher
// this processor is better at (SPEC §1).
func withBothCiphers(aesgcm, chachapoly mechanism.Suite) []mechanism.Suite {
	if hardwareAES {
		return []mechanism.Suite{aesgcm, chachapoly}
	}
	return []mechanism.Suite{chachapoly, aesgcm}
}

// defaultSuites returns the suites of a Config that lists none.
func (c *Config) defaultSuites(initiator bool) []mechanism.Suite {
	xx := withBothCiphers(mechanism.XXhfsAESGCM, mechanism.XXhfsChaChaPoly)
	ik := withBothCiphers(mechanism.IKhfsAESGCM, mechanism.IKhfsChaChaPoly)
	switch {
	case c.PSK != nil && c.Identity == nil:
		return withBothCiphers(mechanism.NNhfsPSK0AESGCM, mechanism.NNhfsPSK0ChaChaPoly)
	case c.PSK != nil:
		return withBothCiphers(mechanism.XXhfsPSK3AESGCM, mechanism.XXhfsPSK3ChaChaPoly)
	case !initiator:
		return append(ik, xx...)
	}
	if _, pinned := c.pinned(); pinned {
		return ik
	}
	return xx
}
