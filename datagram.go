package securesp

import (
	"errors"
	"fmt"
	"time"

	"github.com/securesp/securesp/mechanism"
)

// ErrNoDatagrams means that the carrier, the suite or the peer has no
// datagrams: of the carriers only UDP has them, and not every suite can seal
// them.
var ErrNoDatagrams = errors.New("securesp: no datagrams on this connection")

// MaxDatagramSize is the size in bytes of the largest datagram that fits every
// path.
const MaxDatagramSize = 1100

// datagramCarrier is what a carrier has that can also carry datagrams, beside
// its stream. They may be lost, reordered and duplicated. Too large a datagram
// is mechanism.ErrMessageTooLong, a peer without datagrams
// mechanism.ErrUnsupported; neither harms the connection.
type datagramCarrier interface {
	// SendDatagram waits for room until the given time, or for ever if it
	// is zero. p is not kept.
	SendDatagram(p []byte, until time.Time) error

	// ReceiveDatagram obeys the carrier's read deadline. What it returns
	// is the caller's.
	ReceiveDatagram() ([]byte, error)
}

// datagrams is a connection's message mode without retransmission.
type datagrams struct {
	carrier datagramCarrier
	session mechanism.PacketSession
}

// prepareDatagrams sets up datagrams if carrier and suite have them.
func (c *Conn) prepareDatagrams(hs mechanism.Handshake) {
	carrier, ok := c.carrier.(datagramCarrier)
	if !ok {
		return
	}
	if session, err := hs.PacketSession(); err == nil {
		c.datagrams = &datagrams{carrier, session}
	}
}

// SendDatagram sends p once, sealed and on its own: it may be lost, overtake
// others or be overtaken, and nobody is told; but it arrives whole or not at
// all, and at most once. It is independent of the stream that Write feeds, and
// meant for what is worthless when late.
//
// Datagrams of up to MaxDatagramSize bytes fit every path, larger ones if the
// path permits; ErrMessageTooLarge otherwise. Carriers and suites without
// datagrams return ErrNoDatagrams. While too many datagrams wait to be sent
// SendDatagram waits, too, at most until the write deadline as it was when it
// was called. p is not kept. (SPEC §5)
func (c *Conn) SendDatagram(p []byte) error {
	if err := c.await(&c.deadlines.write); err != nil {
		return c.opError("write", err)
	}
	d := c.datagrams
	if d == nil {
		return ErrNoDatagrams
	}
	if err := c.closeErr(); err != nil {
		return c.opError("write", err)
	}
	c.deadlines.mu.Lock()
	until := c.deadlines.write
	c.deadlines.mu.Unlock()

	buffer := getBuffer(len(p) + d.session.Overhead())
	defer buffer.release()
	sealed, err := d.session.Seal(buffer.b[:0], p)
	if err == nil {
		err = d.carrier.SendDatagram(sealed, until)
	}
	return c.datagramError("write", err)
}

// ReceiveDatagram appends the next datagram to dst and returns the extended
// slice. Replayed and forged datagrams are dropped, and so are genuine ones
// while more than a hundred wait to be received. It obeys the read deadline,
// and may be called beside Read. When the carrier has ended, it returns an
// error, io.EOF if the peer has closed the connection. (SPEC §5)
func (c *Conn) ReceiveDatagram(dst []byte) ([]byte, error) {
	if err := c.await(&c.deadlines.read); err != nil {
		return dst, c.opError("read", err)
	}
	d := c.datagrams
	if d == nil {
		return dst, ErrNoDatagrams
	}
	for {
		if err := c.closeErr(); err != nil {
			return dst, c.opError("read", err)
		}
		packet, err := d.carrier.ReceiveDatagram()
		if err != nil {
			return dst, c.datagramError("read", err)
		}
		if opened, err := d.session.Open(dst, packet); err == nil {
			return opened, nil
		}
	}
}

func (c *Conn) datagramError(op string, err error) error {
	switch closed := c.closeErr(); {
	case err == nil:
		return nil
	case closed != nil:
		err = closed
	case errors.Is(err, mechanism.ErrMessageTooLong):
		return fmt.Errorf("%w: a datagram must fit the path", ErrMessageTooLarge)
	case errors.Is(err, mechanism.ErrUnsupported):
		return ErrNoDatagrams
	}
	return c.opError(op, err)
}
