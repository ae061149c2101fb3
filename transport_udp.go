package securesp

import (
	"context"
	"errors"
	"net"

	"github.com/securesp/securesp/internal/quiccarrier"
)

// udp carries connections in QUIC (SPEC, UDP binding).
var udp = transport{dial: dialUDP, listen: listenUDP, isBusy: isBusyUDP}

func dialUDP(ctx context.Context, d *net.Dialer, network, address string, config *Config) (net.Conn, error) {
	c, err := quiccarrier.Dial(ctx, d, network, address, quiccarrier.Options{Logger: config.Logger})
	if errors.Is(err, quiccarrier.ErrForeign) {
		return nil, &HandshakeError{Initiator: true, Stage: "preface", Err: ErrNotSecureSP}
	}
	if err != nil {
		return nil, err // no typed nil
	}
	return c, nil
}

func isBusyUDP(err error) bool { return errors.Is(err, quiccarrier.ErrRefused) }

func listenUDP(network, address string, config *Config) (net.Listener, error) {
	conn, err := net.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	o := quiccarrier.Options{MaxPending: config.maxPending(), Logger: config.Logger}
	if config.Identity != nil {
		o.ResetSecret = config.Identity.ECDH().Bytes()
		defer clear(o.ResetSecret)
	}
	l, err := quiccarrier.Listen(conn, o)
	if err != nil {
		return nil, err
	}
	return l, nil
}
