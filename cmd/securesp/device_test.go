package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/bus"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	mangospub "go.nanomsg.org/mangos/v3/protocol/pub"
	"go.nanomsg.org/mangos/v3/protocol/pull"
	"go.nanomsg.org/mangos/v3/protocol/push"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	"go.nanomsg.org/mangos/v3/protocol/respondent"
	"go.nanomsg.org/mangos/v3/protocol/star"
	"go.nanomsg.org/mangos/v3/protocol/sub"
	"go.nanomsg.org/mangos/v3/protocol/surveyor"
)

// plainSocket is a program's socket that knows nothing of security.
type plainSocket struct {
	mangos.Socket
	t *testing.T
}

func openPlain(t *testing.T, open func() (mangos.Socket, error)) plainSocket {
	t.Helper()
	is := is.New(t)
	s, err := open()
	is.NoErr(err) // open the socket
	t.Cleanup(func() { s.Close() })
	for _, name := range []string{mangos.OptionRecvDeadline, mangos.OptionSendDeadline} {
		if err := s.SetOption(name, 20*time.Second); err != nil {
			is.Equal(err, mangos.ErrBadOption) // not every pattern has both
		}
	}
	if s.Info().SelfName == "sub" {
		is.NoErr(s.SetOption(mangos.OptionSubscribe, ""))
	}
	return plainSocket{s, t}
}

// give sends text and sees it arrive.
func (s plainSocket) give(to plainSocket, text string) {
	s.t.Helper()
	is := is.New(s.t)
	is.NoErr(s.Send([]byte(text))) // send
	got, err := to.Recv()
	is.NoErr(err) // receive
	is.Equal(string(got), text)
}

// TestDevice puts two devices between plain programs, for each pattern.
func TestDevice(t *testing.T) {
	for name, sockets := range map[string]struct {
		begins, answers func() (mangos.Socket, error)
		oneWay          bool
	}{
		"reqrep":   {req.NewSocket, rep.NewSocket, false},
		"pubsub":   {mangospub.NewSocket, sub.NewSocket, true},
		"pipeline": {push.NewSocket, pull.NewSocket, true},
		"survey":   {surveyor.NewSocket, respondent.NewSocket, false},
		"pair":     {pair.NewSocket, pair.NewSocket, false},
		"bus":      {bus.NewSocket, bus.NewSocket, false},
		"star":     {star.NewSocket, star.NewSocket, false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := newCast(t)
			begins, answers := openPlain(t, sockets.begins), openPlain(t, sockets.answers)
			l, err := answers.NewListener("tcp://127.0.0.1:0", nil)
			is.NoErr(err)
			is.NoErr(l.Listen())
			bob, sealed := listening(t, nil, c.asBob("device", name, "listen", "securesp+tcp://127.0.0.1:0", "dial", l.Address())...)
			alice, plain := listening(t, nil, c.asAlice("device", name, "listen", "ipc://"+filepath.Join(c.dir, "plain"), "dial", sealed)...)
			is.NoErr(begins.Dial(plain))
			alice.err.await(t, `msg=connected address=ipc`)
			alice.err.await(t, `msg=connected address=securesp\S+ peer=`+c.bob)
			bob.err.await(t, `msg=connected address=securesp\S+ peer=`+c.alice)
			bob.err.await(t, `msg=connected address=tcp`)
			for i := range 3 {
				begins.give(answers, fmt.Sprint("there ", i))
				if !sockets.oneWay {
					answers.give(begins, fmt.Sprint("and back ", i))
				}
			}
		})
	}
}

// TestDeviceStranger sees a refused device say so on both sides, and end when
// it is told to.
func TestDeviceStranger(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	bob, sealed := listening(t, nil, c.asBob("device", "pair", "listen", "securesp+ipc://"+filepath.Join(c.dir, "s"), "dial", "tcp://127.0.0.1:1")...)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stray := launch(ctx, strings.NewReader(""), "device", "pair", "listen", "tcp://127.0.0.1:0", "dial", sealed, "-i", c.strayKey, "--peer", c.bob)
	stray.err.await(t, "handshake failed")
	bob.err.await(t, "handshake failed")
	cancel()
	is.Equal((<-stray.done).code, exitOK)
}

// TestDeviceOverUDP has the two devices meet over UDP.
func TestDeviceOverUDP(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	a, b := openPlain(t, pair.NewSocket), openPlain(t, pair.NewSocket)
	l, err := b.NewListener("tcp://127.0.0.1:0", nil)
	is.NoErr(err)
	is.NoErr(l.Listen())
	bob, sealed := listening(t, nil, c.asBob("device", "pair", "listen", "securesp+udp://127.0.0.1:0", "dial", l.Address())...)
	is.True(strings.HasPrefix(sealed, "securesp+udp://"))
	alice, plain := listening(t, nil, c.asAlice("device", "pair", "listen", "tcp://127.0.0.1:0", "dial", sealed)...)
	is.NoErr(a.Dial(plain))
	alice.err.await(t, `msg=connected address=securesp\+udp\S+ peer=`+c.bob)
	bob.err.await(t, `msg=connected address=tcp`)
	a.give(b, "there")
	b.give(a, "and back")
}

func TestDeviceUsage(t *testing.T) {
	c := newCast(t)
	for name, args := range map[string][]string{
		"unknown pattern": {"reprap", "listen", "securesp+tcp://:1", "dial", "tcp://:2"},
		"neither way":     {"pair", "lisp", "securesp+tcp://:1", "dial", "tcp://:2"},
		"neither sealed":  {"pair", "listen", "ipc:///x", "dial", "tcp://:2"},
		"plain UDP":       {"pair", "listen", "udp://:1", "dial", "securesp+tcp://:2"},
		"one side":        {"pair", "listen", "securesp+tcp://:1"},
		"size":            {"pair", "listen", "securesp+tcp://:1", "dial", "tcp://:2", "--max-size", "-1"},
		"late mistake":    {"pair", "listen", "tcp://127.0.0.1:0", "dial", "securesp+tcp://:2", "--suite", "XXhfs+psk3"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := invoke("", c.asAlice(append([]string{"device"}, args...)...)...)
			is.Equal(r.code, exitUsage)
			is.Equal(r.out, "")
		})
	}
}

// TestDeviceExposed sees a warning where others can reach the plain side.
func TestDeviceExposed(t *testing.T) {
	c := newCast(t)
	r, _ := listening(t, nil, c.asAlice("device", "pair", "listen", "tcp://:0", "dial", "securesp+tcp://127.0.0.1:1")...)
	r.err.await(t, "open to other machines")
}
