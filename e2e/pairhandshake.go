package e2e

import (
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

// respondLocked takes message 1 and answers with message 2.
func (p *Pair) respondLocked(message []byte, suite mechanism.Suite) ([]byte, error) {
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
	if h.Next() != mechanism.Done {
		p.handshake = h
		return answer, nil
	}
	session, err := h.session()
	if err != nil {
		return nil, err
	}
	replace(&p.unconfirmed, session)
	return answer, nil
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
	replace(&p.current, session)
	if !last {
		answer, err = session.seal(nil, pairConfirm, nil, p.random)
	}
	return answer, err
}

// concludeLocked takes message 3.
func (p *Pair) concludeLocked(message []byte, suite mechanism.Suite) error {
	h := p.handshake
	if h == nil || h.suite != suite {
		return ErrAuthentication
	}
	if err := h.read(message); err != nil {
		return err
	}
	p.handshake = nil
	if _, err := p.authorize(h.Peer().Key); err != nil {
		return err
	}
	session, err := h.session()
	if err != nil {
		return err
	}
	replace(&p.current, session)
	return nil
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
	return &pairSession{packets, h.Peer().Key}, nil
}
