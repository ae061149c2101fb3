package curve

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/securesp/securesp/mechanism"
)

// Labels of what datagrams use; each ends in the role of the side that sends
// with the key or is addressed by the index.
const (
	labelPacketKey   = "securesp/1 CURVE packet key "
	labelPacketIndex = "securesp/1 CURVE packet index "

	prefixPacket = "securespDATAGRAM" // of nonces
)

// A packet (SPEC §5, §8) is
//
//	index:u32 (receiver's) | counter:u64 | Box [plaintext](packet key of the sender)
//
// The counter is the short nonce, so altering it breaks the box. The index is
// a constant that the receiver compares. So the header needs no associated
// data, which a box does not have.
const (
	packetHeader   = 4 + 8
	packetOverhead = packetHeader + boxOverhead
)

// packetSession implements mechanism.PacketSession.
type packetSession struct {
	binding   []byte
	local     uint32 // index of packets to us
	remote    uint32
	mu        sync.RWMutex // of the keys: Erase writes
	tx, rx    *[32]byte    // nil once erased
	counterMu sync.Mutex
	counter   uint64 // of the next packet sent
	windowMu  sync.Mutex
	window    window
}

func (h *handshake) PacketSession() (mechanism.PacketSession, error) {
	if h.Next() != mechanism.Done || h.packets {
		return nil, mechanism.ErrOrder
	}
	h.packets = true
	local, remote := h.core.role, 1-h.core.role
	derive := func(label string, role mechanism.Role) []byte {
		return h.core.derive(label + role.String())
	}
	p := &packetSession{
		binding: h.core.derive(labelBinding),
		local:   binary.BigEndian.Uint32(derive(labelPacketIndex, local)),
		remote:  binary.BigEndian.Uint32(derive(labelPacketIndex, remote)),
		tx:      (*[32]byte)(derive(labelPacketKey, local)),
		rx:      (*[32]byte)(derive(labelPacketKey, remote)),
	}
	var byRole [2]*[32]byte
	byRole[local], byRole[remote] = p.tx, p.rx
	h.log("I2R_PACKET_SECRET", byRole[mechanism.Initiator][:])
	h.log("R2I_PACKET_SECRET", byRole[mechanism.Responder][:])
	h.forget()
	return p, nil
}

func (p *packetSession) Overhead() int { return packetOverhead }

func (p *packetSession) Index() uint32 { return p.local }

func (p *packetSession) Binding() []byte { return p.binding }

func (p *packetSession) Erase() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tx != nil {
		clear(p.tx[:])
		clear(p.rx[:])
		p.tx, p.rx = nil, nil
	}
}

// Format prints what it is: no verb shows a key.
func (p *packetSession) Format(f fmt.State, _ rune) { io.WriteString(f, "CURVE packet session") }

func (p *packetSession) Seal(dst, plaintext []byte) ([]byte, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.tx == nil {
		return nil, mechanism.ErrExhausted
	}
	counter, err := p.nextCounter()
	if err != nil {
		return nil, err
	}
	dst = slices.Grow(dst, packetOverhead+len(plaintext))
	dst = binary.BigEndian.AppendUint32(dst, p.remote)
	dst = binary.BigEndian.AppendUint64(dst, counter)
	return seal(dst, plaintext, shortNonce(prefixPacket, counter), p.tx), nil
}

func (p *packetSession) nextCounter() (uint64, error) {
	p.counterMu.Lock()
	defer p.counterMu.Unlock()
	if p.counter == math.MaxUint64 {
		return 0, mechanism.ErrExhausted
	}
	p.counter++
	return p.counter - 1, nil
}

func (p *packetSession) Open(dst, packet []byte) ([]byte, error) {
	if len(packet) < packetOverhead {
		return nil, mechanism.ErrMalformed
	}
	if binary.BigEndian.Uint32(packet) != p.local {
		return nil, mechanism.ErrAuthentication
	}
	counter := binary.BigEndian.Uint64(packet[4:])
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.rx == nil {
		return nil, mechanism.ErrExhausted
	}
	if !p.fresh(counter, false) {
		return nil, mechanism.ErrReplay
	}
	out, err := open(dst, packet[packetHeader:], shortNonce(prefixPacket, counter), p.rx)
	if err != nil {
		return nil, err
	}
	// Of two copies that were opened at once, one is too late.
	if !p.fresh(counter, true) {
		clear(out[len(dst):])
		return nil, mechanism.ErrReplay
	}
	return out, nil
}

func (p *packetSession) fresh(counter uint64, take bool) bool {
	p.windowMu.Lock()
	defer p.windowMu.Unlock()
	return p.window.fresh(counter, take)
}

// windowSize is how far behind the newest packet one may be (SPEC §5).
const windowSize = 8192

// window remembers which counters were seen (RFC 6479): bits is a ring of
// blocks in which a counter's bit is at counter mod the ring's size. The ring
// has one block more than the window is long, so that whole blocks can be
// cleared as the window moves. The zero value is ready for use.
type window struct {
	next uint64 // one more than the highest counter seen
	bits [windowSize/64 + 1]uint64
}

// fresh reports whether counter is neither seen nor too old to tell, and if
// take, remembers it as seen.
func (w *window) fresh(counter uint64, take bool) bool {
	if counter == math.MaxUint64 || counter < w.next && w.next-counter > windowSize {
		return false // the highest one is never sent
	}
	const blocks = uint64(len(w.bits))
	block, bit := counter/64, uint64(1)<<(counter%64)
	if counter < w.next {
		slot := &w.bits[block%blocks]
		if *slot&bit != 0 {
			return false
		}
		if take {
			*slot |= bit
		}
		return true
	}
	if take {
		if w.next > 0 {
			last := (w.next - 1) / 64
			for i := range min(block-last, blocks) {
				w.bits[(last+1+i)%blocks] = 0
			}
		}
		w.bits[block%blocks] |= bit
		w.next = counter + 1
	}
	return true
}
