//go:build unix

package keys_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
)

func TestLoadPermissions(t *testing.T) {
	for mode, want := range map[fs.FileMode]error{
		0o600: nil,
		0o400: nil,
		0o640: keys.ErrPermissions,
		0o604: keys.ErrPermissions,
		0o620: keys.ErrPermissions,
		0o602: keys.ErrPermissions,
		0o610: keys.ErrPermissions,
		0o644: keys.ErrPermissions,
		0o666: keys.ErrPermissions,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			is := is.New(t)
			dir := t.TempDir()
			path := filepath.Join(dir, "identity")
			is.NoErr(os.WriteFile(path, []byte(sequencePrivate), 0o600)) // write the file
			is.NoErr(os.Chmod(path, mode))                               // despite the umask
			link := filepath.Join(dir, "link")
			is.NoErr(os.Symlink(path, link)) // links are followed
			for _, name := range []string{path, link} {
				private, err := keys.Load(name)
				is.True(errors.Is(err, want)) // the mode decides
				is.Equal(private == nil, want != nil)
				if want != nil {
					is.True(strings.Contains(err.Error(), "chmod 600")) // and the error says what to do
				}
			}
		})
	}
}

// TestLoadPipe sees that a named pipe is refused at once: opening it would wait
// for a writer.
func TestLoadPipe(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "pipe")
	is.NoErr(syscall.Mkfifo(path, 0o600)) // make the pipe
	_, err := keys.Load(path)
	is.True(errors.Is(err, keys.ErrFormat)) // refused
}
