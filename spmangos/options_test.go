package spmangos_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/spmangos"
)

func TestBadAddresses(t *testing.T) {
	is := is.New(t)
	leak.Check(t)
	sock := open(t, pair.NewSocket)
	for _, url := range []string{"securesp://127.0.0.1:1", "securesp+sctp://127.0.0.1:1", "SECURESP+TCP://127.0.0.1:1", "127.0.0.1:1"} {
		is.Equal(sock.Dial(url), mangos.ErrBadTran)
		is.Equal(sock.Listen(url), mangos.ErrBadTran)
	}
	for _, s := range schemes {
		is.Equal(s.tran.Scheme(), s.name)
		foreign := []string{"tcp://127.0.0.1:1", "127.0.0.1:1", ""}
		for _, url := range foreign {
			_, err := s.tran.NewDialer(url, sock)
			is.Equal(err, mangos.ErrBadTran)
			_, err = s.tran.NewListener(url, sock)
			is.Equal(err, mangos.ErrBadTran)
		}
	}
	for _, url := range []string{
		"securesp+tcp://", "securesp+tcp://127.0.0.1", "securesp+tcp://127.0.0.1:http-of-old",
		"securesp+tcp://127.0.0.1:65536", "securesp+tcp://::1:5", "securesp+udp://127.0.0.1",
		"securesp+udp://127.0.0.1:-1", "securesp+ipc://",
	} {
		is.True(sock.Dial(url) != nil)   // refused at once
		is.True(sock.Listen(url) != nil) // likewise
	}
}

func TestOptions(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, _ := configs(t)
		type endpoint interface {
			SetOption(string, interface{}) error
			GetOption(string) (interface{}, error)
		}
		hook := func(*mangos.Message, securesp.ConnectionState) {}
		url := s.fixed(t)
		for _, e := range []endpoint{newListener(t, s, nil), newDialer(t, s, url, nil)} {
			for name, value := range map[string]interface{}{
				spmangos.OptionConfig:    server,
				spmangos.OptionOnDrop:    hook,
				mangos.OptionMaxRecvSize: 1 << 10,
			} {
				is.NoErr(e.SetOption(name, value))
				is.Equal(e.SetOption(name, struct{}{}), mangos.ErrBadValue)
				is.Equal(e.SetOption(name, nil), mangos.ErrBadValue)
			}
			is.Equal(e.SetOption(spmangos.OptionConfig, (*securesp.Config)(nil)), mangos.ErrBadValue)
			is.Equal(e.SetOption(mangos.OptionMaxRecvSize, -1), mangos.ErrBadValue)
			size, err := e.GetOption(mangos.OptionMaxRecvSize)
			is.NoErr(err)
			is.Equal(size, 1<<10) // what was refused changed nothing

			for name, values := range map[string][2]interface{}{
				mangos.OptionNoDelay:       {true, false},
				mangos.OptionKeepAlive:     {true, false},
				mangos.OptionKeepAliveTime: {time.Duration(0), time.Minute},
			} {
				if s.network != "tcp" {
					is.Equal(e.SetOption(name, values[1]), mangos.ErrBadOption)
					_, err := e.GetOption(name)
					is.Equal(err, mangos.ErrBadOption)
					continue
				}
				is.Equal(e.SetOption(name, "yes"), mangos.ErrBadValue)
				got, err := e.GetOption(name)
				is.NoErr(err)
				is.Equal(got, values[0]) // the default
				is.NoErr(e.SetOption(name, values[1]))
				got, err = e.GetOption(name)
				is.NoErr(err)
				is.Equal(got, values[1])
			}
			// Secrets and hooks cannot be read, and nothing else is known.
			for _, name := range []string{spmangos.OptionConfig, spmangos.OptionOnDrop, spmangos.OptionState, mangos.OptionTLSConfig, ""} {
				_, err := e.GetOption(name)
				is.Equal(err, mangos.ErrBadOption)
			}
			for _, name := range []string{spmangos.OptionPeerKey, mangos.OptionTLSConfig, mangos.OptionLinger, ""} {
				is.Equal(e.SetOption(name, true), mangos.ErrBadOption)
			}
		}
		d, l := newDialer(t, s, url, nil), newListener(t, s, nil)
		is.Equal(l.SetOption(spmangos.OptionStopOnAuthError, true), mangos.ErrBadOption) // only who dials repeats
		is.Equal(d.SetOption(spmangos.OptionStopOnAuthError, 1), mangos.ErrBadValue)
		is.NoErr(d.SetOption(spmangos.OptionStopOnAuthError, true))
		stop, err := d.GetOption(spmangos.OptionStopOnAuthError)
		is.NoErr(err)
		is.Equal(stop, true)
		if s.network != "unix" {
			is.Equal(l.SetOption("UNIX-IPC-CHMOD", uint32(0o600)), mangos.ErrBadOption)
		}
	})
}

