// Package safefile reads and creates the small files that security hangs on:
// what is read is bounded, what is written is on disk.
package safefile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// Errors of this package. They have no prefix: the caller names the file and
// says what to do.
var (
	ErrNotRegular = errors.New("not a regular file")
	ErrTooLarge   = errors.New("file too large")
)

// Open opens the regular file at path for reading. Symbolic links are
// followed. The FileInfo is that of the open file.
func Open(path string) (*os.File, fs.FileInfo, error) {
	// To open a named pipe would wait for its writer, so look first; what
	// counts is the look at the open file.
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, ErrNotRegular
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err = f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotRegular
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// ReadAll returns what r holds, or ErrTooLarge if that is more than limit
// bytes. It leaves no copy of the content behind but the one it returns.
func ReadAll(r io.Reader, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, ErrTooLarge
	}
	// One byte more than the file is said to have, so as to see its end.
	content := make([]byte, 0, size+1)
	for {
		if len(content) == cap(content) {
			grown := make([]byte, len(content), min(2*int64(cap(content)), limit+1))
			copy(grown, content)
			clear(content)
			content = grown
		}
		n, err := r.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		if int64(len(content)) > limit {
			err = ErrTooLarge
		}
		if err == io.EOF {
			return content, nil
		}
		if err != nil {
			clear(content)
			return nil, err
		}
	}
}

// Create makes a new file that only its owner may access, has write fill it
// and puts it on disk. A file that exists is not touched: the error then
// matches fs.ErrExist. After any other error the file is gone.
func Create(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// SyncDir puts the entries of a directory on disk, where the system can.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil // one may create files in a directory that one cannot read
	}
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil // this file system has no such operation
	}
	return err
}
