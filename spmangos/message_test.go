package spmangos_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	"go.nanomsg.org/mangos/v3/transport"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/allocs"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/spmangos"
)

func TestSizes(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		a, b := open(t, pair.NewSocket), open(t, pair.NewSocket)
		connect(t, s, a, b)
		sizes := []int{0}
		for n := 1; n <= 1<<20; n *= 2 {
			sizes = append(sizes, n)
		}
		for _, n := range sizes {
			body := pattern(n)
			for _, way := range [][2]*socket{{a, b}, {b, a}} {
				is.NoErr(way[0].Send(body)) // send
				got, err := way[1].Recv()
				is.NoErr(err)                   // receive
				is.True(bytes.Equal(got, body)) // the same
			}
		}
	})
}

// TestHeaderAndBody sees the two parts of a message arrive as one body, and
// the sender's message used as mangos demands.
func TestHeaderAndBody(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		sc, cc := configs(t)
		server, client := pipes(t, s, options(sc), options(cc))
		for _, n := range []int{0, 1, 100, 20_000, 70_000} {
			header, body := []byte{1, 2, 3, 4}, pattern(n)
			m := message(header, body)
			m.Clone() // as PUB does for each of its pipes, here twice the same
			for range 2 {
				is.True(bytes.Equal(m.Header, header)) // not changed
				is.True(bytes.Equal(m.Body, body))     // not encrypted in place
				is.NoErr(client.Send(m))
				got, err := server.Recv()
				is.NoErr(err)
				is.Equal(len(got.Header), 0)
				is.True(bytes.Equal(got.Body, append(header[:4:4], body...)))
				got.Free()
			}
		}
	})
}

// TestManyInARow overlaps sending and receiving, so that batches form, and
// checks order and content.
func TestManyInARow(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		const count = 20_000
		is := is.New(t)
		sc, cc := configs(t)
		server, client := pipes(t, s, options(sc), options(cc))
		sent := make(chan error, 1)
		go func() {
			sent <- func() error {
				for i := range count {
					header := binary.BigEndian.AppendUint32(nil, uint32(i))
					if err := client.Send(message(header, pattern(i%200))); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
		for i := range count {
			m, err := server.Recv()
			is.NoErr(err)
			is.Equal(binary.BigEndian.Uint32(m.Body), uint32(i)) // in order
			is.True(bytes.Equal(m.Body[4:], pattern(i%200)))
			m.Free()
		}
		is.NoErr(<-sent)
	})
}

// TestCloseFlushes: what was sent before Close arrives, however much it is.
func TestCloseFlushes(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		const count = 5000
		is := is.New(t)
		sc, cc := configs(t)
		server, client := pipes(t, s, options(sc), options(cc))
		closed := make(chan error, 1)
		go func() {
			for i := range count {
				if err := client.Send(message(nil, binary.BigEndian.AppendUint32(nil, uint32(i)))); err != nil {
					closed <- err
					return
				}
			}
			closed <- client.Close()
		}()
		for i := range count {
			m, err := server.Recv()
			is.NoErr(err)
			is.Equal(binary.BigEndian.Uint32(m.Body), uint32(i))
			m.Free()
		}
		_, err := server.Recv()
		is.Equal(err, mangos.ErrClosed)
		is.NoErr(<-closed)
	})
}

// TestMaxRecvSize sends messages around the receiver's limit, which counts the
// SP header. One that is too large is dropped where it comes from, and said to
// be; the connection lives on.
func TestMaxRecvSize(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		const limit = 3000
		is := is.New(t)
		sc, cc := configs(t)
		var log bytes.Buffer
		cc.Logger = slog.New(slog.NewTextHandler(&log, nil))
		dropped := make(chan int, 1)
		onDrop := func(m *mangos.Message, state securesp.ConnectionState) {
			if state.PeerMaxMessageSize == limit && state.Peer.Key == sc.Identity.Public() {
				dropped <- len(m.Header) + len(m.Body)
			}
		}
		server, client := pipes(t, s, options(sc, mangos.OptionMaxRecvSize, limit),
			options(cc, spmangos.OptionOnDrop, onDrop))
		size, err := server.GetOption(mangos.OptionMaxRecvSize)
		is.NoErr(err)
		is.Equal(size, limit)
		header := []byte{0x80, 0, 0, 1}
		for delta := -2; delta <= 0; delta++ {
			body := pattern(limit + delta - len(header))
			is.NoErr(client.Send(message(header, body)))
			m, err := server.Recv()
			is.NoErr(err)
			is.Equal(len(m.Body), limit+delta)
			m.Free()
		}
		for _, delta := range []int{1, 100_000} {
			is.NoErr(client.Send(message(header, pattern(limit+delta-len(header)))))
			is.Equal(<-dropped, limit+delta)
			is.True(strings.Contains(log.String(), "dropped")) // without a hook at least this
			log.Reset()
		}
		for n := 3; n <= 100; n++ {
			is.NoErr(client.Send(message(header, pattern(limit))))
			is.Equal(<-dropped, limit+len(header)) // the hook hears of each
			heard := strings.Contains(log.String(), fmt.Sprint("dropped=", n, " "))
			is.Equal(heard, n&(n-1) == 0) // the log does not
		}
		is.Equal(strings.Count(log.String(), "\n"), 5) // 4, 8, 16, 32, 64
		is.NoErr(client.Send(message(header, []byte("next"))))
		m, err := server.Recv()
		is.NoErr(err) // the connection lives on
		is.Equal(string(m.Body[4:]), "next")
		m.Free()
		sent := make(chan error, 1)
		go func() { sent <- server.Send(message(header, pattern(1<<20))) }()
		m, err = client.Recv()
		is.NoErr(err) // each side has its own limit, here none
		is.Equal(len(m.Body), 1<<20+4)
		m.Free()
		is.NoErr(<-sent)
	})
}

