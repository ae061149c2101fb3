package spmangos_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	"go.nanomsg.org/mangos/v3/transport"
	_ "go.nanomsg.org/mangos/v3/transport/tcp" // plain peers

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/internal/quiccarrier"
	"github.com/securesp/securesp/spmangos"
)

// eachStream is each for the carriers that a stranger can simply write to.
func eachStream(t *testing.T, test func(t *testing.T, s scheme)) {
	t.Helper()
	for _, s := range schemes[:2] {
		t.Run(s.name, func(t *testing.T) {
			leak.Check(t)
			test(t, s)
		})
	}
}

// raw connects to a securesp URL without speaking.
func raw(t *testing.T, s scheme, url string) net.Conn {
	t.Helper()
	is := is.New(t)
	address := strings.TrimPrefix(url, s.name+"://")
	var c net.Conn
	var err error
	if s.network == "udp" {
		c, err = quiccarrier.Dial(t.Context(), &net.Dialer{}, "udp", address, quiccarrier.Options{})
	} else {
		c, err = net.Dial(s.network, address)
	}
	is.NoErr(err) // connect
	t.Cleanup(func() { c.Close() })
	is.NoErr(c.SetDeadline(time.Now().Add(patience)))
	return c
}

// rawListen listens on a securesp URL, for who will not answer as he should.
func rawListen(t *testing.T, s scheme, url string) net.Listener {
	t.Helper()
	is := is.New(t)
	address := strings.TrimPrefix(url, s.name+"://")
	var l net.Listener
	var err error
	if s.network == "udp" {
		var socket net.PacketConn
		socket, err = net.ListenPacket("udp", address)
		is.NoErr(err) // a socket
		l, err = quiccarrier.Listen(socket, quiccarrier.Options{MaxPending: 100})
	} else {
		l, err = net.Listen(s.network, address)
	}
	is.NoErr(err) // listen
	t.Cleanup(func() { l.Close() })
	return l
}

// TestProtocolMismatch: both sides see it, and the listener goes on.
func TestProtocolMismatch(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, client := configs(t)
		atServer, atClient := reportsOf(server), reportsOf(client)
		a, b := open(t, pair.NewSocket), open(t, req.NewSocket)
		url := a.listen(s.url(t), options(server))
		is.Equal(b.DialOptions(url, options(client)), mangos.ErrBadProto)
		for _, r := range []*securesp.HandshakeError{atServer.next(t), atClient.next(t)} {
			is.True(errors.Is(r, mangos.ErrBadProto))
			is.Equal(r.Stage, "verdict")
			is.True(!r.Peer.Key.IsZero()) // and who it was
		}
		// A securesp program that is no mangos program is a mismatch, too.
		c, err := securesp.Dial(s.network, strings.TrimPrefix(url, s.name+"://"), client)
		is.NoErr(err) // it is authorised, after all
		_, err = c.Read(make([]byte, 1))
		var closed *securesp.CloseError
		is.True(errors.As(err, &closed))
		is.Equal(closed.Code, securesp.CloseProtocolError)
		c.Close()
		is.True(errors.Is(atServer.next(t), mangos.ErrBadProto))

		good := open(t, pair.NewSocket)
		good.dial(url, options(client))
		good.send("still there")
		a.expect("still there")
	})
}

// TestWire speaks to a REP socket by the bytes of SPEC §4.8.
func TestWire(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, client := configs(t)
		atServer := reportsOf(server)
		sock := open(t, rep.NewSocket)
		address := strings.TrimPrefix(sock.listen(s.url(t), options(server)), s.name+"://")
		dial := func(own, peer []byte) *securesp.Conn {
			is.Helper()
			c := client.Clone()
			c.Extensions = make(map[uint8][]byte)
			if own != nil {
				c.Extensions[0x10] = own
			}
			if peer != nil {
				c.Extensions[0x11] = peer
			}
			conn, err := securesp.Dial(s.network, address, c)
			is.NoErr(err)
			return conn
		}
		req, rep := []byte{0, 0x30}, []byte{0, 0x31}
		for _, c := range [][2][]byte{
			{nil, nil}, {req, nil}, {nil, rep}, // absent
			{{0x30}, rep}, {req, {0x31}}, {{0, 0, 0x30}, rep}, {req, {}}, // of another length
			{rep, req}, {req, req}, {{0x30, 0}, {0x31, 0}}, // others
		} {
			conn := dial(c[0], c[1])
			_, err := conn.ReadMessage(nil)
			var closed *securesp.CloseError
			is.True(errors.As(err, &closed))
			is.Equal(int(closed.Code), 2)
			is.True(errors.Is(atServer.next(t), mangos.ErrBadProto))
			conn.Close()
		}
		conn := dial(req, rep)
		defer conn.Close()
		said := conn.ConnectionState().Extensions
		is.Equal(string(said[0x10]), "\x00\x31")
		is.Equal(string(said[0x11]), "\x00\x30")
		is.NoErr(conn.WriteMessage([]byte("\x80\x00\x00\x07ask"))) // REQ's header, then the body
		sock.expect("ask")
		sock.send("answer")
		m, err := conn.ReadMessage(nil)
		is.NoErr(err)
		is.Equal(string(m), "\x80\x00\x00\x07answer")
	})
}

