package trust

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/securesp/securesp/internal/safefile"
)

// unsettled is the age below which a file may have been written again without
// a new modification time: the coarsest in use, FAT's, counts in steps of 2 s.
const unsettled = 3 * time.Second

// tracked reads a file when it has changed. It is not safe for concurrent use.
type tracked struct {
	path   string
	seen   fs.FileInfo // of the file when it was last read, nil if it must be read
	readAt time.Time
	sum    [sha256.Size]byte // of the content last read
	known  bool              // sum is set
}

// look returns the content of the file if that has changed since the last
// look. After an error the next look reads again. Errors are *FileError.
func (t *tracked) look(now time.Time) (content []byte, changed bool, err error) {
	info, err := os.Stat(t.path)
	if err == nil && t.unchanged(info) {
		return nil, false, nil
	}
	t.seen = nil
	if err == nil {
		content, info, err = readPublicFile(t.path)
	}
	if err != nil {
		// Whichever look at the file failed, the problem is the same.
		if p := (*fs.PathError)(nil); errors.As(err, &p) {
			err = p.Err
		}
		return nil, false, &FileError{Path: t.path, Err: err}
	}
	t.seen, t.readAt = info, now
	sum := sha256.Sum256(content)
	changed = !t.known || sum != t.sum
	t.sum, t.known = sum, true
	return content, changed, nil
}

// unchanged reports whether the file that info describes is sure to be the one
// last read.
func (t *tracked) unchanged(info fs.FileInfo) bool {
	return t.seen != nil && os.SameFile(t.seen, info) &&
		t.seen.Size() == info.Size() &&
		t.seen.Mode() == info.Mode() &&
		t.seen.ModTime().Equal(info.ModTime()) &&
		t.readAt.Sub(info.ModTime()) >= unsettled
}

// readPublicFile reads a file that holds no secret, but on which trust rests.
func readPublicFile(path string) ([]byte, fs.FileInfo, error) {
	f, info, err := safefile.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if err := checkMode(info); err != nil {
		return nil, nil, err
	}
	content, err := safefile.ReadAll(f, info.Size(), maxFileSize)
	return content, info, err
}

func checkMode(info fs.FileInfo) error {
	if info.Mode().Perm()&0o002 != 0 && runtime.GOOS != "windows" {
		return errors.New("anybody on this machine may change it; run \"chmod o-w\" on it, and check its content")
	}
	return nil
}

// named returns err, a *FileError of this file's content, with the path.
func (t *tracked) named(err error) error {
	var e *FileError
	if errors.As(err, &e) {
		e.Path = t.path
	}
	return err
}
