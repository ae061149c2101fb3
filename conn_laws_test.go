package securesp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
)

// TestCloseDeliversData writes much and closes at once, while the other side
// reads late, and while there is unread input, which makes kernels hang up on
// their peers.
func TestCloseDeliversData(t *testing.T) {
	for _, transport := range []string{"tcp", "unix", "udp", "pipe"} {
		for _, unread := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/unread=%v", transport, unread), func(t *testing.T) {
				t.Parallel()
				is := is.New(t)
				initiator, responder := configs(t, mechanism.XXAESGCM)
				a, b := connect(t, transport, initiator, responder)
				want := noiseBytes(1, 16<<20)
				closed := make(chan error, 1)
				flushed := make(chan error, 1)
				go func() {
					if unread {
						_, err := b.Write(noiseBytes(2, 3000))
						flushed <- err
					} else {
						flushed <- nil
					}
				}()
				if unread && transport != "pipe" {
					is.NoErr(<-flushed) // nobody ever reads it
				}
				go func() {
					_, err := a.Write(want)
					closed <- errors.Join(err, a.Close())
				}()
				got, err := io.ReadAll(b)
				is.NoErr(err)                   // the authenticated end
				is.True(bytes.Equal(got, want)) // and all before it
				is.NoErr(<-closed)              // of which the writer is told
			})
		}
	}
}

// TestCloseWrite ends one direction on every transport; the other goes on.
func TestCloseWrite(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *securesp.Conn) {
		is := is.New(t)
		want := noiseBytes(1, 200000)
		sent := make(chan error, 1)
		go func() {
			_, err := a.Write(want)
			err = errors.Join(err, a.CloseWrite(), a.CloseWrite()) // twice is once
			sent <- err
		}()
		got, err := io.ReadAll(b)
		is.NoErr(err)
		is.True(bytes.Equal(got, want))
		is.NoErr(<-sent)
		n, err := a.Write([]byte("x"))
		is.Equal(n, 0)
		is.True(errors.Is(err, net.ErrClosed)) // our own direction is over
		is.True(errors.Is(a.WriteMessage([]byte("x")), net.ErrClosed))
		go func() {
			_, err := b.Write(want)
			sent <- errors.Join(err, b.CloseWrite())
		}()
		got, err = io.ReadAll(a)
		is.NoErr(err) // the other was not
		is.True(bytes.Equal(got, want))
		is.NoErr(<-sent)
		_, err = a.ReadMessage(nil)
		is.Equal(err, io.EOF) // it stays the end
	})
}

// TestCloseCodes: the peer learns the code from Read and from Write, in both
// directions; a normal end is io.EOF.
func TestCloseCodes(t *testing.T) {
	for _, code := range []securesp.CloseCode{securesp.CloseNormal, securesp.CloseGoingAway, securesp.CloseInternal,
		securesp.CloseNotAuthorized, securesp.CloseTooLarge, securesp.CloseRevoked, securesp.CloseApplication + 5, 0xFFFF} {
		for _, byInitiator := range []bool{true, false} {
			t.Run(fmt.Sprint(code, byInitiator), func(t *testing.T) {
				is := is.New(t)
				initiator, responder := configs(t, mechanism.XXAESGCM)
				a, b := connect(t, "unix", initiator, responder)
				if !byInitiator {
					a, b = b, a
				}
				is.NoErr(a.WriteMessage([]byte("last words")))
				is.NoErr(a.CloseWithCode(code))
				m, err := b.ReadMessage(nil)
				is.NoErr(err)
				is.Equal(string(m), "last words") // come first
				_, err = b.ReadMessage(nil)
				if code == securesp.CloseNormal {
					is.Equal(err, io.EOF)
				} else {
					is.Equal(asCloseError(err).Code, code)
				}
				_, again := b.Read(make([]byte, 1))
				is.Equal(fmt.Sprint(again), fmt.Sprint(err)) // sticks
				n, err := b.Write([]byte("x"))
				is.Equal(n, 0)
				is.Equal(asCloseError(err).Code, code)
				is.NoErr(b.Close()) // our side loses nothing by it

				_, err = a.Read(make([]byte, 1))
				is.True(errors.Is(err, net.ErrClosed)) // our own doing
				is.True(errors.Is(a.Close(), net.ErrClosed))
				is.True(errors.Is(a.SetDeadline(time.Now()), net.ErrClosed))
			})
		}
	}
}