// TestPipeOptions looks at a connection the way handlers and hooks do.
func TestPipeOptions(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		a, b := open(t, pair.NewSocket), open(t, pair.NewSocket)
		server, client := configs(t)
		is.NoErr(a.SetOption(mangos.OptionMaxRecvSize, 1234))
		b.dial(a.listen(s.url(t), options(server)), options(client))
		for _, side := range []struct {
			pipe      mangos.Pipe
			peer      *securesp.Config
			initiator bool
			peerMax   uint64
		}{
			{a.await(mangos.PipeEventAttached), client, false, 1 << 20},
			{b.await(mangos.PipeEventAttached), server, true, 1234},
		} {
			key, ok := spmangos.PeerKey(side.pipe)
			is.True(ok)
			is.Equal(key, side.peer.Identity.Public())
			state, ok := spmangos.State(side.pipe)
			is.True(ok)
			is.Equal(state.Peer.Key, key)
			is.Equal(state.Initiator, side.initiator)
			is.Equal(state.PeerMaxMessageSize, side.peerMax) // mangos' option, both defaults included
			is.True(state.Traits.Secure)
			for _, name := range []string{spmangos.OptionConfig, spmangos.OptionOnDrop, mangos.OptionTLSConnState} {
				_, err := side.pipe.GetOption(name)
				is.Equal(err, mangos.ErrBadOption)
			}
			reason, err := side.pipe.GetOption(spmangos.OptionCloseError)
			is.NoErr(err)
			is.Equal(reason, nil) // it is alive
			is.True(strings.HasPrefix(side.pipe.Address(), s.name+"://"))
		}
		_, ok := spmangos.PeerKey(nil)
		is.True(!ok) // as of a message that was never received
	})
}

func TestMirroredAddresses(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		sc, cc := configs(t)
		server, client := pipes(t, s, options(sc), options(cc))
		get := func(p interface {
			GetOption(string) (interface{}, error)
		}, name string) string {
			is.Helper()
			v, err := p.GetOption(name)
			is.NoErr(err)
			return v.(interface{ String() string }).String()
		}
		is.Equal(get(server, mangos.OptionLocalAddr), get(client, mangos.OptionRemoteAddr))
		mirrored, local := get(server, mangos.OptionRemoteAddr), get(client, mangos.OptionLocalAddr)
		switch s.network {
		case "tcp":
			is.Equal(mirrored, local)
		case "udp": // the socket is bound to all interfaces
			is.Equal(mirrored[strings.LastIndex(mirrored, ":"):], local[strings.LastIndex(local, ":"):])
		}
	})
}

func TestWithoutConfig(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		sock := open(t, pair.NewSocket)
		url := s.fixed(t)
		is.True(errors.Is(sock.Listen(url), securesp.ErrConfig))
		is.True(errors.Is(sock.Dial(url), securesp.ErrConfig))
		server, client := configs(t)
		is.True(errors.Is(sock.ListenOptions(url, options(&securesp.Config{Identity: server.Identity})), securesp.ErrConfig)) // whom to trust?

		// A default fills in, and what is given goes before it.
		spmangos.SetDefault(client)
		t.Cleanup(func() { spmangos.SetDefault(nil) })
		sock.listen(url, options(server))
		other := open(t, pair.NewSocket)
		other.dial(url, nil)
		key, ok := spmangos.PeerKey(sock.await(mangos.PipeEventAttached))
		is.True(ok)
		is.Equal(key, client.Identity.Public())
	})
}

