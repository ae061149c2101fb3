package securesp_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/quiccarrier"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// listenUDP listens on network and returns how to dial it.
func listenUDP(t testing.TB, network, address string) (*securesp.Listener, func() (*securesp.Conn, error)) {
	t.Helper()
	initiator, responder := configs(t, mechanism.IKhfsAESGCM)
	l, err := securesp.Listen(network, address, responder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, func() (*securesp.Conn, error) { return securesp.Dial(network, l.Addr().String(), initiator) }
}

// pairUDP returns a connected pair over network.
func pairUDP(t testing.TB, network, address string) (client, server *securesp.Conn) {
	t.Helper()
	l, dial := listenUDP(t, network, address)
	client, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.AcceptConn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBoth(client, server) })
	return client, server
}

func TestUDPNetworks(t *testing.T) {
	for _, c := range []struct{ network, address string }{
		{"udp", "127.0.0.1:0"}, {"udp4", "localhost:0"}, {"udp4", ":0"}, {"udp", ":0"}, {"udp", "[::1]:0"}, {"udp6", "[::1]:0"},
	} {
		t.Run(c.network+" "+c.address, func(t *testing.T) {
			is := is.New(t)
			if probe, err := net.ListenPacket(c.network, c.address); err == nil {
				probe.Close()
			} else {
				t.Skip("this machine has no such address: ", err)
			}
			client, server := pairUDP(t, c.network, c.address)
			_, err := client.Write([]byte("hello"))
			is.NoErr(err) // write
			m, err := server.ReadMessage(nil)
			is.NoErr(err) // read
			is.Equal(string(m), "hello")
			is.Equal(client.RemoteAddr().Network(), "udp")
			is.True(client.ConnectionState().Traits.Secure)
		})
	}
}

// Data written just before Close arrives, whoever is slow.
func TestUDPWriteClose(t *testing.T) {
	l, dial := listenUDP(t, "udp", "127.0.0.1:0")
	data := make([]byte, 16<<20)
	rand.Read(data)
	for i := range 100 {
		sent := data
		if raceEnabled && i > 2 { // the race detector would take minutes
			sent = data[:1<<20+i]
		}
		is := is.New(t)
		client, err := dial()
		is.NoErr(err) // dial
		server, err := l.AcceptConn()
		is.NoErr(err) // accept
		errs := make(chan error, 1)
		go func() {
			_, err := client.Write(sent)
			errs <- errors.Join(err, client.Close())
		}()
		got := make([]byte, 0, len(sent)+1)
		if i%10 == 5 { // read what fits into a window only when the sender is gone
			got = got[:len(sent)-50_000]
			_, err := io.ReadFull(server, got)
			is.NoErr(err)    // read most of it
			is.NoErr(<-errs) // write and close
			errs <- nil
		}
		rest, err := io.ReadAll(server)
		is.NoErr(err)    // read to the authenticated end
		is.NoErr(<-errs) // write and close
		is.True(bytes.Equal(append(got, rest...), sent))
		is.NoErr(server.Close())
	}
}

// Dial succeeds only when the server has accepted us, however many dial at
// once and however late the program calls Accept.
func TestUDPManyDialsAtOnce(t *testing.T) {
	is := is.New(t)
	l, dial := listenUDP(t, "udp", "127.0.0.1:0")
	const dials = 100
	conns := make(chan *securesp.Conn, dials)
	errs := make(chan error, dials)
	for range dials {
		go func() {
			c, err := dial()
			conns <- c
			errs <- err
		}()
	}
	for range dials {
		is.NoErr(<-errs) // nobody has called Accept so far
	}
	done := make(chan error)
	go func() {
		for range dials {
			s, err := l.AcceptConn()
			if err != nil {
				done <- err
				return
			}
			go func() {
				_, err := io.Copy(s, s)
				done <- errors.Join(err, s.Close())
			}()
		}
	}()
	for i := range dials {
		c := <-conns
		_, err := fmt.Fprintf(c, "%03d", i)
		is.NoErr(err) // write
		is.NoErr(c.CloseWrite())
		got, err := io.ReadAll(c)
		is.NoErr(err) // read the echo
		is.Equal(string(got), fmt.Sprintf("%03d", i))
		is.NoErr(c.Close())
		is.NoErr(<-done) // the server's half
	}
}

