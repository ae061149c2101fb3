package spmangos

import (
	"errors"
	"log/slog"
	"net"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/transport"

	"github.com/securesp/securesp"
)

type dialer struct {
	*endpoint

	// Under mu.
	stopOnAuthError bool
	stopped         bool
	failing         bool // the last attempt has failed
}

// Dial connects once. mangos cannot interrupt it, so connecting and handshake
// together take at most Config.HandshakeTimeout.
func (d *dialer) Dial() (transport.Pipe, error) {
	if d.hasStopped() {
		return nil, mangos.ErrClosed // the one answer that ends redialing
	}
	config, err := d.securespConfig()
	if err != nil {
		d.note(&securesp.Config{Logger: slog.Default()}, err) // there is no other
		return nil, err
	}
	p, err := d.dial(config)
	d.note(config, err)
	return p, err
}

func (d *dialer) dial(config *securesp.Config) (transport.Pipe, error) {
	timeout := config.HandshakeTimeout
	if timeout <= 0 {
		timeout = securesp.DefaultHandshakeTimeout
	}
	s := securesp.Dialer{Config: config, NetDialer: &net.Dialer{Timeout: timeout}}
	c, err := s.Dial(d.network, d.address)
	if err != nil {
		return nil, toMangos(err)
	}
	conn := c.(*securesp.Conn)
	if err := d.checkProtocols(conn, config); err != nil {
		conn.CloseWithCode(securesp.CloseProtocolError)
		return nil, err
	}
	return d.newPipe(conn, config), nil
}

func (d *dialer) hasStopped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped
}

// note draws the consequences of a dial's outcome. When mangos dials in the
// background nobody else sees it.
func (d *dialer) note(config *securesp.Config, err error) {
	d.mu.Lock()
	first := !d.failing
	d.failing = err != nil
	d.stopped = err != nil && d.stopOnAuthError && isAuthError(err)
	d.mu.Unlock()
	var handshake *securesp.HandshakeError
	switch {
	case err == nil || err == mangos.ErrBadProto:
	case !errors.As(err, &handshake):
		if l := config.Logger; l != nil && first {
			l.Warn("securesp: cannot connect", "url", d.scheme+"://"+d.address, "err", err)
		}
	case handshake.Stage == "configuration":
		d.report(config, handshake)
	}
}

func (d *dialer) SetOption(name string, value interface{}) error {
	if name != OptionStopOnAuthError {
		return d.setOption(name, value)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !setIf(&d.stopOnAuthError, value, nil) {
		return mangos.ErrBadValue
	}
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
