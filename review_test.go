package securesp_test

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
)

// burstListener accepts all its carriers at once.
type burstListener struct {
	carriers []net.Conn
	once     sync.Once
	closed   chan struct{}
}

func (l *burstListener) Accept() (net.Conn, error) {
	if len(l.carriers) > 0 {
		c := l.carriers[0]
		l.carriers = l.carriers[1:]
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *burstListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *burstListener) Addr() net.Addr { return pipeAddr{} }

// TestCrowdedOutAtOnce: a carrier whose handshake is dropped before it has
// even begun is closed and reported like any other.
func TestCrowdedOutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const n = 50
		_, responder := configs(t, mechanism.XXAESGCM)
		var reports atomic.Int32
		responder.MaxPending = 1
		responder.OnHandshakeError = func(error) { reports.Add(1) }
		inner := &burstListener{closed: make(chan struct{})}
		var near []*testnet.Conn
		for range n {
			a, b := testnet.Pipe(1 << 10)
			near = append(near, a)
			inner.carriers = append(inner.carriers, b)
		}
		l := securesp.NewListener(inner, responder)
		synctest.Wait()
		is.Equal(int(reports.Load()), n-1) // all but the last were dropped, and reported
		for _, c := range near[:n-1] {
			is.NoErr(c.SetReadDeadline(time.Now().Add(time.Minute)))
			_, err := c.Read(make([]byte, 1))
			is.Equal(err, io.EOF) // their carriers are closed
		}
		is.NoErr(l.Close())
		is.Equal(int(reports.Load()), n)
	})
}

// TestFlushDeadlineInCompany: Flush keeps to its deadline although somebody
// else, who waited, too, has gone.
func TestFlushDeadlineInCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		near, far := testnet.Pipe(64 << 10)
		w := meet(near, far, initiator, responder) // nobody reads at b
		is.NoErr(errors.Join(w.aErr, w.bErr))
		part := make([]byte, 16<<10)
		is.NoErr(w.a.SetWriteDeadline(time.Now().Add(time.Second)))
		for {
			if _, err := w.a.Write(part); err != nil { // no room is left
				is.True(errors.Is(err, os.ErrDeadlineExceeded))
				break
			}
		}
		is.NoErr(w.a.SetWriteDeadline(time.Now().Add(time.Minute)))
		start := time.Now()
		flushed, written := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := w.a.Write(part)
			written <- err
		}()
		synctest.Wait()
		go func() { flushed <- w.a.Flush() }()
		synctest.Wait()
		for len(written) == 0 { // makes room, for Write only
			_, err := io.ReadFull(w.b, make([]byte, len(part)))
			is.NoErr(err)
			synctest.Wait()
		}
		is.NoErr(<-written)
		is.True(errors.Is(<-flushed, os.ErrDeadlineExceeded))
		is.Equal(time.Since(start), time.Minute)
		w.close()
	})
}

// TestKeepAliveWhilePolling: a reader that never waits longer than a moment
// notices a silent peer as well.
func TestKeepAliveWhilePolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		initiator.KeepAlive = 10 * time.Second
		w := wire(t, initiator, responder) // nobody reads at b
		start := time.Now()
		var err error
		for time.Since(start) < 10*time.Minute {
			is.NoErr(w.a.SetReadDeadline(time.Now().Add(time.Second)))
			if _, err = w.a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
		}
		is.True(errors.Is(err, securesp.ErrPeerSilent))
		is.True(time.Since(start) < time.Minute)
		w.close()
	})
}

// TestKeepAliveTrickle: bytes that prove nothing do not count as life.
func TestKeepAliveTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		initiator.KeepAlive = 10 * time.Second
		w := wire(t, initiator, responder) // nobody reads at b
		stop := make(chan struct{})
		go func() {
			w.far.Inject([]byte{0x40, 0, 0}) // the header of a record
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Second):
					w.far.Inject([]byte{0})
				}
			}
		}()
		is.NoErr(w.a.SetReadDeadline(time.Now().Add(10 * time.Minute)))
		_, err := w.a.Read(make([]byte, 1))
		is.True(errors.Is(err, securesp.ErrPeerSilent))
		close(stop)
		w.close()
	})
}

// lostCarrier's writes fail for good with an error that calls itself a
// timeout, as those of a QUIC stream do once its connection has idled out.
type lostCarrier struct {
	net.Conn
	lost   atomic.Bool
	writes atomic.Int64
}

type idleTimeout struct{}

func (idleTimeout) Error() string   { return "idle timeout" }
func (idleTimeout) Timeout() bool   { return true }
func (idleTimeout) Temporary() bool { return false }

func (c *lostCarrier) Write(p []byte) (int, error) {
	switch {
	case !c.lost.Load():
		return c.Conn.Write(p)
	case c.writes.Add(1) > 100:
		return 0, io.ErrClosedPipe
	}
	return 0, idleTimeout{}
}

// TestCarrierThatTimedOut: where there is no deadline, a carrier's timeout is
// its end. It is not tried again and again, and not reported as a timeout,
// after which writing could go on.
func TestCarrierThatTimedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		near, far := testnet.Pipe(64 << 10)
		carrier := &lostCarrier{Conn: near}
		o := meet(carrier, far, initiator, responder)
		is.NoErr(errors.Join(o.aErr, o.bErr))
		carrier.lost.Store(true)
		_, writeErr := o.a.Write([]byte("x"))
		err := errors.Join(writeErr, o.a.Flush())
		is.True(errors.Is(err, idleTimeout{}))
		var n net.Error
		is.True(errors.As(err, &n) && !n.Timeout())
		is.True(carrier.writes.Load() <= 2)
		o.close()
	})
}

// TestWriteToKeepsNothing: WriteTo passes on what was opened in place, many
// records at once, without memory of its own.
func TestWriteToKeepsNothing(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.XXAESGCM)
	a, b := connect(t, "tcp", initiator, responder)
	p := make([]byte, 64<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	written := make(chan error, 1)
	go func() {
		_, err := a.Write(p)
		written <- errors.Join(err, a.CloseWrite())
	}()
	n, err := b.WriteTo(io.Discard)
	is.NoErr(err)
	is.NoErr(<-written)
	is.Equal(n, int64(len(p)))
	runtime.ReadMemStats(&after)
	is.True(after.TotalAlloc-before.TotalAlloc < uint64(len(p))) // with the pools at their worst
}