// TestNoConfigInBackground: nobody sees what an asynchronous dial returns, so
// the program's log has to say that there is no config, but not at each try.
func TestNoConfigInBackground(t *testing.T) {
	is := is.New(t)
	leak.Check(t)
	s := schemes[0]
	var lines bytes.Buffer
	divertLog(t, &lines)
	url := s.fixed(t)
	d := newDialer(t, s, url, nil)
	for range 3 {
		_, err := d.Dial()
		is.True(errors.Is(err, securesp.ErrConfig))
	}
	is.Equal(strings.Count(lines.String(), "\n"), 1) // said once
	is.True(strings.Contains(lines.String(), "OptionConfig") && strings.Contains(lines.String(), url))

	d = newDialer(t, s, url, map[string]interface{}{spmangos.OptionStopOnAuthError: true})
	_, err := d.Dial()
	is.True(errors.Is(err, securesp.ErrConfig))
	_, err = d.Dial()
	is.Equal(err, mangos.ErrClosed) // a mistake does not go away by itself

	// With mangos' own background dial, until there is a default.
	heard := make(lineWriter, 16)
	divertLog(t, heard)
	server, client := configs(t)
	a, b := open(t, pair.NewSocket), open(t, pair.NewSocket)
	is.NoErr(b.DialOptions(url, map[string]interface{}{mangos.OptionDialAsynch: true}))
	is.True(strings.Contains(<-heard, "OptionConfig"))
	spmangos.SetDefault(client)
	t.Cleanup(func() { spmangos.SetDefault(nil) })
	a.listen(url, options(server))
	a.await(mangos.PipeEventAttached)
}

// divertLog has the program's log go to w until the test ends.
func divertLog(t *testing.T, w io.Writer) {
	previous, output, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(slog.New(slog.NewTextHandler(w, nil)))
	t.Cleanup(func() {
		slog.SetDefault(previous)
		log.SetOutput(output) // SetDefault has changed both
		log.SetFlags(flags)
	})
}

// lineWriter gets the lines of a log.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// TestCannotConnect: that nobody is there is logged when it begins, and again
// after there was somebody.
func TestCannotConnect(t *testing.T) {
	is := is.New(t)
	leak.Check(t)
	s := schemes[0]
	sc, cc := configs(t)
	var log bytes.Buffer
	cc.Logger = slog.New(slog.NewTextHandler(&log, nil))
	url := s.fixed(t)
	d := newDialer(t, s, url, options(cc))
	count := func() int { return strings.Count(log.String(), "cannot connect") }
	for range 3 {
		_, err := d.Dial()
		is.Equal(err, mangos.ErrConnRefused)
	}
	is.Equal(count(), 1)
	l, err := s.tran.NewListener(url, info(t))
	is.NoErr(err)
	is.NoErr(l.SetOption(spmangos.OptionConfig, sc))
	is.NoErr(l.Listen())
	p, err := d.Dial()
	is.NoErr(err)
	q, err := l.Accept()
	is.NoErr(err)
	closed := make(chan error)
	go func() { closed <- p.Close() }()
	is.NoErr(q.Close())
	is.NoErr(<-closed)
	is.NoErr(l.Close())
	for range 2 {
		_, err := d.Dial()
		is.True(err != nil)
	}
	is.Equal(count(), 2)

	// A configuration that cannot work is reported by way of the hook.
	bad := &securesp.Config{Identity: cc.Identity} // whom to trust?
	reports := reportsOf(bad)
	sock := open(t, pair.NewSocket)
	is.NoErr(sock.DialOptions(url, options(bad, mangos.OptionDialAsynch, true, spmangos.OptionStopOnAuthError, true)))
	h := reports.next(t)
	is.Equal(h.Stage, "configuration")
	is.True(errors.Is(h, securesp.ErrConfig))
}

