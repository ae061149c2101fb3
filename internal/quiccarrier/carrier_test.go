package quiccarrier

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"github.com/quic-go/quic-go"

	"github.com/securesp/securesp/internal/lossnet"
)

// world is a network with a listener, in a bubble where time is virtual.
type world struct {
	t        *testing.T
	net      *lossnet.Net
	server   *lossnet.Endpoint
	listener *Listener
}

const (
	serverAddr = "10.0.0.1:443"
	clientAddr = "10.0.0.2:1000"
)

func inWorld(t *testing.T, c lossnet.Conditions, o Options, f func(t *testing.T, w *world)) {
	silenceBufferWarning() // outside the bubble
	synctest.Test(t, func(t *testing.T) {
		if o.MaxPending == 0 {
			o.MaxPending = 256
		}
		w := &world{t: t, net: lossnet.New(1, c)}
		w.listen(o)
		f(t, w)
		w.listener.Close()
		time.Sleep(time.Minute) // everything that lingers is gone
	})
}

func (w *world) listen(o Options) {
	w.t.Helper()
	w.server = w.net.Listen(serverAddr)
	l, err := Listen(w.server, o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.listener = l
}

// dial connects from addr.
func (w *world) dial(addr string) (*Conn, *lossnet.Endpoint, error) {
	e := w.net.Listen(addr)
	c, err := DialOn(context.Background(), e, w.server.LocalAddr(), Options{})
	return c, e, err
}

// pair connects from clientAddr and returns both ends, established.
func (w *world) pair() (client, server *Conn, e *lossnet.Endpoint) {
	w.t.Helper()
	client, e, err := w.dial(clientAddr)
	if err != nil {
		w.t.Fatal(err)
	}
	accepted, err := w.listener.Accept()
	if err != nil {
		w.t.Fatal(err)
	}
	server = accepted.(*Conn)
	client.Established()
	server.Established()
	return client, server, e
}

// hello makes the stream known to the server, as a handshake does.
func hello(t *testing.T, client, server *Conn) {
	t.Helper()
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(server, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
}

func closeBoth(a, b net.Conn) {
	done := make(chan struct{})
	go func() { a.Close(); close(done) }()
	b.Close()
	<-done
}

// The stream does not exist for the accepting side before its first byte; that
// must not show but as waiting.
func TestStreamAppearsLate(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: 10 * time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		server.SetDeadline(time.Now().Add(time.Second))
		_, err := server.Read(make([]byte, 1))
		is.True(errors.Is(err, os.ErrDeadlineExceeded)) // reading before there is a stream
		n, err := server.Write([]byte("x"))
		is.True(errors.Is(err, os.ErrDeadlineExceeded)) // and writing
		is.Equal(n, 0)
		server.SetDeadline(time.Time{})
		hello(t, client, server)
		_, err = server.Write([]byte("x"))
		is.NoErr(err) // write after a timeout
		closeBoth(client, server)
	})
}

func TestLossDelayReorderingDuplication(t *testing.T) {
	conditions := lossnet.Conditions{Delay: 20 * time.Millisecond, Loss: 0.05, Duplicate: 0.05, Reorder: 0.1}
	inWorld(t, conditions, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		sent := make([]byte, 2<<20)
		rand.Read(sent)
		errs := make(chan error, 2)
		go func() {
			_, err := client.Write(sent)
			errs <- errors.Join(err, client.Close())
		}()
		got, err := io.ReadAll(server)
		is.NoErr(err)                   // read to the end
		is.NoErr(<-errs)                // write and close
		is.True(bytes.Equal(got, sent)) // the bytes
		is.NoErr(server.Close())
	})
}

