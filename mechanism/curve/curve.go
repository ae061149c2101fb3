// Package curve is CURVE: the handshake and boxes of CurveZMQ (RFC 26), which
// brought CurveCP to ZeroMQ.
//
// It comes in two forms that share one implementation. [Mechanism] is the
// suite 4301 of this module (SPEC §8), made of the CurveZMQ handshake and
// records of boxes. [New] is CurveZMQ itself, for programs that talk to libzmq
// and its relatives.
//
// What CURVE gives: both sides prove static X25519 keys, the initiator's stays
// hidden from everybody but the responder, and what was recorded cannot be
// read with static keys stolen later. What it does not give: resistance
// against a quantum computer, and rekeying within a connection. Prefer the
// hybrid Noise suites unless CURVE keys are what you have.
//
// Labels given to mechanism.Config.KeyLog are CURVE_BOX_KEY for the one key of
// both directions' records, I2R_PACKET_SECRET and R2I_PACKET_SECRET for the
// packet keys of initiator and responder.
package curve

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"

	"github.com/securesp/securesp/mechanism"
)

// prologueProperty names the metadata in which both sides of the suite tell
// each other the SHA-256 of their prologue (SPEC §2, §8).
const prologueProperty = "Securesp-Prologue"

// Mechanism returns the suite CURVE (SPEC §8).
//
// Its handshake has four messages: 200, 168, 311 and 84 bytes. They carry no
// payload: one given to AppendMessage is refused with
// mechanism.ErrUnsupported. Peer is as in [Handshake.Peer].
func Mechanism() mechanism.Mechanism { return suite{} }

type suite struct{}

func (suite) Suite() mechanism.Suite { return mechanism.Curve }

func (suite) Traits() mechanism.Traits {
	return mechanism.Traits{
		Secure:         true,
		InitiatorKey:   true,
		ResponderKey:   true,
		KnownResponder: true,
		Curve:          true,
	}
}

func (suite) NewHandshake(config mechanism.Config) (mechanism.Handshake, error) {
	prologue := sha256.Sum256(config.Prologue)
	h, err := New(Config{
		Role:     config.Role,
		Identity: config.CurveIdentity,
		Peer:     config.CurvePeer,
		Metadata: Metadata{{Name: prologueProperty, Value: prologue[:]}},
		Rand:     config.Rand,
	})
	if err != nil {
		return nil, err
	}
	h.check = func(remote Metadata) error {
		theirs, _ := remote.Get(prologueProperty)
		if subtle.ConstantTimeCompare(theirs, prologue[:]) != 1 {
			return mechanism.ErrAuthentication
		}
		return nil
	}
	return &handshake{core: h, keyLog: config.KeyLog}, nil
}

// handshake implements mechanism.Handshake.
type handshake struct {
	core   *Handshake
	keyLog func(label string, secret []byte)

	session, packets bool // each was handed out
}

func (h *handshake) Next() mechanism.Step { return h.core.Next() }

func (h *handshake) AppendMessage(dst, payload []byte) ([]byte, error) {
	if h.core.Next() == mechanism.Send && len(payload) > 0 {
		return nil, mechanism.ErrUnsupported
	}
	return h.core.AppendCommand(dst)
}

func (h *handshake) ReadMessage(dst, message []byte) ([]byte, error) {
	if err := h.core.ReadCommand(message); err != nil {
		return nil, err
	}
	return dst, nil
}

func (h *handshake) Peer() mechanism.Peer {
	return mechanism.Peer{CurveKey: h.core.Peer()}
}

func (h *handshake) Session() (mechanism.Session, error) {
	if h.Next() != mechanism.Done || h.session {
		return nil, mechanism.ErrOrder
	}
	h.session = true
	h.log("CURVE_BOX_KEY", h.core.shared[:])
	s := &session{binding: h.core.binding()}
	s.tx, s.rx = h.core.directions()
	h.forget()
	return s, nil
}

func (h *handshake) log(label string, secret []byte) {
	if h.keyLog != nil {
		h.keyLog(label, slices.Clone(secret))
	}
}

// Format prints what it is: no verb shows a secret.
func (h *handshake) Format(f fmt.State, verb rune) { h.core.Format(f, verb) }

// forget drops the keys once nothing is left to be made from them.
func (h *handshake) forget() {
	if h.session && h.packets {
		clear(h.core.shared[:])
	}
}
