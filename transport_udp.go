package securesp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"github.com/securesp/securesp/internal/quiccarrier"
)

// udp carries connections in QUIC (SPEC, UDP binding).
var udp = transport{dial: dialUDP, listen: listenUDP}

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

// busyPatience is how long a listener is asked that takes no connection now.
const busyPatience = 2 * time.Second

// whileBusy calls attempt until it ends otherwise than in a refusal by which a
// listener over UDP turns away whom TCP's would have wait. If that goes on for
// too long, the first refusal is the error.
func whileBusy(ctx context.Context, attempt func(context.Context) (*Conn, error)) (*Conn, error) {
	isBusy := func(err error) bool { return errors.Is(err, quiccarrier.ErrRefused) }
	c, refusal := attempt(ctx)
	if !isBusy(refusal) {
		return c, refusal
	}
	ctx, cancel := context.WithTimeout(ctx, busyPatience)
	defer cancel()
	for pause := busyPatience / 20; ; pause *= 2 {
		timer := time.NewTimer(pause/2 + rand.N(pause)) // not all at once again
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, refusal
		}
		c, err := attempt(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, refusal
		case !isBusy(err):
			return c, err
		}
	}
}

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
