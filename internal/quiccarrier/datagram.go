package quiccarrier

import (
	"errors"
	"os"
	"time"

	"github.com/quic-go/quic-go"
)

// SendDatagram sends p as one QUIC datagram (RFC 9221), once: if it is lost
// nobody is told. It waits while too many are queued, until the given time if
// that is not zero, after which p may still be sent. p is not kept.
func (c *Conn) SendDatagram(p []byte, until time.Time) error {
	if !c.datagrams {
		return ErrNoDatagrams
	}
	if err := c.checkPlace(); err != nil {
		return err
	}
	if until.IsZero() {
		return c.datagramFailure(c.quic.SendDatagram(p))
	}
	// QUIC's queue knows no deadlines, so somebody else waits at it; one at
	// a time.
	left := time.Until(until)
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	expired := time.NewTimer(left)
	defer expired.Stop()
	select {
	case c.queueing <- struct{}{}:
	case <-expired.C:
		return os.ErrDeadlineExceeded
	}
	p = append([]byte(nil), p...)
	queued := make(chan error, 1)
	go func() {
		queued <- c.quic.SendDatagram(p)
		<-c.queueing
	}()
	select {
	case err := <-queued:
		return c.datagramFailure(err)
	case <-expired.C:
		return os.ErrDeadlineExceeded
	}
}

// datagramFailure is failure, for errors that may be about one datagram only.
func (c *Conn) datagramFailure(err error) error {
	var tooLarge *quic.DatagramTooLargeError
	if errors.As(err, &tooLarge) {
		return ErrDatagramTooLarge
	}
	return c.failure(err)
}

// ReceiveDatagram returns the next datagram, which is the caller's. Those that
// come in while nobody takes them wait in a queue of bounded length, or are
// dropped.
func (c *Conn) ReceiveDatagram() ([]byte, error) {
	p, err := c.quic.ReceiveDatagram(c.in.deadline.context())
	if moveErr := c.checkPlace(); moveErr != nil {
		return nil, moveErr
	}
	return p, c.failure(err)
}
