package spmangos_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	"go.nanomsg.org/mangos/v3/protocol/pull"
	"go.nanomsg.org/mangos/v3/protocol/push"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

// TestRefusals: every way in which two sides fail to trust each other, and
// what each of them gets to know.
func TestRefusals(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		for name, c := range map[string]struct {
			change           func(server, client *securesp.Config)
			client, listener error
		}{
			"server does not trust client": {
				func(server, client *securesp.Config) { server.Trust = trust.Keys() },
				securesp.ErrRefused, securesp.ErrUntrusted,
			},
			"client does not trust server": {
				func(server, client *securesp.Config) {
					client.Suites = []mechanism.Suite{mechanism.XXhfsAESGCM, mechanism.XXhfsChaChaPoly}
					client.Trust = trust.Keys()
				},
				securesp.ErrUntrusted, nil,
			},
			"client expects another server": {
				func(server, client *securesp.Config) { client.Trust = trust.Keys(client.Identity.Public()) },
				securesp.ErrRejected, securesp.ErrAuthentication,
			},
			"no suite in common": {
				func(server, client *securesp.Config) { server.Suites = []mechanism.Suite{mechanism.XXAESGCM} },
				securesp.ErrNoCommonSuite, securesp.ErrNoCommonSuite,
			},
			"other application": {
				func(server, client *securesp.Config) { client.Protocol = "v2" },
				securesp.ErrProtocolMismatch, securesp.ErrProtocolMismatch,
			},
		} {
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				server, client := configs(t)
				c.change(server, client)
				atServer, atClient := reportsOf(server), reportsOf(client)
				a, b := open(t, pair.NewSocket), open(t, pair.NewSocket)
				url := a.listen(s.url(t), options(server))
				err := b.DialOptions(url, options(client)) // waits for the verdict
				is.True(errors.Is(err, c.client))
				var h *securesp.HandshakeError
				is.True(errors.As(err, &h))
				is.True(errors.Is(atClient.next(t), c.client)) // told by both ways
				r := atServer.next(t)
				is.True(!r.Initiator)
				if c.listener != nil {
					is.True(errors.Is(r, c.listener))
				}
				if errors.Is(r, securesp.ErrUntrusted) {
					is.Equal(r.Peer.Key, client.Identity.Public()) // so that somebody can add it
				}
			})
		}
	})
}

// TestRefusedInBackground: an asynchronous dial has nobody to return to, goes
// on trying, and succeeds once it is let in.
func TestRefusedInBackground(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, client := configs(t)
		var admit atomic.Bool
		server.Trust = trust.Func(func(_ context.Context, p trust.Peer) error {
			if admit.Load() && p.Key == client.Identity.Public() {
				return nil
			}
			return trust.ErrDenied
		})
		atClient := reportsOf(client)
		a, b := open(t, pair.NewSocket), open(t, pair.NewSocket)
		url := a.listen(s.url(t), options(server))
		is.NoErr(b.DialOptions(url, options(client, mangos.OptionDialAsynch, true)))
		for range 3 {
			is.True(errors.Is(atClient.next(t), securesp.ErrRefused))
		}
		admit.Store(true)
		a.await(mangos.PipeEventAttached)
		b.send("let in")
		a.expect("let in")
	})
}

func TestStopOnAuthError(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, client := configs(t)
		var asked atomic.Int32
		server.Trust = trust.Func(func(context.Context, trust.Peer) error {
			asked.Add(1)
			return trust.ErrDenied
		})
		l := newListener(t, s, options(server))
		is.NoErr(l.Listen())
		d := newDialer(t, s, l.Address(), options(client, spmangos.OptionStopOnAuthError, true))
		_, err := d.Dial()
		is.True(errors.Is(err, securesp.ErrRefused)) // the reason
		_, err = d.Dial()
		is.Equal(err, mangos.ErrClosed) // what makes mangos stop
		_, err = d.Dial()
		is.Equal(err, mangos.ErrClosed)
		is.Equal(asked.Load(), int32(1)) // the server was left in peace

		is.NoErr(l.Close())
		client.HandshakeTimeout = time.Second
		d = newDialer(t, s, l.Address(), options(client, spmangos.OptionStopOnAuthError, true))
		for range 2 {
			_, err = d.Dial()
			is.True(err != nil && err != mangos.ErrClosed) // a server that is away may come back
		}
	})
}