// Tunnels leave little of Ethernet's 1,500 bytes; QUIC's minimum must do.
func TestSmallestMTU(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: 5 * time.Millisecond, MTU: 1200}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		start := time.Now()
		client, server, _ := w.pair()
		is.True(time.Since(start) < 100*time.Millisecond) // no packet had to be tried again
		sent := make([]byte, 1<<20)
		rand.Read(sent)
		errs := make(chan error, 1)
		go func() {
			_, err := client.Write(sent)
			errs <- err
		}()
		got := make([]byte, len(sent))
		_, err := io.ReadFull(server, got)
		is.NoErr(err)                   // read
		is.NoErr(<-errs)                // write
		is.True(bytes.Equal(got, sent)) // the bytes

		datagram := make([]byte, 1100+28)                    // securesp.MaxDatagramSize, sealed
		is.NoErr(client.SendDatagram(datagram, time.Time{})) // the least that is promised
		p, err := server.ReceiveDatagram()
		is.NoErr(err) // receive
		is.Equal(len(p), len(datagram))
		closeBoth(client, server)
	})
}

func TestRebinding(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: 20 * time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, e := w.pair()
		hello(t, client, server)
		time.Sleep(100 * time.Millisecond) // the QUIC handshake is confirmed
		sent := make([]byte, 1<<20)
		rand.Read(sent)
		errs := make(chan error, 1)
		go func() {
			_, err := client.Write(sent[:len(sent)/2])
			w.net.Rebind(e, "10.0.0.2:2000")
			_, err2 := client.Write(sent[len(sent)/2:])
			errs <- errors.Join(err, err2)
		}()
		got := make([]byte, len(sent))
		_, err := io.ReadFull(server, got)
		is.NoErr(err)                   // read across the change
		is.NoErr(<-errs)                // write across the change
		is.True(bytes.Equal(got, sent)) // the bytes
		is.Equal(server.RemoteAddr().String(), "10.0.0.2:2000")
		_, err = server.Write([]byte("back"))
		is.NoErr(err) // write to the new address
		_, err = io.ReadFull(client, got[:4])
		is.NoErr(err) // and it arrives
		closeBoth(client, server)
	})
}

func TestAbandonedPeer(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		hello(t, client, server)
		// Silence alone is nothing: keepalives go on beneath it.
		server.SetReadDeadline(time.Now().Add(10 * idleTimeout))
		_, err := server.Read(make([]byte, 1))
		is.True(errors.Is(err, os.ErrDeadlineExceeded)) // quiet, but alive
		server.SetReadDeadline(time.Time{})

		w.net.SetConditions(lossnet.Conditions{Loss: 1})
		start := time.Now()
		_, err = server.Read(make([]byte, 1))
		is.True(errors.Is(err, ErrSilent)) // the peer is gone
		is.True(time.Since(start) <= idleTimeout+keepAlivePeriod)
		var timeout net.Error
		is.True(!errors.As(err, &timeout) || !timeout.Timeout()) // it is final, so it is no timeout
		_, again := server.Read(make([]byte, 1))
		is.True(errors.Is(again, ErrSilent)) // and stays
		_, err = server.Write([]byte("x"))
		is.True(errors.Is(err, ErrSilent)) // for writing, too
		is.NoErr(server.Close())           // somebody was told
		client.Close()
	})
}

func TestRestartedServer(t *testing.T) {
	o := Options{ResetSecret: []byte("the identity's secret")}
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, o, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		hello(t, client, server)
		w.server.Close() // the process dies: nobody is told anything
		server.Close()
		w.listener.Close()
		w.listen(o)

		start := time.Now()
		_, err := client.Write(make([]byte, 100))
		is.NoErr(err) // nobody knows yet
		_, err = client.Read(make([]byte, 1))
		is.True(errors.Is(err, syscall.ECONNRESET)) // the new process does not know us
		is.True(time.Since(start) < time.Second)
		client.Close()
	})
}

func TestPeerAborts(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		hello(t, client, server)
		client.end(codeAborted)
		_, err := server.Read(make([]byte, 1))
		is.True(errors.Is(err, syscall.ECONNRESET)) // read
		_, err = server.Write(make([]byte, 1))
		is.True(errors.Is(err, syscall.ECONNRESET)) // write
		closeBoth(client, server)
	})
}

