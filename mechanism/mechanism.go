// Package mechanism defines what a security mechanism is to the rest of
// securesp, as calls on buffers: a [Handshake] that turns messages into a
// [Session] (ordered streams) or a [PacketSession] (unordered, lossy
// datagrams). Nothing here does I/O, reads a clock or starts a goroutine, so a
// mechanism can be driven over a connection, a message queue, files or a
// test's byte slices alike.
//
// The five calls of a handshake are [Handshake.Next] (is it finished?),
// [Handshake.AppendMessage] (what to send), [Handshake.ReadMessage] (what was
// received), and then [Session.Encode] and [Session.Decode].
//
// The mechanisms themselves live in the packages below this one; mechtest is
// the conformance suite that each of them passes.
package mechanism

import (
	"errors"
	"io"

	"github.com/securesp/securesp/keys"
)

// Errors a mechanism returns. Each may be wrapped; test with errors.Is.
var (
	// ErrAuthentication means that a message or record did not
	// authenticate: it was altered, replayed, reordered, or made with other
	// keys. It is deliberately no more precise than that.
	ErrAuthentication = errors.New("securesp: message authentication failed")

	// ErrMalformed means that a message or record has an impossible length
	// or structure.
	ErrMalformed = errors.New("securesp: malformed message")

	// ErrMessageTooLong means that the caller asked to encode more than a
	// message or record can hold.
	ErrMessageTooLong = errors.New("securesp: message too long")

	// ErrOrder means that a call came at the wrong step of the handshake.
	ErrOrder = errors.New("securesp: handshake call out of order")

	// ErrReplay means that a packet's counter was seen before or is too old
	// to tell (SPEC §5).
	ErrReplay = errors.New("securesp: replayed packet")

	// ErrExhausted means that a session has used up its counters, or was
	// erased.
	ErrExhausted = errors.New("securesp: session exhausted")

	// ErrConfig means that the mechanism lacks a key it needs, or was given
	// one that it cannot use.
	ErrConfig = errors.New("securesp: invalid mechanism configuration")

	// ErrUnsupported means that the mechanism has no such operation; NULL,
	// for one, has no PacketSession.
	ErrUnsupported = errors.New("securesp: not supported by this mechanism")
)

// MaxHandshakeMessage is the size in bytes of the largest handshake message
// that may travel (SPEC §2).
const MaxHandshakeMessage = 4096

// Role is the side of a handshake.
type Role uint8

// The two roles. The initiator sends the first message.
const (
	Initiator Role = iota
	Responder
)

// String returns "initiator" or "responder".
func (r Role) String() string {
	if r == Initiator {
		return "initiator"
	}
	return "responder"
}

// Step is what a handshake needs next.
type Step uint8

// The steps. Done means that both directions have keys: Session may be called.
const (
	Send    Step = iota // call AppendMessage and send what it returns
	Receive             // receive a message and hand it to ReadMessage
	Done                // the handshake is finished
)

// String returns the step's name.
func (s Step) String() string {
	switch s {
	case Send:
		return "send"
	case Receive:
		return "receive"
	default:
		return "done"
	}
}

// Traits are the fixed properties of a mechanism, from which a caller knows
// what to configure and what a finished handshake proves.
type Traits struct {
	Secure         bool // false only for NULL
	InitiatorKey   bool // the initiator proves a static key
	ResponderKey   bool // the responder proves a static key
	KnownResponder bool // the initiator must know the responder's key beforehand
	PSK            bool // both sides must hold the same pre-shared key
	Curve          bool // static keys are keys.CurvePrivate, not keys.Private
	Hybrid         bool // secrecy also rests on ML-KEM-768
}

// Mechanism is one complete, named security mechanism: the value of one suite.
// It is immutable and safe for concurrent use.
type Mechanism interface {
	// Suite returns the number and name of the mechanism.
	Suite() Suite
	// Traits returns the mechanism's fixed properties.
	Traits() Traits
	// NewHandshake starts a handshake. A configuration that lacks what the
	// traits ask for is refused with an error that matches ErrConfig.
	NewHandshake(config Config) (Handshake, error)
}

// Config is what one handshake is started with. The mechanism keeps no
// reference to Prologue; it does keep the keys.
type Config struct {
	Role Role

	// Prologue is authenticated by the handshake: it fails unless both
	// sides give the same bytes.
	Prologue []byte

	// Identity is the own static key, Peer the other side's where the
	// mechanism has it known beforehand: the responder's, for initiators of
	// mechanisms whose traits say KnownResponder. All others ignore Peer:
	// the key that they are sent is for the caller to judge, once
	// Handshake.Peer returns it.
	Identity *keys.Private
	Peer     keys.Public
	PSK      *keys.Shared

	CurveIdentity *keys.CurvePrivate // for mechanisms whose traits say Curve
	CurvePeer     keys.CurvePublic

	// KeyLog, if set, is given each traffic secret once it exists. Whoever
	// sets it gives the session's secrecy away.
	KeyLog func(label string, secret []byte)

	// Rand is the source of ephemeral keys; nil means crypto/rand, and
	// nothing else is secure. It exists for test vectors.
	Rand io.Reader
}

