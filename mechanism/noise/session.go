package noise

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/securesp/securesp/internal/overlap"
	"github.com/securesp/securesp/mechanism"
)

// Sizes of a record (SPEC §4): len:u16 | type:u8 | ciphertext, where len counts
// what follows it.
const (
	lenSize  = 2
	overhead = mechanism.HeaderSize + tagLen

	// rekeyInterval is how many counters share a key.
	rekeyInterval = 1 << 16
)

// session is the mechanism.Session of every Noise pattern. The two directions
// share nothing that changes.
type session struct {
	binding []byte
	send    direction
	_       [128]byte // keeps the directions out of each other's cache lines
	recv    direction
}

// direction is one direction's CipherState (Noise §5.1) with its own rekeying
// rule (SPEC §4). The nonce's buffer is a field so that handing it to an
// interface does not allocate.
type direction struct {
	kind   cipherKind
	aead   cipher.AEAD
	err    error // set if aead is nil: there is no such direction, or no longer
	n      uint64
	nonce  [nonceLen]byte
	rekeys atomic.Uint64
}

func newSession(h *Handshake) *session {
	s := &session{binding: slices.Clone(h.secrets.binding)}
	s.send.start(h, h.role)
	s.recv.start(h, 1-h.role)
	h.secrets.traffic = [2][keyLen]byte{}
	return s
}

func (d *direction) start(h *Handshake, sender mechanism.Role) {
	d.kind = h.protocol.cipher
	if h.protocol.oneWay() && sender == mechanism.Responder {
		d.err = mechanism.ErrUnsupported
		return
	}
	d.aead = d.kind.aead(h.secrets.traffic[sender][:])
}

// ready prepares the nonce of the next record, unless the direction is at its
// end.
func (d *direction) ready() error {
	if d.aead == nil {
		return d.err
	}
	if d.n == rekeyNonce {
		return mechanism.ErrExhausted
	}
	d.kind.putNonce(&d.nonce, d.n)
	return nil
}

// advance goes to the next counter and, where that begins a new key, to it:
// the old key is gone as soon as it has no more use.
func (d *direction) advance() {
	d.n++
	if d.n%rekeyInterval == 0 {
		d.aead = d.kind.rekeyed(d.aead)
		d.rekeys.Add(1)
	}
}

func (d *direction) erase() {
	d.aead, d.err = nil, mechanism.ErrExhausted
}

func (s *session) Overhead() int { return overhead }
func (s *session) Lead() int     { return mechanism.HeaderSize }

func (s *session) Encode(dst []byte, t mechanism.Type, plaintext []byte) ([]byte, error) {
	if len(plaintext) > mechanism.MaxPlaintext {
		return nil, mechanism.ErrMessageTooLong
	}
	if t == mechanism.Clear {
		return nil, fmt.Errorf("%w: a sealed record of type clear", mechanism.ErrUnsupported)
	}
	d := &s.send
	if err := d.ready(); err != nil {
		return nil, err
	}
	start, size := len(dst), len(plaintext)+overhead
	dst = slices.Grow(dst, size)[:start+size]
	header, body := dst[start:start+mechanism.HeaderSize], dst[start+mechanism.HeaderSize:]
	if overlap.Any(header, plaintext) || overlap.Inexact(body, plaintext) {
		panic("securesp: Encode with a plaintext that overlaps its record")
	}
	binary.BigEndian.PutUint16(header, uint16(size-lenSize))
	header[lenSize] = byte(t)
	d.aead.Seal(body[:0], d.nonce[:], plaintext, header)
	d.advance()
	return dst, nil
}

func (s *session) Decode(dst, record []byte) (mechanism.Type, []byte, error) {
	n := len(record) - overhead
	if n < 0 || n > mechanism.MaxPlaintext ||
		int(binary.BigEndian.Uint16(record)) != len(record)-lenSize {
		return 0, nil, mechanism.ErrMalformed
	}
	header, body := record[:mechanism.HeaderSize], record[mechanism.HeaderSize:]
	t := mechanism.Type(header[lenSize])
	if t == mechanism.Clear {
		return 0, nil, mechanism.ErrAuthentication // sealed by nobody
	}
	d := &s.recv
	if err := d.ready(); err != nil {
		return 0, nil, err
	}
	start := len(dst)
	dst = slices.Grow(dst, n)[:start+n]
	plaintext := dst[start:]
	if overlap.Any(header, plaintext) || overlap.Inexact(plaintext, body) {
		panic("securesp: Decode into a part of the record")
	}
	if _, err := d.aead.Open(plaintext[:0], d.nonce[:], body, header); err != nil {
		clear(plaintext)
		return 0, nil, mechanism.ErrAuthentication
	}
	d.advance()
	return t, dst, nil
}

func (s *session) Binding() []byte { return s.binding }

func (s *session) Rekeys() (sent, received uint64) {
	return s.send.rekeys.Load(), s.recv.rekeys.Load()
}

func (s *session) Erase() {
	s.send.erase()
	s.recv.erase()
}

// Format prints what it is: no verb shows a key.
func (s *session) Format(f fmt.State, _ rune) { io.WriteString(f, "Noise session") }
