package curve

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/securesp/securesp/internal/overlap"
	"github.com/securesp/securesp/mechanism"
)

// direction is the state of one direction of a session: one key with its
// nonces.
type direction struct {
	key    *[32]byte // k; nil once erased
	prefix string    // of the nonces
	last   uint64    // short nonce of the last command
}

// next returns the nonce of the command after the last one. It is used up only
// when last is incremented.
func (d *direction) next() (nonce [24]byte, err error) {
	if d.key == nil || d.last == math.MaxUint64 {
		return nonce, mechanism.ErrExhausted
	}
	return shortNonce(d.prefix, d.last+1), nil
}

func (d *direction) erase() { d.key = erased(d.key) }

// erased clears key, which may be nil, and returns nil in its place.
func erased(key *[32]byte) *[32]byte {
	if key != nil {
		clear(key[:])
	}
	return nil
}

// directions returns the states with which both directions go on after the
// handshake: sending and receiving.
func (h *Handshake) directions() (tx, rx direction) {
	keys := [2][32]byte{*h.shared, *h.shared}
	tx = direction{key: &keys[0], prefix: prefixMessageC, last: h.sent}
	rx = direction{key: &keys[1], prefix: prefixMessageS, last: h.received}
	if h.role == mechanism.Responder {
		tx.prefix, rx.prefix = rx.prefix, tx.prefix
	}
	return tx, rx
}

// A record (SPEC §8) is a box with a header, in which n is the length of the
// plaintext:
//
//	len:u16 = 1+16+1+n | type:u8 | Box [type:u8 | plaintext](k)
//
// A box has no associated data, so the type is inside it a second time. The
// length needs no such proof: a box of another length does not open.
const (
	lenSize    = 2
	lead       = mechanism.HeaderSize + boxOverhead + 1
	maxPayload = 1 + mechanism.MaxPlaintext // of a box: type and plaintext
)

// scratch holds buffers for the way through a box, which cannot be sealed or
// opened in place. A session keeps none, so an idle connection is small.
var scratch = sync.Pool{New: func() any { return new([maxPayload + boxOverhead]byte) }}

// session implements mechanism.Session.
type session struct {
	tx, rx  direction
	binding []byte
}

func (s *session) Overhead() int { return lead }

func (s *session) Lead() int { return lead }

func (s *session) Binding() []byte { return s.binding }

// Rekeys returns zeros: CURVE has no rekeying (SPEC §8).
func (s *session) Rekeys() (sent, received uint64) { return 0, 0 }

func (s *session) Erase() {
	s.tx.erase()
	s.rx.erase()
}

// Format prints what it is: no verb shows a key.
func (s *session) Format(f fmt.State, _ rune) { io.WriteString(f, "CURVE session") }

func (s *session) Encode(dst []byte, t mechanism.Type, plaintext []byte) ([]byte, error) {
	if len(plaintext) > mechanism.MaxPlaintext {
		return nil, mechanism.ErrMessageTooLong
	}
	if t == mechanism.Clear {
		return nil, fmt.Errorf("%w: a sealed record of type clear", mechanism.ErrUnsupported)
	}
	nonce, err := s.tx.next()
	if err != nil {
		return nil, err
	}
	start, size := len(dst), lead+len(plaintext)
	dst = slices.Grow(dst, size)[:start+size]
	header, body := dst[start:start+lead], dst[start+lead:]
	if overlap.Any(header, plaintext) || overlap.Inexact(body, plaintext) {
		panic("securesp: Encode with a plaintext that overlaps its record")
	}
	copy(body, plaintext) // to itself if it is there already
	header[lead-1] = byte(t)
	buffer := scratch.Get().(*[maxPayload + boxOverhead]byte)
	sealed := seal(buffer[:0], dst[start+lead-1:], nonce, s.tx.key)
	copy(dst[start+mechanism.HeaderSize:], sealed)
	scratch.Put(buffer) // it holds nothing but ciphertext
	binary.BigEndian.PutUint16(header, uint16(size-lenSize))
	header[lenSize] = byte(t)
	s.tx.last++
	return dst, nil
}

func (s *session) Decode(dst, record []byte) (mechanism.Type, []byte, error) {
	n := len(record) - lead
	if n < 0 || n > mechanism.MaxPlaintext ||
		int(binary.BigEndian.Uint16(record)) != len(record)-lenSize {
		return 0, nil, mechanism.ErrMalformed
	}
	t := record[lenSize]
	if mechanism.Type(t) == mechanism.Clear {
		return 0, nil, mechanism.ErrAuthentication // sealed by nobody
	}
	nonce, err := s.rx.next()
	if err != nil {
		return 0, nil, err
	}
	start := len(dst)
	dst = slices.Grow(dst, n)[:start+n]
	if overlap.Any(record[:lead], dst[start:]) || overlap.Inexact(dst[start:], record[lead:]) {
		panic("securesp: Decode into a part of the record")
	}
	buffer := scratch.Get().(*[maxPayload + boxOverhead]byte)
	defer scratch.Put(buffer)
	payload, err := open(buffer[:0], record[mechanism.HeaderSize:], nonce, s.rx.key)
	if err != nil {
		return 0, nil, err
	}
	defer clear(payload)
	if payload[0] != t {
		return 0, nil, mechanism.ErrAuthentication
	}
	copy(dst[start:], payload[1:])
	s.rx.last++
	return mechanism.Type(t), dst, nil
}
