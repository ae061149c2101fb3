package securesp

import (
	"context"
	"net"

	"github.com/securesp/securesp/internal/unixsock"
)

// ipc carries connections over UNIX sockets.
var ipc = transport{
	dial: func(ctx context.Context, d *net.Dialer, _, address string, _ *Config) (net.Conn, error) {
		c, err := d.DialContext(ctx, "unix", address)
		if err != nil {
			return nil, err
		}
		enlargeBuffer(c)
		return c, nil
	},
	listen: listenIPC,
}

// socketBuffer is the kernel's send buffer that we ask for: the default makes
// bulk transfers half as fast. (For TCP the kernel finds the size itself.)
const socketBuffer = 4 << 20

func enlargeBuffer(c net.Conn) {
	if u, ok := c.(*net.UnixConn); ok {
		_ = u.SetWriteBuffer(socketBuffer) // only speed depends on it
	}
}

// listenIPC listens on a socket file, in the place of one that a dead process
// has left behind.
func listenIPC(_, address string, config *Config) (net.Listener, error) {
	l, err := unixsock.Listen(address, config.SocketMode)
	if err != nil {
		return nil, err
	}
	return ipcListener{l}, nil
}

type ipcListener struct{ net.Listener }

func (l ipcListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	enlargeBuffer(c)
	return c, nil
}
