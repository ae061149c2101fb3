package spmangos_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	"go.nanomsg.org/mangos/v3/protocol/xpair"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

// newPair returns a sealed PAIR.
func newPair(t testing.TB, role mechanism.Role, who *keys.Private, policy trust.Policy) mangos.Socket {
	is := is.New(t)
	is.Helper()
	p, err := e2e.NewPair(e2e.PairConfig{Role: role, Identity: who, Authorize: spmangos.Authorize(policy), MaxBody: 64 << 10})
	is.NoErr(err) // make a pair
	s := newSealed(t, pair.NewSocket, spmangos.SealConfig{Pair: p, HandshakeRetry: 20 * time.Millisecond})
	setOption(t, s, mangos.OptionRecvDeadline, patience)
	return s
}

// apart returns the ends of a sealed PAIR, and the two sockets between them that
// a test is to forward for, and to link them with.
func apart(t testing.TB) (here, there, front, back mangos.Socket) {
	alice, bob := identity(t), identity(t)
	here = newPair(t, mechanism.Initiator, alice, trust.Keys(bob.Public()))
	there = newPair(t, mechanism.Responder, bob, trust.Keys(alice.Public()))
	return here, there, newSocket(t, xpair.NewSocket), newSocket(t, xpair.NewSocket)
}

// unknownSession returns what asks an initiator to shake hands again.
func unknownSession() *mangos.Message {
	m := mangos.NewMessage(0)
	m.Body = append(m.Body, 0xEF, 3)
	return m
}

// closeFirst closes sockets at the end of the test, before what was put into the
// background so far is waited for: whoever waits for room waits no longer.
func closeFirst(t testing.TB, sockets ...mangos.Socket) {
	t.Cleanup(func() {
		for _, s := range sockets {
			s.Close()
		}
	})
}

func TestSealPair(t *testing.T) {
	is := is.New(t)
	alice, bob := identity(t), identity(t)
	front, back, spy := device(t, xpair.NewSocket, xpair.NewSocket)
	here := newPair(t, mechanism.Initiator, alice, trust.Keys(bob.Public()))
	there := newPair(t, mechanism.Responder, bob, trust.Keys(alice.Public()))

	// Nobody is there yet.
	setOption(t, here, mangos.OptionSendDeadline, time.Millisecond)
	is.Equal(here.Send([]byte("too early")), mangos.ErrSendTimeout)
	setOption(t, here, mangos.OptionBestEffort, true)
	is.NoErr(here.Send([]byte("too early"))) // is lost, as is best effort's way
	setOption(t, here, mangos.OptionBestEffort, false)
	setOption(t, here, mangos.OptionSendDeadline, patience)
	hooked := make(chan struct{}, 8)
	before := here.SetPipeEventHook(func(mangos.PipeEvent, mangos.Pipe) { hooked <- struct{}{} })
	is.True(before == nil)

	link(t, back, there)
	is.NoErr(front.Listen("inproc://seal-pair"))
	is.NoErr(here.Dial("inproc://seal-pair"))
	await(t, hooked, "the application's own hook was not called")
	for i := range 100 {
		is.NoErr(here.Send(fmt.Append(nil, "ping ", i)))
		expectFrom(t, there, fmt.Sprint("ping ", i), alice)
		is.NoErr(there.Send(fmt.Append(nil, "pong ", i)))
		expectFrom(t, here, fmt.Sprint("pong ", i), bob)
	}
	is.True(errors.Is(here.Send(make([]byte, 64<<10+1)), e2e.ErrTooLarge))
	is.True(!spy.saw("ping") && !spy.saw("pong") && !spy.saw("too early"))
	is.Equal(stats(t, there).Opened, uint64(100))
	setOption(t, here, mangos.OptionRecvDeadline, time.Millisecond)
	_, err := here.Recv()
	is.Equal(err, mangos.ErrRecvTimeout)
	_, err = here.OpenContext()
	is.Equal(err, mangos.ErrProtoOp)

	is.NoErr(here.Close())
	is.Equal(here.Close(), mangos.ErrClosed)
	is.Equal(here.Send(nil), mangos.ErrClosed)
	_, err = here.Recv()
	is.Equal(err, mangos.ErrClosed)
}