// TestStopCauses: a dialer stops after each kind of refusal, on either side.
func TestStopCauses(t *testing.T) {
	s := schemes[0]
	for name, change := range map[string]func(server, client *securesp.Config){
		"the server is another": func(_, client *securesp.Config) {
			client.Trust = trust.Keys(client.Identity.Public())
		},
		"the server is not trusted": func(_, client *securesp.Config) {
			client.Suites = []mechanism.Suite{mechanism.XXAESGCM}
			client.Trust = trust.Keys()
		},
		"no suite in common": func(server, _ *securesp.Config) {
			server.Suites = []mechanism.Suite{mechanism.NKAESGCM}
		},
		"no trust configured":               func(_, client *securesp.Config) { client.Trust = nil },
		"the server is another application": func(_, client *securesp.Config) { client.Protocol = "v2" },
	} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			is := is.New(t)
			server, client := configs(t)
			server.Suites = []mechanism.Suite{mechanism.IKAESGCM, mechanism.XXAESGCM}
			change(server, client)
			l := newListener(t, s, options(server))
			is.NoErr(l.Listen())
			d := newDialer(t, s, l.Address(), options(client, spmangos.OptionStopOnAuthError, true))
			_, err := d.Dial()
			is.True(err != nil && err != mangos.ErrClosed) // the reason
			_, err = d.Dial()
			is.Equal(err, mangos.ErrClosed)
		})
	}
}

// TestDialerIsLazy: names are looked up when dialing, not when the dialer is
// made.
func TestDialerIsLazy(t *testing.T) {
	is := is.New(t)
	var asked atomic.Int32
	defer func(was *net.Resolver) { net.DefaultResolver = was }(net.DefaultResolver)
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asked.Add(1)
		return nil, errors.New("no name server")
	}}
	_, client := configs(t)
	for _, s := range schemes {
		if s.network == "unix" {
			continue
		}
		before := asked.Load()
		d := newDialer(t, s, s.name+"://server.example:1000", options(client))
		is.Equal(asked.Load(), before)
		_, err := d.Dial()
		is.True(err != nil)
		is.True(asked.Load() > before)
	}
}

// TestSocketStopsOnAuthError: a mangos socket does not come back to who has
// refused it. Another one shows that time has passed: it does come back.
func TestSocketStopsOnAuthError(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, client := configs(t)
		stubborn := &securesp.Config{Identity: identity(t), Trust: client.Trust}
		var asked atomic.Int32
		server.Trust = trust.Func(func(_ context.Context, p trust.Peer) error {
			if p.Key == client.Identity.Public() {
				asked.Add(1)
			}
			return trust.ErrDenied
		})
		atClient, atStubborn := reportsOf(client), reportsOf(stubborn)
		a, b, c := open(t, pair.NewSocket), open(t, pair.NewSocket), open(t, pair.NewSocket)
		url := a.listen(s.url(t), options(server))
		is.NoErr(b.DialOptions(url, options(client, mangos.OptionDialAsynch, true, spmangos.OptionStopOnAuthError, true)))
		is.True(errors.Is(atClient.next(t), securesp.ErrRefused))
		is.NoErr(c.DialOptions(url, options(stubborn, mangos.OptionDialAsynch, true)))
		for range 5 {
			is.True(errors.Is(atStubborn.next(t), securesp.ErrRefused))
		}
		is.Equal(asked.Load(), int32(1))
	})
}

// TestWhoSentIt: a server knows the sender of each message, whatever the
// message says.
func TestWhoSentIt(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		const clients, rounds = 5, 4
		is := is.New(t)
		var known []keys.Public
		var identities []*keys.Private
		for range clients {
			identities = append(identities, identity(t))
			known = append(known, identities[len(identities)-1].Public())
		}
		server := &securesp.Config{Identity: identity(t), Trust: trust.Keys(known...)}
		a := open(t, rep.NewSocket)
		url := a.listen(s.url(t), options(server))
		var requesters []*socket
		for _, id := range identities {
			c := open(t, req.NewSocket)
			c.dial(url, options(&securesp.Config{Identity: id, Trust: trust.Keys(server.Identity.Public())}))
			requesters = append(requesters, c)
		}
		for range rounds {
			for i, c := range requesters {
				c.send(known[i].String())
				m, err := a.RecvMsg()
				is.NoErr(err)
				key, ok := spmangos.PeerKey(m.Pipe)
				is.True(ok)
				is.Equal(key.String(), string(m.Body)) // the sender is who it says
				state, ok := spmangos.State(m.Pipe)
				is.True(ok)
				is.Equal(state.Peer.Key, key)
				is.NoErr(a.SendMsg(m))
				m, err = c.RecvMsg()
				is.NoErr(err)
				key, ok = spmangos.PeerKey(m.Pipe) // and so it is with replies
				is.True(ok)
				is.Equal(key, server.Identity.Public())
				m.Free()
			}
		}
	})
}

// TestNoKey: a peer that proves a shared secret alone has no key, and a plain
// one has no state.
func TestNoKey(t *testing.T) {
	is := is.New(t)
	leak.Check(t)
	psk, err := keys.GenerateShared()
	is.NoErr(err)
	a, b := open(t, pair.NewSocket), open(t, pair.NewSocket)
	b.dial(a.listen(schemes[0].url(t), options(&securesp.Config{PSK: psk, Name: "a", PeerName: "b"})),
		options(&securesp.Config{PSK: psk, Name: "b", PeerName: "a"}))
	p := a.await(mangos.PipeEventAttached)
	_, ok := spmangos.PeerKey(p)
	is.True(!ok)
	state, ok := spmangos.State(p)
	is.True(ok)
	is.Equal(state.Peer.Name, "b")

	c, d := open(t, pair.NewSocket), open(t, pair.NewSocket)
	d.dial(c.listen("tcp://127.0.0.1:0", nil), nil)
	p = c.await(mangos.PipeEventAttached)
	_, ok = spmangos.PeerKey(p)
	is.True(!ok)
	_, ok = spmangos.State(p)
	is.True(!ok)
}