// TestOversizeRequest is what would make a REQ socket and its peer reconnect
// for ever.
func TestOversizeRequest(t *testing.T) {
	is := is.New(t)
	leak.Check(t)
	server, client := open(t, rep.NewSocket), open(t, req.NewSocket)
	sc, cc := configs(t)
	dropped := make(chan string, 1)
	onDrop := func(m *mangos.Message, _ securesp.ConnectionState) { dropped <- string(m.Body[:5]) }
	is.NoErr(server.SetOption(mangos.OptionMaxRecvSize, 1000))
	client.dial(server.listen(schemes[0].url(t), options(sc)), options(cc, spmangos.OptionOnDrop, onDrop))
	pipe := client.await(mangos.PipeEventAttached)

	is.NoErr(client.Send([]byte("large" + strings.Repeat(".", 1000))))
	is.Equal(<-dropped, "large")
	client.send("small") // cancels the other
	server.expect("small")
	server.send("answer")
	m, err := client.RecvMsg()
	is.NoErr(err)
	is.Equal(m.Pipe, pipe) // over the very same connection
	m.Free()
}

// poison is a peer that sends what it was told not to: it writes to the
// connection beneath mangos.
func poison(t *testing.T, config *securesp.Config, url string) *securesp.Conn {
	t.Helper()
	is := is.New(t)
	config = config.Clone()
	config.Extensions = map[uint8][]byte{0x10: {0, 16}, 0x11: {0, 16}} // PAIR
	scheme, address, _ := strings.Cut(url, "://")
	network := map[string]string{"securesp+tcp": "tcp", "securesp+ipc": "ipc", "securesp+udp": "udp"}[scheme]
	c, err := securesp.Dial(network, address, config)
	is.NoErr(err) // dial
	return c
}

func TestPoisonMessage(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		sc, cc := configs(t)
		l := newListener(t, s, options(sc, mangos.OptionMaxRecvSize, 1000))
		is.NoErr(l.Listen())
		c := poison(t, cc, l.Address())
		p, err := l.Accept()
		is.NoErr(err)
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(pattern(1001)) // a stream has no limit
			sent <- err
		}()
		_, err = p.Recv()
		is.Equal(err, mangos.ErrTooLong)
		is.NoErr(<-sent)
		_, err = c.Read(make([]byte, 1))
		is.True(errors.Is(err, securesp.ErrMessageTooLarge)) // and the peer learns why
		reason, err := p.GetOption(spmangos.OptionCloseError)
		is.NoErr(err)
		is.True(errors.Is(reason.(error), securesp.ErrMessageTooLarge))
		c.Close()
		p.Close()
	})
}

// TestPoisonedSocket sees one bad peer cost the others nothing, and the reason
// in the event hook.
func TestPoisonedSocket(t *testing.T) {
	is := is.New(t)
	leak.Check(t)
	sc, cc := configs(t)
	reasons := make(chan error, 1)
	sock, err := pair.NewSocket()
	is.NoErr(err)
	t.Cleanup(func() { sock.Close() })
	sock.SetPipeEventHook(func(kind mangos.PipeEvent, p mangos.Pipe) {
		if kind == mangos.PipeEventDetached {
			reason, _ := p.GetOption(spmangos.OptionCloseError)
			err, _ := reason.(error)
			reasons <- err
		}
	})
	l, err := sock.NewListener(schemes[0].url(t), options(sc, mangos.OptionMaxRecvSize, 10))
	is.NoErr(err)
	is.NoErr(l.Listen())
	c := poison(t, cc, l.Address())
	_, err = c.Write(pattern(11))
	is.NoErr(err)
	is.True(errors.Is(<-reasons, securesp.ErrMessageTooLarge))
	c.Close()
	good := open(t, pair.NewSocket)
	good.dial(l.Address(), options(cc))
	good.send("hello")
	m, err := sock.RecvMsg()
	is.NoErr(err)
	is.Equal(string(m.Body), "hello")
	m.Free()
	good.Close()
	is.NoErr(<-reasons) // that one ended well
}

// TestAllocations holds Send and Recv to what mangos itself allocates, which
// is nothing: its messages are pooled.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, and makes pools forget")
	}
	for _, s := range schemes[:2] { // QUIC allocates beneath us
		t.Run(s.name, func(t *testing.T) {
			is := is.New(t)
			sc, cc := configs(t)
			server, client := pipes(t, s, options(sc), options(cc))
			header, body := []byte{1, 2, 3, 4}, pattern(1000)
			trip := func() {
				for _, way := range [][2]transport.Pipe{{client, server}, {server, client}} {
					if err := way[0].Send(message(header, body)); err != nil {
						t.Error(err)
					}
					m, err := way[1].Recv()
					if err != nil {
						t.Error(err)
					}
					m.Free()
				}
			}
			is.True(allocs.PerRun(2000, trip) <= allocs.Few)
		})
	}
}
