package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/security/noise"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// The keys of both processes are derived from names: they protect nothing.
func seed(name string) []byte {
	s := sha256.Sum256([]byte("securesp bench " + name))
	return s[:]
}

func privateKey(name string) *keys.Private {
	k, err := keys.NewPrivate(seed(name))
	if err != nil {
		panic(err)
	}
	return k
}

var secureConfigs = map[string]*securesp.Config{}

// secureConfig returns the configuration of one side, made once: loading keys
// is not part of what is measured.
func secureConfig(impl string, initiator bool) *securesp.Config {
	id := fmt.Sprint(impl, initiator)
	if secureConfigs[id] == nil {
		secureConfigs[id] = newSecureConfig(impl, initiator)
	}
	return secureConfigs[id]
}

func newSecureConfig(impl string, initiator bool) *securesp.Config {
	own, other := "server", "client"
	if initiator {
		own, other = other, own
	}
	suite := mechanism.IKhfsAESGCM
	switch {
	case strings.Contains(impl, "ChaCha"):
		suite = mechanism.IKhfsChaChaPoly
	case strings.Contains(impl, "classical XX"):
		suite = mechanism.XXAESGCM
	}
	return &securesp.Config{
		Identity: privateKey(own),
		Trust:    trust.Keys(privateKey(other).Public()),
		Suites:   []mechanism.Suite{suite},
	}
}

// tlsConfig returns crypto/tls's with certificates on both sides, checked
// against nothing but that they are there: less work than a real deployment.
func tlsConfig(impl, side string) *tls.Config {
	private := ed25519.NewKeyFromSeed(seed(side))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic(err)
	}
	c := &tls.Config{
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		MinVersion:             tls.VersionTLS13,
		InsecureSkipVerify:     true,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		NextProtos:             []string{"bench"},
	}
	if strings.Contains(impl, "X25519") {
		c.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	return c
}

func isTLS(impl string) bool { return strings.HasPrefix(impl, "tls ") }

// network returns the carrier of an implementation.
func network(impl string) string {
	switch {
	case strings.Contains(impl, "unix"):
		return "unix"
	case strings.Contains(impl, "udp"):
		return "udp"
	}
	return "tcp"
}

func listenAddress(impl, tmp string) string {
	if network(impl) == "unix" {
		return filepath.Join(tmp, fmt.Sprintf("%d.sock", time.Now().UnixNano()))
	}
	return "127.0.0.1:0"
}

// listen returns a listener whose connections have done their handshake, or
// will as soon as they are used.
func listen(impl, tmp string) (net.Listener, error) {
	address := listenAddress(impl, tmp)
	if strings.HasPrefix(impl, "securesp") {
		return securesp.Listen(network(impl), address, secureConfig(impl, false))
	}
	switch impl {
	case "quic-go":
		return listenQUIC(address, tlsConfig(impl, "server"))
	case "x/net/quic":
		return listenXQUIC(address, tlsConfig(impl, "server"))
	case "kcp-go AES":
		return listenKCP(address)
	}
	l, err := net.Listen(network(impl), address)
	if err != nil {
		return nil, err
	}
	switch {
	case isTLS(impl):
		return tls.NewListener(l, tlsConfig(impl, "server")), nil
	case impl == "libp2p noise":
		return libp2pListener{l}, nil
	case strings.HasPrefix(impl, "raw"):
		return l, nil
	}
	return nil, fmt.Errorf("no implementation %q", impl)
}

func dial(impl, address string) (net.Conn, error) {
	if strings.HasPrefix(impl, "securesp") {
		return securesp.Dial(network(impl), address, secureConfig(impl, true))
	}
	switch impl {
	case "quic-go":
		return dialQUIC(address, tlsClientConfig(impl))
	case "x/net/quic":
		return dialXQUIC(address, tlsClientConfig(impl))
	case "kcp-go AES":
		return dialKCP(address)
	}
	c, err := net.Dial(network(impl), address)
	if err != nil {
		return nil, err
	}
	switch {
	case isTLS(impl):
		t := tls.Client(c, tlsClientConfig(impl))
		return t, t.Handshake()
	case impl == "libp2p noise":
		server, err := peer.IDFromPrivateKey(libp2pKey("server"))
		if err != nil {
			return nil, err
		}
		return libp2pClient().SecureOutbound(context.Background(), c, server)
	}
	return c, nil
}

var clientConfigs = map[string]*tls.Config{}

// tlsClientConfig makes the configuration once: certificates are not part of
// what is measured.
func tlsClientConfig(impl string) *tls.Config {
	if clientConfigs[impl] == nil {
		clientConfigs[impl] = tlsConfig(impl, "client")
	}
	return clientConfigs[impl]
}

func libp2pKey(name string) crypto.PrivKey {
	k, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed(name)))
	if err != nil {
		panic(err)
	}
	return k
}

// Made once, as the peers' configurations are.
var (
	libp2pServer = sync.OnceValue(func() *noise.Transport { return libp2pTransport("server") })
	libp2pClient = sync.OnceValue(func() *noise.Transport { return libp2pTransport("client") })
)

func libp2pTransport(name string) *noise.Transport {
	t, err := noise.New(noise.ID, libp2pKey(name), nil)
	if err != nil {
		panic(err)
	}
	return t
}

type libp2pListener struct{ net.Listener }

func (l libp2pListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return libp2pServer().SecureInbound(context.Background(), c, "")
}
