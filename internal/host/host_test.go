package host_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/host"
)

type text string

func (text) Network() string  { return "text" }
func (t text) String() string { return string(t) }

func TestOf(t *testing.T) {
	for _, tc := range []struct {
		addr net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5}, "192.0.2.1"},
		{&net.UDPAddr{IP: net.ParseIP("::ffff:192.0.2.1")}, "192.0.2.1"},
		{&net.UDPAddr{IP: net.ParseIP("2001:db8:1:2:3::4"), Zone: "eth0"}, "2001:db8:1:2::"},
		{text("[2001:db8:1:2:5::6%eth1]:7"), "2001:db8:1:2::"},
		{text("192.0.2.1:80"), "192.0.2.1"},
		{text("a name:80"), ""},
		{&net.UnixAddr{Name: "/run/socket"}, ""},
		{&net.TCPAddr{}, ""},
		{nil, ""},
	} {
		is := is.New(t)
		var want netip.Addr
		if tc.want != "" {
			want = netip.MustParseAddr(tc.want)
		}
		is.Equal(host.Of(tc.addr), want)
	}
}