func TestAnonymousPort(t *testing.T) {
	leak.Check(t)
	for _, url := range []string{"securesp+tcp://127.0.0.1:0", "securesp+tcp://*:0", "securesp+tcp://:0", "securesp+tcp://[::1]:0", "securesp+udp://127.0.0.1:0", "securesp+udp://*:0"} {
		t.Run(url, func(t *testing.T) {
			is := is.New(t)
			sock, other := open(t, pair.NewSocket), open(t, pair.NewSocket)
			server, client := configs(t)
			l, err := sock.NewListener(url, options(server))
			is.NoErr(err) // make a listener
			is.Equal(strings.TrimSuffix(l.Address(), ":0") == l.Address(), false)
			is.NoErr(l.Listen())
			address := l.Address()
			is.True(!strings.HasSuffix(address, ":0")) // the real port
			other.dial(address, options(client))       // and it can be dialed as it is
			is.Equal(sock.await(mangos.PipeEventAttached).Address(), address)
		})
	}
}

func TestListenerLife(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, _ := configs(t)

		l := newListener(t, s, options(server))
		_, err := l.Accept()
		is.Equal(err, mangos.ErrClosed) // accept without listen
		is.NoErr(l.Listen())
		is.Equal(l.Listen(), mangos.ErrAddrInUse) // twice
		twin, err := s.tran.NewListener(l.Address(), info(t))
		is.NoErr(err)
		is.NoErr(twin.SetOption(spmangos.OptionConfig, server))
		is.Equal(twin.Listen(), mangos.ErrAddrInUse) // somebody else's address
		is.NoErr(twin.Close())
		is.NoErr(l.Close())
		is.NoErr(l.Close()) // twice
		_, err = l.Accept()
		is.Equal(err, mangos.ErrClosed)        // accept after close
		is.Equal(l.Listen(), mangos.ErrClosed) // listen after close

		l = newListener(t, s, options(server))
		is.NoErr(l.Close())                    // before anything
		is.Equal(l.Listen(), mangos.ErrClosed) // and for good

		l = newListener(t, s, options(server))
		is.NoErr(l.Listen())
		accepted := make(chan error)
		go func() {
			_, err := l.Accept()
			accepted <- err
		}()
		is.NoErr(l.Close())
		is.Equal(<-accepted, mangos.ErrClosed) // close while accepting
	})
}

func TestDialNobody(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		server, client := configs(t)
		l := newListener(t, s, options(server))
		is.NoErr(l.Listen())
		url := l.Address()
		is.NoErr(l.Close())
		if s.network == "udp" {
			client.HandshakeTimeout = 50 * time.Millisecond // nobody says that nobody is there
			_, err := newDialer(t, s, url, options(client)).Dial()
			is.True(timedOut(err))
			return
		}
		if s.network == "unix" {
			url = "securesp+ipc://" + leftover(t) // else it is fs.ErrNotExist
		}
		sock := open(t, pair.NewSocket)
		is.Equal(sock.DialOptions(url, options(client)), mangos.ErrConnRefused)
	})
}

// TestConnectionLost sees both sides told, and why.
func TestConnectionLost(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		is := is.New(t)
		sc, cc := configs(t)
		server, client := pipes(t, s, options(sc), options(cc))
		is.NoErr(client.Send(message(nil, []byte("last words"))))
		closed := make(chan error)
		go func() { closed <- client.Close() }()
		m, err := server.Recv()
		is.NoErr(err) // what was sent before Close arrives
		is.Equal(string(m.Body), "last words")
		m.Free()
		_, err = server.Recv()
		is.Equal(err, mangos.ErrClosed) // a clean end
		is.NoErr(<-closed)
		_, err = client.Recv()
		is.Equal(err, mangos.ErrClosed)
		m = message(nil, []byte("too late"))
		is.Equal(client.Send(m), mangos.ErrClosed)
		is.Equal(string(m.Body), "too late") // still the caller's
		m.Free()
		is.NoErr(client.Close()) // twice
		for _, p := range []interface {
			GetOption(string) (interface{}, error)
		}{server, client} {
			reason, err := p.GetOption(spmangos.OptionCloseError)
			is.NoErr(err)
			is.Equal(reason, nil) // nothing went wrong
		}
	})
}
