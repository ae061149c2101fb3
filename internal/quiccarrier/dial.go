package quiccarrier

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Dial connects to address on network, "udp", "udp4" or "udp6", as d would,
// from a socket of its own. Where a name has several addresses they are tried
// one after the other, each a while after the one before (RFC 8305).
//
// UDP has no reliable refusal: where nobody listens Dial returns a timeout,
// after ten seconds or when ctx ends.
func Dial(ctx context.Context, d *net.Dialer, network, address string, o Options) (*Conn, error) {
	addrs, err := resolve(ctx, d, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Source: d.LocalAddr, Err: err}
	}
	const fallbackDelay = 250 * time.Millisecond // RFC 8305 §5
	delay := d.FallbackDelay
	if delay == 0 {
		delay = fallbackDelay
	}
	return race(ctx, addrs, delay, func(ctx context.Context, addr netip.AddrPort) (*Conn, error) {
		remote := net.UDPAddrFromAddrPort(addr)
		c, err := dialOne(ctx, d, remote, o)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Source: d.LocalAddr, Addr: remote, Err: err}
		}
		return c, nil
	})
}

func dialOne(ctx context.Context, d *net.Dialer, remote *net.UDPAddr, o Options) (*Conn, error) {
	network := "udp6"
	if remote.IP.To4() != nil {
		network = "udp4"
	}
	local := ":0"
	if d.LocalAddr != nil {
		local = d.LocalAddr.String()
	}
	lc := net.ListenConfig{Control: d.Control}
	if d.ControlContext != nil {
		lc.Control = func(network, address string, c syscall.RawConn) error {
			return d.ControlContext(ctx, network, address, c)
		}
	}
	conn, err := lc.ListenPacket(ctx, network, local)
	if err != nil {
		return nil, err
	}
	return DialOn(ctx, conn, remote, o)
}

// DialOn connects to remote from conn, of which it takes charge.
func DialOn(ctx context.Context, conn net.PacketConn, remote net.Addr, o Options) (*Conn, error) {
	silenceBufferWarning()
	s := newSocket(conn)
	q, err := s.transport.Dial(ctx, remote, clientTLS, quicConfig(false))
	if err != nil {
		s.close()
		return nil, dialFailure(ctx, err, s.outages.failure())
	}
	s.outages.endured.Store(true)
	stream, err := q.OpenStream()
	if err != nil {
		_ = q.CloseWithError(codeAborted, "")
		s.close()
		return nil, translate(err)
	}
	reportBuffers(conn, o.Logger)
	return newConn(s, q, stream), nil
}

// resolve returns the addresses that address stands for. Like package net's it
// takes no host, and the unspecified address, for this host.
func resolve(ctx context.Context, d *net.Dialer, network, address string) ([]netip.AddrPort, error) {
	r := d.Resolver
	if r == nil {
		r = net.DefaultResolver
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := r.LookupPort(ctx, network, service)
	if err != nil {
		return nil, err
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if network == "udp6" {
		loopback = netip.IPv6Loopback()
	}
	if host == "" {
		return []netip.AddrPort{netip.AddrPortFrom(loopback, uint16(port))}, nil
	}
	ips, err := r.LookupNetIP(ctx, "ip"+network[len("udp"):], host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		ip = ip.Unmap()
		if ip.IsUnspecified() && ip.Is6() {
			ip = netip.IPv6Loopback()
		} else if ip.IsUnspecified() {
			ip = loopback
		}
		addrs[i] = netip.AddrPortFrom(ip, uint16(port))
	}
	return addrs, nil
}

// race dials the addresses in order, the next one when the one before has
// failed or delay has passed, and returns the first connection. A negative
// delay means to wait for failures only.
func race(ctx context.Context, addrs []netip.AddrPort, delay time.Duration, dial func(context.Context, netip.AddrPort) (*Conn, error)) (*Conn, error) {
	if len(addrs) == 0 {
		return nil, &net.AddrError{Err: "no suitable address found"}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		index int
		conn  *Conn
		err   error
	}
	results := make(chan result, len(addrs))
	running := 0
	defer func() {
		go func(late int) {
			for range late {
				if r := <-results; r.conn != nil {
					r.conn.Close()
				}
			}
		}(running)
	}()
	errs := make([]error, len(addrs))
	for next := 0; next < len(addrs) || running > 0; {
		var later <-chan time.Time
		if next < len(addrs) {
			index := next
			next++
			running++
			go func() {
				c, err := dial(ctx, addrs[index])
				results <- result{index, c, err}
			}()
			if delay >= 0 && next < len(addrs) {
				timer := time.NewTimer(delay)
				defer timer.Stop()
				later = timer.C
			}
		}
		select {
		case r := <-results:
			running--
			if r.err == nil {
				return r.conn, nil
			}
			errs[r.index] = r.err
		case <-later:
		}
	}
	return nil, errs[0] // as net.Dial: the preferred address's
}
