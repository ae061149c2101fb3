package main

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/securesp/securesp"
)

// plainSocketMode is what a plain socket gets: who connects to it acts with
// our key.
const plainSocketMode = 0o600

// tunneler is one run of the command tunnel.
type tunneler struct {
	stdio
	settings
	log      *slog.Logger
	config   *securesp.Config
	from, to endpoint
	max      int
}

// tunnel carries plain connections over sealed ones.
func tunnel(ctx context.Context, std stdio, args []string) error {
	t := tunneler{stdio: std}
	flags := newFlags()
	t.register(flags)
	flags.IntVar(&t.max, "max", 1024, "")
	words, err := parse(flags, args, "listen|dial FROM TO")
	if err != nil {
		return err
	}
	serve := map[string]func(context.Context) error{"dial": t.dialSealed, "listen": t.listenSealed}[words[0]]
	switch {
	case serve == nil:
		return usagef("wants listen or dial before the addresses")
	case t.max < 1:
		return usagef("--max must be positive")
	}
	if t.from, err = parseEndpoint(words[1]); err != nil {
		return err
	}
	if t.to, err = parseEndpoint(words[2]); err != nil {
		return err
	}
	level := slog.LevelInfo
	if t.verbose {
		level = slog.LevelDebug
	}
	t.log = t.logger(level)
	if t.config, err = t.settings.config(t.log); err != nil {
		return err
	}
	return serve(ctx)
}

// dialSealed listens for plain connections.
func (t *tunneler) dialSealed(ctx context.Context) error {
	mode, err := t.socketMode(plainSocketMode)
	if err != nil {
		return err
	}
	if err := t.checkDial(); err != nil {
		return err
	}
	l, err := listenPlain(t.from, mode)
	if err != nil {
		return err
	}
	t.logListening(l)
	t.warnIfExposed(l.Addr())
	return serveEach(ctx, l, t.max, t.log, func(plain net.Conn) {
		log := t.log.With("from", addrText(plain.RemoteAddr()))
		sealed, err := t.dialer(t.config).DialContext(ctx, t.to.network, t.to.address)
		if err != nil {
			reset(plain)
			t.logFailure(ctx, log, err)
			return
		}
		t.carry(ctx, log, sealed.(*securesp.Conn), plain)
	})
}

// checkDial finds mistakes in the configuration before the first connection
// would.
func (t *tunneler) checkDial() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nothing is really dialed
	conn, err := t.dialer(t.config).DialContext(ctx, t.to.network, t.to.address)
	if err == nil {
		conn.Close()
	}
	if diagnose(err).verdict().code == exitUsage {
		return err
	}
	return nil
}

// listenSealed listens for sealed connections.
func (t *tunneler) listenSealed(ctx context.Context) error {
	network, err := t.to.plainNetwork()
	if err != nil {
		return err
	}
	l, err := listenSealed(t.from, t.config, t.log)
	if err != nil {
		return err
	}
	t.logListening(l)
	dialer := net.Dialer{Timeout: t.timeout}
	return serveEach(ctx, l, t.max, t.log, func(c net.Conn) {
		sealed := c.(*securesp.Conn)
		log := t.log.With("from", addrText(sealed.RemoteAddr()), "peer", peerText(sealed))
		plain, err := dialer.DialContext(ctx, network, t.to.address)
		if err != nil {
			_ = sealed.CloseWithCode(closeBroken)
			t.logFailure(ctx, log, err)
			return
		}
		t.carry(ctx, log, sealed, plain)
	})
}

// carry relays one connection and logs what became of it.
func (t *tunneler) carry(ctx context.Context, log *slog.Logger, sealed *securesp.Conn, plain net.Conn) {
	logOpen(t.log, sealed)
	start := time.Now()
	err := relay(ctx, sealed, plain)
	stats := sealed.Stats()
	log = log.With("sent", stats.BytesSent, "received", stats.BytesReceived, "time", time.Since(start).Round(time.Millisecond))
	if err != nil {
		t.logFailure(ctx, log, err)
		return
	}
	log.Debug("connection ended")
}

// logFailure logs why a connection failed, unless it is our own end.
func (t *tunneler) logFailure(ctx context.Context, log *slog.Logger, err error) {
	if ctx.Err() != nil {
		return
	}
	what := diagnose(err).verdict().what
	if what == "" {
		what = "connection failed"
	}
	log.Warn(what, "err", plainText(err))
}

func (t *tunneler) logListening(l net.Listener) {
	t.log.Info("listening", "address", t.from.at(l).String(), "to", t.to.String())
}

// warnIfExposed warns of a plain side that other machines can reach.
func (t *tunneler) warnIfExposed(a net.Addr) {
	if tcp, ok := a.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		t.log.Warn(exposedText, "address", a.String())
	}
}

// addrText returns where a connection comes from. Clients of UNIX sockets have
// no address.
func addrText(a net.Addr) string {
	if a == nil || a.String() == "" || a.String() == "@" {
		return "local"
	}
	return a.String()
}

// peerText returns the name that we have for a peer, or else its key.
func peerText(c *securesp.Conn) string {
	peer := c.ConnectionState().Peer
	if peer.Name != "" {
		return peer.Name
	}
	return peer.Key.String()
}
