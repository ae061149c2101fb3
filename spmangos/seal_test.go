package spmangos_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/bus"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	"go.nanomsg.org/mangos/v3/protocol/pair1"
	"go.nanomsg.org/mangos/v3/protocol/pub"
	"go.nanomsg.org/mangos/v3/protocol/pull"
	"go.nanomsg.org/mangos/v3/protocol/push"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	"go.nanomsg.org/mangos/v3/protocol/respondent"
	"go.nanomsg.org/mangos/v3/protocol/star"
	"go.nanomsg.org/mangos/v3/protocol/sub"
	"go.nanomsg.org/mangos/v3/protocol/surveyor"
	"go.nanomsg.org/mangos/v3/protocol/xrep"
	"go.nanomsg.org/mangos/v3/protocol/xreq"
	_ "go.nanomsg.org/mangos/v3/transport/inproc"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

func TestSealRequests(t *testing.T) {
	is := is.New(t)
	sv, alice := newService(t), identity(t)
	server := newSealed(t, rep.NewSocket, spmangos.SealConfig{Worker: sv.worker(trust.Keys(alice.Public()), nil)})
	client := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: sv.client(alice)})
	inBackground(t, func() { echo(server) })
	t.Cleanup(func() { server.Close() })
	link(t, server, client)

	for _, body := range []string{"", "first", "with a ticket", strings.Repeat("x", 64<<10-200)} {
		reply, err := ask(client, body)
		is.NoErr(err) // ask
		is.Equal(reply, alice.Public().String()+": "+body)
	}

	// The reply comes with the service's identity.
	is.NoErr(client.Send([]byte("who are you?")))
	m, err := client.RecvMsg()
	is.NoErr(err) // receive
	sender, ok := spmangos.Sender(m)
	is.True(ok)
	is.Equal(sender, sv.key.Public().Identity())
	m.Free()
	is.Equal(stats(t, client), spmangos.SealStats{Sealed: 5, Opened: 5})
	is.Equal(stats(t, server), spmangos.SealStats{Sealed: 5, Opened: 5})
}

// TestSealContexts has many contexts of one socket ask many contexts of
// another at the same time.
func TestSealContexts(t *testing.T) {
	is := is.New(t)
	sv, alice := newService(t), identity(t)
	server := newSealed(t, rep.NewSocket, spmangos.SealConfig{Worker: sv.worker(trust.Keys(alice.Public()), nil)})
	client := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: sv.client(alice)})
	t.Cleanup(func() { server.Close() })
	const n = 8
	for range n {
		c, err := server.OpenContext()
		is.NoErr(err) // open a context of the worker's
		inBackground(t, func() { echo(c) })
		t.Cleanup(func() { c.Close() })
	}
	link(t, server, client)
	results := make(chan error)
	for i := range n {
		c, err := client.OpenContext()
		is.NoErr(err) // open a context of the client's
		go func() {
			defer c.Close()
			for j := range 20 {
				body := fmt.Sprint("question ", i, "/", j)
				reply, err := ask(c, body)
				if err == nil && reply != alice.Public().String()+": "+body {
					err = errors.New("the answer to something else")
				}
				if err != nil {
					results <- err
					return
				}
			}
			results <- nil
		}()
	}
	for range n {
		is.NoErr(await(t, results, "a client is stuck"))
	}
}

func TestSealPolicies(t *testing.T) {
	is := is.New(t)
	sv, alice, mallory := newService(t), identity(t), identity(t)
	var revoked atomic.Bool
	policy := trust.Func(func(_ context.Context, peer trust.Peer) error {
		if peer.Key != alice.Public() || revoked.Load() {
			return trust.ErrDenied
		}
		return nil
	})
	server := newSealed(t, rep.NewSocket, spmangos.SealConfig{Worker: sv.worker(policy, nil)})
	inBackground(t, func() { echo(server) })
	t.Cleanup(func() { server.Close() })
	good := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: sv.client(alice)})
	bad := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: sv.client(mallory)})
	link(t, server, good)
	link(t, server, bad)

	_, err := ask(bad, "let me in")
	is.True(errors.Is(err, e2e.ErrNotAuthorized))
	for range 2 {
		_, err = ask(good, "it is me")
		is.NoErr(err) // ask
	}
	revoked.Store(true)
	_, err = ask(good, "with a ticket")
	is.True(errors.Is(err, e2e.ErrNotAuthorized)) // tickets are of no help
	is.Equal(stats(t, server).Dropped, uint64(2))
}

