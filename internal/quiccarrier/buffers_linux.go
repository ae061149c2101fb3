package quiccarrier

import (
	"net"

	"golang.org/x/sys/unix"
)

// bufferSizes returns the sizes of conn's buffers in bytes.
func bufferSizes(conn net.PacketConn) (receive, send int, err error) {
	u, ok := conn.(*net.UDPConn)
	if !ok {
		return 0, 0, errNoSizes
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var receiveErr, sendErr error
	err = raw.Control(func(fd uintptr) {
		receive, receiveErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		send, sendErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	})
	for _, e := range []error{err, receiveErr, sendErr} {
		if e != nil {
			return 0, 0, e
		}
	}
	return receive, send, nil
}
