package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

// prober is one run of the command probe.
type prober struct {
	stdio
	settings
	config *securesp.Config
	target endpoint
}

// probe connects, and explains what happens.
func probe(ctx context.Context, std stdio, args []string) error {
	p := prober{stdio: std}
	p.makeDo = true
	flags := newFlags()
	p.register(flags)
	words, err := parse(flags, args, "ADDRESS")
	if err != nil {
		return err
	}
	if p.target, err = parseEndpoint(words[0]); err != nil {
		return err
	}
	if p.config, err = p.settings.config(p.logger(slog.LevelWarn)); err != nil {
		return err
	}
	start := time.Now()
	conn, err := p.dial(ctx, p.config)
	elapsed := time.Since(start)
	switch {
	case ctx.Err() != nil:
		if conn != nil {
			conn.Close()
		}
		return ctx.Err()
	case diagnose(err).verdict().code == exitUsage:
		return err
	case err != nil:
		p.explain(ctx, err, elapsed)
		return toldError{err}
	}
	p.describe(conn, elapsed)
	return conn.Close()
}

func (p *prober) dial(ctx context.Context, config *securesp.Config) (*securesp.Conn, error) {
	conn, err := p.dialer(config).DialContext(ctx, p.target.network, p.target.address)
	if err != nil {
		return nil, err
	}
	return conn.(*securesp.Conn), nil
}

// describe prints what a successful connection has shown.
func (p *prober) describe(conn *securesp.Conn, elapsed time.Duration) {
	state, handshake := conn.ConnectionState(), conn.Stats().HandshakeTime
	p.head(verdict{what: isOK.verdict().what})
	row(p.out, "suite", "%v", state.Suite)
	switch t := state.Traits; {
	case !t.Secure:
		row(p.out, "", "NO SECURITY: everybody on the way can read and change everything")
	case t.Hybrid:
		row(p.out, "", "hybrid: secrecy rests on X25519 and ML-KEM-768, either suffices")
	}
	p.peer(state.Peer.Key)
	p.ourKey()
	row(p.out, "remote", "%s", addrText(conn.RemoteAddr()))
	if state.Protocol != "" {
		row(p.out, "protocol", "%q", state.Protocol)
	}
	row(p.out, "messages", "up to %s", formatSize(float64(state.PeerMaxMessageSize)))
	row(p.out, "connecting", "%s", formatTime(elapsed-handshake))
	row(p.out, "handshake", "%s", formatTime(handshake))
	if p.verbose {
		row(p.out, "binding", "%x", state.Binding)
	}
}

// explain prints what a failure means.
func (p *prober) explain(ctx context.Context, err error, elapsed time.Duration) {
	d := diagnose(err)
	v := d.verdict()
	if v.what == "" {
		v.what = "it does not work, for a reason not foreseen"
	}
	p.head(v)
	row(p.out, "cause", "%s", plainText(err))
	var handshake *securesp.HandshakeError
	if errors.As(err, &handshake) {
		if d == isRejected {
			p.unmask(ctx)
		} else {
			p.peer(handshake.Peer.Key)
		}
		p.ourKey()
	}
	row(p.out, "after", "%s", formatTime(elapsed))
	if v.next != "" {
		row(p.out, "next", "%s", v.next)
	}
}

func (p *prober) head(v verdict) {
	_, _ = io.WriteString(p.out, p.target.String()+"\n")
	row(p.out, "verdict", "%s", v.what)
}

// peer prints a key that the peer has proved, if it has.
func (p *prober) peer(key keys.Public) {
	switch pinned, ok := p.pinned(); {
	case key.IsZero():
	case ok && pinned == key:
		row(p.out, "peer", "%v, as expected", key)
	case p.believes():
		row(p.out, "peer", "%v", key)
		row(p.out, "", "not verified: compare it with what the peer's operator says")
	default:
		row(p.out, "peer", "%v", key)
	}
}

func (p *prober) pinned() (keys.Public, bool) {
	if t, ok := p.config.Trust.(trust.Pinner); ok {
		return t.Pinned()
	}
	return keys.Public{}, false
}

// believes reports whether any key of the peer's would have done.
func (p *prober) believes() bool { return p.config.Trust == trust.Anyone() }

func (p *prober) ourKey() {
	switch {
	case p.config.Identity == nil:
	case p.identity == "":
		row(p.out, "our key", "%v, new for this probe", p.config.Identity.Public())
	default:
		row(p.out, "our key", "%v", p.config.Identity.Public())
	}
}

// unmask shows the key of a peer that could not use what we have sent. It
// tells nothing about us.
func (p *prober) unmask(ctx context.Context) {
	if expected, ok := p.pinned(); ok {
		row(p.out, "expected", "%v", expected)
	}
	identity, err := keys.Generate()
	if err != nil {
		return
	}
	config := &securesp.Config{Identity: identity, Trust: trust.Anyone(), HandshakeTimeout: p.timeout}
	conn, err := p.dial(ctx, config)
	key := keys.Public{}
	var handshake *securesp.HandshakeError
	switch {
	case err == nil:
		key = conn.ConnectionState().Peer.Key
		conn.Close()
	case errors.As(err, &handshake):
		key = handshake.Peer.Key
	}
	if !key.IsZero() {
		row(p.out, "found", "%v; do not trust it before its operator confirms it", key)
	}
}