// TestVersion: a peer of another version is told apart, under mangos' name, too.
func TestVersion(t *testing.T) {
	eachStream(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		_, client := configs(t)
		url := s.fixed(t)
		l := rawListen(t, s, url)
		answered := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				defer c.Close()
				if _, err = c.Read(make([]byte, 8192)); err == nil { // it is one write
					_, err = c.Write([]byte("\x00SPS\x02\x00\x00\x00"))
				}
				io.Copy(io.Discard, c)
			}
			answered <- err
		}()
		_, err := newDialer(t, s, url, options(client)).Dial()
		is.True(errors.Is(err, mangos.ErrBadVersion))
		is.True(errors.Is(err, securesp.ErrVersion))
		is.NoErr(<-answered)
	})
}

// TestServerAborts: one that hangs up in the midst of the handshake is told from
// one that is not there. Whoever dials in the background hears of it, too, and
// is connected once the server has come to its senses.
func TestServerAborts(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, client := configs(t)
		client.HandshakeTimeout = 3 * time.Second // a dial under way outlives its socket
		atClient := reportsOf(client)
		url := s.fixed(t)
		l := rawListen(t, s, url)
		aborting := make(chan struct{})
		go func() {
			defer close(aborting)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Read(make([]byte, 100)) // the beginning of HELLO
				c.Close()
			}
		}()
		_, err := newDialer(t, s, url, options(client)).Dial()
		var h *securesp.HandshakeError
		is.True(errors.As(err, &h))
		is.True(h.Initiator && h.Stage != "" && !timedOut(err))
		is.True(errors.Is(atClient.next(t), h.Err))

		b := open(t, pair.NewSocket)
		is.NoErr(b.DialOptions(url, options(client, mangos.OptionDialAsynch, true)))
		for range 3 {
			is.True(!timedOut(atClient.next(t)))
		}
		is.NoErr(l.Close())
		<-aborting
		if s.network == "udp" {
			return // the address stays in use for a while
		}
		a := open(t, pair.NewSocket)
		a.listen(url, options(server))
		b.send("at last")
		a.expect("at last")
	})
}

// TestPlainPeers: mangos without security on either side, told apart from
// other strangers.
func TestPlainPeers(t *testing.T) {
	eachStream(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		plain := strings.TrimPrefix(s.name, "securesp+")
		server, client := configs(t)
		atServer := reportsOf(server)

		a, b := open(t, pair.NewSocket), open(t, pair.NewSocket)
		url := a.listen(s.url(t), options(server))
		is.True(b.Dial(plain+strings.TrimPrefix(url, s.name)) != nil) // plain dials sealed
		is.True(errors.Is(atServer.next(t), securesp.ErrPlainSP))

		c, d := open(t, pair.NewSocket), open(t, pair.NewSocket)
		url = c.listen(plain+strings.TrimPrefix(s.url(t), s.name), nil)
		err := d.DialOptions(s.name+strings.TrimPrefix(url, plain), options(client)) // sealed dials plain
		is.True(errors.Is(err, securesp.ErrPlainSP))
		is.True(errors.Is(err, mangos.ErrBadHeader)) // mangos' name for it
	})
}

