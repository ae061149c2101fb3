package securesp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
)

// heap returns the bytes of live objects.
func heap() int64 {
	runtime.GC()
	runtime.GC() // the first one only moves pooled buffers to their victim cache
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// dialHonest connects over inner and runs the handshake, and returns how long
// that took.
func dialHonest(t *testing.T, inner *testnet.Listener, config *securesp.Config) (*securesp.Conn, time.Duration) {
	t.Helper()
	start := time.Now()
	carrier, err := inner.Dial()
	if err != nil {
		t.Fatal(err)
	}
	c := securesp.Client(carrier, config)
	if err := c.HandshakeContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	return c, time.Since(start)
}

// acceptAll accepts until the listener is closed and closes each connection
// once its peer does.
func acceptAll(l net.Listener) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}()
	return done
}

// TestSilentPeers has 1,000 peers connect that say nothing, or half of a HELLO
// that claims to be large. Honest ones connect as if those were not there, and
// what the silent ones cost is bounded by MaxPending, not by their number.
func TestSilentPeers(t *testing.T) {
	half := rawHello([]mechanism.Suite{mechanism.XXAESGCM}, nil, make([]byte, 4000))[:3000]
	greedy := binary.BigEndian.AppendUint16([]byte("\x00SPS\x01\x00\x01\x02\x11\x00\x00"), 0xFFFF)
	for name, said := range map[string][]byte{"nothing": nil, "magic": half[:4], "half": half, "greedy": greedy} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				initiator, responder := configs(t, mechanism.XXAESGCM)
				failed := make(chan error, 2000)
				responder.OnHandshakeError = func(err error) { failed <- err }
				inner := testnet.Listen(64 << 10)
				l := securesp.NewListener(inner, responder)
				done := acceptAll(l)

				before := heap()
				var silent []*testnet.Conn
				var most int64
				for i := range 1000 {
					c, err := inner.Dial()
					is.NoErr(err)
					c.Write(said)
					silent = append(silent, c)
					if i%100 == 99 {
						synctest.Wait()
						most = max(most, heap()-before)
						honest, took := dialHonest(t, inner, initiator)
						is.Equal(took, time.Duration(0)) // as if alone
						is.NoErr(honest.Close())
					}
				}
				// The carriers of all 1,000 are ours and in memory, too.
				perCarrier := int64(2<<10) + int64(len(said))
				bound := 1000*perCarrier + securesp.DefaultMaxPending*(8<<10)
				if !raceEnabled && most > bound {
					t.Errorf("1000 silent peers cost %d bytes, more than %d", most, bound)
				}
				is.True(len(failed) >= 1000-securesp.DefaultMaxPending) // the oldest were dropped
				// The rest goes at the deadline, and not before.
				time.Sleep(securesp.DefaultHandshakeTimeout - time.Nanosecond)
				synctest.Wait()
				if name != "greedy" { // which failed at once
					is.True(len(failed) < 1000)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				is.Equal(len(failed), 1000)
				for _, c := range silent {
					_, err := io.ReadAll(c)
					is.NoErr(err) // hung up on
					c.Close()
				}
				is.NoErr(l.Close())
				<-done
			})
		})
	}
}

