package trust

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// parsePrefix reads a network in CIDR notation, or a single address.
func parsePrefix(text string) (netip.Prefix, error) {
	var none netip.Prefix
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return none, errors.New("from= is not a network such as 192.0.2.0/24 or 2001:db8::/32, nor an address without zone")
		}
		prefix = netip.PrefixFrom(address, address.BitLen())
	}
	if prefix.Addr().Is4In6() {
		return none, errors.New("from= maps IPv4 into IPv6; write it as IPv4")
	}
	if prefix != prefix.Masked() {
		return none, errors.New("from= has bits set beyond its prefix length; perhaps another length is meant")
	}
	return prefix, nil
}

// contains reports whether one of the networks contains the address. IPv4
// mapped into IPv6 counts as IPv4; the zone of a link-local address, which
// names an interface of this machine, does not count. What is no IP address is
// in no network.
func contains(networks []netip.Prefix, addr net.Addr) bool {
	ip, ok := addrOf(addr)
	return ok && slices.ContainsFunc(networks, func(n netip.Prefix) bool {
		return n.Contains(ip.WithZone(""))
	})
}

// addrOf returns the IP address in addr, false if it has none.
func addrOf(addr net.Addr) (netip.Addr, bool) {
	switch a := addr.(type) {
	case nil, *net.UnixAddr:
		return netip.Addr{}, false
	case interface{ AddrPort() netip.AddrPort }: // *net.TCPAddr, *net.UDPAddr
		ip := a.AddrPort().Addr().Unmap()
		return ip, ip.IsValid()
	}
	// A foreign type that says it is of an IP network is taken at its
	// word, which net.Addr says has the form of Dial's addresses.
	network := addr.Network()
	if !strings.HasPrefix(network, "tcp") && !strings.HasPrefix(network, "udp") {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddrPort(addr.String())
	return a.Addr().Unmap(), err == nil
}