// TestSilentPeers: who says nothing costs a place for a bounded time, holds up
// nobody, and is gone when the listener closes.
func TestSilentPeers(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, client := configs(t)
		atServer := reportsOf(server)
		l := newListener(t, s, options(server))
		is.NoErr(l.Listen())
		var silent []net.Conn
		for range 20 {
			silent = append(silent, raw(t, s, l.Address()))
		}
		p, err := newDialer(t, s, l.Address(), options(client)).Dial()
		is.NoErr(err) // not held up
		q, err := l.Accept()
		is.NoErr(err)
		is.NoErr(l.Close())
		for _, c := range silent {
			_, err := c.Read(make([]byte, 1))
			is.True(err != nil && !timedOut(err)) // closed with the listener
		}
		// Some may have got no further than QUIC.
		is.True(len(atServer) == len(silent) || s.network == "udp")
		for len(atServer) > 0 {
			is.True(errors.Is(atServer.next(t), net.ErrClosed))
		}
		closed := make(chan error)
		go func() { closed <- p.Close() }()
		is.NoErr(q.Close())
		is.NoErr(<-closed)

		server.HandshakeTimeout = 30 * time.Millisecond
		l = newListener(t, s, options(server))
		is.NoErr(l.Listen())
		c := raw(t, s, l.Address())
		is.True(timedOut(atServer.next(t)))
		_, err = c.Read(make([]byte, 1))
		is.True(err != nil && !timedOut(err)) // hung up on
	})
}

// TestDialSilentServer: mangos cannot stop a dial, so it must stop by itself.
func TestDialSilentServer(t *testing.T) {
	eachStream(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		url := s.fixed(t)
		rawListen(t, s, url) // nobody will accept
		_, client := configs(t)
		client.HandshakeTimeout = 30 * time.Millisecond
		_, err := newDialer(t, s, url, options(client)).Dial()
		is.True(timedOut(err))
		var h *securesp.HandshakeError
		is.True(errors.As(err, &h)) // somebody listens, but does not answer
	})
}

// TestGarbageFlood: none of it comes out of Accept, where mangos would pause
// after each.
func TestGarbageFlood(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		strangers := 300
		if s.network == "udp" {
			strangers = 30 // QUIC turns away who comes while 32 wait to be accepted
		}
		is := is.New(t)
		server, client := configs(t)
		server.MaxPending = 2 * strangers // so that nobody is crowded out
		atServer := reportsOf(server)
		l := newListener(t, s, options(server))
		is.NoErr(l.Listen())
		var flood sync.WaitGroup
		for i := range strangers {
			c := raw(t, s, l.Address())
			flood.Go(func() {
				c.Write(pattern(100 + i)) // may well fail: the server hangs up early
				io.Copy(io.Discard, c)
				c.Close()
			})
		}
		p, err := newDialer(t, s, l.Address(), options(client)).Dial()
		is.NoErr(err)
		q, err := l.Accept()
		is.NoErr(err) // the first that comes out is the good one
		closed := make(chan error)
		go func() { closed <- p.Close() }()
		is.NoErr(q.Close())
		is.NoErr(<-closed)
		flood.Wait()
		for range strangers {
			is.True(errors.Is(atServer.next(t), securesp.ErrNotSecureSP)) // each is reported
		}
	})
}

// hello returns what a dialer sends first.
func hello(t *testing.T, s scheme, client *securesp.Config) []byte {
	t.Helper()
	is := is.New(t)
	url := s.fixed(t)
	l := rawListen(t, s, url)
	defer l.Close()
	d := newDialer(t, s, url, options(client))
	dialed := make(chan error)
	go func() {
		_, err := d.Dial()
		dialed <- err
	}()
	c, err := l.Accept()
	is.NoErr(err) // accept
	buf := make([]byte, 8192)
	n, err := c.Read(buf) // it is one write
	is.NoErr(err)
	c.Close()
	is.True(<-dialed != nil)
	return buf[:n]
}

// TestBrokenHellos truncates and garbles a genuine hello in many places, and
// hangs up in the midst of the handshake. Each is reported once, and none
// becomes a pipe. (Package securesp's tests take every byte.)
func TestBrokenHellos(t *testing.T) {
	eachStream(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, client := configs(t)
		first := hello(t, s, client)
		atServer := reportsOf(server)
		l := newListener(t, s, options(server))
		is.NoErr(l.Listen())
		accepted := make(chan transport.Pipe, 1)
		go func() {
			p, _ := l.Accept()
			accepted <- p
		}()
		send := func(b []byte, abort bool) {
			c := raw(t, s, l.Address())
			_, err := c.Write(b)
			is.NoErr(err)
			if abort {
				_, err := io.ReadFull(c, make([]byte, 100)) // part of the answer
				is.NoErr(err)
			}
			c.(interface{ CloseWrite() error }).CloseWrite()
			h := atServer.next(t)
			is.True(!h.Initiator)
			c.Close()
		}
		for n := 0; n < len(first); n += 61 {
			send(first[:n], false)
		}
		for i := 0; i < len(first); i += 61 {
			garbled := append([]byte(nil), first...)
			garbled[i] ^= 0x20
			send(garbled, false)
		}
		send(first, true) // replayed: answered, but never accepted
		is.NoErr(l.Close())
		is.Equal(<-accepted, nil)
		is.Equal(len(atServer), 0)
	})
}

