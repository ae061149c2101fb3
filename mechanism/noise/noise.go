// Package noise is the Noise Protocol Framework, revision 34, on buffers: the
// handshakes of SPEC §1 and, through [New], the other fundamental patterns
// with pre-shared keys and hybrid forward secrecy.
//
// Hybrid forward secrecy (modifier hfs, DH functions 25519+MLKEM768) adds an
// ephemeral ML-KEM-768 exchange, so that recorded traffic stays secret unless
// both X25519 and ML-KEM-768 are broken. Static keys are X25519 alone:
// authentication rests on it and, in psk patterns, on the pre-shared key.
//
// A finished handshake gives a [mechanism.Session] with records as SPEC §4
// has them and a [mechanism.PacketSession] with packets as SPEC §5 has them.
// One-way patterns give sessions in which only the initiator can send; the
// other calls return mechanism.ErrUnsupported.
//
// Labels given to mechanism.Config.KeyLog are I2R_TRAFFIC_SECRET and
// R2I_TRAFFIC_SECRET for the first record key of each direction (initiator to
// responder and back), I2R_PACKET_SECRET and R2I_PACKET_SECRET for the first
// packet keys; later keys follow from them (SPEC §4, §5).
package noise

import (
	"strings"

	"github.com/securesp/securesp/mechanism"
)

// suite is the mechanism.Mechanism of one Noise suite.
type suite struct {
	id       mechanism.Suite
	protocol *protocol
}

// suites holds each suite whose name is a Noise protocol name.
var suites = func() map[mechanism.Suite]*suite {
	all := make(map[mechanism.Suite]*suite)
	for _, id := range mechanism.Suites() {
		if name := id.String(); strings.HasPrefix(name, "Noise_") {
			all[id] = &suite{id, must(parseProtocol(name))}
		}
	}
	return all
}()

// Mechanism returns the mechanism of a Noise suite of SPEC §1, or false if s
// is not one.
func Mechanism(s mechanism.Suite) (mechanism.Mechanism, bool) {
	m, ok := suites[s]
	if !ok {
		return nil, false
	}
	return m, true
}

func (m *suite) Suite() mechanism.Suite   { return m.id }
func (m *suite) Traits() mechanism.Traits { return m.protocol.traits() }

func (m *suite) NewHandshake(config mechanism.Config) (mechanism.Handshake, error) {
	h, err := newHandshake(m.protocol, config)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// New starts a handshake of the given Noise protocol name, such as
// "Noise_IKpsk0_25519_ChaChaPoly_SHA256". It knows the one-way and the
// fundamental interactive patterns, one psk modifier, hfs (with the DH
// functions named 25519+MLKEM768), the ciphers ChaChaPoly and AESGCM and the
// hashes SHA256, SHA512, BLAKE2s and BLAKE2b. It returns mechanism.ErrConfig
// for any other name, or if config lacks a key that the pattern needs: Identity
// where this side has a static key, Peer where the pattern has this side know
// the other's key beforehand, PSK. What the pattern has no use for is ignored.
//
// A static key should only ever be used with one hash function; securesp's
// suites all use SHA256.
func New(protocol string, config mechanism.Config) (*Handshake, error) {
	p, err := parseProtocol(protocol)
	if err != nil {
		return nil, err
	}
	return newHandshake(p, config)
}
