package curve

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/securesp/securesp/mechanism"
)

// Flags of a MESSAGE.
const (
	More    byte = 0x01 // more parts of the same message follow (RFC 26)
	Command byte = 0x02 // the content is a ZMTP command, as libzmq sends since 4.2

	knownFlags = More | Command
)

const (
	messageLead = len(nameMessage) + 8 + boxOverhead + 1

	// MessageOverhead is by how many bytes a MESSAGE is longer than its
	// content.
	MessageOverhead = messageLead
)

// Messages seals and opens the MESSAGE commands that follow a CurveZMQ
// handshake (RFC 26). Encode and Decode may run concurrently with each other,
// but neither with itself.
type Messages struct {
	tx, rx direction
}

// Messages returns what seals and opens the commands after the handshake. It
// may be called once, when Next is Done; mechanism.ErrOrder otherwise.
func (h *Handshake) Messages() (*Messages, error) {
	if h.Next() != mechanism.Done || h.taken {
		return nil, mechanism.ErrOrder
	}
	m := new(Messages)
	m.tx, m.rx = h.directions()
	h.finish()
	return m, nil
}

// finish ends the handshake's hold on the keys.
func (h *Handshake) finish() {
	h.taken = true
	clear(h.shared[:])
}

// Encode appends one MESSAGE to dst and returns the extended slice:
//
//	"\x07MESSAGE" | nonce 8 | Box [flags | content](k)
//
// flags is a combination of More and Command; Encode panics at any other.
// content, of any length, must not overlap dst's free space. The only error is
// mechanism.ErrExhausted.
func (m *Messages) Encode(dst []byte, flags byte, content []byte) ([]byte, error) {
	if flags&^knownFlags != 0 {
		panic("curve: unknown flag of a MESSAGE")
	}
	nonce, err := m.tx.next()
	if err != nil {
		return nil, err
	}
	payload := make([]byte, 0, 1+len(content))
	payload = append(append(payload, flags), content...)
	dst = slices.Grow(dst, MessageOverhead+len(content))
	dst = append(dst, nameMessage...)
	dst = append(dst, nonce[16:]...)
	dst = seal(dst, payload, nonce, m.tx.key)
	clear(payload)
	m.tx.last++
	return dst, nil
}

// Decode opens one MESSAGE and returns its flags and its content, appended to
// dst, whose free space must not overlap message. After an error, which
// matches mechanism.ErrMalformed or mechanism.ErrAuthentication, nothing has
// changed.
//
// The nonce must be exactly one more than that of the command before. RFC 26
// asks that it increments and libzmq only that it grows, but then somebody on
// the way could drop whole messages unnoticed.
func (m *Messages) Decode(dst, message []byte) (flags byte, content []byte, err error) {
	if len(message) < MessageOverhead || !bytes.HasPrefix(message, []byte(nameMessage)) {
		return 0, nil, mechanism.ErrMalformed
	}
	nonce, err := m.rx.next()
	if err != nil {
		return 0, nil, err
	}
	sealed := message[len(nameMessage):]
	if binary.BigEndian.Uint64(sealed) != m.rx.last+1 {
		return 0, nil, mechanism.ErrAuthentication
	}
	payload, err := open(nil, sealed[8:], nonce, m.rx.key)
	if err != nil {
		return 0, nil, err
	}
	if payload[0]&^knownFlags != 0 {
		return 0, nil, mechanism.ErrMalformed
	}
	m.rx.last++
	return payload[0], append(dst, payload[1:]...), nil
}

// Format prints what it is: no verb shows a key.
func (m *Messages) Format(f fmt.State, _ rune) { io.WriteString(f, "CURVE messages") }

// Erase forgets the keys, as far as a garbage-collected language can. No other
// call may be under way, and every later one fails.
func (m *Messages) Erase() {
	m.tx.erase()
	m.rx.erase()
}
