// Package null is the mechanism NULL (SPEC §1): no security at all. It exists
// so that programs, tests and measurements can leave the security out without
// another code path. Its handshake messages are empty and its records carry
// their plaintext; it never proves a peer, and anyone can forge a record.
package null

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/securesp/securesp/internal/overlap"
	"github.com/securesp/securesp/mechanism"
)

// Mechanism returns the mechanism NULL. Its traits say that it is not secure.
func Mechanism() mechanism.Mechanism { return null{} }

type null struct{}

func (null) Suite() mechanism.Suite   { return mechanism.Null }
func (null) Traits() mechanism.Traits { return mechanism.Traits{} }

func (null) NewHandshake(config mechanism.Config) (mechanism.Handshake, error) {
	return &handshake{role: config.Role, binding: sha256.Sum256(config.Prologue)}, nil
}

// messages is how many empty messages a handshake has: one each way.
const messages = 2

type handshake struct {
	role    mechanism.Role
	step    int
	binding [sha256.Size]byte
	taken   bool // Session was called
}

func (h *handshake) Next() mechanism.Step {
	switch {
	case h.step == messages:
		return mechanism.Done
	case h.step%2 == int(h.role):
		return mechanism.Send
	default:
		return mechanism.Receive
	}
}

// AppendMessage appends nothing: a payload is mechanism.ErrUnsupported.
func (h *handshake) AppendMessage(dst, payload []byte) ([]byte, error) {
	if h.Next() != mechanism.Send {
		return nil, mechanism.ErrOrder
	}
	if len(payload) > 0 {
		return nil, mechanism.ErrUnsupported
	}
	h.step++
	return dst, nil
}

func (h *handshake) ReadMessage(dst, message []byte) ([]byte, error) {
	if h.Next() != mechanism.Receive {
		return nil, mechanism.ErrOrder
	}
	if len(message) > 0 {
		return nil, mechanism.ErrMalformed
	}
	h.step++
	return dst, nil
}

func (h *handshake) Peer() mechanism.Peer { return mechanism.Peer{} }

func (h *handshake) Session() (mechanism.Session, error) {
	if h.Next() != mechanism.Done || h.taken {
		return nil, mechanism.ErrOrder
	}
	h.taken = true
	return &session{binding: h.binding}, nil
}

func (h *handshake) PacketSession() (mechanism.PacketSession, error) {
	if h.Next() != mechanism.Done {
		return nil, mechanism.ErrOrder
	}
	return nil, mechanism.ErrUnsupported
}

// session has records like any other (SPEC §4), without a tag:
// len:u16 | type:u8 | plaintext. Its binding is the hash of the prologue, so it
// is equal on both sides but not unique.
type session struct {
	binding [sha256.Size]byte
	erased  bool
}

const lenSize = 2

func (s *session) Overhead() int { return mechanism.HeaderSize }
func (s *session) Lead() int     { return mechanism.HeaderSize }

func (s *session) Encode(dst []byte, t mechanism.Type, plaintext []byte) ([]byte, error) {
	switch {
	case s.erased:
		return nil, mechanism.ErrExhausted
	case len(plaintext) > mechanism.MaxPlaintext:
		return nil, mechanism.ErrMessageTooLong
	case t == mechanism.Clear:
		return nil, mechanism.ErrUnsupported
	}
	start, size := len(dst), mechanism.HeaderSize+len(plaintext)
	dst = slices.Grow(dst, size)[:start+size]
	header, body := dst[start:start+mechanism.HeaderSize], dst[start+mechanism.HeaderSize:]
	if overlap.Any(header, plaintext) || overlap.Inexact(body, plaintext) {
		panic("securesp: Encode with a plaintext that overlaps its record")
	}
	binary.BigEndian.PutUint16(header, uint16(size-lenSize))
	header[lenSize] = byte(t)
	copy(body, plaintext)
	return dst, nil
}

func (s *session) Decode(dst, record []byte) (mechanism.Type, []byte, error) {
	n := len(record) - mechanism.HeaderSize
	switch {
	case s.erased:
		return 0, nil, mechanism.ErrExhausted
	case n < 0 || n > mechanism.MaxPlaintext,
		int(binary.BigEndian.Uint16(record)) != len(record)-lenSize,
		mechanism.Type(record[lenSize]) == mechanism.Clear:
		return 0, nil, mechanism.ErrMalformed
	}
	start := len(dst)
	dst = slices.Grow(dst, n)[:start+n]
	header, body := record[:mechanism.HeaderSize], record[mechanism.HeaderSize:]
	if overlap.Any(header, dst[start:]) || overlap.Inexact(dst[start:], body) {
		panic("securesp: Decode into a part of the record")
	}
	copy(dst[start:], body)
	return mechanism.Type(header[lenSize]), dst, nil
}

func (s *session) Binding() []byte { return s.binding[:] }

func (s *session) Rekeys() (sent, received uint64) { return 0, 0 }

func (s *session) Erase() { s.erased = true }