// TestCrowdedOut keeps an honest handshake waiting in its middle while others
// connect, many more than there is room for. It goes on where it was if they
// have not said as much, or come from one other host.
func TestCrowdedOut(t *testing.T) {
	host := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	hello := rawHello([]mechanism.Suite{mechanism.XXAESGCM}, nil, append([]byte{9}, make([]byte, 31)...))
	for _, c := range []struct {
		name         string
		honest       net.Addr
		stranger     func(i int) net.Addr
		said         []byte
		honestIsLost bool
	}{
		{"silent, same host", nil, func(int) net.Addr { return nil }, nil, false},
		{"silent, many hosts", host("192.0.2.1:1"), func(i int) net.Addr {
			return host(fmt.Sprintf("198.51.%d.%d:1", 100+i/200, i%200))
		}, nil, false},
		{"HELLO, another host", host("192.0.2.1:1"), func(i int) net.Addr { return host(fmt.Sprint("192.0.2.2:", 1+i)) }, hello, false},
		{"HELLO, another network", host("[2001:db8:0:1::1]:1"), func(i int) net.Addr {
			return host(fmt.Sprintf("[2001:db8:0:2::%x]:1", 1+i))
		}, hello, false},
		{"HELLO, same host", host("192.0.2.1:1"), func(i int) net.Addr { return host(fmt.Sprint("192.0.2.1:", 2+i)) }, hello, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				initiator, responder := configs(t, mechanism.XXAESGCM)
				inner := testnet.Listen(64 << 10)
				l := securesp.NewListener(inner, responder)
				done := acceptAll(l)
				carrier, err := inner.DialFrom(c.honest)
				is.NoErr(err)
				carrier.SlowReads(time.Second) // the reply takes a second to be seen
				honest := securesp.Client(carrier, initiator)
				shaken := make(chan error, 1)
				go func() { shaken <- honest.HandshakeContext(context.Background()) }()
				synctest.Wait()
				var strangers []*testnet.Conn
				for i := range 600 {
					s, err := inner.DialFrom(c.stranger(i))
					is.NoErr(err)
					s.Write(c.said)
					strangers = append(strangers, s)
					synctest.Wait()
				}
				err = <-shaken
				honest.Close()
				is.NoErr(l.Close())
				<-done
				for _, s := range strangers {
					s.Close()
				}
				is.Equal(err != nil, c.honestIsLost)
			})
		})
	}
}

// TestSlowPeer lets the other side take in or give out one byte a second. The
// handshake ends when its time is over, for both roles.
func TestSlowPeer(t *testing.T) {
	for _, slow := range []string{"initiator", "responder"} {
		t.Run(slow, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				initiator, responder := configs(t, mechanism.XXhfsAESGCM)
				initiator.HandshakeTimeout = time.Hour
				responder.HandshakeTimeout = time.Hour
				near, far := testnet.Pipe(64 << 10)
				victim := responder
				if slow == "initiator" {
					far.LimitReads(1) // what the responder reads comes in one byte a second
					far.SlowReads(time.Second)
				} else {
					victim = initiator
					near.LimitReads(1)
					near.SlowReads(time.Second)
				}
				victim.HandshakeTimeout = 0 // the default
				before := heap()
				o := meet(near, far, initiator, responder)
				is.True(heap()-before < 256<<10) // for both sides together
				is.NoErr(o.victim(slow == "responder"))
				_, err := o.side(slow == "responder")
				is.True(errors.Is(err, os.ErrDeadlineExceeded)) // its own clock
				var timeout net.Error
				is.True(errors.As(err, &timeout) && timeout.Timeout())
				is.True(o.took >= securesp.DefaultHandshakeTimeout)
				is.True(o.took <= securesp.DefaultHandshakeTimeout+time.Second) // the byte that was on its way
				o.close()
			})
		})
	}
}

// TestHandshakeTimeout checks the bound that Config sets.
func TestHandshakeTimeout(t *testing.T) {
	for _, tc := range []struct{ set, want time.Duration }{
		{0, 10 * time.Second}, {-time.Second, 10 * time.Second}, {time.Millisecond, time.Millisecond}, {time.Minute, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			initiator, _ := configs(t, mechanism.XXAESGCM)
			initiator.HandshakeTimeout = tc.set
			near, far := testnet.Pipe(64 << 10)
			defer far.Close()
			c := securesp.Client(near, initiator)
			start := time.Now()
			err := c.HandshakeContext(context.Background())
			is.True(errors.Is(err, os.ErrDeadlineExceeded))
			is.Equal(time.Since(start), tc.want)
			again := c.HandshakeContext(context.Background())
			is.Equal(again, err) // final
		})
	}
}

// TestHandshakeContext ends a handshake through its context.
func TestHandshakeContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, _ := configs(t, mechanism.XXAESGCM)
		near, far := testnet.Pipe(64 << 10)
		defer far.Close()
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		err := securesp.Client(near, initiator).HandshakeContext(ctx)
		is.True(errors.Is(err, context.Canceled))
		is.Equal(time.Since(start), time.Second)
	})
}