// proxy is a man in the middle. From the moment damage is set it applies it to
// what the dialer sends.
type proxy struct {
	url    string
	mu     sync.Mutex
	damage func([]byte) (altered []byte, cut bool)
}

func newProxy(t *testing.T, s scheme, target string) *proxy {
	t.Helper()
	is := is.New(t)
	p := &proxy{url: s.fixed(t)}
	l, err := net.Listen(s.network, strings.TrimPrefix(p.url, s.name+"://"))
	is.NoErr(err) // listen
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial(s.network, strings.TrimPrefix(target, s.name+"://"))
			if err != nil {
				in.Close()
				continue
			}
			running.Go(func() { io.Copy(in, struct{ io.Reader }{out}); in.Close() }) // no splice: its pipes stay
			running.Go(func() { p.forward(out, in); out.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return p
}

func (p *proxy) forward(out, in net.Conn) {
	buf := make([]byte, 1<<16)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		damage := p.damage
		p.mu.Unlock()
		b, cut := buf[:n], false
		if damage != nil {
			b, cut = damage(b)
		}
		if _, err := out.Write(b); err != nil || cut {
			return
		}
	}
}

// TestDamagedFrames: truncated, altered, over-long, inserted and repeated
// records end the pipe without a message coming out, and the event hook learns
// why.
func TestDamagedFrames(t *testing.T) {
	for name, c := range map[string]struct {
		damage func([]byte) ([]byte, bool)
		reason error
	}{
		"truncated": {func(b []byte) ([]byte, bool) { return b[:len(b)/2], true }, io.ErrUnexpectedEOF},
		"cut":       {func(b []byte) ([]byte, bool) { return nil, true }, io.ErrUnexpectedEOF},
		"altered":   {func(b []byte) ([]byte, bool) { b[len(b)-1] ^= 1; return b, false }, securesp.ErrAuthentication},
		"type":      {func(b []byte) ([]byte, bool) { b[2] ^= 1; return b, false }, securesp.ErrAuthentication},
		"over-long": {func(b []byte) ([]byte, bool) { b[0], b[1] = 0xff, 0xff; return b, false }, securesp.ErrProtocol},
		"empty":     {func(b []byte) ([]byte, bool) { b[0], b[1] = 0, 0; return b, false }, securesp.ErrProtocol},
		"inserted":  {func(b []byte) ([]byte, bool) { return append(make([]byte, 40), b...), false }, securesp.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			eachStream(t, func(t *testing.T, s scheme) {
				is := is.New(t)
				sc, cc := configs(t)
				l := newListener(t, s, options(sc))
				is.NoErr(l.Listen())
				middle := newProxy(t, s, l.Address())
				client, err := newDialer(t, s, middle.url, options(cc)).Dial()
				is.NoErr(err) // the way is clear so far
				server, err := l.Accept()
				is.NoErr(err)
				middle.mu.Lock()
				middle.damage = c.damage
				middle.mu.Unlock()
				is.NoErr(client.Send(message(nil, pattern(500))))
				_, err = server.Recv()
				is.True(errors.Is(err, c.reason))
				reason, err := server.GetOption(spmangos.OptionCloseError)
				is.NoErr(err)
				is.True(errors.Is(reason.(error), c.reason))
				server.Close()
				client.Close()
			})
		})
	}
}

// TestStalledReader: who stops reading holds up the sender, but not its Close
// for ever, nor his own.
func TestStalledReader(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		for _, stalledFirst := range []bool{false, true} {
			is := is.New(t)
			sc, cc := configs(t)
			server, client := pipes(t, s, options(sc), options(cc))
			blocked := make(chan error, 1)
			go func() {
				for {
					m := message(nil, pattern(1<<20))
					if err := client.Send(m); err != nil {
						m.Free()
						blocked <- err
						return
					}
				}
			}()
			// The server reads a little, so that the sender is well under way.
			m, err := server.Recv()
			is.NoErr(err)
			m.Free()
			start := time.Now()
			if stalledFirst {
				_ = server.Close()
				is.True(<-blocked != nil) // it is told, and not left waiting
			} else {
				_ = client.Close() // what it could not send is lost, which it may say
				is.Equal(<-blocked, mangos.ErrClosed)
			}
			is.True(time.Since(start) < 10*time.Second) // twice what Close grants the peer
		}
	})
}
