//go:build unix

package trust_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/trust"
)

// TestFileWritable sees that a file that anybody may write is no ground for
// trust, whatever it says.
func TestFileWritable(t *testing.T) {
	is := is.New(t)
	alice := newKey(t)
	policy, path := openFile(t, alice.String())
	policy.OnError(func(error) {})
	old := time.Now().Add(-time.Hour)
	is.NoErr(os.Chtimes(path, old, old)) // changed long ago
	is.NoErr(policy.Err())
	is.NoErr(os.Chmod(path, 0o646))
	is.True(policy.Err() != nil) // noticed, though the content is the same
	_, err := trust.File(path)
	var e *trust.FileError
	is.True(errors.As(err, &e)) // refused
	_, err = trust.FirstUse(path)
	is.True(errors.As(err, &e)) // likewise
	is.NoErr(os.Chmod(path, 0o664))
	is.NoErr(policy.Err()) // a group is the operator's affair
}

func TestFilePipe(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "pipe")
	is.NoErr(syscall.Mkfifo(path, 0o600)) // make the pipe
	_, err := trust.File(path)
	var e *trust.FileError
	is.True(errors.As(err, &e)) // refused, without waiting for a writer
}
