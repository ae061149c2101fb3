package securesp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
)

// TestReadTimeoutAtEveryByte lets the bytes of some messages arrive one at a
// time and has ReadMessage time out before each of them. Every message is
// returned once, whole.
func TestReadTimeoutAtEveryByte(t *testing.T) {
	sizes := []int{0, 5, 100, 1000, 0, 17000}
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				w := wireSuite(t, s.suite)
				var tape testnet.Recorder
				record := tape.Tap()
				w.near.Tap(func(p []byte) ([]byte, bool) {
					record(p)
					return nil, false
				})
				for i, n := range sizes {
					is.NoErr(w.a.WriteMessage(noiseBytes(uint64(i), n)))
				}
				is.NoErr(w.a.Flush())
				got, timeouts := 0, 0
				poll := func() {
					is.NoErr(w.b.SetReadDeadline(time.Now().Add(time.Nanosecond)))
					for {
						m, err := w.b.ReadMessage([]byte("dst"))
						if err != nil {
							is.True(errors.Is(err, os.ErrDeadlineExceeded))
							is.Equal(string(m), "dst") // nothing of a half message
							timeouts++
							return
						}
						is.True(bytes.Equal(m[3:], noiseBytes(uint64(got), sizes[got])))
						got++
					}
				}
				wire := tape.Bytes()
				for i := 0; i < len(wire); {
					n := 1
					if i > 3000 { // by then it is the same again and again
						n = min(97, len(wire)-i)
					}
					w.near.Inject(wire[i : i+n])
					i += n
					poll()
				}
				is.Equal(got, len(sizes))
				is.True(timeouts > 1000)
				w.near.Tap(nil)
				w.close()
			})
		})
	}
}

// TestReadAfterMessageTimeout: what an interrupted ReadMessage had got belongs
// to the next Read, and the rest to the next ReadMessage.
func TestReadAfterMessageTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		w := wireSuite(t, mechanism.XXAESGCM)
		want := noiseBytes(1, 3*mechanism.MaxPlaintext)
		left := 20000 // one record and a bit
		held := []byte(nil)
		w.near.Tap(func(p []byte) ([]byte, bool) {
			n := min(left, len(p))
			left -= n
			held = append(held, p[n:]...)
			return p[:n], false
		})
		is.NoErr(w.a.WriteMessage(want))
		is.NoErr(w.a.Flush())
		is.NoErr(w.b.SetReadDeadline(time.Now().Add(time.Second)))
		_, err := w.b.ReadMessage(nil)
		is.True(errors.Is(err, os.ErrDeadlineExceeded))
		is.NoErr(w.b.SetReadDeadline(time.Time{}))
		p := make([]byte, 1000)
		_, err = io.ReadFull(w.b, p)
		is.NoErr(err) // from what was kept
		is.True(bytes.Equal(p, want[:1000]))
		w.near.Inject(held)
		m, err := w.b.ReadMessage(nil)
		is.NoErr(err)
		is.True(bytes.Equal(m, want[1000:]))
		w.near.Tap(nil)
		w.close()
	})
}

// timedTransports are where timeouts come at random moments: real sockets and
// net.Pipe, where each Write waits for its Read.
var timedTransports = []string{"tcp", "unix", "pipe"}

// impatient calls f with deadlines that are often over soon and sometimes
// past, until f has succeeded or failed for another reason than a timeout.
func impatient(r *rand.Rand, set func(time.Time) error, f func() (done bool, err error)) (timeouts int, err error) {
	for {
		d := time.Duration(r.IntN(200)-40) * time.Microsecond
		if timeouts%50 == 49 {
			d = 50 * time.Millisecond // progress, however slow the machine
		}
		if err := set(time.Now().Add(d)); err != nil {
			return timeouts, err
		}
		done, err := f()
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || err == nil && done {
			return timeouts, err
		}
		if err != nil {
			timeouts++
		}
	}
}

