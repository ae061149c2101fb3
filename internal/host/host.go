// Package host says which host an address belongs to.
package host

import (
	"net"
	"net/netip"
)

// Of returns what one host cannot have many of: an IPv4 address, or the first
// of an IPv6 network of 64 bits. It is the zero Addr if a is no such address.
func Of(a net.Addr) netip.Addr {
	var ip netip.Addr
	if known, ok := a.(interface{ AddrPort() netip.AddrPort }); ok { // which need not be printed
		ip = known.AddrPort().Addr()
	} else if a != nil {
		parsed, _ := netip.ParseAddrPort(a.String())
		ip = parsed.Addr()
	}
	ip = ip.Unmap()
	if ip.Is6() {
		ip = netip.PrefixFrom(ip.WithZone(""), 64).Masked().Addr()
	}
	return ip
}