// TestSealTrustFile has a trust file decide, which changes while clients ask.
// What it says of addresses is never met: nobody knows where behind a device a
// message comes from.
func TestSealTrustFile(t *testing.T) {
	is := is.New(t)
	sv, alice, carol := newService(t), identity(t), identity(t)
	path := filepath.Join(t.TempDir(), "trusted")
	aliceLine := alice.Public().String() + " alice"
	carolLine := carol.Public().String() + " carol from=0.0.0.0/0"
	rewrite(t, path, aliceLine, carolLine)
	policy, err := trust.File(path)
	is.NoErr(err)
	server := newSealed(t, rep.NewSocket, spmangos.SealConfig{Worker: sv.worker(policy, nil)})
	inBackground(t, func() {
		for {
			m, err := server.RecvMsg()
			if err != nil {
				return
			}
			from, _ := spmangos.ProvenanceOf(m)
			m.Free()
			server.Send([]byte("hello, " + from.Name))
		}
	})
	t.Cleanup(func() { server.Close() })
	a := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: sv.client(alice)})
	c := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: sv.client(carol)})
	link(t, server, a)
	link(t, server, c)
	greeted := func() {
		is.Helper()
		reply, err := ask(a, "it is me")
		is.NoErr(err) // ask
		is.Equal(reply, "hello, alice")
	}
	greeted()
	greeted() // with a ticket
	_, err = ask(c, "it is me")
	is.True(errors.Is(err, e2e.ErrNotAuthorized)) // a restriction that cannot be met
	rewrite(t, path, carolLine)
	_, err = ask(a, "it is me")
	is.True(errors.Is(err, e2e.ErrNotAuthorized)) // out at once, ticket or not
	rewrite(t, path, aliceLine)
	greeted() // and in again
}

// TestSealFirstUse: there is no host behind a device whose key could be
// recorded, so trust on first use admits nobody.
func TestSealFirstUse(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "known")
	policy, err := trust.FirstUse(path)
	is.NoErr(err)
	_, err = spmangos.Authorize(policy)(identity(t).Public())
	is.True(err != nil)
	_, err = os.Stat(path)
	is.True(errors.Is(err, fs.ErrNotExist)) // and nothing is recorded
}

// TestSealRetry makes the worker ask for a fresh request: its key is replaced,
// so that both the ticket and the key it was issued under are gone.
func TestSealRetry(t *testing.T) {
	is := is.New(t)
	sv, next, alice := newService(t), newService(t), identity(t)
	worker := sv.worker(trust.Keys(alice.Public()), nil)
	server := newSealed(t, rep.NewSocket, spmangos.SealConfig{Worker: worker})
	inBackground(t, func() { echo(server) })
	t.Cleanup(func() { server.Close() })
	c := sv.client(alice)
	client := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: c})
	setOption(t, client, mangos.OptionRecvDeadline, patience)
	link(t, server, client)
	_, err := ask(client, "a ticket, please")
	is.NoErr(err) // ask

	is.NoErr(c.SetServices([]*keys.ServicePublic{sv.key.Public(), next.key.Public()}))
	is.NoErr(worker.SetKeys([]e2e.ServiceKey{{Key: next.key}}))
	reply, err := ask(client, "after the change")
	is.NoErr(err) // ask with a ticket that is no good
	is.Equal(reply, alice.Public().String()+": after the change")
	is.Equal(stats(t, client).Retried, uint64(1))

	is.NoErr(worker.SetKeys([]e2e.ServiceKey{{Key: newService(t).key}}))
	_, err = ask(client, "nobody has this key")
	is.True(errors.Is(err, e2e.ErrUnknownKey))
	is.True(!errors.Is(err, e2e.ErrRetry))
	is.Equal(stats(t, client).Retried, uint64(1+2)) // each of its keys once
	d, err := client.GetOption(mangos.OptionRecvDeadline)
	is.NoErr(err)
	is.Equal(d, patience) // as it was set
	best, err := client.GetOption(mangos.OptionBestEffort)
	is.NoErr(err)
	is.Equal(best, false) // as it was
}

