package quiccarrier

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
)

// outages makes packets that the system refuses to send lost ones, from a
// moment on: a route, an interface or an address that is missing for a while is
// no reason to end connections, and quic-go would (TCP waits, too: RFC 1122
// §4.2.3.9). An outage that lasts ends as silence does, in ErrSilent.
type outages struct {
	endured atomic.Bool
	last    atomic.Pointer[error] // before that moment: quic-go does not always keep it
}

// endure turns err, a send's, into nil if QUIC is to see a packet lost.
func (o *outages) endure(err error) error {
	switch {
	case err == nil:
		return nil
	case !o.endured.Load():
		o.last.Store(&err)
		return err
	case errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.EIO): // by which quic-go knows that there is no GSO
		return err
	}
	return nil
}

// failure returns the error for which the system refused to send, or nil.
func (o *outages) failure() error {
	if last := o.last.Load(); last != nil {
		return *last
	}
	return nil
}

// over returns conn with o applied to what is sent. A *net.UDPConn stays one as
// far as quic-go is concerned, which sends several times faster on it than on
// anything else.
func (o *outages) over(conn net.PacketConn) net.PacketConn {
	if udp, ok := conn.(*net.UDPConn); ok {
		return &udpConn{udp, o}
	}
	return &packetConn{conn, o}
}

type udpConn struct {
	*net.UDPConn
	outages *outages
}

func (c *udpConn) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = c.UDPConn.WriteMsgUDP(b, oob, to)
	return n, oobn, c.outages.endure(err)
}

func (c *udpConn) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := c.UDPConn.WriteTo(b, to)
	return n, c.outages.endure(err)
}

type packetConn struct {
	net.PacketConn
	outages *outages
}

func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := c.PacketConn.WriteTo(b, to)
	return n, c.outages.endure(err)
}