// A deadline that strikes while the peer takes nothing must leave n exact.
func TestWriteTimeoutIsExact(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		hello(t, client, server)
		sent := make([]byte, 1<<20)
		rand.Read(sent)
		client.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := client.Write(sent)
		is.True(errors.Is(err, os.ErrDeadlineExceeded)) // the window is full
		is.True(n > 0 && n < initialWindow+2000)        // what one can make us hold who has proved nothing
		client.SetWriteDeadline(time.Time{})
		errs := make(chan error, 1)
		go func() {
			_, err := client.Write(sent[n:])
			errs <- errors.Join(err, client.Close())
		}()
		got, err := io.ReadAll(server)
		is.NoErr(err)                   // read to the end
		is.NoErr(<-errs)                // the rest
		is.True(bytes.Equal(got, sent)) // nothing twice, nothing missing
		server.Close()
	})
}

func TestReadDeadlineWhileTheRestIsUnderWay(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		hello(t, client, server)
		// The end arrives, what comes before it does not.
		drop := true
		w.net.SetTap(func(from, _ netip.AddrPort, p []byte) bool {
			return from.String() == clientAddr && drop
		})
		_, err := client.Write(make([]byte, 1000))
		is.NoErr(err) // write
		time.Sleep(time.Millisecond)
		closed := make(chan error, 1)
		w.net.SetTap(nil)
		go func() { closed <- client.Close() }()
		server.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
		buf := make([]byte, 2000)
		n, err := server.Read(buf)
		if err != nil {
			is.True(errors.Is(err, os.ErrDeadlineExceeded)) // it is still missing
		}
		server.SetReadDeadline(time.Time{})
		rest, err := io.ReadAll(server)
		is.NoErr(err)               // after the timeout
		is.Equal(n+len(rest), 1000) // all of it
		is.NoErr(<-closed)
		server.Close()
	})
}

func TestListenerCloseTellsWhoWasNotAccepted(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, _, err := w.dial(clientAddr)
		is.NoErr(err)                // dial
		time.Sleep(time.Second)      // both sides are done with QUIC's handshake, and it waits for Accept
		is.NoErr(w.listener.Close()) // at once
		start := time.Now()
		_, err = client.Read(make([]byte, 1))
		is.True(errors.Is(err, syscall.ECONNRESET)) // told
		is.True(time.Since(start) < time.Second)
		client.Close()
	})
}

func TestListenerCloseLeavesAcceptedAlone(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		hello(t, client, server)
		is.NoErr(w.listener.Close())
		_, err := w.listener.Accept()
		is.True(errors.Is(err, net.ErrClosed)) // accept
		hello(t, client, server)
		_, _, err = w.dial("10.0.0.3:1000")
		is.True(err != nil) // nobody listens
		closeBoth(client, server)
		time.Sleep(2 * time.Second)
		w.listen(Options{MaxPending: 1}) // the address is free again
	})
}

// A connection that is Established takes no place of those that have proved
// nothing.
func TestEstablishedMakesRoom(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{MaxPending: 1}, func(t *testing.T, w *world) {
		is := is.New(t)
		var live []*Conn
		for i := range 6 {
			client, _, err := w.dial(fmt.Sprintf("10.2.0.%d:1", 1+i))
			is.NoErr(err) // there is room
			server, err := w.listener.Accept()
			is.NoErr(err)
			server.(*Conn).Established()
			live = append(live, client, server.(*Conn))
		}
		is.Equal(w.listener.limits.young.Load(), int64(0))
		for i := 0; i < len(live); i += 2 {
			hello(t, live[i], live[i+1])
			closeBoth(live[i], live[i+1])
		}
	})
}

func TestDialNobody(t *testing.T) {
	inWorld(t, lossnet.Conditions{}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		e := w.net.Listen("10.0.0.9:1")
		start := time.Now()
		_, err := DialOn(context.Background(), e, &net.UDPAddr{IP: net.IPv4(10, 9, 9, 9), Port: 1}, Options{})
		var timeout net.Error
		is.True(errors.As(err, &timeout) && timeout.Timeout()) // nobody answers
		is.Equal(time.Since(start), dialTimeout)

		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start = time.Now()
		_, err = DialOn(ctx, w.net.Listen("10.0.0.9:1"), &net.UDPAddr{IP: net.IPv4(10, 9, 9, 9), Port: 1}, Options{})
		is.True(errors.Is(err, context.DeadlineExceeded)) // the context counts
		is.Equal(time.Since(start), time.Second)
	})
}

