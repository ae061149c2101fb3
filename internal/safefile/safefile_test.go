package safefile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/matryer/is"
)

func TestCreate(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	boom := errors.New("boom")
	err := Create(path, func(w io.Writer) error {
		_, err := io.WriteString(w, "half a secr")
		return errors.Join(err, boom)
	})
	is.True(errors.Is(err, boom)) // the error comes out
	_, err = os.Stat(path)
	is.True(errors.Is(err, fs.ErrNotExist)) // and no half file stays

	write := func(w io.Writer) error { _, err := io.WriteString(w, "whole"); return err }
	is.NoErr(Create(path, write))
	content, err := os.ReadFile(path)
	is.NoErr(err) // it is there
	is.Equal(string(content), "whole")
	is.True(errors.Is(Create(path, write), fs.ErrExist)) // and not made twice
}

func TestReadAll(t *testing.T) {
	is := is.New(t)
	for length := range 70 {
		content := bytes.Repeat([]byte{7}, length)
		for _, size := range []int64{0, 1, int64(length), 60} { // what the file was said to have
			for _, r := range []io.Reader{bytes.NewReader(content), iotest.OneByteReader(bytes.NewReader(content)), iotest.DataErrReader(bytes.NewReader(content))} {
				got, err := ReadAll(r, size, 64)
				if length > 64 || size > 64 {
					is.Equal(err, ErrTooLarge)
					is.Equal(got, nil)
					continue
				}
				is.NoErr(err) // read
				is.True(bytes.Equal(got, content))
			}
		}
	}
	boom := errors.New("boom")
	_, err := ReadAll(io.MultiReader(bytes.NewReader([]byte("some")), iotest.ErrReader(boom)), 8, 64)
	is.True(errors.Is(err, boom)) // a read error comes out
}

func TestOpen(t *testing.T) {
	is := is.New(t)
	_, _, err := Open(t.TempDir())
	is.True(errors.Is(err, ErrNotRegular)) // a directory
	_, _, err = Open(filepath.Join(t.TempDir(), "missing"))
	is.True(errors.Is(err, fs.ErrNotExist)) // nothing
}
