package spmangos_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	mangostest "go.nanomsg.org/mangos/v3/test"
	"go.nanomsg.org/mangos/v3/transport"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience bounds each wait for something that must happen.
const patience = 20 * time.Second

// scheme is a transport under test.
type scheme struct {
	name, network string
	tran          transport.Transport
}

var schemes = []scheme{
	{"securesp+tcp", "tcp", spmangos.TCP},
	{"securesp+ipc", "unix", spmangos.IPC},
	{"securesp+udp", "udp", spmangos.UDP},
}

// url returns an address to listen on that is nobody else's.
func (s scheme) url(t testing.TB) string {
	t.Helper()
	if s.network == "unix" {
		return s.name + "://" + filepath.Join(t.TempDir(), "s")
	}
	return s.name + "://127.0.0.1:0"
}

// fixed returns an address like url, but with a port that stays the same.
func (s scheme) fixed(t testing.TB) string {
	t.Helper()
	if s.network == "unix" {
		return s.url(t)
	}
	return s.name + "://" + testnet.FreeAddress(t)
}

// each runs a test over every transport, each time looking for leftovers.
func each(t *testing.T, test func(t *testing.T, s scheme)) {
	t.Helper()
	for _, s := range schemes {
		t.Run(s.name, func(t *testing.T) {
			leak.Check(t)
			test(t, s)
		})
	}
}

func TestTransportSuite(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		server, _ := configs(t)
		server.Trust = trust.Keys(server.Identity.Public())
		spmangos.SetDefault(server)
		t.Cleanup(func() { spmangos.SetDefault(nil) })
		mangostest.NewTranTest(tidy{s.tran, t}, s.fixed(t)).TestAll(t)
	})
}

// tidy closes, at the end of the test, the pipes that mangos' suite forgets.
type tidy struct {
	transport.Transport
	t *testing.T
}

func (t tidy) NewDialer(url string, sock mangos.Socket) (transport.Dialer, error) {
	d, err := t.Transport.NewDialer(url, sock)
	if err != nil {
		return nil, err
	}
	return tidyDialer{d, t.t}, nil
}

type tidyDialer struct {
	transport.Dialer
	t *testing.T
}

func (d tidyDialer) Dial() (transport.Pipe, error) {
	p, err := d.Dialer.Dial()
	if err == nil {
		d.t.Cleanup(func() { p.Close() })
	}
	return p, err
}