// TestSealLate: a request that reaches the worker too late is sealed anew and
// answered, with and without a ticket.
func TestSealLate(t *testing.T) {
	is := is.New(t)
	sv, alice := newService(t), identity(t)
	var late atomic.Bool // once
	server := newSealed(t, rep.NewSocket, spmangos.SealConfig{
		Worker: sv.worker(trust.Keys(alice.Public()), func(c *e2e.WorkerConfig) {
			c.Now = func() time.Time {
				if late.CompareAndSwap(true, false) {
					return time.Now().Add(e2e.MaxWindow)
				}
				return time.Now()
			}
		}),
	})
	inBackground(t, func() { echo(server) })
	t.Cleanup(func() { server.Close() })
	client := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: sv.client(alice)})
	setOption(t, client, mangos.OptionRecvDeadline, patience)
	link(t, server, client)
	for i, body := range []string{"without a ticket", "with one"} {
		late.Store(true)
		reply, err := ask(client, body)
		is.NoErr(err) // ask
		is.Equal(reply, alice.Public().String()+": "+body)
		is.Equal(stats(t, client).Retried, uint64(1+i))
		is.Equal(stats(t, server).Dropped, uint64(1+i))
	}
}

// TestSealClear makes sure that clear messages pass only where both ends want
// that, and are told from sealed ones.
func TestSealClear(t *testing.T) {
	is := is.New(t)
	sv, alice := newService(t), identity(t)
	strict := newSealed(t, pull.NewSocket, spmangos.SealConfig{Worker: sv.worker(trust.Keys(alice.Public()), nil)})
	lax := newSealed(t, pull.NewSocket, spmangos.SealConfig{Worker: sv.worker(trust.Keys(alice.Public()), allowClear)})
	for _, receiver := range []mangos.Socket{strict, lax} {
		clear := newSealed(t, push.NewSocket, spmangos.SealConfig{Client: sv.client(alice), Clear: true})
		link(t, receiver, clear)
		is.NoErr(clear.Send([]byte("clear")))
		sealed := newSealed(t, push.NewSocket, spmangos.SealConfig{Client: sv.client(alice)})
		link(t, receiver, sealed)
		is.NoErr(sealed.Send([]byte("sealed")))
	}
	expectFrom(t, strict, "sealed", alice)
	for range 2 {
		m, err := lax.RecvMsg()
		is.NoErr(err) // receive
		from, ok := spmangos.ProvenanceOf(m)
		is.True(ok)
		_, proved := spmangos.Sender(m)
		is.Equal(from.Clear, string(m.Body) == "clear")
		is.Equal(proved, string(m.Body) == "sealed")
		m.Free()
	}

	server := newSealed(t, rep.NewSocket, spmangos.SealConfig{Worker: sv.worker(trust.Keys(), allowClear)})
	inBackground(t, func() { echo(server) })
	t.Cleanup(func() { server.Close() })
	client := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: sv.client(alice), Clear: true})
	link(t, server, client)
	reply, err := ask(client, "anybody may read this")
	is.NoErr(err) // ask
	is.Equal(reply, "no key: anybody may read this")
}

func TestCannotSeal(t *testing.T) {
	is := is.New(t)
	for _, open := range []func() (mangos.Socket, error){xreq.NewSocket, xrep.NewSocket, pair1.NewSocket} {
		sock := newSocket(t, open)
		_, err := spmangos.Seal(sock, spmangos.SealConfig{})
		is.True(errors.Is(err, spmangos.ErrCannotSeal))
	}
	for _, open := range []func() (mangos.Socket, error){
		req.NewSocket, rep.NewSocket, push.NewSocket, pull.NewSocket, pub.NewSocket, sub.NewSocket,
		bus.NewSocket, star.NewSocket, surveyor.NewSocket, respondent.NewSocket, pair.NewSocket,
	} {
		_, err := spmangos.Seal(newSocket(t, open), spmangos.SealConfig{})
		is.True(errors.Is(err, e2e.ErrConfig)) // the key is missing
	}
	sv := newService(t)
	sealed := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: sv.client(identity(t))})
	is.Equal(mangos.Device(sealed, newSocket(t, xrep.NewSocket)), mangos.ErrNotRaw) // devices do not open
}

