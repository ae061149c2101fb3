package quiccarrier

import (
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"

	"github.com/securesp/securesp/internal/host"
)

// Listener accepts connections on a UDP socket.
type Listener struct {
	socket *socket
	quic   *quic.Listener
	limits *limits
	ctx    context.Context
	cancel context.CancelFunc
	close  sync.Once
}

// Listen accepts connections on conn, of which it takes charge.
func Listen(conn net.PacketConn, o Options) (*Listener, error) {
	silenceBufferWarning()
	certificate, err := certificate()
	if err != nil {
		conn.Close()
		return nil, err
	}
	s := newSocket(conn)
	s.outages.endured.Store(true) // one peer's is not the others'
	l := &Listener{socket: s, limits: newLimits(o.MaxPending)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	s.transport.StatelessResetKey = resetKey(o.ResetSecret, conn.LocalAddr())
	s.transport.ConnContext = l.limits.admit
	s.transport.VerifySourceAddress = l.limits.suspicious
	l.quic, err = s.transport.Listen(&tls.Config{
		Certificates:           []tls.Certificate{*certificate},
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{ALPN},
		CurvePreferences:       []tls.CurveID{tls.X25519},
		SessionTicketsDisabled: true,
	}, quicConfig(true))
	if err != nil {
		l.cancel()
		s.close()
		return nil, err
	}
	reportBuffers(conn, o.Logger)
	return l, nil
}

// Accept implements net.Listener. It returns a *Conn. QUIC refuses further
// connections while 32 wait for Accept.
func (l *Listener) Accept() (net.Conn, error) {
	q, err := l.quic.Accept(l.ctx)
	if err != nil {
		if l.ctx.Err() != nil || errors.Is(err, quic.ErrServerClosed) {
			err = net.ErrClosed
		}
		return nil, &net.OpError{Op: "accept", Net: "udp", Addr: l.Addr(), Err: err}
	}
	l.socket.acquire()
	c := newConn(l.socket, q, nil)
	c.young, _ = q.Context().Value(slotKey{}).(*slot)
	return c, nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.quic.Addr() }

// Close stops listening. Connections that Accept has returned live on, and the
// address stays in use until the last of them is closed.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.close.Do(func() {
		l.cancel()
		err = l.quic.Close() // ends the handshakes in progress
		// What nobody has accepted must be closed: releasing the socket
		// would not tell the peers.
		for {
			q, acceptErr := l.quic.Accept(context.Background())
			if acceptErr != nil {
				break
			}
			_ = q.CloseWithError(codeAborted, "")
		}
		l.socket.release(true)
	})
	return err
}

// limits bound what peers that have proved nothing can make a listener hold.
type limits struct {
	young   atomic.Int64 // connections that are not Established
	most    int64
	suspect int64
	little  int

	mu      sync.Mutex
	sources map[netip.Addr]int // how many of them each proved address has
}

// newLimits allows for twice maxPending young connections: those at the
// handshake inside, and those before it or about to be gone. The second half
// of them is kept for addresses that have few.
func newLimits(maxPending int) *limits {
	return &limits{
		most:    int64(2 * maxPending),
		suspect: int64(max(maxPending/8, 1)),
		little:  max(maxPending/16, 1),
		sources: make(map[netip.Addr]int),
	}
}

// suspicious reports whether a peer must first prove that it receives at its
// address (Retry, RFC 9000 §8.1.2): nothing is kept for it until then. It
// costs a round trip, so it is asked for only when many are at it.
func (l *limits) suspicious(net.Addr) bool { return l.young.Load() >= l.suspect }

// slot is one young connection's share of the limits.
type slot struct {
	limits *limits
	source netip.Addr // the zero Addr if it is not proved
	once   sync.Once
}

type slotKey struct{}

var errCrowded = errors.New("securesp: too many connections at their handshake")

// admit takes a slot for a connection that a peer begins, or refuses it, which
// costs nothing to remember. The slot is given back when ctx, the
// connection's, ends, if not before.
//
// Addresses that nobody has proved are not counted, lest somebody use up
// another's share: suspicious permits but few of them.
func (l *limits) admit(ctx context.Context, peer *quic.ClientInfo) (context.Context, error) {
	s := &slot{limits: l}
	if peer.AddrVerified {
		s.source = host.Of(peer.RemoteAddr)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	young := l.young.Load()
	if young >= l.most || young >= l.most/2 && l.sources[s.source] >= l.little {
		return nil, errCrowded
	}
	l.young.Add(1)
	if s.source.IsValid() {
		l.sources[s.source]++
	}
	context.AfterFunc(ctx, s.free)
	return context.WithValue(ctx, slotKey{}, s), nil
}

// free gives the slot back; only the first call counts. s may be nil.
func (s *slot) free() {
	if s != nil {
		s.once.Do(func() { s.limits.forget(s.source) })
	}
}

// forget takes one young connection out of the count.
func (l *limits) forget(source netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.young.Add(-1)
	if l.sources[source]--; l.sources[source] <= 0 {
		delete(l.sources, source)
	}
}

// resetKey derives the stateless reset key from a secret that outlives the
// process. The address is part of it: a key in use at two addresses would let
// anybody who has seen a connection's packets get at its reset token at the
// other one (RFC 9000 §10.3.2). A wildcard address is the same on every host,
// so there it says nothing, and there is no key.
func resetKey(secret []byte, local net.Addr) *quic.StatelessResetKey {
	if u, ok := local.(*net.UDPAddr); len(secret) == 0 || !ok || len(u.IP) == 0 || u.IP.IsUnspecified() {
		return nil
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "securesp/1 stateless reset\x00"+local.String(), len(quic.StatelessResetKey{}))
	if err != nil {
		panic(err) // only for a length that is out of range
	}
	return (*quic.StatelessResetKey)(key)
}

// certificate returns this process's throwaway certificate, which TLS insists
// on and nobody checks.
var certificate = sync.OnceValues(func() (*tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, nil
})
