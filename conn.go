// Package securesp gives a program an authenticated, encrypted and
// message-framed net.Conn over TCP, UNIX sockets, UDP or any net.Conn it
// already has.
//
// [Dial] and [Listen] replace net.Dial and net.Listen; [Client], [Server] and
// [NewListener] wrap what exists. Who we are and whom we trust is said once,
// in a [Config]: peers are known by their static keys (package keys), and a
// policy (package trust) decides about them. There are no certificates.
//
// A [Conn] is a stream, as every net.Conn is, and carries messages, too: each
// Write is one message, which [Conn.ReadMessage] returns whole.
//
// The protocol is specified in docs/SPEC.md. It is experimental and has not
// been audited.
package securesp

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/securesp/securesp/mechanism"
)

// closeLinger bounds how long Close waits for the carrier to take what was
// written before.
const closeLinger = 5 * time.Second

// Conn is a secure connection. It implements net.Conn; all its methods may be
// called by several goroutines at once.
//
// Small writes in quick succession share records and system calls: a Write may
// return before its data has been handed to the carrier, as it does with a
// kernel's socket buffer. An error met later is returned by the next call.
// Flush, CloseWrite and Close wait until all is handed over; Config's
// NoCoalescing turns this off.
type Conn struct {
	carrier   net.Conn
	config    *Config
	initiator bool
	dialed    string // the address that Dial was given

	hs          handshakeRun
	established atomic.Bool // everything down to receiver is set and constant

	state          ConnectionState
	session        mechanism.Session
	clearPermitted bool
	peerMax        uint64 // the largest message the peer accepts
	stopWatch      func()
	keepAlive      *time.Timer

	sender    sender
	receiver  receiver
	datagrams *datagrams // nil if there are none

	deadlines deadlines
	stats     stats

	lastSent, lastReceived atomic.Int64 // times since epoch

	closeOnce sync.Once
	closing   chan struct{}         // closed when reason is set
	reason    atomic.Pointer[error] // why this side ended the connection
	retired   atomic.Int32
}

// Client returns a secure connection over carrier, of which it takes charge,
// as the initiator. The handshake runs when it is first needed, or in
// HandshakeContext. config must not be nil.
func Client(carrier net.Conn, config *Config) *Conn {
	return newConn(carrier, config, true)
}

// Server is Client for the responder.
func Server(carrier net.Conn, config *Config) *Conn {
	return newConn(carrier, config, false)
}

func newConn(carrier net.Conn, config *Config, initiator bool) *Conn {
	c := &Conn{carrier: carrier, config: config, initiator: initiator, closing: make(chan struct{})}
	if config == nil {
		c.config = &Config{} // refuses everything
	}
	c.sender.cond.L = &c.sender.mu
	c.hs.init()
	return c
}

// Read reads up to len(p) bytes, regardless of message boundaries. It returns
// io.EOF once the peer has ended its direction, and io.ErrUnexpectedEOF if the
// carrier ended without the peer having said so. After a timeout reading can
// go on: nothing is lost.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.await(&c.deadlines.read); err != nil {
		return 0, c.opError("read", err)
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.receiver.read(p)
	if err != nil {
		return n, c.opError("read", err)
	}
	c.sender.noteRead()
	return n, nil
}

// ReadMessage appends the next message to dst and returns the extended slice;
// dst may be nil. What earlier Reads have left of a message counts as one.
// After a timeout the next call returns the message whole. A message larger
// than Config.MaxMessageSize is ErrMessageTooLarge and ends the connection.
func (c *Conn) ReadMessage(dst []byte) ([]byte, error) {
	if err := c.await(&c.deadlines.read); err != nil {
		return dst, c.opError("read", err)
	}
	dst, err := c.receiver.readMessage(dst, nil)
	if err != nil {
		return dst, c.opError("read", err)
	}
	c.sender.noteRead()
	return dst, nil
}

// ReadMessageFunc is ReadMessage for who would rather hold no memory while
// nothing comes: once a message is there, or its beginning, it calls get, and
// fills the slice that get returns from its start. size is the message's, as
// far as that is known: at least what has come of it, at most
// Config.MaxMessageSize, and only the sender's word. After an error, what get
// returned is free for other use.
func (c *Conn) ReadMessageFunc(get func(size int) []byte) ([]byte, error) {
	if err := c.await(&c.deadlines.read); err != nil {
		return nil, c.opError("read", err)
	}
	m, err := c.receiver.readMessage(nil, get)
	if err != nil {
		return nil, c.opError("read", err)
	}
	c.sender.noteRead()
	return m, nil
}

