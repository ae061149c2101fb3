//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package trust

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/matryer/is"
)

func TestLock(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "f")
	held, err := openLocked(path)
	is.NoErr(err) // lock
	other, err := os.Open(path)
	is.NoErr(err) // open once more, as another process would
	defer other.Close()
	try := func() error { return syscall.Flock(int(other.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
	is.Equal(try(), error(syscall.EWOULDBLOCK)) // taken
	is.NoErr(held.Close())
	is.NoErr(try()) // free again
}
