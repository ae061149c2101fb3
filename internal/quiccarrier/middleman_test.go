package quiccarrier_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"

	"github.com/matryer/is"
	"github.com/quic-go/quic-go"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/quiccarrier"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// middleman terminates QUIC towards both sides, with a certificate of its own,
// and passes the stream on byte by byte.
type middleman struct {
	listener *quic.Listener
	server   string
	client   *tls.Config
	passed   chan [2]int64 // bytes from client to server, and back
}

func newMiddleman(t *testing.T, server string) *middleman {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	certificate := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
	l, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate}, NextProtos: []string{quiccarrier.ALPN},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &middleman{
		listener: l,
		server:   server,
		client:   &tls.Config{InsecureSkipVerify: true, NextProtos: []string{quiccarrier.ALPN}},
		passed:   make(chan [2]int64, 1),
	}
	done := make(chan struct{})
	go func() { defer close(done); m.relay(t.Context()) }()
	t.Cleanup(func() { l.Close(); <-done })
	return m
}

// relay serves one connection, until ctx ends.
func (m *middleman) relay(ctx context.Context) {
	near, err := m.listener.Accept(ctx)
	if err != nil {
		return
	}
	defer near.CloseWithError(0, "")
	far, err := quic.DialAddr(ctx, m.server, m.client, nil)
	if err != nil {
		return
	}
	defer far.CloseWithError(0, "")
	defer context.AfterFunc(ctx, func() {
		near.CloseWithError(0, "")
		far.CloseWithError(0, "")
	})()
	a, err := near.AcceptStream(ctx)
	if err != nil {
		return
	}
	b, err := far.OpenStream()
	if err != nil {
		return
	}
	back := make(chan int64)
	go func() {
		n, _ := io.Copy(a, b)
		a.Close()
		back <- n
	}()
	there, _ := io.Copy(b, a)
	b.Close()
	m.passed <- [2]int64{there, <-back}
}

// Nobody checks certificates, so anybody can stand in between as far as QUIC
// is concerned. The handshake inside must notice, with every suite that
// authenticates.
func TestMiddleman(t *testing.T) {
	for _, suite := range []mechanism.Suite{
		mechanism.IKhfsAESGCM, mechanism.XXhfsChaChaPoly, mechanism.NKhfsAESGCM, mechanism.XXhfsPSK3AESGCM, mechanism.NNhfsPSK0ChaChaPoly, mechanism.Curve,
	} {
		t.Run(suite.String(), func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, suite)
			refused := make(chan error, 10)
			responder.OnHandshakeError = func(err error) { refused <- err }
			l, err := securesp.Listen("udp", "127.0.0.1:0", responder)
			is.NoErr(err) // listen
			defer l.Close()

			direct, err := securesp.Dial("udp", l.Addr().String(), initiator)
			is.NoErr(err) // without anybody in between it works
			defer direct.Close()

			m := newMiddleman(t, l.Addr().String())
			_, err = securesp.Dial("udp", m.listener.Addr().String(), initiator)
			var failure *securesp.HandshakeError
			is.True(errors.As(err, &failure)) // with somebody it fails
			// Whoever sees it first knows; the other one learns that it
			// was rejected or, amid CURVE's messages, hung up on.
			known := errors.Is(err, securesp.ErrAuthentication)
			is.True(known || errors.Is(err, securesp.ErrRejected) || suite == mechanism.Curve && errors.Is(err, io.ErrUnexpectedEOF))
			passed := <-m.passed
			is.True(passed[0] > 0) // he did pass on what we said
			is.True(passed[1] > 0) // and the answer
			is.True(known || errors.Is(<-refused, securesp.ErrAuthentication))
		})
	}
}

// A program that speaks QUIC but not securesp is told apart.
func TestForeignQUIC(t *testing.T) {
	is := is.New(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	is.NoErr(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(7)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	is.NoErr(err)
	l, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, NextProtos: []string{"h3"},
	}, nil)
	is.NoErr(err) // listen
	defer l.Close()
	initiator, _ := configs(t, mechanism.IKhfsAESGCM)
	_, err = securesp.Dial("udp", l.Addr().String(), initiator)
	is.True(errors.Is(err, securesp.ErrNotSecureSP))
	var failure *securesp.HandshakeError
	is.True(errors.As(err, &failure))
}

// Names with several addresses, of which only a later one answers, take no
// longer than it takes to get to that.
func TestLocalhost(t *testing.T) {
	is := is.New(t)
	_, responder := configs(t, mechanism.IKhfsAESGCM)
	l, err := securesp.Listen("udp", "127.0.0.1:0", responder)
	is.NoErr(err) // listen on one of localhost's addresses
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	is.NoErr(err)
	for _, host := range []string{"localhost", "", "0.0.0.0"} {
		c, err := quiccarrier.Dial(context.Background(), &net.Dialer{}, "udp", net.JoinHostPort(host, port), quiccarrier.Options{})
		is.NoErr(err) // dial
		c.Close()
	}
	_, err = quiccarrier.Dial(context.Background(), &net.Dialer{}, "udp", "no port", quiccarrier.Options{})
	var address *net.AddrError
	is.True(errors.As(err, &address))
}

func configs(t testing.TB, suite mechanism.Suite) (initiator, responder *securesp.Config) {
	t.Helper()
	side := func() *securesp.Config {
		identity, err := keys.Generate()
		if err != nil {
			t.Fatal(err)
		}
		curve, err := keys.GenerateCurve()
		if err != nil {
			t.Fatal(err)
		}
		return &securesp.Config{Identity: identity, CurveIdentity: curve, Suites: []mechanism.Suite{suite}}
	}
	psk, err := keys.GenerateShared()
	if err != nil {
		t.Fatal(err)
	}
	i, r := side(), side()
	i.Name, i.PeerName, r.Name, r.PeerName = "alice", "bob", "bob", "alice"
	i.PSK, r.PSK = psk, psk
	i.Trust, r.Trust = trust.Keys(r.Identity.Public()), trust.Keys(i.Identity.Public())
	switch suite {
	case mechanism.Curve:
		i.Trust, r.Trust = trust.CurveKeys(r.CurveIdentity.Public()), trust.CurveKeys(i.CurveIdentity.Public())
	case mechanism.NNhfsPSK0ChaChaPoly:
		i.Trust, r.Trust = nil, nil
	case mechanism.NKhfsAESGCM:
		r.Trust = trust.Anyone()
	}
	return i, r
}
