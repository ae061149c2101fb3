package trust

import (
	"os"

	"golang.org/x/sys/windows"
)

// lock waits for the lock on a file, which lasts until the file is closed. The
// byte that is locked lies far beyond the end, since Windows keeps others from
// reading what is locked.
func lock(file *os.File) error {
	at := windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(file.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, &at)
	if err != nil {
		return &os.PathError{Op: "lock", Path: file.Name(), Err: err}
	}
	return nil
}
