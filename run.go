package securesp

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/securesp/securesp/trust"
)

// handshakeRun is the one run of a connection's handshake.
type handshakeRun struct {
	done  chan struct{} // closed when err, and on success the Conn, is set
	heard atomic.Bool   // a whole HELLO that we can answer has arrived

	mu       sync.Mutex
	begun    bool
	finished bool
	err      error
	ctx      context.Context // ends the run
	cancel   context.CancelCauseFunc
}

func (r *handshakeRun) init() {
	r.done = make(chan struct{})
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
}

// begin reports whether the caller is the one to run the handshake.
func (r *handshakeRun) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !r.begun
	r.begun = true
	return first
}

// interrupt makes the handshake fail with cause, unless it has finished. It
// reports whether it had finished with success.
func (r *handshakeRun) interrupt(cause error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finished {
		return r.err == nil
	}
	r.cancel(cause)
	return false
}

// HandshakeContext runs the handshake, if it has not run yet, and returns its
// error, which for every failure is a *HandshakeError and final. If ctx ends
// first, the connection is closed.
func (c *Conn) HandshakeContext(ctx context.Context) error {
	if c.established.Load() {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { c.hs.interrupt(context.Cause(ctx)) })
	defer stop()
	if c.hs.begin() {
		c.runHandshake()
	}
	<-c.hs.done
	return c.hs.err
}

// await sees to it that the handshake has run. It runs on its own, so that a
// caller's deadline, which which points to, interrupts the caller only.
func (c *Conn) await(which *time.Time) error {
	if c.established.Load() {
		return nil
	}
	if c.hs.begin() {
		go c.runHandshake()
	}
	if err := c.deadlines.await(which, c.hs.done, c.closing); err != nil {
		return err
	}
	return c.hs.err
}

// runHandshake runs the handshake to its end, within its time.
func (c *Conn) runHandshake() {
	ctx, cancel := context.WithTimeoutCause(c.hs.ctx, c.config.handshakeTimeout(), os.ErrDeadlineExceeded)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if c.carrier.SetDeadline(longAgo) != nil {
			c.carrier.Close()
		}
	})
	h := handshaker{conn: c, config: c.config, ctx: ctx, in: prefaceReader{carrier: c.carrier}, stage: "preface"}
	start := time.Now()
	err := context.Cause(ctx) // it may have been interrupted before it began
	if err == nil {
		err = h.run()
	}
	if !stop() {
		err = context.Cause(ctx)
	}
	c.stats.handshakeTime = time.Since(start)
	if err == nil {
		c.prepare(&h)
	}
	c.settle(&h, err)
	h.in.store.release()
}

// prepare makes the connection out of what the handshake has found.
func (c *Conn) prepare(h *handshaker) {
	c.session = h.session
	c.peerMax = h.theirs.maxMessage
	c.clearPermitted = c.config.AllowClear && h.theirs.clear
	c.sender.init(c, h.session)
	c.receiver.init(c, h.session, h.in.buf)
	c.prepareDatagrams(h.hs)
	c.watchAddress(h.peer)
	if n, ok := c.config.Trust.(trust.Namer); ok && !h.peer.Key.IsZero() {
		if name := n.NameOf(h.peer.Key); name != "" {
			h.peer.Name = name
		}
	}
	c.state = ConnectionState{
		HandshakeComplete:  true,
		Initiator:          c.initiator,
		Suite:              h.mech.Suite(),
		Traits:             h.mech.Traits(),
		Peer:               h.peer,
		Protocol:           c.config.Protocol,
		Binding:            append([]byte(nil), h.session.Binding()...),
		PeerMaxMessageSize: h.theirs.maxMessage,
		ClearPermitted:     c.clearPermitted,
		Extensions:         h.theirs.extensions,
	}
	c.logKeys(h.keyLog)
	if w, ok := c.config.Trust.(trust.Watcher); ok {
		c.stopWatch = w.Watch(h.peer, func(cause error) {
			go func() {
				<-c.hs.done
				c.revoked(cause)
			}()
		})
	}
}