// TestUDPBusyListener: a listener whose places are all taken is asked again, for
// a while.
func TestUDPBusyListener(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.IKhfsAESGCM)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	is.NoErr(err)
	inner, err := quiccarrier.Listen(conn, quiccarrier.Options{MaxPending: 1})
	is.NoErr(err)
	l := securesp.NewListener(inner, responder) // which itself has room
	defer l.Close()
	var idle []*quiccarrier.Conn
	for range 2 { // the second one must show where it is, and counts
		c, err := quiccarrier.Dial(t.Context(), &net.Dialer{}, "udp", l.Addr().String(), quiccarrier.Options{})
		is.NoErr(err)
		idle = append(idle, c)
	}
	leave := sync.OnceFunc(func() {
		for _, c := range idle {
			c.Close()
		}
	})
	defer leave()

	attempts := 0
	d := securesp.Dialer{Config: initiator, NetDialer: &net.Dialer{
		Control: func(string, string, syscall.RawConn) error {
			attempts++
			return nil
		},
	}}
	start := time.Now()
	_, err = d.Dial("udp", l.Addr().String())
	is.True(errors.Is(err, syscall.ECONNREFUSED)) // it takes no connection
	is.True(attempts > 2)                         // it was asked again
	is.True(time.Since(start) < 4*time.Second)

	d.NetDialer.Timeout = 100 * time.Millisecond
	start = time.Now()
	_, err = d.Dial("udp", l.Addr().String())
	is.True(errors.Is(err, syscall.ECONNREFUSED))
	is.True(time.Since(start) < time.Second) // but no longer than the caller waits
	d.NetDialer.Timeout = 0

	attempts = 0
	d.NetDialer.Control = func(string, string, syscall.RawConn) error {
		if attempts++; attempts == 2 {
			leave()
		}
		return nil
	}
	c, err := d.Dial("udp", l.Addr().String())
	is.NoErr(err) // there is room now
	is.True(attempts >= 2)
	s, err := l.AcceptConn()
	is.NoErr(err)
	closeBoth(c.(*securesp.Conn), s)
}

func TestUDPDialNobody(t *testing.T) {
	is := is.New(t)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0") // bound, but deaf
	is.NoErr(err)
	defer conn.Close()
	initiator, _ := configs(t, mechanism.IKhfsAESGCM)
	d := securesp.Dialer{Config: initiator, NetDialer: &net.Dialer{Timeout: 50 * time.Millisecond}}
	_, err = d.Dial("udp", conn.LocalAddr().String())
	var timeout net.Error
	is.True(errors.As(err, &timeout) && timeout.Timeout()) // as over TCP
	var op *net.OpError
	is.True(errors.As(err, &op))
	is.Equal(op.Op, "dial")

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = d.DialContext(ctx, "udp", conn.LocalAddr().String())
	is.True(errors.Is(err, context.Canceled)) // a context that has ended
}

func TestUDPRefusal(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.IKhfsAESGCM)
	responder.Trust = trust.Keys() // nobody
	l, err := securesp.Listen("udp", "127.0.0.1:0", responder)
	is.NoErr(err) // listen
	defer l.Close()
	_, err = securesp.Dial("udp", l.Addr().String(), initiator)
	is.True(errors.Is(err, securesp.ErrRefused)) // a typed reason, authenticated
}

// TestUDPLiveConnections: MaxPending bounds handshakes, not connections.
func TestUDPLiveConnections(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.IKAESGCM)
	responder.MaxPending = 1
	l, err := securesp.Listen("udp", "127.0.0.1:0", responder)
	is.NoErr(err)
	defer l.Close()
	var live []*securesp.Conn
	for range 6 {
		client, err := securesp.Dial("udp", l.Addr().String(), initiator)
		is.NoErr(err) // there is room
		server, err := l.AcceptConn()
		is.NoErr(err)
		live = append(live, client, server)
	}
	for i := 0; i < len(live); i += 2 {
		is.NoErr(live[i].WriteMessage([]byte("hello")))
		m, err := live[i+1].ReadMessage(nil)
		is.NoErr(err)
		is.Equal(string(m), "hello")
		closeBoth(live[i], live[i+1])
	}
}