// TestSealOwnership makes sure that a message that could not be sent is still
// the caller's, and unchanged.
func TestSealOwnership(t *testing.T) {
	is := is.New(t)
	sv, alice := newService(t), identity(t)
	for _, open := range []func() (mangos.Socket, error){req.NewSocket, push.NewSocket} {
		sock := newSealed(t, open, spmangos.SealConfig{Client: sv.client(alice)})
		if sock.Info().Self == mangos.ProtoPush {
			setOption(t, sock, mangos.OptionWriteQLen, 0)
		}
		setOption(t, sock, mangos.OptionSendDeadline, time.Millisecond)
		m := mangos.NewMessage(0)
		m.Body = append(m.Body, "nobody is there"...)
		is.Equal(sock.SendMsg(m), mangos.ErrSendTimeout)
		is.Equal(string(m.Body), "nobody is there")
		m.Body = make([]byte, 64<<10+1)
		is.True(errors.Is(sock.SendMsg(m), e2e.ErrTooLarge))
		m.Free()
		is.Equal(stats(t, sock), spmangos.SealStats{})
	}

	// A message that others share is sealed all the same, and not touched.
	server := newSealed(t, pull.NewSocket, spmangos.SealConfig{Worker: sv.worker(trust.Keys(alice.Public()), nil)})
	client := newSealed(t, push.NewSocket, spmangos.SealConfig{Client: sv.client(alice)})
	link(t, server, client)
	m := mangos.NewMessage(0)
	m.Body = append(m.Body, "shared"...)
	m.Clone()
	is.NoErr(client.SendMsg(m))
	expectFrom(t, server, "shared", alice)
	is.Equal(string(m.Body), "shared")
	m.Free()
}

// TestSealReplyStates makes sure that a REP answers what it gave out and
// nothing else.
func TestSealReplyStates(t *testing.T) {
	is := is.New(t)
	sv, alice := newService(t), identity(t)
	server := newSealed(t, rep.NewSocket, spmangos.SealConfig{Worker: sv.worker(trust.Keys(alice.Public()), nil)})
	client := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: sv.client(alice)})
	link(t, server, client)
	is.Equal(server.Send(nil), mangos.ErrProtoState) // nothing was asked
	is.NoErr(client.Send([]byte("a question")))
	expectFrom(t, server, "a question", alice)
	is.True(errors.Is(server.Send(make([]byte, 64<<10+1)), e2e.ErrTooLarge))
	is.NoErr(server.Send([]byte("shorter")))
	is.Equal(server.Send([]byte("again")), mangos.ErrProtoState)
	reply, err := client.Recv()
	is.NoErr(err) // receive
	is.Equal(string(reply), "shorter")

	// What was dropped cannot be answered.
	setOption(t, server, mangos.OptionRecvDeadline, 50*time.Millisecond)
	stranger := newSocket(t, req.NewSocket)
	link(t, server, stranger)
	is.NoErr(stranger.Send([]byte("not sealed")))
	_, err = server.Recv()
	is.Equal(err, mangos.ErrRecvTimeout)
	is.Equal(server.Send([]byte("to whom?")), mangos.ErrProtoState)
	is.Equal(stats(t, server).Dropped, uint64(1))
}

// TestSealDeadline keeps a receiver busy with garbage: its deadline is for all
// of it.
func TestSealDeadline(t *testing.T) {
	is := is.New(t)
	sv, alice := newService(t), identity(t)
	dropped := make(chan error, 1)
	server := newSealed(t, pull.NewSocket, spmangos.SealConfig{
		Worker: sv.worker(trust.Keys(alice.Public()), nil),
		OnDrop: func(m *mangos.Message, err error) {
			if string(m.Body) == "garbage" {
				select {
				case dropped <- err:
				default:
				}
			}
		},
	})
	noise := newSocket(t, push.NewSocket)
	link(t, server, noise)
	inBackground(t, func() {
		for noise.Send([]byte("garbage")) == nil {
		}
	})
	t.Cleanup(func() { noise.Close() })
	const deadline = 100 * time.Millisecond
	setOption(t, server, mangos.OptionRecvDeadline, deadline)
	results := make(chan error)
	for range 3 { // several wait at the same time
		go func() {
			began := time.Now()
			_, err := server.Recv()
			if took := time.Since(began); err == mangos.ErrRecvTimeout && took < deadline {
				err = fmt.Errorf("gave up after %v", took)
			}
			results <- err
		}()
	}
	for range 3 {
		is.Equal(await(t, results, "the deadline passed unnoticed"), mangos.ErrRecvTimeout)
	}
	is.True(errors.Is(await(t, dropped, "nothing was reported"), e2e.ErrMalformed))
	is.True(stats(t, server).Dropped > 1)
	d, err := server.GetOption(mangos.OptionRecvDeadline)
	is.NoErr(err)
	is.Equal(d, deadline)

	// The honest are heard in all this noise.
	setOption(t, server, mangos.OptionRecvDeadline, patience)
	client := newSealed(t, push.NewSocket, spmangos.SealConfig{Client: sv.client(alice)})
	link(t, server, client)
	is.NoErr(client.Send([]byte("can you hear me?")))
	expectFrom(t, server, "can you hear me?", alice)
}
