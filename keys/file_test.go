package keys_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
)

func TestSaveAndLoad(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "identity")
	private, err := keys.Generate()
	is.NoErr(err)                // generate
	is.NoErr(private.Save(path)) // save

	info, err := os.Stat(path)
	is.NoErr(err) // the file is there
	if runtime.GOOS != "windows" {
		is.Equal(info.Mode().Perm(), fs.FileMode(0o600))
	}
	content, err := os.ReadFile(path)
	is.NoErr(err) // read the file
	is.Equal(strings.Count(string(content), "\n"), 3)
	is.True(strings.Contains(string(content), "# public key: "+private.Public().String()+"\n"))

	loaded, err := keys.Load(path)
	is.NoErr(err) // load
	is.Equal(loaded.Reveal(), private.Reveal())
}

func TestSaveAndLoadShared(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "psk")
	shared, err := keys.GenerateShared()
	is.NoErr(err)               // generate
	is.NoErr(shared.Save(path)) // save
	loaded, err := keys.LoadShared(path)
	is.NoErr(err) // load
	is.True(loaded.Equal(shared))

	_, err = keys.Load(path)
	is.True(errors.Is(err, keys.ErrFormat)) // it is no private key
	is.True(strings.Contains(err.Error(), "pre-shared key"))
}

func TestSaveNeverOverwrites(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "identity")
	is.NoErr(os.WriteFile(path, []byte("precious"), 0o600)) // a file that exists
	private, err := keys.Generate()
	is.NoErr(err) // generate
	err = private.Save(path)
	is.True(errors.Is(err, fs.ErrExist)) // refused
	is.True(strings.Contains(err.Error(), path))
	content, err := os.ReadFile(path)
	is.NoErr(err) // still there
	is.Equal(string(content), "precious")

	// Nor through a link that leads nowhere yet.
	link := filepath.Join(dir, "link")
	if os.Symlink(filepath.Join(dir, "target"), link) == nil {
		is.True(errors.Is(private.Save(link), fs.ErrExist))
	}
	err = private.Save(filepath.Join(dir, "missing", "identity"))
	is.True(errors.Is(err, fs.ErrNotExist)) // no such directory
}

func TestLoadForms(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		want    error
	}{
		"key alone":       {sequencePrivate, nil},
		"comments":        {"# mine\n\n \t\n" + sequencePrivate + "\n# end", nil},
		"CRLF":            {"# mine\r\n" + sequencePrivate + "\r\n", nil},
		"indented":        {"  " + sequencePrivate + " \n", nil},
		"empty":           {"", keys.ErrFormat},
		"comments alone":  {"# " + sequencePrivate + "\n", keys.ErrFormat},
		"two keys":        {sequencePrivate + "\n" + sequencePrivate + "\n", keys.ErrFormat},
		"more on a line":  {sequencePrivate + " alice\n", keys.ErrFormat},
		"public key":      {sequencePublic + "\n", keys.ErrFormat},
		"mistyped":        {strings.Replace(sequencePrivate, "AAEC", "AAED", 1), keys.ErrChecksum},
		"byte order mark": {"\ufeff" + sequencePrivate, keys.ErrFormat},
		"large":           {strings.Repeat("#\n", 32<<10) + sequencePrivate, keys.ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			path := filepath.Join(t.TempDir(), "identity")
			is.NoErr(os.WriteFile(path, []byte(c.content), 0o600)) // write the file
			private, err := keys.Load(path)
			if c.want == nil {
				is.NoErr(err) // load
				is.Equal(private.Reveal(), sequencePrivate)
				return
			}
			is.True(errors.Is(err, c.want)) // refused for the right reason
			is.Equal(private, (*keys.Private)(nil))
			is.True(strings.Contains(err.Error(), path))          // the file is named
			is.True(!strings.Contains(err.Error(), "AwQFBgc"))    // its content is not
			is.Equal(strings.Count(err.Error(), "securesp: "), 1) // one prefix
		})
	}
}

func TestLoadNoFile(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	_, err := keys.Load(filepath.Join(dir, "missing"))
	is.True(errors.Is(err, fs.ErrNotExist)) // no file
	_, err = keys.Load(dir)
	is.True(errors.Is(err, keys.ErrFormat)) // a directory
}