// TestUDPListenerClose ends what is at its handshake, and nothing else.
func TestUDPListenerClose(t *testing.T) {
	is := is.New(t)
	l, dial := listenUDP(t, "udp", "127.0.0.1:0")
	client, err := dial()
	is.NoErr(err) // dial
	server, err := l.AcceptConn()
	is.NoErr(err) // accept
	pending, err := quiccarrier.Dial(t.Context(), &net.Dialer{}, "udp", l.Addr().String(), quiccarrier.Options{})
	is.NoErr(err)
	_, err = pending.Write([]byte("\x00SPS")) // and no more
	is.NoErr(err)
	is.NoErr(l.Close())
	_, err = l.Accept()
	is.True(errors.Is(err, net.ErrClosed)) // accept
	start := time.Now()
	_, err = pending.Read(make([]byte, 1))
	is.True(err != nil)                                                       // handshakes end
	is.True(time.Since(start) < securesp.DefaultHandshakeTimeout-time.Second) // at once
	pending.Close()
	_, err = client.Write([]byte("still here"))
	is.NoErr(err) // accepted connections live on
	m, err := server.ReadMessage(nil)
	is.NoErr(err)
	is.Equal(string(m), "still here")
	closeBoth(client, server)
}

func TestDatagrams(t *testing.T) {
	is := is.New(t)
	client, server := pairUDP(t, "udp", "127.0.0.1:0")
	for _, size := range []int{0, 1, securesp.MaxDatagramSize} {
		sent := make([]byte, size)
		rand.Read(sent)
		is.NoErr(client.SendDatagram(sent)) // client to server
		got, err := server.ReceiveDatagram([]byte("head"))
		is.NoErr(err)
		is.True(bytes.Equal(got, append([]byte("head"), sent...)))
		is.NoErr(server.SendDatagram(sent)) // and back
		got, err = client.ReceiveDatagram(nil)
		is.NoErr(err)
		is.True(bytes.Equal(got, sent))
	}
	for _, size := range []int{9000, 70_000} {
		is.True(errors.Is(client.SendDatagram(make([]byte, size)), securesp.ErrMessageTooLarge))
	}
	// Too large a datagram harms nothing, and the stream is independent.
	_, err := client.Write([]byte("stream"))
	is.NoErr(err)
	m, err := server.ReadMessage(nil)
	is.NoErr(err)
	is.Equal(string(m), "stream")

	is.NoErr(server.SetReadDeadline(time.Now()))
	_, err = server.ReceiveDatagram(nil)
	is.True(errors.Is(err, os.ErrDeadlineExceeded)) // an expired deadline
	is.NoErr(server.SetReadDeadline(time.Time{}))
	is.NoErr(client.SetWriteDeadline(time.Now().Add(-time.Second)))
	for range 100 {
		is.True(errors.Is(client.SendDatagram([]byte("late")), os.ErrDeadlineExceeded)) // and is not sent
	}
	is.NoErr(client.SetWriteDeadline(time.Time{}))
	is.NoErr(client.SendDatagram([]byte("in time")))
	got, err := server.ReceiveDatagram(nil)
	is.NoErr(err)
	is.Equal(string(got), "in time")

	received := make(chan error)
	go func() {
		_, err := server.ReceiveDatagram(nil)
		received <- err
	}()
	server.Close()
	is.True(errors.Is(<-received, net.ErrClosed)) // Close ends the wait
	is.True(errors.Is(server.SendDatagram(nil), net.ErrClosed))
	_, err = client.ReceiveDatagram(nil)
	is.Equal(err, io.EOF) // the peer has closed
}

func TestNoDatagrams(t *testing.T) {
	for _, c := range []struct {
		transport string
		suite     mechanism.Suite
	}{{"tcp", mechanism.IKhfsAESGCM}, {"pipe", mechanism.XXhfsAESGCM}, {"udp", mechanism.Null}} {
		t.Run(c.transport, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, c.suite)
			a, _ := connect(t, c.transport, initiator, responder)
			is.True(errors.Is(a.SendDatagram([]byte("x")), securesp.ErrNoDatagrams))
			_, err := a.ReceiveDatagram(nil)
			is.True(errors.Is(err, securesp.ErrNoDatagrams))
		})
	}
}

// airCarrier is a net.Conn with datagrams that a test has in its hand.
type airCarrier struct {
	net.Conn
	out chan<- []byte
	in  <-chan []byte
}

func (c airCarrier) SendDatagram(p []byte, _ time.Time) error {
	c.out <- append([]byte(nil), p...)
	return nil
}

func (c airCarrier) ReceiveDatagram() ([]byte, error) {
	p, ok := <-c.in
	if !ok {
		return nil, io.EOF
	}
	return p, nil
}

