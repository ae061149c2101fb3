package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	"github.com/securesp/securesp/internal/safefile"
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
	key, err := keyLine(path, prefix, content)
	if err != nil {
		return err
	}
	if err := parse(string(key)); err != nil {
		var e *keyError
		if errors.As(err, &e) {
			return fileError(path, "is not usable: "+e.text, e.kind)
		}
		return fileError(path, "is not usable", err)
	}
	return nil
}

// keyLine returns the only line of content that is neither blank nor a comment.
func keyLine(path, prefix string, content []byte) ([]byte, error) {
	var key []byte
	for line := range bytes.Lines(content) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if key != nil {
			return nil, fileError(path, "has more than one line that is not a comment; keep one "+kindOf(prefix)+" in it", ErrFormat)
		}
		key = line
	}
	if key == nil {
		return nil, fileError(path, fmt.Sprintf("holds no %s; it needs one line that starts with %q", kindOf(prefix), prefix), ErrFormat)
	}
	return key, nil
}

// readSecretFile returns the content of a file that only its owner may access.
func readSecretFile(path string) ([]byte, error) {
	f, info, err := safefile.Open(path)
	if err != nil {
		return nil, readError(path, err)
	}
	defer f.Close()
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fileError(path, fmt.Sprintf("is accessible to others (mode %04o): run \"chmod 600\" on it, "+
			"and make a new key if others may have read it", mode), ErrPermissions)
	}
	content, err := safefile.ReadAll(f, info.Size(), maxFileSize)
	if err != nil {
		return nil, readError(path, err)
	}
	return content, nil
}

func readError(path string, err error) error {
	switch {
	case errors.Is(err, safefile.ErrNotRegular):
		return fileError(path, "is not a regular file", ErrFormat)
	case errors.Is(err, safefile.ErrTooLarge):
		return fileError(path, fmt.Sprintf("is larger than %d bytes, so no key file", maxFileSize), ErrFormat)
	}
	return &keyError{"cannot read key file: " + err.Error(), err}
}

// saveKey writes comment and key, a line each, to a new file at path.
func saveKey(path, comment, key string) error {
	content := []byte(comment + "\n" + key + "\n")
	defer clear(content)
	err := safefile.Create(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return fileError(path, "exists and is never overwritten: move it away or choose another name", err)
	case err != nil:
		return &keyError{"cannot save key file: " + err.Error(), err}
	}
	return nil
}

func fileError(path, text string, kind error) error {
	return &keyError{"key file " + path + " " + text, kind}
}
