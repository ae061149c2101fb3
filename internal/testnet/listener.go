package testnet

import (
	"net"
	"sync"
)

// Listener is a net.Listener whose connections come from its own Dial.
type Listener struct {
	capacity int
	conns    chan *Conn
	once     sync.Once
	closed   chan struct{}
}

// Listen returns a Listener whose connections are Pipes of the given capacity.
func Listen(capacity int) *Listener {
	return &Listener{capacity: capacity, conns: make(chan *Conn), closed: make(chan struct{})}
}

// Dial connects to the listener: it waits for an Accept.
func (l *Listener) Dial() (*Conn, error) { return l.DialFrom(nil) }

// DialFrom is Dial from the given address, which is what the listener's side
// has as its RemoteAddr unless it is nil.
func (l *Listener) DialFrom(from net.Addr) (*Conn, error) {
	near, far := Pipe(l.capacity)
	if from != nil {
		far.remote = from
	}
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "testnet", Err: net.ErrClosed}
	}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "testnet", Err: net.ErrClosed}
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return addr("listener") }
