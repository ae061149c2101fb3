//go:build !linux

package quiccarrier

import "net"

// bufferSizes knows nothing: elsewhere the limits are far higher or are the
// system's business.
func bufferSizes(net.PacketConn) (receive, send int, err error) { return 0, 0, errNoSizes }
