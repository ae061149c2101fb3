package spmangos_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/bus"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	"go.nanomsg.org/mangos/v3/protocol/pub"
	"go.nanomsg.org/mangos/v3/protocol/pull"
	"go.nanomsg.org/mangos/v3/protocol/push"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	"go.nanomsg.org/mangos/v3/protocol/respondent"
	"go.nanomsg.org/mangos/v3/protocol/star"
	"go.nanomsg.org/mangos/v3/protocol/sub"
	"go.nanomsg.org/mangos/v3/protocol/surveyor"
	"go.nanomsg.org/mangos/v3/protocol/xbus"
	"go.nanomsg.org/mangos/v3/protocol/xpair"
	"go.nanomsg.org/mangos/v3/protocol/xpub"
	"go.nanomsg.org/mangos/v3/protocol/xpull"
	"go.nanomsg.org/mangos/v3/protocol/xpush"
	"go.nanomsg.org/mangos/v3/protocol/xrep"
	"go.nanomsg.org/mangos/v3/protocol/xreq"
	"go.nanomsg.org/mangos/v3/protocol/xrespondent"
	"go.nanomsg.org/mangos/v3/protocol/xstar"
	"go.nanomsg.org/mangos/v3/protocol/xsub"
	"go.nanomsg.org/mangos/v3/protocol/xsurveyor"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
)

type opener = func() (mangos.Socket, error)

// scalability lists mangos' patterns: what listens, what dials, the raw
// sockets of a device between them, and what is asked and answered. The
// dialing side sends first.
var scalability = []struct {
	name                string
	listens, dials      opener
	towards, on         opener // a device's ends: the dialing socket's peer, and the listening one's
	oneWay, fromListens bool
}{
	{"REQ", rep.NewSocket, req.NewSocket, xrep.NewSocket, xreq.NewSocket, false, false},
	{"PUB", pub.NewSocket, sub.NewSocket, xpub.NewSocket, xsub.NewSocket, true, true},
	{"PUSH", pull.NewSocket, push.NewSocket, xpull.NewSocket, xpush.NewSocket, true, false},
	{"SURVEY", surveyor.NewSocket, respondent.NewSocket, xsurveyor.NewSocket, xrespondent.NewSocket, false, true},
	{"BUS", bus.NewSocket, bus.NewSocket, xbus.NewSocket, xbus.NewSocket, false, false},
	{"STAR", star.NewSocket, star.NewSocket, xstar.NewSocket, xstar.NewSocket, false, false},
	{"PAIR", pair.NewSocket, pair.NewSocket, xpair.NewSocket, xpair.NewSocket, false, false},
}

// talk exchanges messages in the way of the pattern.
func talk(first, second *socket, oneWay bool) {
	first.t.Helper()
	for i := range 3 {
		first.send(fmt.Sprint("ask ", i))
		second.expect(fmt.Sprint("ask ", i))
		if !oneWay {
			second.send(fmt.Sprint("answer ", i))
			first.expect(fmt.Sprint("answer ", i))
		}
	}
}

// subscribe subscribes to everything, if s is a SUB.
func subscribe(s *socket) {
	s.t.Helper()
	is := is.New(s.t)
	if err := s.SetOption(mangos.OptionSubscribe, ""); err != nil {
		is.Equal(err, mangos.ErrBadOption)
	}
}

func TestPatterns(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		for _, p := range scalability {
			t.Run(p.name, func(t *testing.T) {
				listens, dials := open(t, p.listens), open(t, p.dials)
				subscribe(dials)
				connect(t, s, listens, dials)
				if p.fromListens {
					talk(listens, dials, p.oneWay)
				} else {
					talk(dials, listens, p.oneWay)
				}
			})
		}
	})
}

// chain puts n devices, one behind the other, between the address to which
// listens is bound and the one that it returns, each hop over another
// transport and with keys of its own.
func chain(t *testing.T, n int, listens *socket, towards, on opener) (url string, client *securesp.Config) {
	t.Helper()
	is := is.New(t)
	sc, cc := configs(t)
	url = listens.listen(schemes[0].url(t), options(sc))
	previous := listens
	for i := range n {
		back, front := open(t, on), open(t, towards)
		if back.Info().SelfName == "sub" {
			subscribe(back)
		}
		back.dial(url, options(cc))
		previous.await(mangos.PipeEventAttached)
		sc, cc = configs(t)
		url = front.listen(schemes[(i+1)%len(schemes)].url(t), options(sc))
		is.NoErr(mangos.Device(back.Socket, front.Socket))
		previous = front
	}
	return url, cc
}

