package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// PairConfig is what a [Pair] is made with. It is not kept.
type PairConfig struct {
	// Role says which end this is: the initiator calls Start.
	Role mechanism.Role

	// Identity is the key by which the other end knows this one. Required.
	Identity *keys.Private

	// Peer is the key of the other end, if it is known beforehand: no other
	// is accepted then.
	Peer keys.Public

	// Suites are the suites (SPEC §1) to use: the initiator takes the
	// first, the responder accepts all. Both ends must prove a key, and
	// none may need a pre-shared one. Default: for an initiator that has
	// Peer, IKhfs; for others, XXhfs; for a responder, all that are hybrid.
	Suites []mechanism.Suite

	// Authorize decides whether an end whose key is proved is admitted, as
	// in WorkerConfig. It is asked in the handshake and for every message,
	// sent or received. It must not call the Pair, and should be quick: the
	// Pair receives nothing else meanwhile. Required, unless Peer is set.
	Authorize func(peer keys.Public) (name string, err error)

	// MaxBody is the size in bytes of the largest body that is sealed or
	// opened. Default DefaultMaxBody.
	MaxBody int
}

// Pair is one end of a conversation between two: a handshake, whose messages
// travel like all others, and then a session with forward secrecy, in which
// messages may be lost or reordered but are never accepted twice. It has no
// clock: when to give up waiting is the caller's to decide. It is safe for
// concurrent use.
type Pair struct {
	config PairConfig
	random randomness

	mu        sync.Mutex
	handshake *pairHandshake // the initiator's, under way, or nil
	pending   []pairPending  // the responder's, the oldest first

	// sessions are established, the oldest first. The last is the one to seal
	// under; the initiator keeps those that the responder may still seal
	// under until it knows of the last.
	sessions []*pairSession
}

type pairSession struct {
	packetSession
	peer keys.Public
}

// packetSession is a mechanism.PacketSession that counts a packet as seen only
// if what the packet vouches for is accepted, too.
type packetSession interface {
	mechanism.PacketSession
	OpenIf(dst, packet []byte, check func(plaintext []byte) error) ([]byte, error)
}

// NewPair returns an end without a session. It returns an error that matches
// ErrConfig if something required is missing, or a suite cannot be used.
func NewPair(config PairConfig) (*Pair, error) {
	if config.Identity == nil || config.Identity.ECDH() == nil {
		return nil, configError("a pair needs an identity")
	}
	if config.Authorize == nil {
		if config.Peer.IsZero() {
			return nil, configError("a pair needs Authorize or the peer's key")
		}
		config.Authorize = func(keys.Public) (string, error) { return "", nil }
	}
	if config.MaxBody == 0 {
		config.MaxBody = DefaultMaxBody
	}
	if config.MaxBody < 0 {
		return nil, configError("MaxBody is negative")
	}
	config.Suites = slices.Clone(config.Suites)
	if len(config.Suites) == 0 {
		config.Suites = defaultPairSuites(config.Role, config.Peer)
	}
	for _, s := range config.Suites {
		m, ok := noise.Mechanism(s)
		if !ok || !m.Traits().InitiatorKey || !m.Traits().ResponderKey || m.Traits().PSK {
			return nil, configError("a pair cannot use suite " + s.String())
		}
		if m.Traits().KnownResponder && config.Role == mechanism.Initiator && config.Peer.IsZero() {
			return nil, configError("suite " + s.String() + " needs the peer's key")
		}
	}
	return &Pair{config: config}, nil
}

func defaultPairSuites(role mechanism.Role, peer keys.Public) []mechanism.Suite {
	switch {
	case role == mechanism.Responder:
		return []mechanism.Suite{
			mechanism.XXhfsChaChaPoly, mechanism.IKhfsChaChaPoly,
			mechanism.XXhfsAESGCM, mechanism.IKhfsAESGCM,
		}
	case peer.IsZero():
		return []mechanism.Suite{mechanism.XXhfsChaChaPoly}
	default:
		return []mechanism.Suite{mechanism.IKhfsChaChaPoly}
	}
}

