// Package quiccarrier makes a net.Conn out of a QUIC connection over UDP
// (RFC 9000), for use under a handshake of its own: QUIC gives reliable
// transport, address validation, congestion control and migration, but no
// identity. Its certificates are throwaways that nobody checks; who the peer
// is, and that nobody sits in between, is proved by the handshake inside,
// which must be bound to [Conn.ChannelBinding]. (SPEC, UDP binding)
//
// All of package quic-go's types stay in here.
package quiccarrier

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// Constants of the UDP binding (SPEC, UDP binding).
const (
	// ALPN is the application protocol that both sides must negotiate.
	ALPN = "securesp/1"

	// exporterLabel and, as context, ALPN select the 32 bytes of TLS
	// exporter (RFC 8446 §7.5) that are the channel binding.
	exporterLabel = "EXPORTER-securesp channel binding"

	bindingSize = 32

	// Application error codes of CONNECTION_CLOSE.
	codeDone    quic.ApplicationErrorCode = 0 // nothing is owed to the peer any more
	codeAborted quic.ApplicationErrorCode = 1 // data may be lost
)

const (
	keepAlivePeriod = 10 * time.Second
	idleTimeout     = 30 * time.Second

	// dialTimeout is how long a dial goes on without any answer;
	// halfOpenTimeout how long a listener remembers a peer that is silent
	// amid QUIC's handshake.
	dialTimeout     = 10 * time.Second
	halfOpenTimeout = 5 * time.Second

	// closeLinger bounds how long Close waits for the peer to confirm that
	// it has everything; youngLinger does before Established.
	closeLinger = 5 * time.Second
	youngLinger = time.Second

	// connectionIDLength makes collisions of connection IDs improbable
	// even among millions.
	connectionIDLength = 8

	// initialWindow is how much data a peer may send before it was read
	// once, and so what one that has proved nothing can make us hold. The
	// window grows with what is read.
	initialWindow = 128 << 10

	// packetSize is what packets begin with, the least that QUIC's paths
	// must carry (RFC 9000 §14). Discovery raises it within a few round
	// trips. With any larger size, connections over tunnels would fail.
	packetSize = 1200
)

// Options say how to dial or listen.
type Options struct {
	// MaxPending is about how many connections a Listener holds that are
	// not Established.
	MaxPending int

	// ResetSecret, if not empty, is what a Listener's stateless reset key
	// (RFC 9000 §10.3) is derived from. A Listener started later with the
	// same secret on the same address lets peers of this one know at once
	// that their connections are gone. On a wildcard address there are no
	// stateless resets.
	ResetSecret []byte

	// Logger, if set, is told once if the kernel limits socket buffers.
	Logger *slog.Logger
}

// Conn is one QUIC connection with one bidirectional stream. It implements
// net.Conn, with one difference: Close waits for the peer to have everything.
// Timeouts are recoverable, every other error is final.
//
// On the accepting side the stream exists only once the peer has sent
// something; Read and Write wait for that.
type Conn struct {
	socket *socket
	quic   *quic.Conn
	young  *slot // of the listener's; nil if we have dialed

	opened  chan struct{} // closed when stream or openErr is set
	stream  *quic.Stream
	openErr error

	in  receiving
	out sending

	datagrams bool          // the peer takes them
	queueing  chan struct{} // capacity 1: held while one waits to be queued

	place place // where the peer is

	established atomic.Bool
	closed      atomic.Bool
	reported    atomic.Bool // a Read or Write has returned a final error
}

// receiving is the state of the receiving direction.
type receiving struct {
	deadline deadline

	turn  chan struct{} // capacity 1, a lock: held while the stream is read, and guards what follows
	ended bool          // the peer has ended the stream: takeRest reads it
	taken chan struct{} // closed when rest and err are set
	rest  [][]byte      // what was there when the stream ended, not yet read
	err   error         // what comes after it
}

func (in *receiving) lock()   { in.turn <- struct{}{} }
func (in *receiving) unlock() { <-in.turn }

// sending is the state of the sending direction.
type sending struct {
	deadline deadline

	mu    sync.Mutex // held while the stream is written
	short bool       // the last Write was not completed
}

// newConn returns a Conn for q. A nil stream is accepted when the peer opens
// it.
func newConn(s *socket, q *quic.Conn, stream *quic.Stream) *Conn {
	c := &Conn{
		socket:    s,
		quic:      q,
		opened:    make(chan struct{}),
		datagrams: q.ConnectionState().SupportsDatagrams.Remote,
		queueing:  make(chan struct{}, 1),
	}
	c.in.turn = make(chan struct{}, 1)
	c.in.taken = make(chan struct{})
	if stream != nil {
		c.open(stream)
	} else {
		go c.acceptStream()
	}
	return c
}

func (c *Conn) acceptStream() {
	stream, err := c.quic.AcceptStream(c.quic.Context())
	if err != nil {
		c.openErr = err
		close(c.opened)
		return
	}
	c.open(stream)
}

// open makes the Conn ready for reading and writing.
func (c *Conn) open(stream *quic.Stream) {
	c.stream = stream
	c.in.deadline.attach(stream.SetReadDeadline)
	c.out.deadline.attach(stream.SetWriteDeadline)
	stream.SetReceiveFinalSizeCallback(func(int64) { go c.takeRest() })
	close(c.opened)
}