// Write sends p as one message. If p is empty it does nothing. On a timeout it
// returns how much of p will reach the peer; the message goes on with the next
// Write. p is not kept.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.await(&c.deadlines.write); err != nil {
		return 0, c.opError("write", err)
	}
	if len(p) == 0 {
		return 0, nil
	}
	var m message
	m.parts, m.left = [][]byte{p}, len(p)
	n, err := c.sender.write(&m)
	if err != nil {
		return n, c.opError("write", err)
	}
	return n, nil
}

// WriteMessage sends one message, gathered from parts, which are neither
// changed nor kept. It is sent whole or, after an error, not at all: a timeout
// only bounds the wait for room. A message larger than the peer accepts is
// ErrMessageTooLarge and costs nothing.
func (c *Conn) WriteMessage(parts ...[]byte) error {
	if err := c.await(&c.deadlines.write); err != nil {
		return c.opError("write", err)
	}
	// Filled field by field: a composite literal would be copied, which is
	// dearer than all else that a small message costs here.
	var m message
	m.parts, m.atomic = parts, true
	for _, p := range parts {
		m.left += len(p)
	}
	m.total = uint64(m.left)
	if m.total > c.peerMax {
		return ErrMessageTooLarge
	}
	if _, err := c.sender.write(&m); err != nil {
		return c.opError("write", err)
	}
	return nil
}

// WriteTo writes everything that arrives to w until the peer ends its
// direction. It implements io.WriterTo.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	if err := c.await(&c.deadlines.read); err != nil {
		return 0, c.opError("read", err)
	}
	n, err := c.receiver.writeTo(w)
	return n, c.opError("read", err)
}

// ReadFrom sends everything that r returns until io.EOF, one message for each
// Read of r. It implements io.ReaderFrom.
func (c *Conn) ReadFrom(r io.Reader) (total int64, err error) {
	if err := c.await(&c.deadlines.write); err != nil {
		return 0, c.opError("write", err)
	}
	// A source that fills what it is given gets more room; one that
	// trickles costs little memory while it is idle.
	store := getBuffer(0)
	defer func() { store.release() }()
	for {
		n, readErr := r.Read(store.b)
		if n > 0 {
			written, err := c.Write(store.b[:n])
			total += int64(written)
			if err != nil {
				return total, err
			}
		}
		if readErr == io.EOF {
			return total, nil
		}
		if readErr != nil {
			return total, readErr
		}
		want := store.class
		switch {
		case n == len(store.b):
			want = largestBuffer
		case n < bufferSizes[0]:
			want = 0
		}
		if want != store.class {
			store.release()
			store = getBuffer(bufferSizes[want])
		}
	}
}

// Flush waits until everything written has been handed to the carrier. It
// obeys the write deadline.
func (c *Conn) Flush() error {
	if err := c.await(&c.deadlines.write); err != nil {
		return c.opError("write", err)
	}
	return c.opError("write", c.sender.drain())
}

// CloseWrite ends our direction: the peer reads io.EOF after everything
// written before. Reading goes on.
func (c *Conn) CloseWrite() error {
	if err := c.await(&c.deadlines.write); err != nil {
		return c.opError("close", err)
	}
	if err := c.sender.finish(); err != nil {
		return c.opError("close", err)
	}
	return c.opError("close", c.sender.drain())
}

// Close ends the connection. What was written before reaches the peer if it
// takes it within five seconds; Close returns an error if that failed. Blocked
// calls return net.ErrClosed, and so does a second Close, once the first is done.
func (c *Conn) Close() error {
	return c.CloseWithCode(CloseNormal)
}

// CloseWithCode is Close with a code that the peer's Read and Write return in
// a CloseError. Codes below CloseApplication have the meanings of SPEC §4.
func (c *Conn) CloseWithCode(code CloseCode) error {
	return c.end(code, net.ErrClosed, closeLinger)
}

// end ends the connection once; reason is what our own side gets to see.
func (c *Conn) end(code CloseCode, reason error, linger time.Duration) error {
	err := c.opError("close", net.ErrClosed)
	c.closeOnce.Do(func() {
		c.reason.Store(&reason)
		close(c.closing)
		if !c.hs.interrupt(net.ErrClosed) {
			err = c.carrier.Close() // the handshake, if it runs, fails now
			return
		}
		err = c.opError("close", c.shutdown(code, reason, linger))
	})
	return err
}

