package curve

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/securesp/securesp/internal/overlap"
	"github.com/securesp/securesp/internal/replay"
	"github.com/securesp/securesp/mechanism"
)

// A packet (SPEC §5, §8) is
//
//	receiver's index:u32 | counter:u64 | Box [plaintext](packet key of the sender)
//
// The counter is the short nonce, so altering it breaks the box. The index is
// a constant that the receiver compares. So the header needs no associated
// data, which a box does not have.
const (
	indexSize        = 4
	packetHeaderSize = indexSize + 8
	packetOverhead   = packetHeaderSize + boxOverhead
	maxPacket        = 65535

	prefixPacket    = "securespDATAGRAM" // of nonces
	reservedCounter = math.MaxUint64     // never used
)

// packetSession implements mechanism.PacketSession. Its keys and indices are
//
//	key_I2R ‖ key_R2I ‖ index_I ‖ index_R = derive("securesp/1 CURVE packet", 72)
//
// where index_I is that of packets to the initiator.
type packetSession struct {
	binding []byte
	send    packetSender
	recv    packetReceiver
}

type packetSender struct {
	index uint32 // the peer's

	mu  sync.RWMutex // Seal reads the key
	key *[32]byte    // nil once erased

	counterMu sync.Mutex
	counter   uint64 // the next one
}

type packetReceiver struct {
	index uint32 // our own

	mu  sync.RWMutex // Open reads the key
	key *[32]byte    // nil once erased

	seenMu sync.Mutex
	seen   replay.Window
}

func (h *handshake) PacketSession() (mechanism.PacketSession, error) {
	if h.Next() != mechanism.Done || h.packets {
		return nil, mechanism.ErrOrder
	}
	h.packets = true
	out := h.core.derive("securesp/1 CURVE packet", 2*keySize+2*indexSize)
	defer clear(out)
	key := [2][]byte{out[:keySize], out[keySize : 2*keySize]}
	h.log("I2R_PACKET_SECRET", key[mechanism.Initiator])
	h.log("R2I_PACKET_SECRET", key[mechanism.Responder])
	index := [2]uint32{
		binary.BigEndian.Uint32(out[2*keySize:]),
		binary.BigEndian.Uint32(out[2*keySize+indexSize:]),
	}
	p := &packetSession{binding: h.core.binding()}
	local, remote := h.core.role, 1-h.core.role
	p.send.key, p.recv.key = new([32]byte), new([32]byte)
	copy(p.send.key[:], key[local])
	copy(p.recv.key[:], key[remote])
	p.send.index, p.recv.index = index[remote], index[local]
	h.forget()
	return p, nil
}

func (p *packetSession) Overhead() int { return packetOverhead }

func (p *packetSession) Index() uint32 { return p.recv.index }

// Seal appends one packet. A packet is at most 65,535 bytes long, else
// mechanism.ErrMessageTooLong.
func (p *packetSession) Seal(dst, plaintext []byte) ([]byte, error) {
	if len(plaintext) > maxPacket-packetOverhead {
		return nil, mechanism.ErrMessageTooLong
	}
	s := &p.send
	s.mu.RLock()
	defer s.mu.RUnlock()
	counter, ok := s.take()
	if !ok {
		return nil, mechanism.ErrExhausted
	}
	start, size := len(dst), packetOverhead+len(plaintext)
	dst = slices.Grow(dst, size)
	if overlap.Any(dst[start:start+size], plaintext) {
		panic("securesp: Seal with a plaintext that overlaps its packet")
	}
	dst = binary.BigEndian.AppendUint32(dst, s.index)
	dst = binary.BigEndian.AppendUint64(dst, counter)
	return seal(dst, plaintext, shortNonce(prefixPacket, counter), s.key), nil
}

// take returns the next counter, which nobody else gets.
func (s *packetSender) take() (uint64, bool) {
	s.counterMu.Lock()
	defer s.counterMu.Unlock()
	if s.key == nil || s.counter == reservedCounter {
		return 0, false
	}
	s.counter++
	return s.counter - 1, true
}

// Open opens one packet.
func (p *packetSession) Open(dst, packet []byte) ([]byte, error) {
	size := len(packet) - packetOverhead
	if size < 0 || len(packet) > maxPacket {
		return nil, mechanism.ErrMalformed
	}
	r := &p.recv
	counter := binary.BigEndian.Uint64(packet[indexSize:])
	if binary.BigEndian.Uint32(packet) != r.index || counter == reservedCounter {
		return nil, mechanism.ErrAuthentication
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.key == nil {
		return nil, mechanism.ErrExhausted
	}
	if !r.fresh(counter) {
		return nil, mechanism.ErrReplay
	}
	start := len(dst)
	dst = slices.Grow(dst, size)
	if overlap.Any(dst[start:start+size], packet) {
		panic("securesp: Open into the packet")
	}
	dst, err := open(dst, packet[packetHeaderSize:], shortNonce(prefixPacket, counter), r.key)
	if err != nil {
		return nil, err
	}
	if !r.accept(counter) { // another call was faster with the same packet
		clear(dst[start:])
		return nil, mechanism.ErrReplay
	}
	return dst, nil
}

func (r *packetReceiver) fresh(counter uint64) bool {
	r.seenMu.Lock()
	defer r.seenMu.Unlock()
	return r.seen.Fresh(counter)
}

func (r *packetReceiver) accept(counter uint64) bool {
	r.seenMu.Lock()
	defer r.seenMu.Unlock()
	return r.seen.Accept(counter)
}

func (p *packetSession) Binding() []byte { return p.binding }

func (p *packetSession) Erase() {
	p.send.mu.Lock()
	p.send.key = erased(p.send.key)
	p.send.mu.Unlock()
	p.recv.mu.Lock()
	p.recv.key = erased(p.recv.key)
	p.recv.mu.Unlock()
}

// Format prints what it is: no verb shows a key.
func (p *packetSession) Format(f fmt.State, _ rune) { io.WriteString(f, "CURVE packet session") }