// A handshake message (SPEC §7) is
//
//	E7 | step:u8 (1, 2 or 3) | suite:u16 | Noise message
//
// and a message of the session
//
//	E8 | packet:61 of (kind:u8 | content key:32) | sealed part, without a tail
const (
	pairHeadSize    = 1 + 1 + 2
	maxPairMessage  = pairHeadSize + mechanism.MaxHandshakeMessage
	packetPlainSize = 1 + keySize
	packetAt        = 1

	pairData    = 0
	pairConfirm = 1
)

// Start begins a handshake and appends its first message to dst. If there is a
// session, it stays in use until the new one is there, and what the other end
// seals under it until it knows of the new one is still opened. Call Start
// again to begin anew, when no answer came or Receive returned ErrUnknownKey.
// It returns mechanism.ErrOrder at a responder.
func (p *Pair) Start(dst []byte) ([]byte, error) {
	if p.config.Role != mechanism.Initiator {
		return nil, mechanism.ErrOrder
	}
	h, err := p.newHandshake(p.config.Suites[0])
	if err != nil {
		return nil, err
	}
	dst, err = h.AppendMessage(appendPairHead(dst, 1, h.suite), nil)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handshake = h
	return dst, nil
}

// PairEvent is what became of a received message.
type PairEvent struct {
	// Data is set if the message was data. Body is what was sealed: the
	// bytes behind the dst of the call that opened it.
	Data bool
	Body []byte

	// Sender is the proven key of the other end, and Name what Authorize
	// calls it. They are set with Data.
	Sender keys.Public
	Name   string

	// Answer, if not nil, is what to send back. It may be there together
	// with an error.
	Answer []byte
}

// Receive takes a message from the other end. If it is data, the body is
// appended to dst, which must not overlap message. The message is neither
// changed nor kept. A message that is not authentic changes nothing.
//
// Errors match ErrUnknownKey if one end does not have the other's session, so
// that the initiator should call Start; ErrNotAuthorized if the other end is
// not admitted; ErrReplay if the message was opened before or is too old to
// tell; ErrAuthentication, ErrMalformed or ErrTooLarge.
func (p *Pair) Receive(dst, message []byte) (PairEvent, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch formOf(message) {
	case formPairPacket:
		return p.receivePacketLocked(dst, message)
	case formPairHandshake:
		if len(message) < pairHeadSize || len(message) > maxPairMessage {
			return PairEvent{}, ErrMalformed
		}
		answer, err := p.receiveHandshakeLocked(message)
		return PairEvent{Answer: answer}, err
	case formHint:
		if len(message) == 2 && message[1] == hintUnknownSession && p.config.Role == mechanism.Initiator {
			return PairEvent{}, ErrUnknownKey
		}
	}
	return PairEvent{}, ErrMalformed
}

// currentLocked returns the session to seal under, or nil.
func (p *Pair) currentLocked() *pairSession {
	if len(p.sessions) == 0 {
		return nil
	}
	return p.sessions[len(p.sessions)-1]
}

// dropLocked drops all sessions but the n newest.
func (p *Pair) dropLocked(n int) {
	old := max(len(p.sessions)-n, 0)
	for _, s := range p.sessions[:old] {
		s.Erase()
	}
	p.sessions = slices.Delete(p.sessions, 0, old)
}

// Seal seals a message with the given body and appends it to dst, which body
// must not overlap. It returns ErrUnknownKey if no session is established,
// ErrNotAuthorized if the other end is not admitted any more, ErrTooLarge if
// the body is above the configured maximum, and ErrExhausted at the end of the
// session.
func (p *Pair) Seal(dst, body []byte) ([]byte, error) {
	if len(body) > p.config.MaxBody {
		return nil, ErrTooLarge
	}
	p.mu.Lock()
	session := p.currentLocked()
	p.mu.Unlock()
	if session == nil {
		return nil, errNoSession
	}
	if _, err := p.authorize(session.peer); err != nil {
		return nil, err
	}
	return session.seal(dst, pairData, body, p.random)
}

