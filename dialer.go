package securesp

import (
	"context"
	"fmt"
	"net"
	"time"
)

// Dial connects to address on the named network, "tcp", "tcp4", "tcp6", "udp",
// "udp4", "udp6", "unix" or "ipc" (the same as "unix"), runs the handshake, and
// returns once the peer has accepted us. For the addresses see net.Dial.
//
// If nobody listens the error is net.Dial's, which over UDP is a timeout after
// ten seconds; if the peer is not who we expect, refuses us or speaks
// something else, it is a *HandshakeError. A listener that has too many
// connections waiting makes TCP's dials wait, too; over UDP, where it can only
// turn them away, it is asked again for up to two seconds.
func Dial(network, address string, config *Config) (*Conn, error) {
	d := Dialer{Config: config}
	return d.dial(context.Background(), network, address)
}

// Dialer dials like a net.Dialer and secures what it gets. Its two methods
// have the signatures of net.Dialer's, so it fits wherever one of those does,
// as http.Transport's DialContext for one.
type Dialer struct {
	// NetDialer makes the carrier; nil means a zero net.Dialer. Its
	// Timeout and Deadline bound the handshake, too.
	NetDialer *net.Dialer
	Config    *Config
}

// Dial is DialContext with a background context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext is like the function Dial. The net.Conn it returns is a *Conn.
// Once it has returned, ctx no longer matters.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err // no typed nil
	}
	return c, nil
}

func (d *Dialer) dial(ctx context.Context, network, address string) (*Conn, error) {
	if _, err := d.Config.mechanisms(true); err != nil {
		return nil, &HandshakeError{Initiator: true, Stage: "configuration", Err: err}
	}
	t, err := transportFor(network)
	if err != nil {
		return nil, err
	}
	netDialer := d.NetDialer
	if netDialer == nil {
		netDialer = &net.Dialer{}
	}
	if deadline := dialDeadline(netDialer, time.Now()); !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	return whileBusy(ctx, func(ctx context.Context) (*Conn, error) {
		return d.attempt(ctx, t, netDialer, network, address)
	})
}

// attempt connects and runs the handshake once.
func (d *Dialer) attempt(ctx context.Context, t transport, netDialer *net.Dialer, network, address string) (*Conn, error) {
	carrier, err := t.dial(ctx, netDialer, network, address, d.Config)
	if err != nil {
		return nil, err
	}
	c := Client(carrier, d.Config)
	c.dialed = address
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// dialDeadline returns when d would give up.
func dialDeadline(d *net.Dialer, now time.Time) time.Time {
	deadline := d.Deadline
	if d.Timeout > 0 {
		if t := now.Add(d.Timeout); deadline.IsZero() || t.Before(deadline) {
			deadline = t
		}
	}
	return deadline
}

// transport dials and listens for one kind of carrier.
type transport struct {
	dial   func(ctx context.Context, d *net.Dialer, network, address string, config *Config) (net.Conn, error)
	listen func(network, address string, config *Config) (net.Listener, error)
}

// transportFor is the table of transports.
func transportFor(network string) (transport, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return tcp, nil
	case "unix", "ipc":
		return ipc, nil
	case "udp", "udp4", "udp6":
		return udp, nil
	}
	return transport{}, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("securesp: %w", net.UnknownNetworkError(network))}
}
