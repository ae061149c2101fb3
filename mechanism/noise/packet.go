package noise

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/securesp/securesp/internal/overlap"
	"github.com/securesp/securesp/internal/replay"
	"github.com/securesp/securesp/mechanism"
)

// Layout of a packet (SPEC §5):
//
//	receiver's index:u32 | counter:u64 | ciphertext and tag
//
// The first 12 bytes are the associated data.
const (
	indexSize        = 4
	packetHeaderSize = indexSize + 8
	packetOverhead   = packetHeaderSize + tagLen
	maxPacket        = maxMessage
)

// packetLabel separates the packet keys from all else that is derived from the
// chaining key (SPEC §5).
const packetLabel = "securesp/1 packet"

// packetSession is the mechanism.PacketSession of every Noise pattern.
//
// Its keys are, with ck the chaining key and h the handshake hash after the
// last handshake message:
//
//	prk = HKDF-Extract-SHA256(salt = "securesp/1 packet", IKM = ck)
//	key_I2R ‖ key_R2I ‖ index_I ‖ index_R = HKDF-Expand-SHA256(prk, info = h, 72 bytes)
//
// where the keys have 32 bytes and the indices, those of the packets that the
// initiator and the responder receive, 4. The key of epoch 0 is the above,
// that of every other epoch is REKEY of the one before.
type packetSession struct {
	binding []byte
	kind    cipherKind
	send    packetSender
	_       [64]byte // keeps the directions out of each other's cache lines
	recv    packetReceiver
}

type packetSender struct {
	index uint32 // the peer's

	mu   sync.Mutex
	aead cipher.AEAD
	err  error // set if aead is nil
	n    uint64
}

type packetReceiver struct {
	index uint32 // our own

	mu    sync.Mutex
	epoch uint64      // of the highest counter that authenticated
	aead  cipher.AEAD // of that epoch
	err   error       // set if aead is nil
	prev  cipher.AEAD // of the one before, while the window reaches into it
	next  cipher.AEAD // of the one after, once a packet claimed to be of it
	seen  replay.Window
}

func newPacketSession(h *Handshake) *packetSession {
	secrets := h.secrets
	const keysLen = 2*keyLen + 2*indexSize
	out := must(hkdf.Expand(sha256.New, secrets.packet[:], string(secrets.binding), keysLen))
	defer clear(out)
	clear(secrets.packet[:])

	key := [2][]byte{out[:keyLen], out[keyLen : 2*keyLen]}
	h.log("I2R_PACKET_SECRET", key[mechanism.Initiator])
	h.log("R2I_PACKET_SECRET", key[mechanism.Responder])
	index := [2]uint32{
		binary.BigEndian.Uint32(out[2*keyLen:]),
		binary.BigEndian.Uint32(out[2*keyLen+indexSize:]),
	}
	p := &packetSession{binding: slices.Clone(secrets.binding), kind: h.protocol.cipher}
	p.send.index, p.recv.index = index[1-h.role], index[h.role]
	p.send.aead = p.kind.aead(key[h.role])
	p.recv.aead = p.kind.aead(key[1-h.role])
	if h.protocol.oneWay() && h.role == mechanism.Initiator {
		p.recv.aead, p.recv.err = nil, mechanism.ErrUnsupported
	} else if h.protocol.oneWay() {
		p.send.aead, p.send.err = nil, mechanism.ErrUnsupported
	}
	return p
}

// nonces holds buffers for nonces: concurrent calls need one each, and handing
// a variable to an interface would allocate it.
var nonces = sync.Pool{New: func() any { return new([nonceLen]byte) }}

func (p *packetSession) Overhead() int { return packetOverhead }
func (p *packetSession) Index() uint32 { return p.recv.index }

// Seal appends one packet. A packet is at most 65,535 bytes long, else
// mechanism.ErrMessageTooLong.
func (p *packetSession) Seal(dst, plaintext []byte) ([]byte, error) {
	if len(plaintext) > maxPacket-packetOverhead {
		return nil, mechanism.ErrMessageTooLong
	}
	aead, n, err := p.send.take(p.kind)
	if err != nil {
		return nil, err
	}
	start, size := len(dst), packetOverhead+len(plaintext)
	dst = slices.Grow(dst, size)[:start+size]
	header, body := dst[start:start+packetHeaderSize], dst[start+packetHeaderSize:]
	if overlap.Any(dst[start:], plaintext) {
		panic("securesp: Seal with a plaintext that overlaps its packet")
	}
	binary.BigEndian.PutUint32(header, p.send.index)
	binary.BigEndian.PutUint64(header[indexSize:], n)
	nonce := nonces.Get().(*[nonceLen]byte)
	defer nonces.Put(nonce)
	p.kind.putNonce(nonce, n)
	aead.Seal(body[:0], nonce[:], plaintext, header)
	return dst, nil
}

