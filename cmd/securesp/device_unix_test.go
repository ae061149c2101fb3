//go:build !windows

package main

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
)

// TestDeviceMode: the plain socket file is open to whom it was meant for.
func TestDeviceMode(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	for mode, args := range map[fs.FileMode][]string{plainSocketMode: nil, 0o640: {"--mode", "640"}} {
		path := filepath.Join(t.TempDir(), "plain")
		listening(t, nil, c.asAlice(append([]string{"device", "pair", "listen", "ipc://" + path, "dial", "securesp+tcp://127.0.0.1:1"}, args...)...)...)
		info, err := os.Stat(path)
		is.NoErr(err)
		is.Equal(info.Mode().Perm(), mode)
	}
}

func TestCheckMode(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	is.NoErr(err)
	defer l.Close()
	is.NoErr(os.Chmod(path, 0o640))
	is.NoErr(checkMode(path, 0o640))
	is.NoErr(checkMode(path, 0o660))           // narrower
	is.True(checkMode(path, 0o600) != nil)     // wider
	is.True(checkMode(path, 0o604) != nil)     // open to others than meant
	is.True(checkMode(path+"x", 0o777) != nil) // not there
	is.NoErr(checkMode("@abstract", 0o600))    // no file at all
}
