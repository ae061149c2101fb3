// Package unixsock listens on UNIX sockets.
package unixsock

import (
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/securesp/securesp/internal/errno"
)

// Listen listens on a socket file. One that a dead process left behind is
// replaced; one on which somebody answers, or that is no socket, is not. The
// file gets the permissions of mode, unless that is zero.
func Listen(address string, mode fs.FileMode) (net.Listener, error) {
	l, err := net.Listen("unix", address)
	if errno.IsAddrInUse(err) && removeStale(address) {
		l, err = net.Listen("unix", address)
	}
	if err != nil {
		return nil, err
	}
	if mode != 0 && !strings.HasPrefix(address, "@") { // which is no file
		if err := os.Chmod(address, mode.Perm()); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
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