// TestStreamSurvivesTimeouts writes and reads a stream with deadlines that
// keep running out in the midst of it. Each Write goes on behind the n bytes
// that the last one has reported; the stream must come out as it went in.
func TestStreamSurvivesTimeouts(t *testing.T) {
	for _, transport := range timedTransports {
		for _, off := range []bool{false, true} {
			name := transport + "/coalescing"
			if off {
				name = transport + "/no coalescing"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				is := is.New(t)
				initiator, responder := configs(t, mechanism.XXAESGCM)
				initiator.NoCoalescing = off
				a, b := connect(t, transport, initiator, responder)
				want := noiseBytes(9, 4<<20)
				written := make(chan error, 1)
				timeouts := make(chan int, 1)
				go func() {
					r := rand.New(rand.NewPCG(3, 4))
					rest, total := want, 0
					for len(rest) > 0 {
						size := min(len(rest), 1+r.IntN(3000))
						if r.IntN(4) == 0 {
							size = min(len(rest), 1+r.IntN(400000))
						}
						chunk := rest[:size]
						n, err := impatient(r, a.SetWriteDeadline, func() (bool, error) {
							n, err := a.Write(chunk)
							if n < 0 || n > len(chunk) || err == nil && n < len(chunk) {
								return false, errors.New("impossible result of Write")
							}
							chunk = chunk[n:]
							return true, err
						})
						if err != nil {
							written <- err
							return
						}
						total += n
						rest = rest[size:]
					}
					timeouts <- total
					a.SetWriteDeadline(time.Time{})
					written <- a.CloseWrite()
				}()
				r := rand.New(rand.NewPCG(5, 6))
				var got []byte
				p := make([]byte, 100000)
				n, err := impatient(r, b.SetReadDeadline, func() (bool, error) {
					n, err := b.Read(p[:1+r.IntN(len(p))])
					got = append(got, p[:n]...)
					return false, err
				})
				is.Equal(err, io.EOF)
				is.NoErr(<-written)
				is.True(bytes.Equal(got, want)) // nothing lost, nothing repeated
				is.True(n+<-timeouts > 0)       // a fifth of the Writes' deadlines were past
			})
		}
	}
}

// TestMessagesSurviveTimeouts sends messages with deadlines that run out. What
// WriteMessage has reported as sent arrives, what it has reported as timed out
// does not, not even in part.
func TestMessagesSurviveTimeouts(t *testing.T) {
	for _, transport := range timedTransports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			initiator, responder := configs(t, mechanism.XXAESGCM)
			a, b := connect(t, transport, initiator, responder)
			const messages = 400
			size := func(i int) int {
				if i%5 == 0 {
					return 150000 + i
				}
				return 20 * i
			}
			sent := make(chan int, messages)
			written := make(chan error, 1)
			go func() {
				r := rand.New(rand.NewPCG(7, 8))
				for i := range messages {
					d := time.Duration(r.IntN(150)) * time.Microsecond
					if i%7 == 0 {
						d = -time.Second
					}
					a.SetWriteDeadline(time.Now().Add(d))
					err := a.WriteMessage(noiseBytes(uint64(i), size(i)))
					if err == nil {
						sent <- i
					} else if !errors.Is(err, os.ErrDeadlineExceeded) {
						written <- err
						return
					}
				}
				close(sent)
				a.SetWriteDeadline(time.Time{})
				written <- a.CloseWrite()
			}()
			r := rand.New(rand.NewPCG(9, 10))
			var got [][]byte
			_, err := impatient(r, b.SetReadDeadline, func() (bool, error) {
				m, err := b.ReadMessage(nil)
				if err == nil {
					got = append(got, m)
				}
				return false, err
			})
			is.Equal(err, io.EOF)
			is.NoErr(<-written)
			n := 0
			for i := range sent {
				is.True(n < len(got))                                        // it arrived
				is.True(bytes.Equal(got[n], noiseBytes(uint64(i), size(i)))) // whole
				n++
			}
			is.Equal(n, len(got)) // and nothing else did
			is.True(n < messages) // some did time out
		})
	}
}

// TestPartialWriteEnds: a WriteMessage behind a Write that has timed out in
// the middle is a message of its own, and the part that was sent is one, too.
func TestPartialWriteEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		near, far := testnet.Pipe(100 << 10)
		o := meet(near, far, initiator, responder)
		is.NoErr(errors.Join(o.aErr, o.bErr))
		want := noiseBytes(1, 4<<20)
		is.NoErr(o.a.SetWriteDeadline(time.Now().Add(time.Second)))
		n, err := o.a.Write(want)
		is.True(errors.Is(err, os.ErrDeadlineExceeded))
		is.True(n > 0 && n < len(want))
		is.NoErr(o.a.SetWriteDeadline(time.Time{}))
		go func() {
			o.a.WriteMessage([]byte("own"))
			o.a.CloseWrite()
		}()
		m, err := o.b.ReadMessage(nil)
		is.NoErr(err)
		is.True(bytes.Equal(m, want[:n])) // exactly what Write has reported
		m, err = o.b.ReadMessage(nil)
		is.NoErr(err)
		is.Equal(string(m), "own")
		_, err = o.b.ReadMessage(nil)
		is.Equal(err, io.EOF)
		o.close()
	})
}