// shutdown sends what there is and a CLOSE, closes the carrier and forgets the
// keys. No call is left waiting.
func (c *Conn) shutdown(code CloseCode, reason error, linger time.Duration) error {
	if c.stopWatch != nil {
		c.stopWatch()
	}
	if c.keepAlive != nil {
		c.keepAlive.Stop()
	}
	until := time.Now().Add(linger)
	// Even a carrier that ignores deadlines must not hold us up.
	guard := time.AfterFunc(linger+time.Second, func() { c.carrier.Close() })
	defer guard.Stop()

	c.interruptRead()
	r := &c.receiver
	idle := r.mu.TryLock() // else a Read is about to return, or stuck in its caller's Writer
	if idle {
		c.carrier.SetReadDeadline(until)
		r.mu.Unlock()
	} else {
		go r.discardAfterRead(until)
	}
	c.sender.shutdown(code, reason, until)
	unread := idle && r.discard()
	err := c.sender.rest()
	// With unread input a kernel answers the peer's next byte with a reset,
	// which may overtake what we have sent.
	if w, ok := c.carrier.(interface{ CloseWrite() error }); ok && unread && w.CloseWrite() == nil {
		c.carrier.SetReadDeadline(until)
		r.discard()
	}
	if closeErr := c.closeCarrier(linger); err == nil {
		err = closeErr
	}
	if idle {
		r.forget()
	}
	c.retire()
	return err
}

// retire counts the two halves of a closed connection to rest; the second
// erases the keys.
func (c *Conn) retire() {
	if c.retired.Add(1) == 2 {
		c.session.Erase()
		if c.datagrams != nil {
			c.datagrams.session.Erase()
		}
	}
}

// interruptRead makes a Read in progress return.
func (c *Conn) interruptRead() {
	c.deadlines.mu.Lock()
	defer c.deadlines.mu.Unlock()
	c.carrier.SetReadDeadline(longAgo)
}

// closeErr returns why this side has ended the connection, or nil.
func (c *Conn) closeErr() error {
	if reason := c.reason.Load(); reason != nil {
		return *reason
	}
	return nil
}

// LocalAddr returns the carrier's local address.
func (c *Conn) LocalAddr() net.Addr { return c.carrier.LocalAddr() }

// RemoteAddr returns the carrier's remote address.
func (c *Conn) RemoteAddr() net.Addr { return c.carrier.RemoteAddr() }

// NetConn returns the carrier. Using it directly breaks the connection.
func (c *Conn) NetConn() net.Conn { return c.carrier }

// SetDeadline sets both deadlines, as in net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Read, ReadMessage and ReadClear. A
// timeout matches os.ErrDeadlineExceeded and loses nothing.
func (c *Conn) SetReadDeadline(t time.Time) error {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := c.closeErr(); err != nil {
		return c.opError("set", err)
	}
	d.read = t
	d.wakeLocked()
	if c.established.Load() {
		return c.carrier.SetReadDeadline(t)
	}
	return nil
}

// SetWriteDeadline sets the deadline of Write, WriteMessage, Flush and
// CloseWrite. A timeout matches os.ErrDeadlineExceeded; writing can go on
// after it. Data that a Write has accepted is sent regardless.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	d := &c.deadlines
	d.mu.Lock()
	d.write = t
	d.wakeLocked()
	d.mu.Unlock()
	if err := c.closeErr(); err != nil {
		return c.opError("set", err)
	}
	c.sender.setDeadline(t)
	return nil
}

// opError puts err into the form that package net's errors have. Ends of file
// stay as they are.
func (c *Conn) opError(op string, err error) error {
	if err == nil || err == io.EOF || err == io.ErrUnexpectedEOF {
		return err
	}
	switch err.(type) {
	case *net.OpError, *HandshakeError:
		return err
	}
	e := &net.OpError{Op: op, Net: "securesp", Err: err}
	if a := c.carrier.LocalAddr(); a != nil {
		e.Net, e.Source = "securesp+"+a.Network(), a
	}
	e.Addr = c.carrier.RemoteAddr()
	return e
}

// deadlines are the user's. The established carrier and the sender have their
// own copies; these are for who waits for something else.
type deadlines struct {
	mu          sync.Mutex
	read, write time.Time
	changed     chan struct{} // closed at the next change; nil unless somebody waits
}

func (d *deadlines) wakeLocked() {
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

// await waits for done or for the deadline that which points to.
func (d *deadlines) await(which *time.Time, done, closing <-chan struct{}) error {
	for {
		d.mu.Lock()
		if d.changed == nil {
			d.changed = make(chan struct{})
		}
		changed, deadline := d.changed, *which
		d.mu.Unlock()
		var expired <-chan time.Time
		if !deadline.IsZero() {
			left := time.Until(deadline)
			if left <= 0 {
				return os.ErrDeadlineExceeded
			}
			timer := time.NewTimer(left)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-done:
			return nil
		case <-closing:
			return net.ErrClosed
		case <-expired:
			return os.ErrDeadlineExceeded
		case <-changed:
		}
	}
}
