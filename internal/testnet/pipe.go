// Package testnet is a network for tests: connections in memory on which
// somebody listens in, alters, cuts, splits or delays what passes.
//
// It keeps to channels, sync.Cond and timers, so that it works in a
// testing/synctest bubble: there, whoever waits for a deadline waits no time
// at all.
package testnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Conn is one end of a connection made by Pipe. It is a net.Conn with
// deadlines that interrupt calls in progress, and with CloseWrite.
type Conn struct {
	in, out       *direction
	local, remote net.Addr
}

// Pipe returns the two ends of a connection that holds up to capacity bytes in
// each direction before a Write waits.
func Pipe(capacity int) (a, b *Conn) {
	if capacity <= 0 {
		panic("testnet: a Pipe needs a capacity")
	}
	ab, ba := newDirection(capacity), newDirection(capacity)
	a = &Conn{in: ba, out: ab, local: addr("a"), remote: addr("b")}
	b = &Conn{in: ab, out: ba, local: addr("b"), remote: addr("a")}
	return a, b
}

type addr string

func (addr) Network() string  { return "testnet" }
func (a addr) String() string { return string(a) }

// Tap has f decide what arrives of the bytes that c sends from now on. Nil
// lets them pass.
func (c *Conn) Tap(f Tap) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.tap = f
}

// LimitReads makes each Read of c return at most n bytes.
func (c *Conn) LimitReads(n int) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.maxRead = n
}

// SlowReads makes each Read of c take at least d once there is something to
// read.
func (c *Conn) SlowReads(d time.Duration) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.pace = d
}

// Cut ends the direction in which c sends, as a failing network does: the peer
// reads io.EOF after what has arrived, and c goes on writing into nowhere.
func (c *Conn) Cut() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.ended, c.out.cut = true, true
	c.out.changed.Broadcast()
}

// Inject lets bytes arrive at the peer that c has not sent, past any Tap.
func (c *Conn) Inject(p []byte) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.buf = append(c.out.buf, p...)
	c.out.changed.Broadcast()
}

// Compact gives back the memory of what has been read at c, for those who
// measure memory.
func (c *Conn) Compact() {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.buf, c.in.off = append([]byte(nil), c.in.buf[c.in.off:]...), 0
}

// Sent returns how many bytes Write has accepted so far.
func (c *Conn) Sent() int64 {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.accepted
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write implements net.Conn. On a timeout it returns exactly how many bytes
// are on their way.
func (c *Conn) Write(p []byte) (int, error) { return c.out.write(p) }

// CloseWrite ends the direction in which c sends.
func (c *Conn) CloseWrite() error {
	c.out.end(false)
	return nil
}

// Close ends both directions. What was written before still arrives.
func (c *Conn) Close() error {
	c.out.end(false)
	c.in.end(true)
	return nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

// direction carries bytes one way.
type direction struct {
	mu       sync.Mutex
	changed  sync.Cond // on mu: anything below
	capacity int
	buf      []byte // arrived, not yet read, from off on
	off      int
	accepted int64
	tap      Tap
	maxRead  int
	pace     time.Duration
	ended    bool // nothing more arrives
	cut      bool // what is written vanishes
	unread   bool // the reading end is closed
	readBy   deadline
	writeBy  deadline
}

func newDirection(capacity int) *direction {
	d := &direction{capacity: capacity}
	d.changed.L = &d.mu
	return d
}

// deadline is a point in time and the timer that announces it.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *direction) setDeadline(which *deadline, t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	which.at = t
	if which.timer != nil {
		which.timer.Stop()
		which.timer = nil
	}
	if !t.IsZero() && time.Now().Before(t) {
		which.timer = time.AfterFunc(time.Until(t), func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.changed.Broadcast()
		})
	}
	d.changed.Broadcast()
}

func (d *direction) end(byReader bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if byReader {
		d.unread = true
		d.buf, d.off = nil, 0
	} else {
		d.ended = true
	}
	for _, which := range []*deadline{&d.readBy, &d.writeBy} {
		if which.timer != nil && d.ended && d.unread {
			which.timer.Stop()
		}
	}
	d.changed.Broadcast()
}

func (d *direction) read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.unread:
			return 0, net.ErrClosed
		case d.readBy.over():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case d.off < len(d.buf):
			if d.pace > 0 {
				pace := d.pace
				d.mu.Unlock()
				time.Sleep(pace)
				d.mu.Lock()
			}
			return d.take(p), nil
		case d.ended:
			return 0, io.EOF
		}
		d.changed.Wait()
	}
}

// take moves what is there to p. It may be nothing if somebody else was
// quicker while a slow Read slept.
func (d *direction) take(p []byte) int {
	if d.maxRead > 0 && len(p) > d.maxRead {
		p = p[:d.maxRead]
	}
	n := copy(p, d.buf[d.off:])
	if d.off += n; d.off == len(d.buf) {
		d.buf, d.off = d.buf[:0], 0
	}
	d.changed.Broadcast()
	return n
}

func (d *direction) write(p []byte) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.unread:
			return n, io.ErrClosedPipe
		case d.ended && !d.cut:
			return n, net.ErrClosed
		case d.writeBy.over():
			return n, os.ErrDeadlineExceeded
		case n == len(p):
			return n, nil
		}
		if room := d.capacity - (len(d.buf) - d.off); room > 0 || d.cut {
			if d.cut {
				room = len(p)
			}
			chunk := p[n:min(n+room, len(p))]
			n += len(chunk)
			d.deliver(chunk)
			if n == len(p) {
				return n, nil
			}
			continue
		}
		d.changed.Wait()
	}
}

func (d *direction) deliver(chunk []byte) {
	d.accepted += int64(len(chunk))
	if d.cut {
		return
	}
	if d.tap != nil {
		var end bool
		if chunk, end = d.tap(chunk); end {
			d.ended, d.cut = true, true
		}
	}
	if d.off > 0 && len(d.buf)+len(chunk) > cap(d.buf) {
		d.buf, d.off = d.buf[:copy(d.buf, d.buf[d.off:])], 0
	}
	d.buf = append(d.buf, chunk...)
	d.changed.Broadcast()
}