// TestListenerClose closes a listener with peers at every stage: nothing is
// left waiting.
func TestListenerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		failed := make(chan error, 100)
		responder.OnHandshakeError = func(err error) { failed <- err }
		inner := testnet.Listen(64 << 10)
		l := securesp.NewListener(inner, responder)
		accepted, _ := dialHonest(t, inner, initiator)
		kept, err := l.Accept()
		is.NoErr(err) // this one lives on
		var silent []*testnet.Conn
		for range 10 {
			c, err := inner.Dial()
			is.NoErr(err)
			silent = append(silent, c)
		}
		waiting, _ := dialHonest(t, inner, initiator) // accepted by nobody
		synctest.Wait()
		blocked := make(chan error, 1)
		start := time.Now()
		is.NoErr(l.Close())
		is.True(time.Since(start) < time.Second) // bounded
		for _, c := range silent {
			_, err := io.ReadAll(c)
			is.NoErr(err) // hung up on
			is.True(errors.Is(<-failed, net.ErrClosed))
			c.Close()
		}
		_, err = waiting.Read(make([]byte, 1))
		is.Equal(asCloseError(err).Code, securesp.CloseGoingAway) // told so
		waiting.Close()
		go func() {
			_, err := l.Accept()
			blocked <- err
		}()
		is.True(errors.Is(<-blocked, net.ErrClosed))
		_, err = inner.Dial()
		is.True(err != nil) // the inner listener is closed
		is.NoErr(accepted.WriteMessage([]byte("still here")))
		m, err := kept.(*securesp.Conn).ReadMessage(nil)
		is.NoErr(err)
		is.Equal(string(m), "still here")
		closeBoth(accepted, kept)
		l.Close() // again: harmless
	})
}

// TestAcceptIsUnblocked has Close interrupt an Accept in progress.
func TestAcceptIsUnblocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		_, responder := configs(t, mechanism.XXAESGCM)
		l := securesp.NewListener(testnet.Listen(1<<10), responder)
		got := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			got <- err
		}()
		synctest.Wait()
		is.NoErr(l.Close())
		is.True(errors.Is(<-got, net.ErrClosed))
	})
}

// TestFinishedAreNotCrowdedOut fills MaxPending with connections that wait for
// Accept: newcomers wait, and none of the finished is dropped.
func TestFinishedAreNotCrowdedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		responder.MaxPending = 3
		inner := testnet.Listen(64 << 10)
		l := securesp.NewListener(inner, responder)
		var clients []*securesp.Conn
		for range 3 {
			c, _ := dialHonest(t, inner, initiator)
			clients = append(clients, c)
		}
		synctest.Wait()
		fourth := make(chan *securesp.Conn)
		go func() {
			c, _ := dialHonest(t, inner, initiator)
			fourth <- c
		}()
		synctest.Wait()
		select {
		case <-fourth:
			t.Error("the fourth was served beyond MaxPending")
		default:
		}
		var servers []net.Conn
		for range 4 {
			s, err := l.Accept()
			is.NoErr(err)
			servers = append(servers, s)
		}
		clients = append(clients, <-fourth)
		for i := range clients {
			is.NoErr(clients[i].WriteMessage([]byte("hi"))) // all are alive
		}
		for _, s := range servers {
			m, err := s.(*securesp.Conn).ReadMessage(nil)
			is.NoErr(err)
			is.Equal(string(m), "hi")
		}
		for i := range clients {
			closeBoth(clients[i], servers[i])
		}
		is.NoErr(l.Close())
	})
}

// TestClaimsCostNothing has authenticated and unauthenticated peers claim much
// and send little: memory grows with what arrives.
func TestClaimsCostNothing(t *testing.T) {
	is := is.New(t)
	p, c := rawPair(t, mechanism.XXAESGCM, nil)
	defer p.end(c)
	read := make(chan error, 1)
	go func() {
		_, err := c.ReadMessage(nil)
		read <- err
	}()
	before := heap()
	// The largest message that is permitted, announced in its first frame,
	// and then the header of a record of the largest size.
	p.record(mechanism.Data, frameBytes([]byte("x"), securesp.DefaultMaxMessageSize, true))
	p.send([]byte{0x40, 0x11, 0})
	p.record(mechanism.Pad, nil) // some of that record
	grown := heap() - before
	is.True(grown < 1<<20) // far from 16 MiB
	p.wire.Cut()
	is.Equal(<-read, io.ErrUnexpectedEOF)
}
