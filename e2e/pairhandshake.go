package e2e

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// pairHandshake is a handshake of a [Pair].
type pairHandshake struct {
	*noise.Handshake
	suite mechanism.Suite
}

// maxPairPending is how many handshakes a responder keeps open. Anybody can
// begin one, or repeat the beginning of another; neither ends that which will be
// concluded, unless so many others are begun while it is under way. Who can do
// that could as well drop messages.
const maxPairPending = 4

// pairPending is a handshake that the responder has answered. It may be a
// replay, until the initiator goes on with it.
type pairPending struct {
	first     [sha256.Size]byte // the digest of message 1
	answer    []byte            // message 2
	handshake *pairHandshake    // waits for message 3, or nil
	session   *pairSession      // waits for its first message, or nil
}

// forgetLocked drops the n oldest pending handshakes.
func (p *Pair) forgetLocked(n int) {
	for _, pending := range p.pending[:n] {
		if pending.session != nil {
			pending.session.Erase()
		}
	}
	p.pending = slices.Delete(p.pending, 0, n)
}

// establishLocked makes session, which pending handshake i has led to, the
// current one. Nobody goes on with what is older.
func (p *Pair) establishLocked(i int, session *pairSession) {
	p.pending[i].session = nil
	p.forgetLocked(i + 1)
	p.dropLocked(0)
	p.sessions = append(p.sessions, session)
}

func appendPairHead(dst []byte, step byte, suite mechanism.Suite) []byte {
	return binary.BigEndian.AppendUint16(append(dst, formPairHandshake, step), uint16(suite))
}

func (p *Pair) newHandshake(suite mechanism.Suite) (*pairHandshake, error) {
	prologue := append([]byte(protocolLabel), formPairHandshake)
	h, err := noise.New(suite.String(), mechanism.Config{
		Role:     p.config.Role,
		Prologue: binary.BigEndian.AppendUint16(prologue, uint16(suite)),
		Identity: p.config.Identity,
		Peer:     p.config.Peer,
		Rand:     p.random.source,
	})
	return &pairHandshake{h, suite}, err
}

func (p *Pair) receiveHandshakeLocked(message []byte) ([]byte, error) {
	step, suite := message[1], mechanism.Suite(binary.BigEndian.Uint16(message[2:]))
	message = message[pairHeadSize:]
	switch p.config.Role {
	case mechanism.Responder:
		switch {
		case !slices.Contains(p.config.Suites, suite):
			return nil, ErrMalformed
		case step == 1:
			return p.respondLocked(message, suite)
		case step == 3:
			return nil, p.concludeLocked(message, suite)
		}
	case mechanism.Initiator:
		if step == 2 {
			return p.continueLocked(message, suite)
		}
	}
	return nil, ErrMalformed
}

// respondLocked takes message 1 and answers with message 2: with the same one
// if it has answered this message 1 already.
func (p *Pair) respondLocked(message []byte, suite mechanism.Suite) ([]byte, error) {
	first := sha256.Sum256(binary.BigEndian.AppendUint16(slices.Clone(message), uint16(suite)))
	for _, pending := range p.pending {
		if pending.first == first {
			return slices.Clone(pending.answer), nil
		}
	}
	h, err := p.newHandshake(suite)
	if err != nil {
		return nil, err
	}
	if err := h.read(message); err != nil {
		return nil, err
	}
	if key := h.Peer().Key; !key.IsZero() {
		if _, err := p.authorize(key); err != nil {
			return nil, err
		}
	}
	answer, err := h.AppendMessage(appendPairHead(nil, 2, suite), nil)
	if err != nil {
		return nil, err
	}
	pending := pairPending{first: first, answer: answer, handshake: h}
	if h.Next() == mechanism.Done {
		pending.handshake = nil
		if pending.session, err = h.session(); err != nil {
			return nil, err
		}
	}
	if len(p.pending) == maxPairPending {
		p.forgetLocked(1)
	}
	p.pending = append(p.pending, pending)
	return slices.Clone(answer), nil
}

// continueLocked takes message 2 and answers with message 3 or, if there is
// none, with a message that confirms the session.
func (p *Pair) continueLocked(message []byte, suite mechanism.Suite) ([]byte, error) {
	h := p.handshake
	if h == nil || h.suite != suite {
		return nil, ErrAuthentication // of no handshake that is under way
	}
	if err := h.read(message); err != nil {
		return nil, err
	}
	p.handshake = nil
	if _, err := p.authorize(h.Peer().Key); err != nil {
		return nil, err
	}
	var answer []byte
	var err error
	last := h.Next() == mechanism.Send
	if last {
		if answer, err = h.AppendMessage(appendPairHead(nil, 3, suite), nil); err != nil {
			return nil, err
		}
	}
	session, err := h.session()
	if err != nil {
		return nil, err
	}
	p.dropLocked(maxPairPending) // as many as a responder keeps handshakes
	p.sessions = append(p.sessions, session)
	if !last {
		answer, err = session.seal(nil, pairConfirm, nil, p.random)
	}
	return answer, err
}

// concludeLocked takes message 3, of whichever handshake it belongs to.
func (p *Pair) concludeLocked(message []byte, suite mechanism.Suite) error {
	for i, pending := range p.pending {
		h := pending.handshake
		if h == nil || h.suite != suite {
			continue
		}
		if err := h.read(message); err == ErrAuthentication {
			continue
		} else if err != nil {
			return err
		}
		session, err := h.session()
		if err != nil {
			return err
		}
		if _, err := p.authorize(h.Peer().Key); err != nil {
			session.Erase()
			p.forgetLocked(i + 1)
			return err
		}
		p.establishLocked(i, session)
		return nil
	}
	return ErrAuthentication
}

// authorize decides about the other end, whose key is proved.
func (p *Pair) authorize(key keys.Public) (string, error) {
	if !p.config.Peer.IsZero() && key != p.config.Peer {
		return "", ErrNotAuthorized
	}
	name, err := p.config.Authorize(key)
	if err != nil {
		return "", notAuthorized(err)
	}
	return name, nil
}

// read takes a handshake message, which must carry nothing.
func (h *pairHandshake) read(message []byte) error {
	payload, err := h.ReadMessage(nil, message)
	switch {
	case err != nil:
		return ErrAuthentication
	case len(payload) > 0:
		return ErrMalformed
	default:
		return nil
	}
}

// session returns the session of a finished handshake.
func (h *pairHandshake) session() (*pairSession, error) {
	packets, err := h.PacketSession()
	if err != nil {
		return nil, err
	}
	return &pairSession{packets.(packetSession), h.Peer().Key}, nil
}
