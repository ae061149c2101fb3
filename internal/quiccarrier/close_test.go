package quiccarrier

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/lossnet"
)

// A Close that returns without error means that the peer has all: even if our
// process ends at once and the peer reads only much later.
func TestCloseThenDisappear(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 50_000, 100_000} {
		inWorld(t, lossnet.Conditions{Delay: 5 * time.Millisecond, Loss: 0.05}, Options{}, func(t *testing.T, w *world) {
			is := is.New(t)
			client, server, e := w.pair()
			hello(t, client, server)
			sent := make([]byte, size)
			rand.Read(sent)
			_, err := client.Write(sent)
			is.NoErr(err)            // write
			is.NoErr(client.Close()) // nobody has read anything
			e.Close()
			time.Sleep(time.Hour)
			got, err := io.ReadAll(server)
			is.NoErr(err)                   // a late reader
			is.True(bytes.Equal(got, sent)) // the bytes
			is.NoErr(server.Close())
		})
	}
}

// A Write that waits for the peer ends when Close is called, not when Close
// gives up.
func TestCloseBesideWrite(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		hello(t, client, server)
		type result struct {
			err  error
			took time.Duration
		}
		results := make(chan result, 1)
		start := time.Now()
		go func() {
			_, err := client.Write(make([]byte, 1<<20)) // nobody reads
			results <- result{err, time.Since(start)}
		}()
		time.Sleep(time.Second)
		_ = client.Close() // whose Write it was knows that data is lost
		r := <-results
		is.True(errors.Is(r.err, net.ErrClosed))
		is.Equal(r.took, time.Second)
		server.Close()
	})
}

func TestCloseUnconfirmed(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		hello(t, client, server)
		w.net.SetConditions(lossnet.Conditions{Loss: 1})
		_, err := client.Write([]byte("lost"))
		is.NoErr(err) // QUIC takes it
		start := time.Now()
		err = client.Close()
		is.True(errors.Is(err, ErrUnconfirmed)) // nobody has confirmed
		is.Equal(time.Since(start), closeLinger)
		is.True(errors.Is(client.Close(), net.ErrClosed)) // a second Close
		_, err = server.Read(make([]byte, 1))
		is.True(errors.Is(err, ErrSilent)) // the other side
		server.Close()
	})
}

// quietPair returns a pair between which nothing is under way.
func (w *world) quietPair() (client, server *Conn) {
	w.t.Helper()
	client, server, _ = w.pair()
	hello(w.t, client, server)
	time.Sleep(time.Second)
	return client, server
}

// muteAfter has only n more packets of addr's arrive, until SetTap(nil).
func (w *world) muteAfter(n int64, addr string) {
	var sent atomic.Int64
	w.net.SetTap(func(from, _ netip.AddrPort, _ []byte) bool {
		return from.String() == addr && sent.Add(1) > n
	})
}

// closesLast has c close after its peer, whose end has arrived, and checks that
// it is not held up.
func closesLast(t *testing.T, c *Conn) {
	t.Helper()
	is := is.New(t)
	_, err := io.ReadAll(c)
	is.NoErr(err) // the end has arrived
	start := time.Now()
	is.NoErr(c.Close())
	is.True(time.Since(start) < time.Second)
}

// Whoever closes last needs nothing more of a peer whose last words have
// arrived.
func TestCloseAfterLastWords(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		client, server, _ := w.pair()
		hello(t, client, server)
		is.NoErr(client.Close())
		w.muteAfter(0, clientAddr)
		time.AfterFunc(10*time.Millisecond, func() { w.net.SetTap(nil) })
		closesLast(t, server)
	})
}

// Whoever closes last must not wait for a peer whose last words were lost: it
// has closed before, and from one packet on nothing of it arrived. Its socket is
// still there to repeat them.
func TestCloseAfterLostLastWords(t *testing.T) {
	for first := range int64(4) {
		inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
			is := is.New(t)
			client, server := w.quietPair()
			w.muteAfter(1+first, clientAddr)
			is.NoErr(client.Close()) // its first packet says that there is no more
			w.net.SetTap(nil)
			closesLast(t, server)
		})
	}
}

// Both sides close at once, and from one packet on nothing of one side's
// arrives for a while, its confirmation and last words among it. Nobody waits
// for a timeout. The server repeats its last words when asked, for three times
// a round trip; the client hears to the end.
func TestCloseBothWithLoss(t *testing.T) {
	for mute, outage := range map[string]time.Duration{
		clientAddr: 20 * time.Millisecond,
		serverAddr: 5 * time.Millisecond,
	} {
		for first := range int64(8) {
			inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
				is := is.New(t)
				client, server := w.quietPair()
				w.muteAfter(first, mute)
				time.AfterFunc(outage, func() { w.net.SetTap(nil) })
				start := time.Now()
				closed := make(chan error, 1)
				go func() { closed <- client.Close() }()
				is.NoErr(server.Close())
				is.NoErr(<-closed)
				is.True(time.Since(start) < time.Second)
			})
		}
	}
}
