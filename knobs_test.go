package securesp_test

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/mechanism"
)

// TestKnobs holds connections with unusual settings to the same laws.
func TestKnobs(t *testing.T) {
	for _, k := range []struct {
		name string
		set  func(*securesp.Config)
	}{
		{"BusyPoll", func(c *securesp.Config) { c.BusyPoll = 200 * time.Microsecond }},
		{"NoCoalescing", func(c *securesp.Config) { c.NoCoalescing = true }},
		{"PadPowerOfTwo", func(c *securesp.Config) { c.Padding = securesp.PadPowerOfTwo }},
		{"Padding", func(c *securesp.Config) { c.Padding = 1000 }},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				initiator, responder := configs(t, mechanism.IKhfsAESGCM)
				k.set(initiator)
				k.set(responder)
				dial, l := transports[0].inner(t)
				defer l.Close()
				a, b := pair(t, dial, l, initiator, responder)
				return a, b, func() { closeBoth(a, b) }, nil
			})
		})
	}
}