// TestCloseUnblocks has Close interrupt every call that can wait.
func TestCloseUnblocks(t *testing.T) {
	big := make([]byte, 1<<20)
	for _, tc := range []struct {
		name string
		call func(c *securesp.Conn) error
	}{
		{"Read", func(c *securesp.Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
		{"ReadMessage", func(c *securesp.Conn) error { _, err := c.ReadMessage(nil); return err }},
		{"ReadClear", func(c *securesp.Conn) error { _, err := c.ReadClear(nil); return err }},
		{"WriteTo", func(c *securesp.Conn) error { _, err := c.WriteTo(io.Discard); return err }},
		{"Write", func(c *securesp.Conn) error { _, err := c.Write(big); return err }},
		{"WriteMessage", func(c *securesp.Conn) error { return c.WriteMessage(big) }},
		{"small writes", func(c *securesp.Conn) error {
			for {
				if _, err := c.Write(big[:1000]); err != nil {
					return err
				}
			}
		}},
		{"Flush", func(c *securesp.Conn) error {
			if _, err := c.Write(big[:10000]); err != nil {
				return err
			}
			return c.Flush()
		}},
		{"WriteClear", func(c *securesp.Conn) error {
			for {
				if err := c.WriteClear(big[:10000]); err != nil {
					return err
				}
			}
		}},
		{"ReadFrom", func(c *securesp.Conn) error { _, err := c.ReadFrom(bytes.NewReader(big)); return err }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				initiator, responder := configs(t, mechanism.XXAESGCM)
				initiator.AllowClear, responder.AllowClear = true, true
				near, far := testnet.Pipe(4 << 10)
				o := meet(near, far, initiator, responder)
				is.NoErr(errors.Join(o.aErr, o.bErr))
				blocked := make(chan error, 1)
				go func() { blocked <- tc.call(o.a) }()
				time.Sleep(time.Second)
				synctest.Wait()
				is.Equal(len(blocked), 0) // it waits: the peer does not read
				start := time.Now()
				closed := make(chan error, 1)
				go func() { closed <- o.a.Close() }()
				err := <-blocked
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("%s returned %v", tc.name, err)
				}
				again := time.Now()
				_, err = o.a.Read(make([]byte, 1))
				is.True(errors.Is(err, net.ErrClosed))
				is.Equal(time.Since(again), time.Duration(0)) // does not wait for Close
				<-closed
				is.True(time.Since(start) <= 6*time.Second) // bounded, though the peer is stuck
				near.Close()
				far.Close()
				o.b.Close()
			})
		})
	}
}

// TestCloseBeforeHandshake closes connections whose handshake has not begun,
// or is under way.
func TestCloseBeforeHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, _ := configs(t, mechanism.XXAESGCM)
		near, far := testnet.Pipe(64 << 10)
		c := securesp.Client(near, initiator)
		is.NoErr(c.Close())
		_, err := io.ReadAll(far)
		is.NoErr(err) // the carrier is closed, and nothing was said
		_, err = c.Write([]byte("x"))
		is.True(errors.Is(err, net.ErrClosed))
		is.True(c.HandshakeContext(context.Background()) != nil)

		near, far = testnet.Pipe(64 << 10)
		c = securesp.Client(near, initiator)
		blocked := make(chan error, 2)
		go func() { blocked <- c.HandshakeContext(context.Background()) }()
		go func() {
			_, err := c.Read(make([]byte, 1))
			blocked <- err
		}()
		synctest.Wait()
		start := time.Now()
		c.Close()
		for range 2 {
			is.True(errors.Is(<-blocked, net.ErrClosed))
		}
		is.Equal(time.Since(start), time.Duration(0))
		far.Close()
	})
}

// TestCloseIsBounded: a peer that takes nothing holds Close up for five
// seconds, and Close says that data was lost. Nobody else is held up.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		initiator.AllowClear, responder.AllowClear = true, true
		near, far := testnet.Pipe(4 << 10)
		o := meet(near, far, initiator, responder)
		is.NoErr(errors.Join(o.aErr, o.bErr))
		is.NoErr(o.a.WriteMessage(make([]byte, 20000))) // accepted, more than the carrier holds
		start := time.Now()
		closed := make(chan error, 1)
		go func() { closed <- o.a.Close() }()
		synctest.Wait()
		_, err := o.a.Read(make([]byte, 1))
		is.True(errors.Is(err, net.ErrClosed))
		_, err = o.a.ReadClear(nil)
		is.True(errors.Is(err, net.ErrClosed))
		is.True(errors.Is(o.a.WriteMessage([]byte("too late")), net.ErrClosed))
		is.Equal(time.Since(start), time.Duration(0))
		is.True(<-closed != nil) // lost
		is.Equal(time.Since(start), 5*time.Second)
		_, err = io.ReadAll(o.b)
		is.Equal(err, io.ErrUnexpectedEOF) // the reader can tell
		o.b.Close()
	})
}

// TestCloseDuringWriteMessage closes while a message is on its way: either it
// arrives, or WriteMessage returns an error.
func TestCloseDuringWriteMessage(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Millisecond, 50 * time.Millisecond, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, mechanism.XXAESGCM)
			near, far := testnet.Pipe(4 << 10)
			o := meet(near, far, initiator, responder)
			is.NoErr(errors.Join(o.aErr, o.bErr))
			far.SlowReads(time.Millisecond)
			want := noiseBytes(1, 2<<20)
			written := make(chan error, 1)
			closed := make(chan error, 1)
			go func() { written <- o.a.WriteMessage(want) }()
			go func() {
				time.Sleep(delay)
				closed <- o.a.Close()
			}()
			m, readErr := o.b.ReadMessage(nil)
			err := <-written
			<-closed
			if readErr == nil && !bytes.Equal(m, want) {
				t.Errorf("after %v: another message arrived", delay)
			}
			if err == nil && readErr != nil {
				t.Errorf("after %v: WriteMessage returned nil, yet ReadMessage %v", delay, readErr)
			}
			if readErr == io.EOF {
				is.True(err != nil) // not even begun
			}
			o.b.Close()
		})
	}
}

// TestPeerGone resets the carrier: reading and writing fail, and never with
// io.EOF.
func TestPeerGone(t *testing.T) {
	for _, transport := range []string{"tcp", "unix", "udp", "pipe"} {
		t.Run(transport, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, mechanism.XXAESGCM)
			a, b := connect(t, transport, initiator, responder)
			is.NoErr(b.NetConn().Close()) // without a word
			_, err := a.Read(make([]byte, 1))
			is.True(err != nil && err != io.EOF)
			for err = nil; err == nil; {
				_, err = a.Write(make([]byte, 1000)) // an error comes with the next call
			}
			_, again := a.Write([]byte("x"))
			is.True(again != nil) // and sticks
		})
	}
}
