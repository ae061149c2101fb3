// Package lossnet is an in-process datagram network that loses, delays,
// reorders and duplicates, for tests. What happens to the n-th packet between
// two addresses depends on the seed alone. Time is package time's, so in a
// bubble of testing/synctest hours pass at once.
package lossnet

import (
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// Conditions are what a path does to packets. The zero value is a perfect
// path.
type Conditions struct {
	Delay     time.Duration // one way
	Loss      float64       // probability
	Duplicate float64       // probability
	Reorder   float64       // probability of Delay more, so that later packets overtake
	MTU       int           // larger packets vanish; zero means no limit
}

// Tap sees every packet before anything happens to it and may drop it.
type Tap func(from, to netip.AddrPort, packet []byte) (drop bool)

// Net is a network.
type Net struct {
	seed uint64

	mu         sync.Mutex
	conditions Conditions
	tap        Tap
	endpoints  map[netip.AddrPort]*Endpoint
	paths      map[route]*path
}

type route struct{ from, to netip.AddrPort }

// path is one direction between two addresses.
type path struct {
	random  *rand.Rand
	pending []packet // on their way, in the order of arrival
}

// New returns a network without endpoints.
func New(seed uint64, c Conditions) *Net {
	return &Net{
		seed:       seed,
		conditions: c,
		endpoints:  make(map[netip.AddrPort]*Endpoint),
		paths:      make(map[route]*path),
	}
}

// SetConditions changes what happens to packets from now on.
func (n *Net) SetConditions(c Conditions) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conditions = c
}

// SetTap has t called for every packet from now on, one at a time.
func (n *Net) SetTap(t Tap) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tap = t
}

// Listen returns a new endpoint at addr, "host:port". It panics if addr is
// malformed or in use.
func (n *Net) Listen(addr string) *Endpoint {
	e := &Endpoint{
		net:   n,
		local: netip.MustParseAddrPort(addr),
		queue: make(chan packet, queueLength),
		done:  make(chan struct{}),
		moved: make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.endpoints[e.local] != nil {
		panic("lossnet: address in use")
	}
	n.endpoints[e.local] = e
	e.public = e.local
	return e
}

// Rebind makes e appear at another address, as a NAT does that has forgotten
// its mapping: what is sent to the former one vanishes. e does not notice.
func (n *Net) Rebind(e *Endpoint, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.endpoints, e.public)
	e.public = netip.MustParseAddrPort(addr)
	n.endpoints[e.public] = e
}

// Inject sends packet as if it came from the given address.
func (n *Net) Inject(from, to string, packet []byte) {
	n.send(netip.MustParseAddrPort(from), netip.MustParseAddrPort(to), packet)
}

// send decides about one packet.
func (n *Net) send(from, to netip.AddrPort, b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tap != nil && n.tap(from, to, b) {
		return
	}
	c := n.conditions
	w := n.pathLocked(route{from, to})
	// Always four numbers a packet: its fate depends on none before it.
	r := w.random
	lost, copied, late, later := r.Float64() < c.Loss, r.Float64() < c.Duplicate, r.Float64() < c.Reorder, r.Float64()
	if lost || c.MTU > 0 && len(b) > c.MTU {
		return
	}
	delay := c.Delay
	if late {
		delay += time.Duration(later * float64(c.Delay))
	}
	p := packet{from: from, to: to, data: append([]byte(nil), b...)}
	n.deliverLocked(w, p, delay)
	if copied {
		n.deliverLocked(w, p, delay+c.Delay/2)
	}
}

func (n *Net) pathLocked(at route) *path {
	w := n.paths[at]
	if w == nil {
		h := fnv.New64a()
		h.Write([]byte(at.from.String() + ">" + at.to.String()))
		w = &path{random: rand.New(rand.NewPCG(n.seed, h.Sum64()))}
		n.paths[at] = w
	}
	return w
}

func (n *Net) deliverLocked(w *path, p packet, delay time.Duration) {
	if delay == 0 {
		n.arriveLocked(p)
		return
	}
	p.due = time.Now().Add(delay)
	at := len(w.pending)
	for at > 0 && w.pending[at-1].due.After(p.due) {
		at--
	}
	w.pending = slices.Insert(w.pending, at, p)
	// Timers for the same time fire in any order, so each takes the packet
	// whose turn it is.
	time.AfterFunc(delay, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		next := w.pending[0]
		w.pending = w.pending[1:]
		n.arriveLocked(next)
	})
}

// arriveLocked puts p into the queue of whoever is at its destination by now.
// A full queue drops.
func (n *Net) arriveLocked(p packet) {
	e := n.endpoints[p.to]
	if e == nil {
		return
	}
	select {
	case e.queue <- p:
	default:
	}
}

// queueLength is how many packets wait for ReadFrom: about what a socket's
// buffer holds.
const queueLength = 4096

type packet struct {
	from, to netip.AddrPort
	data     []byte
	due      time.Time
}

// Endpoint is a net.PacketConn on the network.
type Endpoint struct {
	net    *Net
	local  netip.AddrPort
	public netip.AddrPort // where others see it; guarded by net.mu
	queue  chan packet
	once   sync.Once
	done   chan struct{}

	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed when the deadline moves
	outage   error
}

// SetOutage has WriteTo fail with err, as a system's does without a route. With
// nil the outage is over.
func (e *Endpoint) SetOutage(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.outage = err
}

// ReadFrom implements net.PacketConn.
func (e *Endpoint) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		e.mu.Lock()
		deadline, moved := e.deadline, e.moved
		e.mu.Unlock()
		var expired <-chan time.Time
		if !deadline.IsZero() {
			left := time.Until(deadline)
			if left <= 0 {
				return 0, nil, os.ErrDeadlineExceeded
			}
			timer := time.NewTimer(left)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case p := <-e.queue:
			return copy(b, p.data), net.UDPAddrFromAddrPort(p.from), nil
		case <-e.done:
			return 0, nil, net.ErrClosed
		case <-expired:
			return 0, nil, os.ErrDeadlineExceeded
		case <-moved:
		}
	}
}

// WriteTo implements net.PacketConn.
func (e *Endpoint) WriteTo(b []byte, addr net.Addr) (int, error) {
	select {
	case <-e.done:
		return 0, net.ErrClosed
	default:
	}
	e.mu.Lock()
	outage := e.outage
	e.mu.Unlock()
	if outage != nil {
		return 0, &net.OpError{Op: "write", Net: "udp", Source: e.LocalAddr(), Addr: addr, Err: outage}
	}
	e.net.mu.Lock()
	from := e.public
	e.net.mu.Unlock()
	to := addr.(*net.UDPAddr).AddrPort()
	e.net.send(from, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), b)
	return len(b), nil
}

// Close implements net.PacketConn.
func (e *Endpoint) Close() error {
	e.once.Do(func() {
		close(e.done)
		e.net.mu.Lock()
		defer e.net.mu.Unlock()
		delete(e.net.endpoints, e.public)
	})
	return nil
}

// LocalAddr implements net.PacketConn.
func (e *Endpoint) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(e.local) }

// SetDeadline implements net.PacketConn.
func (e *Endpoint) SetDeadline(t time.Time) error { return e.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (e *Endpoint) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deadline = t
	close(e.moved)
	e.moved = make(chan struct{})
	return nil
}

// SetWriteDeadline implements net.PacketConn. Writing never waits.
func (e *Endpoint) SetWriteDeadline(time.Time) error { return nil }
