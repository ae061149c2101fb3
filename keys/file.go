package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// maxFileSize bounds a file with a secret; one written by Save has less than
// 200 bytes.
const maxFileSize = 64 << 10

// loadKey reads the file at path and hands its only line that is neither blank
// nor a comment to parse. The prefix says which kind of key is wanted.
func loadKey(path, prefix string, parse func(text string) error) error {
	content, err := readSecretFile(path)
	if err != nil {
		return err
	}
	defer clear(content)
	var key []byte
	for line := range bytes.Lines(content) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if key != nil {
			return fileError(path, "has more than one line that is not a comment; keep one "+kindOf(prefix)+" in it", ErrFormat)
		}
		key = line
	}
	if key == nil {
		return fileError(path, fmt.Sprintf("holds no %s; it needs one line that starts with %q", kindOf(prefix), prefix), ErrFormat)
	}
	if err := parse(string(key)); err != nil {
		var e *keyError
		if errors.As(err, &e) {
			return fileError(path, "is of no use: "+e.text, e.kind)
		}
		return fileError(path, "is of no use", err)
	}
	return nil
}

// readSecretFile returns the content of a regular file that only its owner may
// access.
func readSecretFile(path string) ([]byte, error) {
	// Opening a named pipe would wait for a writer, so look first; what
	// counts is the look at the open file.
	if info, err := os.Stat(path); err != nil {
		return nil, &keyError{"cannot read key file: " + err.Error(), err}
	} else if !info.Mode().IsRegular() {
		return nil, fileError(path, "is not a regular file", ErrFormat)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, &keyError{"cannot read key file: " + err.Error(), err}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, &keyError{"cannot read key file: " + err.Error(), err}
	}
	if !info.Mode().IsRegular() {
		return nil, fileError(path, "is not a regular file", ErrFormat)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fileError(path, fmt.Sprintf("is accessible to others (mode %04o); "+
			"run \"chmod 600\" on it, and replace the key if others may have read it", mode), ErrPermissions)
	}
	content := make([]byte, maxFileSize+1)
	n, err := io.ReadFull(f, content)
	switch {
	case err == nil:
		clear(content)
		return nil, fileError(path, fmt.Sprintf("is larger than %d bytes, so no key file", maxFileSize), ErrFormat)
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		clear(content)
		return nil, &keyError{"cannot read key file: " + err.Error(), err}
	}
	return content[:n], nil
}

// saveKey writes comment and key, a line each, to a new file at path.
func saveKey(path, comment, key string) error {
	content := []byte(comment + "\n" + key + "\n")
	defer clear(content)
	err := createFile(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return fileError(path, "exists and is never overwritten; move it away or choose another name", err)
	case err != nil:
		return &keyError{"cannot save key file: " + err.Error(), err}
	}
	return nil
}

// createFile makes a new file with mode 0600, has write fill it and puts it on
// disk. After an error the file is gone.
func createFile(path string, write func(io.Writer) error) error {
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
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// syncDir puts a directory's entries on disk. Windows has no such call, and
// needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func fileError(path, text string, kind error) error {
	return &keyError{"key file " + path + " " + text, kind}
}
