package quiccarrier

import (
	"net"
	"sync"
	"sync/atomic"
)

// place is where the peer is, for whoever minds. QUIC does not say when a peer
// moves, so each Read and Write looks.
type place struct {
	watched atomic.Bool
	last    atomic.Pointer[net.UDPAddr] // QUIC makes a new one when the peer moves

	mu    sync.Mutex
	moved func(net.Addr) error
	err   error // final
}

// OnMove has f called, before anything else is read or written, when the
// peer's address is no longer the one given. When f returns an error, every
// Read and ReceiveDatagram does from then on; Write goes on, so that the peer
// can be told.
func (c *Conn) OnMove(from net.Addr, f func(net.Addr) error) {
	p := &c.place
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved = f
	if u, ok := from.(*net.UDPAddr); ok {
		p.last.Store(u)
	}
	p.watched.Store(true)
}

// checkPlace returns why the peer must not be where it is, or nil.
func (c *Conn) checkPlace() error {
	p := &c.place
	if !p.watched.Load() {
		return nil
	}
	now, ok := c.quic.RemoteAddr().(*net.UDPAddr)
	if !ok {
		return nil // it cannot move
	}
	if now == p.last.Load() {
		return nil // nearly always
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil && now != p.last.Load() {
		if p.err = p.moved(now); p.err == nil {
			p.last.Store(now)
		}
	}
	return p.err
}