// What the network does to datagrams is loss at worst: never a copy, never a
// byte that was not sent.
func TestDatagramsUnderAttack(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.IKhfsAESGCM)
	near, far := net.Pipe()
	sent, received := make(chan []byte, 100), make(chan []byte, 1000)
	a := securesp.Client(airCarrier{near, sent, make(chan []byte)}, initiator)
	b := securesp.Server(airCarrier{far, make(chan []byte, 100), received}, responder)
	errs := make(chan error, 1)
	go func() { errs <- b.HandshakeContext(context.Background()) }()
	is.NoErr(a.HandshakeContext(context.Background()))
	is.NoErr(<-errs)
	defer closeBoth(a, b)

	var packets [][]byte
	for i := range 10 {
		is.NoErr(a.SendDatagram(fmt.Appendf(nil, "datagram %d", i)))
		packets = append(packets, <-sent)
	}
	is.True(!bytes.Contains(bytes.Join(packets, nil), []byte("datagram"))) // sealed
	for i := range packets[0] {
		forged := bytes.Clone(packets[0])
		forged[i] ^= 1
		received <- forged
	}
	for n := range packets[0] {
		received <- packets[0][:n]
	}
	received <- nil
	// The last first, all of them twice, and one lost.
	for i := len(packets) - 1; i >= 0; i-- {
		if i != 4 {
			received <- packets[i]
			received <- packets[i]
		}
	}
	close(received)
	var got []string
	for {
		p, err := b.ReceiveDatagram(nil)
		if err != nil {
			is.Equal(err, io.EOF)
			break
		}
		got = append(got, string(p))
	}
	want := make([]string, 0, 9)
	for i := 9; i >= 0; i-- {
		if i != 4 {
			want = append(want, fmt.Sprintf("datagram %d", i))
		}
	}
	is.Equal(got, want)
}

// countingCarrier counts the calls of Write.
type countingCarrier struct {
	net.Conn
	mu     sync.Mutex
	writes int
}

func (c *countingCarrier) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.writes++
	c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *countingCarrier) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// QUIC gathers nothing: a message must reach the carrier in one Write, header
// and all its parts.
func TestOneWriteAMessage(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.IKhfsAESGCM)
	near, far := net.Pipe()
	counting := &countingCarrier{Conn: near}
	a, b := securesp.Client(counting, initiator), securesp.Server(far, responder)
	errs := make(chan error, 1)
	go func() { errs <- b.HandshakeContext(context.Background()) }()
	is.NoErr(a.HandshakeContext(context.Background()))
	is.NoErr(<-errs)
	defer closeBoth(a, b)
	before := counting.count()
	go func() {
		err := a.WriteMessage([]byte("one "), []byte("message, "), make([]byte, 40_000))
		errs <- errors.Join(err, a.Flush())
	}()
	_, err := b.ReadMessage(nil)
	is.NoErr(err)
	is.NoErr(<-errs)
	is.Equal(counting.count()-before, 1)
}

// A server that comes back under the same identity and address lets its
// clients know that the former one's connections are gone. That it needs no
// help from the dead is tested where one can be simulated, in quiccarrier.
func TestUDPAddressIsReusable(t *testing.T) {
	is := is.New(t)
	identity, err := keys.Generate()
	is.NoErr(err)
	config := &securesp.Config{Identity: identity, Trust: trust.Anyone()}
	address := testnet.FreeAddress(t)
	l, err := securesp.Listen("udp", address, config)
	is.NoErr(err) // listen
	dialer := &securesp.Config{Identity: identity, Trust: trust.Keys(identity.Public())}
	for range 3 {
		client, err := securesp.Dial("udp", address, dialer)
		is.NoErr(err) // dial
		server, err := l.AcceptConn()
		is.NoErr(err) // accept
		closeBoth(client, server)
		is.NoErr(l.Close())
		l, err = securesp.Listen("udp", address, config)
		is.NoErr(err) // listen on the same address again
	}
	is.NoErr(l.Close())
}

func ExampleConn_SendDatagram() {
	identity, _ := keys.Generate()
	config := &securesp.Config{Identity: identity, Trust: trust.Keys(identity.Public())}

	l, err := securesp.Listen("udp", "127.0.0.1:0", config)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		c, err := l.AcceptConn()
		if err != nil {
			return
		}
		defer c.Close()
		position, err := c.ReceiveDatagram(nil)
		if err == nil {
			c.SendDatagram(append([]byte("seen: "), position...))
		}
		io.Copy(io.Discard, c) // until the peer closes
	}()

	c, err := securesp.Dial("udp", l.Addr().String(), config)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	c.SendDatagram([]byte("x=3 y=4")) // may be lost elsewhere; hardly on this host
	reply, err := c.ReceiveDatagram(nil)
	fmt.Println(string(reply), err)
	// Output: seen: x=3 y=4 <nil>
}
