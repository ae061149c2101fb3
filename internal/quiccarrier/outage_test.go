package quiccarrier

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/lossnet"
)

// TestOutage has the system refuse to send for a while, on either side and on
// both. A connection survives that, as it would over TCP.
func TestOutage(t *testing.T) {
	noRoute := os.NewSyscallError("sendmsg", syscall.ENETUNREACH)
	for _, tc := range []struct {
		name           string
		client, server bool
	}{
		{"client", true, false},
		{"server", false, true},
		{"both", true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, lossnet.Conditions{Delay: time.Millisecond}, Options{}, func(t *testing.T, w *world) {
				is := is.New(t)
				client, server, e := w.pair()
				hello(t, client, server)
				outage := func(err error) {
					if tc.client {
						e.SetOutage(err)
					}
					if tc.server {
						w.server.SetOutage(err)
					}
				}
				outage(noRoute)
				time.AfterFunc(10*time.Second, func() { outage(nil) })
				sent := bytes.Repeat([]byte("all of it "), 100_000)
				errs := make(chan error)
				for _, c := range []*Conn{client, server} {
					go func() {
						_, err := c.Write(sent)
						errs <- err
					}()
				}
				for _, c := range []*Conn{client, server} {
					got := make([]byte, len(sent))
					_, err := io.ReadFull(c, got)
					is.NoErr(err)
					is.True(bytes.Equal(got, sent))
				}
				is.NoErr(<-errs)
				is.NoErr(<-errs)

				// One that lasts is noticed: where nothing arrives first, then
				// where nobody answers any more.
				outage(noRoute)
				start := time.Now()
				_, err := client.Read(make([]byte, 1))
				is.True(errors.Is(err, ErrSilent))
				is.True(time.Since(start) <= 2*(idleTimeout+keepAlivePeriod))
				closeBoth(client, server)
			})
		})
	}
}

// Without a route nothing is dialed, and whoever dials hears of it at once.
func TestDialWithoutRoute(t *testing.T) {
	inWorld(t, lossnet.Conditions{}, Options{}, func(t *testing.T, w *world) {
		is := is.New(t)
		e := w.net.Listen(clientAddr)
		e.SetOutage(os.NewSyscallError("sendmsg", syscall.ENETUNREACH))
		start := time.Now()
		_, err := DialOn(context.Background(), e, w.server.LocalAddr(), Options{})
		is.True(errors.Is(err, syscall.ENETUNREACH))
		is.Equal(time.Since(start), time.Duration(0))
	})
}