func TestChannelBinding(t *testing.T) {
	inWorld(t, lossnet.Conditions{}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		other, _, err := w.dial("10.0.0.3:1")
		is.NoErr(err) // dial
		a, err := client.ChannelBinding()
		is.NoErr(err)
		b, err := server.ChannelBinding()
		is.NoErr(err)
		c, err := other.ChannelBinding()
		is.NoErr(err)
		is.Equal(len(a), 32)
		is.True(bytes.Equal(a, b))  // the two ends agree
		is.True(!bytes.Equal(a, c)) // no other connection has the same
		state := client.quic.ConnectionState().TLS
		want, err := state.ExportKeyingMaterial("EXPORTER-securesp channel binding", []byte("securesp/1"), 32)
		is.NoErr(err)
		is.True(bytes.Equal(a, want)) // it is SPEC §9.2's
		other.Close()
		closeBoth(client, server)
	})
}

func TestDatagramsOfTheCarrier(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		is.NoErr(client.SendDatagram([]byte("one"), time.Time{}))
		is.NoErr(client.SendDatagram([]byte("two"), time.Now().Add(time.Second)))
		for _, want := range []string{"one", "two"} {
			p, err := server.ReceiveDatagram()
			is.NoErr(err) // receive
			is.Equal(string(p), want)
		}
		is.True(errors.Is(client.SendDatagram(make([]byte, 1500), time.Time{}), ErrDatagramTooLarge))

		server.SetReadDeadline(time.Now().Add(time.Second))
		_, err := server.ReceiveDatagram()
		is.True(errors.Is(err, os.ErrDeadlineExceeded)) // nothing comes
		server.SetReadDeadline(time.Time{})
		received := make(chan error)
		go func() {
			_, err := server.ReceiveDatagram()
			received <- err
		}()
		time.Sleep(time.Second)
		server.SetReadDeadline(time.Now())
		is.True(errors.Is(<-received, os.ErrDeadlineExceeded)) // a deadline set meanwhile
		server.SetReadDeadline(time.Time{})

		// A path that takes nothing fills the queue; deadlines hold there.
		w.net.SetConditions(lossnet.Conditions{Loss: 1})
		for err = nil; err == nil; {
			err = client.SendDatagram(make([]byte, 1000), time.Now().Add(100*time.Millisecond))
		}
		is.True(errors.Is(err, os.ErrDeadlineExceeded)) // no room
		closeBoth(client, server)
		_, err = server.ReceiveDatagram()
		is.True(err != nil) // closed
	})
}

// QUIC gets a socket that it can send many packets at a time on; and packets
// grow to what the path carries.
func TestRealSocket(t *testing.T) {
	is := is.New(t)
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	is.NoErr(err) // listen
	l, err := Listen(conn, Options{MaxPending: 1})
	is.NoErr(err) // listen
	defer l.Close()
	_, ok := l.socket.transport.Conn.(quic.OOBCapablePacketConn)
	is.True(ok) // the listener's
	client, err := Dial(t.Context(), &net.Dialer{}, "udp4", l.Addr().String(), Options{})
	is.NoErr(err) // dial
	_, ok = client.socket.transport.Conn.(quic.OOBCapablePacketConn)
	is.True(ok) // the dialer's
	server, err := l.Accept()
	is.NoErr(err) // accept
	defer closeBoth(client, server)
	limit := time.Now().Add(10 * time.Second)
	for {
		hello(t, client, server.(*Conn)) // discovery needs round trips
		err := client.SendDatagram(make([]byte, 1300), time.Time{})
		if err == nil {
			break // more than the 1,200 bytes that packets begin with
		}
		is.True(errors.Is(err, ErrDatagramTooLarge)) // so far
		is.True(time.Now().Before(limit))            // packets grow
	}
}