var errNoSession = &textError{"no session is established", []error{ErrUnknownKey}}

func (s *pairSession) seal(dst []byte, kind byte, body []byte, r randomness) ([]byte, error) {
	dst = grow(dst, packetAt+packetPlainSize+s.Overhead()+len(body)+tagSize, body)
	start := len(dst)
	var plain [packetPlainSize]byte
	defer clear(plain[:])
	plain[0] = kind
	r.read(plain[1:])
	dst, err := s.packetSession.Seal(append(dst, formPairPacket), plain[:])
	if err != nil {
		return nil, err
	}
	return sealPart(dst, dst[start:], oneTime(plain[1:]), zeroNonce[:], body, nil), nil
}

func (p *Pair) receivePacketLocked(dst, message []byte) (PairEvent, error) {
	for i, session := range p.sessions {
		if !session.claims(message) {
			continue
		}
		event, err := p.openPacketLocked(dst, message, session)
		if err == nil {
			p.dropLocked(len(p.sessions) - i) // the other end does not go back
		}
		return event, err
	}
	for i, pending := range p.pending {
		if !pending.session.claims(message) {
			continue
		}
		event, err := p.openPacketLocked(dst, message, pending.session)
		if err == nil {
			p.establishLocked(i, pending.session)
		}
		return event, err
	}
	event := PairEvent{}
	if p.config.Role == mechanism.Responder {
		event.Answer = []byte{formHint, hintUnknownSession}
	}
	return event, errNoSession
}

// claims reports whether a message says that it belongs to the session, if
// there is one: a packet starts with its receiver's index (SPEC §5).
func (s *pairSession) claims(message []byte) bool {
	return s != nil && len(message) >= packetAt+4 && binary.BigEndian.Uint32(message[packetAt:]) == s.Index()
}

func (p *Pair) openPacketLocked(dst, message []byte, s *pairSession) (PairEvent, error) {
	at := packetAt + packetPlainSize + s.Overhead()
	size := len(message) - at - tagSize
	switch {
	case size < 0:
		return PairEvent{}, ErrMalformed
	case size > p.config.MaxBody:
		return PairEvent{}, ErrTooLarge
	}
	name, err := p.authorize(s.peer)
	if err != nil {
		return PairEvent{}, err
	}
	var opened []byte
	plain, err := s.OpenIf(nil, message[packetAt:at], func(plain []byte) (err error) {
		opened, err = openPart(dst, message, at, message[:at], oneTime(plain[1:]), zeroNonce[:])
		return err
	})
	if err != nil {
		if opened != nil {
			clear(opened[len(dst):])
		}
		if errors.Is(err, mechanism.ErrReplay) {
			err = ErrReplay
		}
		return PairEvent{}, err
	}
	defer clear(plain)
	switch body := opened[len(dst):]; {
	case plain[0] == pairData:
		return PairEvent{Data: true, Body: body, Sender: s.peer, Name: name}, nil
	case plain[0] == pairConfirm && len(body) == 0:
		return PairEvent{}, nil
	default:
		clear(body)
		return PairEvent{}, ErrMalformed
	}
}

// Peer returns the proven key of the other end, and whether a session is
// established, so that Seal may be called.
func (p *Pair) Peer() (keys.Public, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	session := p.currentLocked()
	if session == nil {
		return keys.Public{}, false
	}
	return session.peer, true
}

// Close forgets the session and whatever handshake is under way. The initiator
// may Start again.
func (p *Pair) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handshake = nil
	p.forgetLocked(len(p.pending))
	p.dropLocked(0)
}

// Format prints what it is: no verb shows a secret.
func (p *Pair) Format(f fmt.State, _ rune) { io.WriteString(f, "e2e pair") }