// Peer is what a handshake has proved about the other side. The zero value
// means nothing: the peer is anonymous so far.
type Peer struct {
	Key      keys.Public      // static key of a Noise suite
	CurveKey keys.CurvePublic // static key of CURVE
}

// Handshake is one run of a mechanism. It is not safe for concurrent use.
//
// Messages may carry a payload where the mechanism can; an upper layer that
// must not send before the handshake is complete passes nil.
type Handshake interface {
	// Next says what the handshake needs now.
	Next() Step

	// AppendMessage appends the next handshake message, carrying payload,
	// to dst and returns the extended slice. It returns ErrOrder unless
	// Next is Send.
	AppendMessage(dst, payload []byte) ([]byte, error)

	// ReadMessage takes one received handshake message and appends its
	// payload to dst. It neither changes nor keeps message. It is
	// transactional: after an error the handshake is as it was before, so
	// that a forged message costs nothing on carriers where the genuine
	// one may still arrive. It returns ErrOrder unless Next is Receive.
	ReadMessage(dst, message []byte) ([]byte, error)

	// Peer returns what the messages read so far have proved. An initiator
	// that was configured with the peer's key gets it back only when the
	// peer has proved it.
	Peer() Peer

	// Session returns the session for ordered streams. It may be called
	// once, when Next is Done; ErrOrder otherwise.
	Session() (Session, error)

	// PacketSession returns the session for datagrams, whose keys are
	// independent of Session's: both may be used at once. It may be called
	// once, when Next is Done; ErrOrder otherwise, ErrUnsupported if the
	// mechanism has none.
	PacketSession() (PacketSession, error)
}

// Type is the type of a record (SPEC §4).
type Type uint8

// The record types (SPEC §4).
const (
	Data       Type = 0x00 // frames of messages
	DataPadded Type = 0x01 // frames, then ISO 7816-4 padding
	Pad        Type = 0x02 // nothing but cover
	Ping       Type = 0x03 // asks for a Pong
	Pong       Type = 0x04 // answers a Ping
	Ready      Type = 0x10 // the verdict, first record of each direction
	Fin        Type = 0x11 // the sender's direction ends
	Close      Type = 0x12 // both directions end, with a code
	Clear      Type = 0x7F // an unencrypted payload; never made by a Session
)

// Sizes of a record (SPEC §4).
const (
	// HeaderSize is the size of a record's header: length and type.
	HeaderSize = 3
	// MaxPlaintext is the most plaintext one record carries.
	MaxPlaintext = 16384
)

// Session seals and opens the records of one connection, in order. Encode and
// Decode may run concurrently with each other, but neither with itself.
type Session interface {
	// Overhead is the constant number of bytes by which a record is longer
	// than its plaintext, the header included.
	Overhead() int

	// Lead is the number of those bytes that stand before the ciphertext
	// of the plaintext's first byte; the rest follows it. For in-place use
	// the plaintext may start at dst[len(dst)+Lead():].
	Lead() int

	// Encode appends one record to dst and returns the extended slice.
	// plaintext is at most MaxPlaintext bytes, else ErrMessageTooLong. It
	// may overlap the free space of dst only exactly at
	// dst[len(dst)+Lead():]; then it is sealed in place. Any other overlap
	// is the caller's mistake, and may panic. If dst has room, nothing is
	// allocated. The type Clear is refused.
	Encode(dst []byte, t Type, plaintext []byte) ([]byte, error)

	// Decode opens exactly one whole record, header included, and appends
	// its plaintext to dst. dst may be record[Lead():Lead()], which opens
	// in place and, on failure, destroys the record; otherwise the two must
	// not overlap, and record stays untouched. No plaintext byte is in
	// dst's space unless the record authenticated. After an error the
	// session is unchanged, but a stream cannot go on. If dst has room,
	// nothing is allocated.
	Decode(dst, record []byte) (Type, []byte, error)

	// Binding returns the 32-byte channel binding: equal on both sides,
	// unique to this handshake, not secret. The caller must not change it.
	Binding() []byte

	// Rekeys returns how often the sending and the receiving key have been
	// replaced (SPEC §4). It may be called at any time.
	Rekeys() (sent, received uint64)

	// Erase forgets the keys, as far as a garbage-collected language can.
	// No other call may be under way, and every later one fails.
	Erase()
}

// PacketSession seals and opens datagrams that may be lost, reordered or
// duplicated (SPEC §5). All its methods are safe for concurrent use.
type PacketSession interface {
	// Overhead is the constant number of bytes by which a packet is longer
	// than its plaintext.
	Overhead() int

	// Index returns the number that the peer's packets to this side start
	// with, so that one socket can serve many sessions.
	Index() uint32

	// Seal appends one packet to dst. Each call uses the next counter,
	// which is never the caller's to choose. plaintext must not overlap
	// the free space of dst.
	Seal(dst, plaintext []byte) ([]byte, error)

	// Open opens one packet and appends its plaintext to dst, which must
	// not overlap packet. A packet is accepted at most once: ErrReplay if
	// its counter was seen or is older than the window,
	// ErrAuthentication or ErrMalformed otherwise.
	Open(dst, packet []byte) ([]byte, error)

	// Binding returns the same 32 bytes as the stream session's.
	Binding() []byte

	// Erase forgets the keys; every later call fails.
	Erase()
}
