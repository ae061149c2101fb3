package quiccarrier

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/quic-go/quic-go"
)

// Close ends the connection. Blocked calls return net.ErrClosed, and so does
// every later call.
//
// QUIC keeps unacknowledged data in this process and drops what was received
// but not read when the connection is closed. So Close ends the stream and
// waits, at most five seconds, until the peer confirms that it has taken all
// of it; the peer needs no more than to be alive and reachable. If it does not
// confirm, Close returns an error: data may be lost.
func (c *Conn) Close() error { return c.CloseWithin(closeLinger) }

// CloseWithin is Close that waits no longer than d.
func (c *Conn) CloseWithin(d time.Duration) error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	c.in.deadline.finish()
	c.out.deadline.finish()
	err := c.finish(d)
	c.young.free()
	c.socket.release(false)
	return err
}

// finish ends the stream, then the connection.
func (c *Conn) finish(linger time.Duration) error {
	select {
	case <-c.opened:
	default:
		return c.end(codeAborted)
	}
	if c.openErr != nil {
		return nil
	}
	c.out.mu.Lock() // a Write in progress ends: its deadline is over
	short := c.out.short
	dead := c.quic.Context().Err() != nil
	if !short {
		_ = c.stream.Close() // fails only if nobody reads it any more
	}
	c.out.mu.Unlock()
	switch {
	case dead && c.reported.Load():
		return nil // somebody was told
	case short && !dead:
		return c.end(codeAborted) // whose Write it was knows that data is lost
	}
	return c.settle(linger)
}

// settle waits for the peer's confirmation.
func (c *Conn) settle(linger time.Duration) error {
	if !c.established.Load() {
		linger = min(linger, youngLinger)
	}
	late := time.AfterFunc(linger, func() { c.end(codeAborted) })
	defer late.Stop()
	nudge := time.AfterFunc(c.roundTrip(), c.nudge)
	defer nudge.Stop()

	if _, err := c.quic.AcceptUniStream(c.quic.Context()); err == nil {
		return c.part()
	}
	<-c.quic.Context().Done()
	// The peer may just as well have confirmed by closing the connection.
	switch err := translate(context.Cause(c.quic.Context())); {
	case err == io.EOF:
		return nil
	case errors.Is(err, net.ErrClosed):
		return ErrUnconfirmed
	default:
		return err
	}
}

// part ends a connection whose peer has everything. If the peer has ended its
// direction, too, it waits for our confirmation, and somebody must be the last
// to go: QUIC repeats the confirmation if it gets lost, but says
// CONNECTION_CLOSE only once. So who has dialed waits for the other's, for as
// long as the confirmation may take. (Afterwards the process may end.)
func (c *Conn) part() error {
	dialed := c.young == nil
	c.in.lock()
	confirmed := c.in.ended
	c.in.unlock()
	if dialed && confirmed {
		patience := time.NewTimer(2 * c.probeTimeout())
		defer patience.Stop()
		select {
		case <-c.quic.Context().Done():
		case <-patience.C:
		}
	}
	return c.end(codeDone)
}

// nudge makes a peer whose last words were lost repeat them: it has closed the
// connection, answers whatever arrives with CONNECTION_CLOSE for a while, but
// says nothing on its own. An empty datagram is dropped by any other peer.
//
// quic-go's while is three times a PTO without the delay of acknowledgements.
// Most peers close at about the time that we do, so it begins at that pace.
func (c *Conn) nudge() {
	for pace := c.roundTrip(); c.quic.Context().Err() == nil; {
		_ = c.quic.SendDatagram(nil) // the context knows
		pace = min(2*pace, c.probeTimeout())
		pause := time.NewTimer(pace)
		select {
		case <-pause.C:
		case <-c.quic.Context().Done():
			pause.Stop()
		}
	}
}

// end closes the QUIC connection, and has the socket stay for as long as the
// peer may need to hear that again.
func (c *Conn) end(code quic.ApplicationErrorCode) error {
	if c.quic.Context().Err() == nil {
		c.socket.stayFor(3 * c.probeTimeout())
	}
	return c.quic.CloseWithError(code, "")
}

// probeTimeout is about QUIC's PTO (RFC 9002 §6.2.1), at most a third of a
// second.
func (c *Conn) probeTimeout() time.Duration {
	const maxAckDelay = 25 * time.Millisecond
	return min(c.roundTrip()+maxAckDelay, time.Second/3)
}

// roundTrip is how long a round trip takes at most, nearly always.
func (c *Conn) roundTrip() time.Duration {
	s := c.quic.ConnectionStats()
	return s.SmoothedRTT + max(4*s.MeanDeviation, time.Millisecond)
}