func identity(t testing.TB) *keys.Private {
	t.Helper()
	k, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// configs returns configs of two that trust each other.
func configs(t testing.TB) (server, client *securesp.Config) {
	t.Helper()
	s, c := identity(t), identity(t)
	return &securesp.Config{Identity: s, Trust: trust.Keys(c.Public())},
		&securesp.Config{Identity: c, Trust: trust.Keys(s.Public())}
}

// rewrite replaces a file by one with the given lines, at one stroke.
func rewrite(t testing.TB, path string, lines ...string) {
	t.Helper()
	is := is.New(t)
	is.NoErr(os.WriteFile(path+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	is.NoErr(os.Rename(path+".new", path))
}

// options returns mangos options: those for config, and more in pairs of name
// and value.
func options(config *securesp.Config, more ...interface{}) map[string]interface{} {
	o := spmangos.Options(config)
	for i := 0; i < len(more); i += 2 {
		o[more[i].(string)] = more[i+1]
	}
	return o
}

// socket is a mangos socket whose pipe events can be waited for.
type socket struct {
	mangos.Socket
	t      testing.TB
	events chan event
}

type event struct {
	kind mangos.PipeEvent
	pipe mangos.Pipe
}

// open opens a socket that is closed at the end of the test.
func open(t testing.TB, newSocket func() (mangos.Socket, error)) *socket {
	t.Helper()
	is := is.New(t)
	sock, err := newSocket()
	is.NoErr(err) // open the socket
	s := &socket{Socket: sock, t: t, events: make(chan event, 4096)}
	sock.SetPipeEventHook(func(kind mangos.PipeEvent, p mangos.Pipe) {
		s.events <- event{kind, p}
	})
	is.NoErr(sock.SetOption(mangos.OptionReconnectTime, time.Millisecond))
	for _, name := range []string{mangos.OptionRecvDeadline, mangos.OptionSendDeadline} {
		if err := sock.SetOption(name, patience); err != nil {
			is.Equal(err, mangos.ErrBadOption) // not every pattern has both
		}
	}
	t.Cleanup(func() { sock.Close() })
	return s
}

// await waits for the next event of that kind and returns its pipe. Events of
// other kinds are passed over.
func (s *socket) await(kind mangos.PipeEvent) mangos.Pipe {
	s.t.Helper()
	expired := time.After(patience)
	for {
		select {
		case e := <-s.events:
			if e.kind == kind {
				return e.pipe
			}
		case <-expired:
			s.t.Fatal("the awaited pipe event did not come")
		}
	}
}

// listen listens and returns the address to dial.
func (s *socket) listen(url string, o map[string]interface{}) string {
	s.t.Helper()
	is := is.New(s.t)
	l, err := s.NewListener(url, o)
	is.NoErr(err)        // make a listener
	is.NoErr(l.Listen()) // listen
	return l.Address()
}

func (s *socket) dial(url string, o map[string]interface{}) {
	s.t.Helper()
	is := is.New(s.t)
	is.NoErr(s.DialOptions(url, o)) // dial
}

// connect joins two sockets and waits until both have noticed.
func connect(t testing.TB, s scheme, listens, dials *socket) {
	t.Helper()
	server, client := configs(t)
	dials.dial(listens.listen(s.url(t), options(server)), options(client))
	listens.await(mangos.PipeEventAttached)
	dials.await(mangos.PipeEventAttached)
}

func (s *socket) send(body string) {
	s.t.Helper()
	is := is.New(s.t)
	is.NoErr(s.Send([]byte(body))) // send
}

func (s *socket) expect(body string) {
	s.t.Helper()
	is := is.New(s.t)
	m, err := s.RecvMsg()
	is.NoErr(err)                  // receive
	is.Equal(string(m.Body), body) // as it was sent
	_, ok := spmangos.PeerKey(m.Pipe)
	is.True(ok) // and it is known by whom
	m.Free()
}

// info is what transports ask a socket for.
func info(t testing.TB) mangos.Socket {
	t.Helper()
	sock, err := pair.NewSocket()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close() })
	return sock
}

// newListener makes a listener of the transport itself.
func newListener(t testing.TB, s scheme, o map[string]interface{}) transport.Listener {
	t.Helper()
	is := is.New(t)
	l, err := s.tran.NewListener(s.url(t), info(t))
	is.NoErr(err) // make a listener
	for name, value := range o {
		is.NoErr(l.SetOption(name, value))
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// newDialer makes a dialer of the transport itself.
func newDialer(t testing.TB, s scheme, url string, o map[string]interface{}) transport.Dialer {
	t.Helper()
	is := is.New(t)
	d, err := s.tran.NewDialer(url, info(t))
	is.NoErr(err) // make a dialer
	for name, value := range o {
		is.NoErr(d.SetOption(name, value))
	}
	return d
}

// pipes returns the two ends of a connection of the transport itself.
func pipes(t testing.TB, s scheme, listens, dials map[string]interface{}) (server, client transport.Pipe) {
	t.Helper()
	is := is.New(t)
	l := newListener(t, s, listens)
	is.NoErr(l.Listen()) // listen
	client, err := newDialer(t, s, l.Address(), dials).Dial()
	is.NoErr(err) // dial
	server, err = l.Accept()
	is.NoErr(err) // accept
	t.Cleanup(func() {
		closing := make(chan error, 1)
		go func() { closing <- client.Close() }()
		server.Close()
		<-closing
	})
	return server, client
}

// reports collects what goes to OnHandshakeError.
type reports chan error

func reportsOf(c *securesp.Config) reports {
	r := make(reports, 4096)
	c.OnHandshakeError = func(err error) { r <- err }
	return r
}

// next waits for the next report.
func (r reports) next(t testing.TB) *securesp.HandshakeError {
	t.Helper()
	select {
	case err := <-r:
		var h *securesp.HandshakeError
		if !errors.As(err, &h) {
			t.Fatalf("the report is a %T", err)
		}
		return h
	case <-time.After(patience):
		t.Fatal("the awaited report did not come")
	}
	return nil
}

// message makes a mangos message.
func message(header, body []byte) *mangos.Message {
	m := mangos.NewMessage(len(body))
	m.Header = append(m.Header, header...)
	m.Body = append(m.Body, body...)
	return m
}

// pattern returns n bytes that differ from place to place.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
