//go:build unix

package unixsock_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/unixsock"
)

func TestListen(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.Listen("unix", path)
	is.NoErr(err)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	is.NoErr(dead.Close()) // the file stays
	l, err := unixsock.Listen(path, 0o600)
	is.NoErr(err) // in its place
	info, err := os.Stat(path)
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), os.FileMode(0o600))
	_, err = unixsock.Listen(path, 0o600)
	is.True(err != nil) // somebody listens
	is.NoErr(l.Close())

	is.NoErr(os.WriteFile(path, []byte("precious"), 0o600))
	_, err = unixsock.Listen(path, 0)
	is.True(err != nil) // it is no socket
	content, err := os.ReadFile(path)
	is.NoErr(err)
	is.Equal(string(content), "precious")
}