// Established says that the handshake inside has succeeded: from now on the
// connection does not count against the listener's limit.
func (c *Conn) Established() {
	c.established.Store(true)
	c.young.free()
}

// ChannelBinding returns 32 bytes that are the same on both ends of this QUIC
// connection and that nobody else's QUIC connection has.
func (c *Conn) ChannelBinding() ([]byte, error) {
	state := c.quic.ConnectionState().TLS
	return state.ExportKeyingMaterial(exporterLabel, []byte(ALPN), bindingSize)
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.in.deadline.wait(c.opened); err != nil {
		return 0, c.failure(err)
	}
	if c.openErr != nil {
		return 0, c.failure(c.openErr)
	}
	c.in.lock()
	if !c.in.ended {
		n, err := c.stream.Read(p)
		c.in.unlock()
		if moveErr := c.checkPlace(); moveErr != nil {
			return 0, moveErr
		}
		return n, c.failure(err)
	}
	c.in.unlock()

	if err := c.in.deadline.wait(c.in.taken); err != nil {
		return 0, c.failure(err)
	}
	if err := c.checkPlace(); err != nil {
		return 0, err
	}
	c.in.lock()
	defer c.in.unlock()
	n := 0
	for n < len(p) && len(c.in.rest) > 0 {
		m := copy(p[n:], c.in.rest[0])
		n += m
		if c.in.rest[0] = c.in.rest[0][m:]; len(c.in.rest[0]) == 0 {
			c.in.rest = c.in.rest[1:]
		}
	}
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, c.failure(c.in.err)
}

// takeRest reads all there is once the peer has ended the stream, and then
// confirms that to the peer, who waits for it in Close: what only lies in
// QUIC's own queue is lost when the connection is closed. It holds no more
// than QUIC's window would have.
func (c *Conn) takeRest() {
	in := &c.in
	in.lock() // a Read in progress gets data or the end, or times out
	in.ended = true
	in.unlock()
	in.deadline.detach(time.Time{})

	var rest [][]byte
	var err error
	for size := 1 << 10; err == nil; size = min(2*size, 64<<10) {
		var n int
		chunk := make([]byte, size)
		n, err = io.ReadFull(c.stream, chunk)
		if n > 0 && !c.closed.Load() {
			rest = append(rest, chunk[:n])
		}
	}
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	if err == io.EOF {
		c.confirm()
	}
	in.lock()
	in.rest, in.err = rest, err
	in.unlock()
	close(in.taken)
}

// confirm tells the peer that all it sent has arrived: a unidirectional stream
// that ends where it begins. QUIC's acknowledgements do not reach the peer's
// Close.
func (c *Conn) confirm() {
	if s, err := c.quic.OpenUniStream(); err == nil {
		_ = s.Close() // fails only if the connection has ended
	}
}

// Write implements net.Conn. After a timeout it returns exactly how many bytes
// QUIC has taken; the others were not sent.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.out.deadline.wait(c.opened); err != nil {
		return 0, c.failure(err)
	}
	if c.openErr != nil {
		return 0, c.failure(c.openErr)
	}
	_ = c.checkPlace() // whoever is told ends the connection, and says why
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	n, err := c.stream.Write(p)
	c.out.short = n < len(p)
	if n == len(p) && isDeadline(err) {
		return n, nil
	}
	if err = c.failure(err); err == io.EOF {
		err = errReset // an end for reading, but no place to write to
	}
	return n, err
}

// LocalAddr implements net.Conn. If we have dialed, it is the wildcard address
// unless the dialer was given another one, so that the connection can move
// between the host's addresses.
func (c *Conn) LocalAddr() net.Addr { return c.quic.LocalAddr() }

// RemoteAddr implements net.Conn. It changes when the peer moves.
func (c *Conn) RemoteAddr() net.Addr { return c.quic.RemoteAddr() }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn. It is ReceiveDatagram's deadline, too.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.in.deadline.set(t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.out.deadline.set(t) }

// quicConfig returns the settings of one side. The windows' upper limits and
// path MTU discovery are QUIC's defaults.
func quicConfig(server bool) *quic.Config {
	c := &quic.Config{
		HandshakeIdleTimeout:           dialTimeout,
		Versions:                       []quic.Version{quic.Version1},
		MaxIdleTimeout:                 idleTimeout,
		KeepAlivePeriod:                keepAlivePeriod,
		InitialPacketSize:              packetSize,
		InitialStreamReceiveWindow:     initialWindow,
		InitialConnectionReceiveWindow: initialWindow,
		MaxIncomingStreams:             -1,
		MaxIncomingUniStreams:          1, // the confirmation
		RequireStreamCreditRelease:     true,
		EnableDatagrams:                true,
	}
	if server {
		c.MaxIncomingStreams = 1
		c.HandshakeIdleTimeout = halfOpenTimeout
	}
	return c
}

// clientTLS checks no certificate. That is safe only because the handshake
// inside authenticates the peer and is bound to this very TLS connection: in
// between, somebody has two TLS connections with different exporters, and the
// handshake fails.
var clientTLS = &tls.Config{
	InsecureSkipVerify:     true,
	MinVersion:             tls.VersionTLS13,
	NextProtos:             []string{ALPN},
	CurvePreferences:       []tls.CurveID{tls.X25519},
	SessionTicketsDisabled: true,
}