// TestRevoked: a key that leaves the trust file loses its connections, and the
// hook learns why.
func TestRevoked(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, client := configs(t)
		path := filepath.Join(t.TempDir(), "trust")
		rewrite(t, path, client.Identity.Public().String()+" alice")
		policy, err := trust.File(path)
		is.NoErr(err)
		server.Trust = policy
		a, b := open(t, pair.NewSocket), open(t, pair.NewSocket)
		b.dial(a.listen(s.url(t), options(server)), options(client, spmangos.OptionStopOnAuthError, true))
		p := a.await(mangos.PipeEventAttached)
		state, ok := spmangos.State(p)
		is.True(ok)
		is.Equal(state.Peer.Name, "alice")
		rewrite(t, path, "# nobody")
		is.Equal(a.await(mangos.PipeEventDetached), p)
		reason, err := p.GetOption(spmangos.OptionCloseError)
		is.NoErr(err)
		is.True(errors.Is(reason.(error), securesp.ErrRevoked))
		p = b.await(mangos.PipeEventDetached)
		reason, err = p.GetOption(spmangos.OptionCloseError)
		is.NoErr(err)
		var closed *securesp.CloseError
		is.True(errors.As(reason.(error), &closed))
		is.Equal(closed.Code, securesp.CloseRevoked)
	})
}

// TestServerRevoked: the same at the side that dials, whose dialer is turned
// away by its own policy until the key is back.
func TestServerRevoked(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, client := configs(t)
		path := filepath.Join(t.TempDir(), "trust")
		line := server.Identity.Public().String()
		rewrite(t, path, line)
		policy, err := trust.File(path)
		is.NoErr(err)
		client.Trust = policy
		atClient := reportsOf(client)
		a, b := open(t, pair.NewSocket), open(t, pair.NewSocket)
		b.dial(a.listen(s.url(t), options(server)), options(client))
		a.await(mangos.PipeEventAttached)
		b.await(mangos.PipeEventAttached)
		rewrite(t, path, "# nobody")
		p := b.await(mangos.PipeEventDetached)
		reason, err := p.GetOption(spmangos.OptionCloseError)
		is.NoErr(err)
		is.True(errors.Is(reason.(error), securesp.ErrRevoked))
		is.True(errors.Is(atClient.next(t), securesp.ErrUntrusted)) // it has tried again
		rewrite(t, path, line)
		a.await(mangos.PipeEventAttached) // once the former pipe has left the PAIR, which has one at a time
		b.send("back again")
		a.expect("back again")
	})
}

// TestTurnedAwayByHook: a program that picks its pipes itself does so when
// they are attached, and the others are not disturbed.
func TestTurnedAwayByHook(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		good, bad := identity(t), identity(t)
		server := &securesp.Config{Identity: identity(t), Trust: trust.Keys(good.Public(), bad.Public())}
		puller, err := pull.NewSocket()
		is.NoErr(err)
		is.NoErr(puller.SetOption(mangos.OptionRecvDeadline, patience))
		var turnedAway atomic.Int32
		puller.SetPipeEventHook(func(kind mangos.PipeEvent, p mangos.Pipe) {
			if kind != mangos.PipeEventAttached {
				return
			}
			if key, _ := spmangos.PeerKey(p); key == bad.Public() {
				turnedAway.Add(1)
				p.Close()
			}
		})
		t.Cleanup(func() { puller.Close() })
		l, err := puller.NewListener(s.url(t), options(server))
		is.NoErr(err)
		is.NoErr(l.Listen())
		trusting := trust.Keys(server.Identity.Public())
		a, b, c := open(t, push.NewSocket), open(t, push.NewSocket), open(t, push.NewSocket)
		b.dial(l.Address(), options(&securesp.Config{Identity: bad, Trust: trusting}))
		b.await(mangos.PipeEventDetached)
		b.await(mangos.PipeEventDetached) // it came back, in vain
		isHeard := func(friend *socket) {
			is.Helper()
			friend.dial(l.Address(), options(&securesp.Config{Identity: good, Trust: trusting}))
			friend.send("from a friend")
			m, err := puller.Recv()
			is.NoErr(err)
			is.Equal(string(m), "from a friend")
		}
		isHeard(a)
		// mangos leaves a goroutine behind if a socket is closed while a pipe
		// is attaching. None of b's is once another has come after the last.
		b.Close()
		isHeard(c)
		is.True(turnedAway.Load() >= 2)
	})
}