// TestExpiredDeadline: a call that starts after its deadline does nothing.
func TestExpiredDeadline(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *securesp.Conn) {
		is := is.New(t)
		there := make(chan error, 1)
		go func() { there <- b.WriteMessage([]byte("there")) }() // something to read
		is.NoErr(a.SetDeadline(time.Now().Add(-time.Second)))
		before := a.Stats()
		for range 2 {
			n, err := a.Write([]byte("x"))
			is.Equal(n, 0)
			isTimeoutError(t, err)
			isTimeoutError(t, a.WriteMessage([]byte("x")))
			n, err = a.Read(make([]byte, 10))
			is.Equal(n, 0)
			isTimeoutError(t, err)
			_, err = a.ReadMessage(nil)
			isTimeoutError(t, err)
		}
		is.Equal(a.Stats().BytesSent, before.BytesSent)
		is.NoErr(a.SetDeadline(time.Time{}))
		m, err := a.ReadMessage(nil)
		is.NoErr(err)
		is.Equal(string(m), "there")
		is.NoErr(<-there)
		go a.WriteMessage([]byte("y"))
		m, err = b.ReadMessage(nil)
		is.NoErr(err)
		is.Equal(string(m), "y") // not the x
	})
}

func isTimeoutError(t *testing.T, err error) {
	t.Helper()
	var ne net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("not a timeout: %v", err)
	}
}

// TestLazyHandshakeDeadlines: a deadline that runs out while the handshake is
// under way interrupts the call and not the handshake.
func TestLazyHandshakeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		near, far := testnet.Pipe(64 << 10)
		a := securesp.Client(near, initiator)
		start := time.Now()
		is.NoErr(a.SetDeadline(start.Add(time.Second)))
		_, err := a.Read(make([]byte, 1))
		isTimeoutError(t, err)
		n, err := a.Write([]byte("x"))
		is.Equal(n, 0)
		isTimeoutError(t, err)
		isTimeoutError(t, a.WriteMessage([]byte("x")))
		is.Equal(time.Since(start), time.Second)

		blocked := make(chan error, 1)
		is.NoErr(a.SetReadDeadline(time.Time{}))
		go func() {
			_, err := a.Read(make([]byte, 1))
			blocked <- err
		}()
		synctest.Wait()
		is.NoErr(a.SetReadDeadline(time.Now())) // wakes a call in progress
		isTimeoutError(t, <-blocked)

		b := securesp.Server(far, responder) // at last
		is.NoErr(b.HandshakeContext(context.Background()))
		is.NoErr(a.HandshakeContext(context.Background()))
		_, err = a.Read(make([]byte, 1))
		isTimeoutError(t, err) // the deadline still holds
		n, err = a.Write([]byte("x"))
		is.Equal(n, 0)
		isTimeoutError(t, err) // both do
		is.NoErr(a.SetDeadline(time.Time{}))
		is.NoErr(a.WriteMessage([]byte("fine")))
		m, err := b.ReadMessage(nil)
		is.NoErr(err)
		is.Equal(string(m), "fine")
		closeBoth(a, b)
	})
}

// TestDeadlinesWhileConnecting sets deadlines from other goroutines all
// through the handshake: for the race detector.
func TestDeadlinesWhileConnecting(t *testing.T) {
	is := is.New(t)
	for range 50 {
		initiator, responder := configs(t, mechanism.XXAESGCM)
		near, far := testnet.Pipe(64 << 10)
		a, b := securesp.Client(near, initiator), securesp.Server(far, responder)
		stop := make(chan struct{})
		setting := make(chan struct{})
		go func() {
			defer close(setting)
			for {
				select {
				case <-stop:
					return
				default:
					a.SetDeadline(time.Now().Add(time.Hour))
					b.SetDeadline(time.Now().Add(time.Hour))
				}
			}
		}()
		go a.Write([]byte("x"))
		_, err := b.Read(make([]byte, 1))
		is.NoErr(err)
		close(stop)
		<-setting
		closeBoth(a, b)
	}
}
