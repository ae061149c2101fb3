package spmangos

import (
	"context"
	"net"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/transport"

	"github.com/securesp/securesp"
)

type dialer struct {
	*endpoint
	stopOnAuthError bool // under mu
	stopped         bool // under mu
}

// Dial connects once. mangos cannot interrupt it, so it is bounded: connecting
// and the handshake take at most Config.HandshakeTimeout each.
func (d *dialer) Dial() (transport.Pipe, error) {
	d.mu.Lock()
	stopped := d.stopped
	d.mu.Unlock()
	if stopped {
		return nil, mangos.ErrClosed // the one answer that ends redialing
	}
	p, err := d.dial()
	if err != nil && isAuthError(err) {
		d.mu.Lock()
		d.stopped = d.stopOnAuthError
		d.mu.Unlock()
	}
	return p, err
}

func (d *dialer) dial() (transport.Pipe, error) {
	config, err := d.securespConfig()
	if err != nil {
		return nil, err
	}
	timeout := config.HandshakeTimeout
	if timeout <= 0 {
		timeout = securesp.DefaultHandshakeTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*timeout)
	defer cancel()
	s := securesp.Dialer{Config: config, NetDialer: &net.Dialer{KeepAlive: d.tcpKeepAlive()}}
	c, err := s.DialContext(ctx, d.network, d.address)
	if err != nil {
		return nil, fromSocket(err)
	}
	conn := c.(*securesp.Conn)
	if err := d.check(conn.ConnectionState()); err != nil {
		conn.CloseWithCode(securesp.CloseProtocolError)
		return nil, err
	}
	return newPipe(conn, d.maxRecv(), config), nil
}

func (d *dialer) SetOption(name string, value interface{}) error {
	if name != OptionStopOnAuthError {
		return d.setOption(name, value)
	}
	stop, ok := value.(bool)
	if !ok {
		return mangos.ErrBadValue
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopOnAuthError = stop
	return nil
}

func (d *dialer) GetOption(name string) (interface{}, error) {
	if name != OptionStopOnAuthError {
		return d.getOption(name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopOnAuthError, nil
}
