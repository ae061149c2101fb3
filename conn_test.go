package securesp_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/net/nettest"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/quiccarrier"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// transports is the table of carriers that every law is tried on. A new
// transport is one more row.
var transports = []struct {
	name  string
	inner func(t testing.TB) (dial func() (net.Conn, error), l net.Listener)
}{
	{"tcp", func(t testing.TB) (func() (net.Conn, error), net.Listener) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }, l
	}},
	{"unix", func(t testing.TB) (func() (net.Conn, error), net.Listener) {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return func() (net.Conn, error) { return net.Dial("unix", path) }, l
	}},
	{"udp", func(t testing.TB) (func() (net.Conn, error), net.Listener) {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := quiccarrier.Listen(conn, quiccarrier.Options{MaxPending: 256})
		if err != nil {
			t.Fatal(err)
		}
		return func() (net.Conn, error) {
			return quiccarrier.Dial(context.Background(), &net.Dialer{}, "udp", l.Addr().String(), quiccarrier.Options{})
		}, l
	}},
	{"pipe", func(testing.TB) (func() (net.Conn, error), net.Listener) {
		l := newPipeListener()
		return l.dial, l
	}},
}

// pipeListener hands out the far ends of net.Pipe.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial() (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// party is one side's keys.
type party struct{ identity *keys.Private }

func newParty(t testing.TB) party {
	t.Helper()
	k, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return party{k}
}

// suites is the table of mechanisms that every law is tried on.
var suites = []struct {
	name  string
	suite mechanism.Suite
}{
	{"XXhfs", mechanism.XXhfsAESGCM},
	{"IKhfs", mechanism.IKhfsAESGCM},
	{"XXhfs+psk3", mechanism.XXhfsPSK3ChaChaPoly},
	{"NNhfs+psk0", mechanism.NNhfsPSK0ChaChaPoly},
	{"CURVE", mechanism.Curve},
	{"NULL", mechanism.Null},
}

func curveKey(t testing.TB) *keys.CurvePrivate {
	t.Helper()
	k, err := keys.GenerateCurve()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// configs returns matching configurations for the two sides of suite.
func configs(t testing.TB, suite mechanism.Suite) (initiator, responder *securesp.Config) {
	t.Helper()
	i, r := newParty(t), newParty(t)
	psk, err := keys.GenerateShared()
	if err != nil {
		t.Fatal(err)
	}
	initiator = &securesp.Config{
		Identity: i.identity, Trust: trust.Keys(r.identity.Public()), PSK: psk,
		Suites: []mechanism.Suite{suite}, Name: "alice", PeerName: "bob",
	}
	responder = &securesp.Config{
		Identity: r.identity, Trust: trust.Keys(i.identity.Public()), PSK: psk,
		Suites: []mechanism.Suite{suite}, Name: "bob", PeerName: "alice",
	}
	switch suite {
	case mechanism.Null, mechanism.NNhfsPSK0AESGCM, mechanism.NNhfsPSK0ChaChaPoly:
		initiator.Trust, responder.Trust = nil, nil
	case mechanism.Curve:
		i, r := curveKey(t), curveKey(t)
		initiator.CurveIdentity, responder.CurveIdentity = i, r
		initiator.Trust, responder.Trust = trust.CurveKeys(r.Public()), trust.CurveKeys(i.Public())
	case mechanism.NKhfsAESGCM, mechanism.NKhfsChaChaPoly, mechanism.NKAESGCM, mechanism.NKChaChaPoly:
		responder.Trust = trust.Anyone()
	}
	return initiator, responder
}

// mixedConfigs returns matching configurations with everything that the suites
// of both lists need. Each side pins the other's keys, of Noise and of CURVE.
func mixedConfigs(t testing.TB, initiators, responders []mechanism.Suite) (initiator, responder *securesp.Config) {
	t.Helper()
	initiator, responder = configs(t, mechanism.XXhfsAESGCM)
	curveI, curveR := curveKey(t), curveKey(t)
	initiator.CurveIdentity, responder.CurveIdentity = curveI, curveR
	initiator.Trust = trust.AnyOf(initiator.Trust, trust.CurveKeys(curveR.Public()))
	responder.Trust = trust.AnyOf(responder.Trust, trust.CurveKeys(curveI.Public()))
	initiator.Suites, responder.Suites = initiators, responders
	return initiator, responder
}

// pair returns two connected Conns over the named row of transports.
func pair(t testing.TB, dial func() (net.Conn, error), l net.Listener, initiator, responder *securesp.Config) (*securesp.Conn, *securesp.Conn) {
	t.Helper()
	type accepted struct {
		conn net.Conn
		err  error
	}
	got := make(chan accepted, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			s := securesp.Server(c, responder)
			err = s.HandshakeContext(context.Background())
			c = s
		}
		got <- accepted{c, err}
	}()
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	client := securesp.Client(c, initiator)
	err = client.HandshakeContext(context.Background())
	a := <-got
	if err := errors.Join(err, a.err); err != nil {
		t.Fatal(err)
	}
	return client, a.conn.(*securesp.Conn)
}

// connect returns a connected pair that is closed with the test.
func connect(t testing.TB, transport string, initiator, responder *securesp.Config) (*securesp.Conn, *securesp.Conn) {
	t.Helper()
	for _, tr := range transports {
		if tr.name != transport {
			continue
		}
		dial, l := tr.inner(t)
		defer l.Close()
		a, b := pair(t, dial, l, initiator, responder)
		t.Cleanup(func() { closeBoth(a, b) })
		return a, b
	}
	t.Fatalf("no transport %q", transport)
	return nil, nil
}

// closeBoth closes both ends at once: each lets the other finish.
func closeBoth(a, b net.Conn) {
	done := make(chan struct{})
	go func() { a.Close(); close(done) }()
	b.Close()
	<-done
}

// everywhere runs a law on every transport and suite.
func everywhere(t *testing.T, law func(t *testing.T, a, b *securesp.Conn)) {
	for _, tr := range transports {
		for _, s := range suites {
			t.Run(tr.name+"/"+s.name, func(t *testing.T) {
				initiator, responder := configs(t, s.suite)
				a, b := connect(t, tr.name, initiator, responder)
				law(t, a, b)
			})
		}
	}
}

func TestNetConn(t *testing.T) {
	for _, tr := range transports {
		for _, s := range suites {
			t.Run(tr.name+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
					initiator, responder := configs(t, s.suite)
					dial, l := tr.inner(t)
					defer l.Close()
					a, b := pair(t, dial, l, initiator, responder)
					return a, b, func() { closeBoth(a, b) }, nil
				})
			})
		}
	}
}

func TestBulk(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *securesp.Conn) {
		is := is.New(t)
		sent := make([]byte, 3<<20+7)
		rand.Read(sent)
		errs := make(chan error, 1)
		go func() {
			_, err := a.Write(sent)
			errs <- errors.Join(err, a.Close())
		}()
		got, err := io.ReadAll(b)
		is.NoErr(err)                   // read to the authenticated end
		is.NoErr(<-errs)                // write and close
		is.True(bytes.Equal(got, sent)) // the bytes
	})
}
