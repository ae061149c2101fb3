package securesp

import (
	"context"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/securesp/securesp/internal/errno"
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

// listenIPC listens on a socket file. One that a dead process left behind is
// replaced; one on which somebody answers, or that is no socket, is not.
func listenIPC(_, address string, config *Config) (net.Listener, error) {
	l, err := net.Listen("unix", address)
	if errno.IsAddrInUse(err) && removeStale(address) {
		l, err = net.Listen("unix", address)
	}
	if err != nil {
		return nil, err
	}
	if config.SocketMode != 0 && !strings.HasPrefix(address, "@") {
		if err := os.Chmod(address, config.SocketMode.Perm()); err != nil {
			l.Close()
			return nil, err
		}
	}
	return ipcListener{l}, nil
}

// removeStale removes a socket file on which nobody listens, and reports
// whether it did.
func removeStale(path string) bool {
	before, err := os.Lstat(path)
	if err != nil || before.Mode().Type() != fs.ModeSocket {
		return false
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return false
	}
	if !errno.IsConnRefused(err) {
		return false
	}
	after, err := os.Lstat(path) // somebody else may have replaced it by now
	return err == nil && os.SameFile(before, after) && os.Remove(path) == nil
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
