package quiccarrier

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/lossnet"
)

// counter counts bytes to and from the server.
type counter struct{ in, out atomic.Int64 }

func (c *counter) tap(dropReplies bool) lossnet.Tap {
	return func(from, to netip.AddrPort, p []byte) bool {
		if to.String() == serverAddr {
			c.in.Add(int64(len(p)))
			return false
		}
		c.out.Add(int64(len(p)))
		return dropReplies
	}
}

// A dial whose answers never arrive is what a spoofed source address looks
// like to the server.
func spoofedDial(w *world, addr string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, _ = DialOn(ctx, w.net.Listen(addr), w.server.LocalAddr(), Options{}) // fails
}

func TestNoAmplification(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		// One Initial, caught on its way.
		var initial []byte
		w.net.SetTap(func(_, _ netip.AddrPort, p []byte) bool {
			if initial == nil {
				initial = append([]byte(nil), p...)
			}
			return true
		})
		spoofedDial(w, clientAddr)
		is.True(len(initial) >= 1200) // RFC 9000 §14.1

		var c counter
		w.net.SetTap(c.tap(true))
		w.net.Inject("192.0.2.1:53", serverAddr, initial)
		time.Sleep(time.Minute) // with all retransmissions
		is.True(c.out.Load() > 0)
		is.True(c.out.Load() <= int64(3*len(initial))) // RFC 9000 §8
		is.Equal(w.listener.limits.young.Load(), int64(0))
	})
}

// Spoofed addresses occupy a few places; everybody else must prove theirs
// first, and then gets in.
func TestFloodOfHalfOpen(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{MaxPending: 64}, func(t *testing.T, w *world) {
		is := is.New(t)
		l := w.listener.limits
		var most, retries atomic.Int64
		var replies counter
		spoofed := netip.MustParsePrefix("10.66.0.0/16")
		w.net.SetTap(func(from, to netip.AddrPort, p []byte) bool {
			most.Store(max(most.Load(), l.young.Load()))
			if !spoofed.Contains(to.Addr()) {
				replies.in.Add(int64(len(p)))
				return false
			}
			replies.out.Add(int64(len(p)))
			if p[0]&0xf0 == 0xf0 { // a long header of type Retry
				retries.Add(1)
			}
			return true
		})
		done := make(chan struct{})
		const flood = 200
		for i := range flood {
			go func() {
				spoofedDial(w, fmt.Sprintf("10.66.%d.%d:1", i/250, 1+i%250))
				done <- struct{}{}
			}()
		}
		time.Sleep(time.Second)
		is.True(l.suspicious(nil)) // under load
		is.True(most.Load() <= l.suspect)
		is.True(retries.Load() > 0)
		is.True(replies.out.Load() <= 3*replies.in.Load())

		client, server, _ := w.pair() // through Retry
		hello(t, client, server)
		closeBoth(client, server)
		for range flood {
			<-done
		}
		time.Sleep(time.Minute)
		is.Equal(l.young.Load(), int64(0)) // all forgotten
	})
}

// Peers that are where they say they are, but never get on with it, are
// bounded, too, and gone once they close.
func TestFloodOfIdle(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{MaxPending: 8}, func(t *testing.T, w *world) {
		is := is.New(t)
		go func() {
			for {
				c, err := w.listener.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = c.Read(make([]byte, 1)) // until it ends
					c.Close()
				}()
			}
		}()
		var held []*Conn
		refused := 0
		for i := range 50 {
			c, _, err := w.dial(fmt.Sprintf("10.1.0.%d:1", 1+i))
			if err == nil {
				held = append(held, c)
				continue
			}
			is.True(errors.Is(err, ErrRefused)) // the one way to be turned away
			refused++
		}
		is.Equal(len(held), 16)
		is.Equal(refused, 34)
		is.Equal(w.listener.limits.young.Load(), int64(16))
		for _, c := range held {
			c.Close()
		}
		time.Sleep(time.Second)
		is.Equal(w.listener.limits.young.Load(), int64(0))
		c, _, err := w.dial(clientAddr)
		is.NoErr(err) // room again
		c.Close()
	})
}

// One host that completes QUIC and then idles, over and over, leaves the other
// half of the places to others.
func TestFloodFromOneAddress(t *testing.T) {
	inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{MaxPending: 16}, func(t *testing.T, w *world) {
		is := is.New(t)
		var flood []*Conn
		refused := 0
		for i := range 64 {
			c, _, err := w.dial(fmt.Sprintf("[2001:db8::%x]:%d", 1+i, 1+i))
			if err != nil {
				is.True(errors.Is(err, ErrRefused)) // the one way to be turned away
				refused++
				continue
			}
			flood = append(flood, c)
		}
		is.Equal(len(flood), 16)
		is.Equal(refused, 48)
		for i := range 8 {
			start := time.Now()
			c, _, err := w.dial(fmt.Sprintf("10.1.0.%d:1", 1+i))
			is.NoErr(err) // others get in
			is.True(time.Since(start) < 100*time.Millisecond)
			flood = append(flood, c)
		}
		for _, c := range flood {
			c.Close()
		}
		time.Sleep(time.Second)
		l := w.listener.limits
		l.mu.Lock()
		defer l.mu.Unlock()
		is.Equal(len(l.sources), 0) // nothing is remembered
	})
}

func TestGarbageCostsNothing(t *testing.T) {
	inWorld(t, lossnet.Conditions{}, Options{ResetSecret: []byte("secret")}, func(t *testing.T, w *world) {
		is := is.New(t)
		var c counter
		w.net.SetTap(c.tap(true))
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 5000 {
			p := make([]byte, random.IntN(1400))
			for j := range p {
				p[j] = byte(random.Uint32())
			}
			if len(p) > 5 && i%4 == 0 { // an Initial of version 1, else nonsense
				copy(p, []byte{0xc0 | p[0]&3, 0, 0, 0, 1})
			}
			w.net.Inject(fmt.Sprintf("192.0.2.%d:%d", 1+i%250, 1+i), serverAddr, p)
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(time.Minute)
		is.True(c.in.Load() > 0)
		is.True(c.out.Load() <= c.in.Load())
		is.Equal(w.listener.limits.young.Load(), int64(0))
		w.net.SetTap(nil)
		client, server, _ := w.pair()
		hello(t, client, server)
		closeBoth(client, server)
	})
}
