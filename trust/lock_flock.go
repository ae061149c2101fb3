//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package trust

import (
	"errors"
	"os"
	"syscall"
)

// lock waits for the lock on a file, which lasts until the file is closed. A
// file system without locks is no error.
func lock(file *os.File) error {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		switch {
		case err == syscall.EINTR:
			continue
		case errors.Is(err, errors.ErrUnsupported):
			return nil
		case err != nil:
			return &os.PathError{Op: "lock", Path: file.Name(), Err: err}
		}
		return nil
	}
}
