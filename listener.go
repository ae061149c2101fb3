package securesp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/securesp/securesp/internal/host"
)

// Listen listens on address on the named network, "tcp", "tcp4", "tcp6", "udp",
// "udp4", "udp6", "unix" or "ipc" (the same as "unix"). A UNIX socket file that
// a dead process has left behind is replaced. A UDP address stays in use until
// the Listener and all connections it has accepted are closed.
func Listen(network, address string, config *Config) (*Listener, error) {
	if _, err := config.mechanisms(false); err != nil {
		return nil, &HandshakeError{Stage: "configuration", Err: err}
	}
	t, err := transportFor(network)
	if err != nil {
		return nil, err
	}
	inner, err := t.listen(network, address, config)
	if err != nil {
		return nil, err
	}
	return NewListener(inner, config), nil
}

// NewListener returns a Listener that accepts carriers from inner, of which it
// takes charge.
func NewListener(inner net.Listener, config *Config) *Listener {
	l := &Listener{
		inner:  inner,
		config: config,
		ready:  make(chan *Conn),
		closed: make(chan struct{}),
	}
	if config == nil {
		l.config = &Config{} // refuses everything
	}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.freed.L = &l.mu
	l.running.Go(l.acceptCarriers)
	return l
}

// Listener accepts secure connections. Handshakes run in the background, at
// most Config.MaxPending at a time; when one more carrier comes in, one of them
// is dropped. Failed handshakes are
// reported to Config.OnHandshakeError and never returned by Accept.
type Listener struct {
	inner   net.Listener
	config  *Config
	ctx     context.Context
	cancel  context.CancelCauseFunc
	running sync.WaitGroup
	ready   chan *Conn
	closed  chan struct{} // closed when err is set

	mu      sync.Mutex
	freed   sync.Cond // a place in pending or waiting has become free
	pending []pending // at their handshake, the oldest first
	waiting int       // for Accept
	err     error     // why no more carriers come
}

// pending is a connection at its handshake.
type pending struct {
	conn *Conn
	host netip.Addr // who is to be blamed for it; carriers without addresses share one
}

// Accept returns the next connection whose peer has proved its key and was
// authorised.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptConn()
	if err != nil {
		return nil, err // no typed nil
	}
	return c, nil
}

// AcceptConn is Accept with the type that Accept's net.Conn has.
func (l *Listener) AcceptConn() (*Conn, error) {
	select {
	case <-l.closed:
		return nil, l.err
	default:
	}
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.closed:
		return nil, l.err
	}
}

// Addr returns the inner listener's address.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Close stops listening and ends the handshakes under way. Connections that
// Accept has returned live on.
func (l *Listener) Close() error {
	err := l.inner.Close()
	l.end(net.ErrClosed)
	l.running.Wait()
	return err
}

// end stops everything once.
func (l *Listener) end(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = cause
	if errors.Is(cause, net.ErrClosed) {
		l.err = &net.OpError{Op: "accept", Net: "securesp+" + l.inner.Addr().Network(), Addr: l.inner.Addr(), Err: net.ErrClosed}
	}
	l.cancel(l.err)
	close(l.closed)
	l.freed.Broadcast()
}

// acceptCarriers takes carriers from the inner listener until that fails for
// good.
func (l *Listener) acceptCarriers() {
	var delay time.Duration
	for {
		carrier, err := l.inner.Accept()
		if err == nil {
			delay = 0
			l.admit(carrier)
			continue
		}
		// Running out of descriptors passes.
		if t, ok := err.(interface{ Temporary() bool }); !ok || !t.Temporary() {
			l.inner.Close()
			l.end(err)
			return
		}
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		retry := time.NewTimer(delay)
		select {
		case <-retry.C:
		case <-l.closed:
			retry.Stop()
			return
		}
	}
}

// admit starts the handshake on a new carrier, for which it makes room if need
// be.
func (l *Listener) admit(carrier net.Conn) {
	newcomer := pending{Server(carrier, l.config), host.Of(carrier.RemoteAddr())}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.err == nil && len(l.pending)+l.waiting >= l.config.maxPending() {
		if len(l.pending) > 0 {
			i := mostDispensable(l.pending)
			l.pending[i].conn.hs.interrupt(errCrowdedOut)
			l.pending = slices.Delete(l.pending, i, i+1)
			break
		}
		l.freed.Wait() // all have finished: the program must call Accept
	}
	if l.err != nil {
		carrier.Close()
		return
	}
	l.pending = append(l.pending, newcomer)
	l.running.Go(func() { l.handshake(newcomer.conn) })
}

// mostDispensable returns which handshake to drop for a newcomer: one of the
// host that has most of them, so that no host keeps others out; of these one
// that has not said HELLO, if there is any; of these the oldest.
func mostDispensable(list []pending) (index int) {
	ofHost := make(map[netip.Addr]int)
	for _, p := range list {
		ofHost[p.host]++
	}
	cost := func(p pending) int {
		cost := 2 * ofHost[p.host]
		if !p.conn.hs.heard.Load() {
			cost++
		}
		return cost
	}
	most := 0
	for i, p := range list {
		if c := cost(p); c > most {
			index, most = i, c
		}
	}
	return index
}

var errCrowdedOut = errors.New("securesp: too many handshakes at once: dropped this one")

// handshake sees one connection through to Accept.
func (l *Listener) handshake(c *Conn) {
	err := c.HandshakeContext(l.ctx)
	l.mu.Lock()
	l.pending = slices.DeleteFunc(l.pending, func(p pending) bool { return p.conn == c })
	if err == nil {
		l.waiting++
	}
	l.freed.Broadcast()
	l.mu.Unlock()
	if err != nil {
		return
	}
	select {
	case l.ready <- c:
	case <-l.closed:
		c.end(CloseGoingAway, net.ErrClosed, abandonLinger)
	}
	l.mu.Lock()
	l.waiting--
	l.freed.Broadcast()
	l.mu.Unlock()
}