// TestSealPairMiddle damages, repeats and makes up messages of the handshake
// and the session.
func TestSealPairMiddle(t *testing.T) {
	is := is.New(t)
	here, there, front, back := apart(t)
	for from, to := range map[mangos.Socket]mangos.Socket{front: back, back: front} {
		first := true
		forward(t, from, func(m *mangos.Message) error {
			if first && m.Body[0] == 0xE7 { // the first of each is lost
				first = false
				return nil
			}
			damaged, replay := m.Dup(), m.Dup()
			damaged.Body[len(damaged.Body)-1]++
			for _, one := range []*mangos.Message{unknownSession(), damaged, m, replay} {
				if err := to.SendMsg(one); err != nil {
					return err
				}
			}
			return nil
		})
	}
	link(t, back, there)
	link(t, front, here)

	// Some are lost with messages of the handshake. None is altered or
	// delivered twice.
	const enough = 20
	done := make(chan struct{})
	inBackground(t, func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			if here.Send(fmt.Append(nil, "number ", i)) != nil {
				return
			}
		}
	})
	closeFirst(t, here, front, back)
	last := -1
	for range enough {
		m, err := there.RecvMsg()
		is.NoErr(err) // receive
		var n int
		_, err = fmt.Sscanf(string(m.Body), "number %d", &n)
		is.NoErr(err)
		is.True(n > last)
		last = n
		m.Free()
	}
	close(done)
	is.True(stats(t, there).Dropped > 0)
}

// TestSealPairRenews has somebody on the way make the ends shake hands again and
// again, which anybody there can. Nothing that they send meanwhile is lost.
func TestSealPairRenews(t *testing.T) {
	is := is.New(t)
	here, there, front, back := apart(t)
	var handshakes atomic.Int32
	forward(t, front, func(m *mangos.Message) error {
		if m.Body[0] == 0xE7 && m.Body[1] == 1 {
			handshakes.Add(1)
		}
		return back.SendMsg(m)
	})
	forward(t, back, func(m *mangos.Message) error {
		if err := front.SendMsg(unknownSession()); err != nil {
			return err
		}
		return front.SendMsg(m)
	})
	link(t, back, there)
	link(t, front, here)

	sent := make(chan error, 2)
	received := make(chan error, 2)
	for _, way := range []struct{ from, to mangos.Socket }{{here, there}, {there, here}} {
		inBackground(t, func() {
			var err error
			for i := 0; err == nil && handshakes.Load() < 10; i++ {
				err = way.from.Send(fmt.Append(nil, i))
			}
			sent <- errors.Join(err, way.from.Send([]byte("end")))
		})
		inBackground(t, func() {
			for i := 0; ; i++ {
				body, err := way.to.Recv()
				if err != nil || string(body) == "end" {
					received <- err
					return
				}
				if string(body) != fmt.Sprint(i) {
					received <- fmt.Errorf("%s after %d messages", body, i)
					return
				}
			}
		})
	}
	closeFirst(t, here, there, front, back)
	for range 2 {
		is.NoErr(await(t, received, "messages are stuck"))
		is.NoErr(await(t, sent, "a sender is stuck"))
	}
}

// TestSealPairStranger makes sure that a session is for those whom the policy
// admits.
func TestSealPairStranger(t *testing.T) {
	is := is.New(t)
	alice, bob, mallory := identity(t), identity(t), identity(t)
	refused := make(chan error, 1)
	p, err := e2e.NewPair(e2e.PairConfig{
		Role: mechanism.Responder, Identity: bob, Authorize: spmangos.Authorize(trust.Keys(alice.Public())),
	})
	is.NoErr(err)
	there := newSealed(t, pair.NewSocket, spmangos.SealConfig{Pair: p, OnDrop: func(_ *mangos.Message, err error) {
		select {
		case refused <- err:
		default:
		}
	}})
	here := newPair(t, mechanism.Initiator, mallory, trust.Keys(bob.Public()))
	link(t, there, here)
	is.True(errors.Is(await(t, refused, "nothing was refused"), e2e.ErrNotAuthorized))
	setOption(t, there, mangos.OptionSendDeadline, time.Millisecond)
	is.Equal(there.Send([]byte("for alice")), mangos.ErrSendTimeout)
}