// watchAddress has the policy asked again when the peer moves to another
// address, as it can over UDP: it may trust the peer at one of them only.
func (c *Conn) watchAddress(peer trust.Peer) {
	carrier, ok := c.carrier.(interface {
		OnMove(from net.Addr, f func(net.Addr) error)
	})
	if !ok || c.config.Trust == nil {
		return
	}
	carrier.OnMove(peer.Addr, func(addr net.Addr) error {
		ctx, cancel := context.WithTimeout(context.Background(), c.config.handshakeTimeout())
		defer cancel()
		peer.Addr = addr
		cause := c.config.Trust.Authorize(ctx, peer)
		if cause == nil {
			return nil
		}
		go c.revoked(cause) // not here, amid a Read or Write
		return ErrRevoked
	})
}

// keyLogMu keeps the lines of connections that share a writer apart.
var keyLogMu sync.Mutex

func (c *Conn) logKeys(entries []keyLogEntry) {
	keyLogMu.Lock()
	defer keyLogMu.Unlock()
	for _, e := range entries {
		fmt.Fprintf(c.config.KeyLogWriter, "SECURESP %s %x %x\n", e.label, c.state.Binding, e.secret)
		clear(e.secret)
	}
}

// settle publishes the outcome.
func (c *Conn) settle(h *handshaker, err error) {
	c.hs.mu.Lock()
	if err == nil {
		err = context.Cause(c.hs.ctx) // somebody closed us in the meantime
		if err != nil && c.stopWatch != nil {
			c.stopWatch()
		}
	}
	if err == nil {
		c.establish()
	} else {
		e := &HandshakeError{Initiator: c.initiator, Remote: c.carrier.RemoteAddr(), Stage: h.stage, Err: err}
		if h.hs != nil {
			e.Peer = h.hs.Peer()
		}
		c.hs.err = e
	}
	c.hs.finished = true
	c.hs.ctx, c.hs.cancel = nil, nil // an idle connection holds no more than it must
	c.hs.mu.Unlock()
	if err != nil {
		c.carrier.Close()
		if h.session != nil {
			h.session.Erase()
		}
		c.reportFailure(c.hs.err)
	}
	close(c.hs.done)
}

// establish opens the connection for use.
func (c *Conn) establish() {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	c.established.Store(true)
	c.carrier.SetReadDeadline(d.read)
	if e, ok := c.carrier.(interface{ Established() }); ok {
		e.Established() // it bounds what peers may cost that have proved nothing
	}
	if c.config.KeepAlive > 0 {
		c.startKeepAlive()
	}
}

func (c *Conn) reportFailure(err error) {
	if f := c.config.OnHandshakeError; f != nil {
		f(err)
	}
	if l := c.config.Logger; l != nil {
		l.Warn("securesp: handshake failed", "remote", addrString(c.carrier.RemoteAddr()), "err", err)
	}
}

func addrString(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// revoked ends the connection because the trust policy has changed its mind.
func (c *Conn) revoked(cause error) {
	if l := c.config.Logger; l != nil {
		l.Warn("securesp: connection revoked", "remote", addrString(c.RemoteAddr()), "peer", c.state.Peer.Key, "cause", cause)
	}
	c.abandon(CloseRevoked, ErrRevoked)
}

// abandonLinger bounds how long an abandoned connection tries to say why.
const abandonLinger = 250 * time.Millisecond

// abandon ends the connection at once. What is not sent yet is dropped.
func (c *Conn) abandon(code CloseCode, reason error) {
	c.sender.refuse(reason, false)
	_ = c.end(code, reason, abandonLinger) // the reason is what matters
}

// closeCarrier closes the carrier. One that waits for its peer waits no longer
// than linger.
func (c *Conn) closeCarrier(linger time.Duration) error {
	if w, ok := c.carrier.(interface{ CloseWithin(time.Duration) error }); ok {
		return w.CloseWithin(linger)
	}
	return c.carrier.Close()
}