func TestDevices(t *testing.T) {
	for _, n := range []int{1, 3} {
		for _, p := range scalability {
			t.Run(fmt.Sprint(n, " ", p.name), func(t *testing.T) {
				leak.Check(t)
				listens, dials := open(t, p.listens), open(t, p.dials)
				subscribe(dials)
				url, cc := chain(t, n, listens, p.towards, p.on)
				dials.dial(url, options(cc))
				dials.await(mangos.PipeEventAttached)
				if p.fromListens {
					// Attaching at the last device goes on
					// beside ours: PUB and SURVEYOR forget
					// those who are not there yet.
					untilHeard(t, listens, dials)
					talk(listens, dials, p.oneWay)
				} else {
					talk(dials, listens, p.oneWay)
				}
			})
		}
	}
}

// untilHeard repeats a message until the other side has it, and then sees to
// it that none is left on the way.
func untilHeard(t *testing.T, from, to *socket) {
	t.Helper()
	is := is.New(t)
	heard := make(chan error, 1)
	go func() {
		m, err := to.Recv()
		if err == nil && string(m) != "are you there?" {
			err = fmt.Errorf("got %q", m)
		}
		heard <- err
	}()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for waiting := true; waiting; {
		from.send("are you there?")
		select {
		case err := <-heard:
			is.NoErr(err)
			waiting = false
		case <-again.C:
		}
	}
	from.send("now then")
	for {
		m, err := to.Recv()
		is.NoErr(err)
		if string(m) == "now then" {
			return
		}
		is.Equal(string(m), "are you there?")
	}
}

// TestShared sends messages to many peers at once, all of whose pipes read the
// same mangos.Message.
func TestShared(t *testing.T) {
	for _, p := range []struct {
		name       string
		hub, spoke opener
	}{
		{"PUB", pub.NewSocket, sub.NewSocket},
		{"SURVEY", surveyor.NewSocket, respondent.NewSocket},
		{"BUS", bus.NewSocket, bus.NewSocket},
		{"STAR", star.NewSocket, star.NewSocket},
	} {
		t.Run(p.name, func(t *testing.T) {
			each(t, func(t *testing.T, s scheme) {
				is := is.New(t)
				sc, cc := configs(t)
				hub := open(t, p.hub)
				url := hub.listen(s.url(t), options(sc))
				var spokes []*socket
				for range 20 {
					spoke := open(t, p.spoke)
					subscribe(spoke)
					spoke.dial(url, options(cc))
					hub.await(mangos.PipeEventAttached)
					spokes = append(spokes, spoke)
				}
				for _, n := range []int{0, 1, 100, 5000, 40_000, 100_000} {
					body := pattern(n)
					is.NoErr(hub.Send(body))
					for _, spoke := range spokes {
						got, err := spoke.Recv()
						is.NoErr(err)
						is.True(bytes.Equal(got, body))
					}
				}
			})
		})
	}
}

// TestLoop has one socket be both ends of a device: it sends everything back
// to where it came from (PAIR) or to the others (BUS).
func TestLoop(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		echo, a := open(t, xpair.NewSocket), open(t, pair.NewSocket)
		connect(t, s, echo, a)
		is.NoErr(mangos.Device(echo.Socket, nil))
		for i := range 10 {
			a.send(fmt.Sprint(i))
			a.expect(fmt.Sprint(i))
		}

		hub := open(t, xbus.NewSocket)
		sc, cc := configs(t)
		url := hub.listen(s.url(t), options(sc))
		is.NoErr(mangos.Device(hub.Socket, hub.Socket))
		var members []*socket
		for range 3 {
			m := open(t, bus.NewSocket)
			m.dial(url, options(cc))
			hub.await(mangos.PipeEventAttached)
			members = append(members, m)
		}
		for i, m := range members {
			m.send(fmt.Sprint("from ", i))
			for j, other := range members {
				if j != i {
					other.expect(fmt.Sprint("from ", i)) // all but the sender
				}
			}
		}
	})
}