// take returns the next counter, which nobody else gets, and its key.
func (s *packetSender) take(kind cipherKind) (cipher.AEAD, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aead == nil {
		return nil, 0, s.err
	}
	if s.n == rekeyNonce {
		return nil, 0, mechanism.ErrExhausted
	}
	aead, n := s.aead, s.n
	s.n++
	if s.n%rekeyInterval == 0 {
		s.aead = kind.rekeyed(s.aead)
	}
	return aead, n, nil
}

// Open opens one packet. Packets more than one epoch (65,536 counters) ahead
// of the newest authentic one are refused.
func (p *packetSession) Open(dst, packet []byte) ([]byte, error) {
	return p.OpenIf(dst, packet, nil)
}

// OpenIf is Open for a packet that vouches for something else: if check, which
// gets the plaintext, returns an error, OpenIf returns that error and the
// packet does not count as seen. A nil check accepts everything.
func (p *packetSession) OpenIf(dst, packet []byte, check func(plaintext []byte) error) ([]byte, error) {
	size := len(packet) - packetOverhead
	if size < 0 || len(packet) > maxPacket {
		return nil, mechanism.ErrMalformed
	}
	header, body := packet[:packetHeaderSize], packet[packetHeaderSize:]
	if binary.BigEndian.Uint32(header) != p.recv.index {
		return nil, mechanism.ErrAuthentication
	}
	n := binary.BigEndian.Uint64(header[indexSize:])
	aead, err := p.recv.key(p.kind, n)
	if err != nil {
		return nil, err
	}
	start := len(dst)
	dst = slices.Grow(dst, size)[:start+size]
	plaintext := dst[start:]
	if overlap.Any(plaintext, packet) {
		panic("securesp: Open into the packet")
	}
	nonce := nonces.Get().(*[nonceLen]byte)
	defer nonces.Put(nonce)
	p.kind.putNonce(nonce, n)
	if _, err := aead.Open(plaintext[:0], nonce[:], body, header); err != nil {
		clear(plaintext)
		return nil, mechanism.ErrAuthentication
	}
	if check != nil {
		if err := check(plaintext); err != nil {
			clear(plaintext)
			return nil, err
		}
	}
	if err := p.recv.commit(n); err != nil {
		clear(plaintext)
		return nil, err
	}
	return dst, nil
}

// key returns the key for counter n, which is not authenticated yet: nothing
// changes but that the next epoch's key is made and kept.
func (r *packetReceiver) key(kind cipherKind, n uint64) (cipher.AEAD, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch epoch := n / rekeyInterval; {
	case r.aead == nil:
		return nil, r.err
	case n == rekeyNonce:
		return nil, mechanism.ErrAuthentication
	case !r.seen.Fresh(n):
		return nil, mechanism.ErrReplay
	case epoch == r.epoch:
		return r.aead, nil
	case epoch+1 == r.epoch:
		return r.prev, nil // there is one as long as n can be fresh
	case epoch != r.epoch+1:
		return nil, mechanism.ErrAuthentication
	}
	if r.next == nil {
		r.next = kind.rekeyed(r.aead)
	}
	return r.next, nil
}

// commit records that counter n authenticated. It returns ErrReplay if another
// call was faster with the same packet.
func (r *packetReceiver) commit(n uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.aead == nil {
		return r.err
	}
	if !r.seen.Accept(n) {
		return mechanism.ErrReplay
	}
	epoch := n / rekeyInterval
	if epoch > r.epoch {
		r.prev, r.aead, r.next = r.aead, r.next, nil
		r.epoch = epoch
	}
	if epoch == r.epoch && n%rekeyInterval >= replay.WindowSize {
		r.prev = nil // every counter of its epoch is too old now
	}
	return nil
}

func (p *packetSession) Binding() []byte { return p.binding }

func (p *packetSession) Erase() {
	p.send.mu.Lock()
	p.send.aead, p.send.err = nil, mechanism.ErrExhausted
	p.send.mu.Unlock()
	p.recv.mu.Lock()
	p.recv.aead, p.recv.prev, p.recv.next, p.recv.err = nil, nil, nil, mechanism.ErrExhausted
	p.recv.mu.Unlock()
}

// Format prints what it is: no verb shows a key.
func (p *packetSession) Format(f fmt.State, _ rune) { io.WriteString(f, "Noise packet session") }