// TestReconnect takes a server away and brings another to the same address.
func TestReconnect(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		sc, cc := configs(t)
		client := open(t, req.NewSocket)
		url := s.fixed(t)
		cc.HandshakeTimeout = time.Second // UDP's sign of nobody there
		// Connecting late: nobody is there yet.
		is.NoErr(client.DialOptions(url, options(cc, mangos.OptionDialAsynch, true)))
		var server *socket
		for round := range 4 {
			if server == nil {
				server = open(t, rep.NewSocket)
				server.listen(url, options(sc))
			}
			p := server.await(mangos.PipeEventAttached)
			client.await(mangos.PipeEventAttached)
			client.send(fmt.Sprint("round ", round))
			server.expect(fmt.Sprint("round ", round))
			server.send("yes")
			client.expect("yes")
			if round%2 == 0 || s.network == "udp" { // a UDP address is not free again at once
				is.NoErr(p.Close()) // the connection alone
			} else {
				is.NoErr(server.Close())
				server.await(mangos.PipeEventDetached)
				server = nil
			}
			client.await(mangos.PipeEventDetached)
		}
	})
}

// TestManyClients has 200 clients, each with a key of its own, ask at once.
func TestManyClients(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		clients, rounds := 200, 5
		if raceEnabled {
			clients = 50
		}
		is := is.New(t)
		sc, cc := configs(t)
		server := open(t, rep.NewSocket)
		url := server.listen(s.url(t), options(sc))
		var serving sync.WaitGroup
		for range 4 {
			ctx, err := server.OpenContext()
			is.NoErr(err)
			serving.Go(func() {
				for {
					m, err := ctx.RecvMsg()
					if err != nil || ctx.SendMsg(m) != nil {
						return
					}
				}
			})
		}
		failed := make(chan error, clients)
		var asking sync.WaitGroup
		for i := range clients {
			c := open(t, req.NewSocket)
			asking.Go(func() {
				failed <- func() error {
					// In the background, so that one that is too
					// late on a busy machine is repeated.
					if err := c.DialOptions(url, options(cc, mangos.OptionDialAsynch, true)); err != nil {
						return err
					}
					for j := range rounds {
						question := fmt.Sprint(i, " ", j)
						if err := c.Send([]byte(question)); err != nil {
							return err
						}
						answer, err := c.Recv()
						if err != nil {
							return err
						}
						if string(answer) != question {
							return fmt.Errorf("asked %q, got %q", question, answer)
						}
					}
					return nil
				}()
			})
		}
		asking.Wait()
		for range clients {
			is.NoErr(<-failed)
		}
		server.Close()
		serving.Wait()
	})
}

// TestRekey goes on across changes of keys, which come every 2^16 records, in
// both directions at once. Beneath one end is a plain Conn, which counts them.
func TestRekey(t *testing.T) {
	const count = 1<<16 + 1<<12
	is := is.New(t)
	leak.Check(t)
	s := schemes[1]
	sc, cc := configs(t)
	sc.NoCoalescing, cc.NoCoalescing = true, true // a record for each message
	l := newListener(t, s, options(sc))
	is.NoErr(l.Listen())
	c := poison(t, cc, l.Address()) // well-behaved, this time
	p, err := l.Accept()
	is.NoErr(err)
	sent := make(chan error, 2)
	go func() {
		for i := range count {
			if err := p.Send(message(nil, binary.BigEndian.AppendUint32(nil, uint32(i)))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	go func() {
		for i := range count {
			if err := c.WriteMessage(binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	received := make(chan error, 1)
	go func() {
		received <- func() error {
			for i := range count {
				m, err := c.ReadMessage(nil)
				if err != nil {
					return err
				}
				if binary.BigEndian.Uint32(m) != uint32(i) {
					return fmt.Errorf("message %d is %x", i, m)
				}
			}
			return nil
		}()
	}()
	for i := range count {
		m, err := p.Recv()
		is.NoErr(err)
		is.Equal(binary.BigEndian.Uint32(m.Body), uint32(i))
		m.Free()
	}
	is.NoErr(<-sent)
	is.NoErr(<-sent)
	is.NoErr(<-received)
	stats := c.Stats()
	is.True(stats.RekeysSent >= 1 && stats.RekeysReceived >= 1) // keys did change
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	is.NoErr(p.Close())
	<-closed
}
