//go:build unix

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
)

func TestKeygenAndPub(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "key")
	made := invoke("", "keygen", path)
	is.Equal(made.code, exitOK)
	is.Equal(made.err, "")
	private, err := keys.Load(path)
	is.NoErr(err) // what was made is an identity
	is.Equal(made.out, private.Public().String()+"\n")
	is.Equal(invoke("", "pub", path), made) // pub says the same
	is.Equal(invoke("", "pub", path, "-name", "alice").out, private.Public().String()+" alice\n")
	is.Equal(invoke("", "pub", path, "-name", "two words").code, exitUsage)
}

func TestKeygenKinds(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	shared, service := filepath.Join(dir, "psk"), filepath.Join(dir, "service")
	is.Equal(invoke("", "keygen", "-psk", shared), result{exitOK, "", ""})
	_, err := keys.LoadShared(shared)
	is.NoErr(err)                                       // a pre-shared key
	is.Equal(invoke("", "pub", shared).code, exitUsage) // has no public key

	made := invoke("", "keygen", "-service", service)
	private, err := keys.LoadService(service)
	is.NoErr(err) // a service key
	is.Equal(made, result{exitOK, private.Public().String() + "\n", ""})
	is.Equal(invoke("", "pub", service), made)
	is.Equal(invoke("", "keygen", "-psk", "-service", filepath.Join(dir, "x")).code, exitUsage)
}

func TestKeygenNeverOverwrites(t *testing.T) {
	for _, kind := range [][]string{nil, {"-psk"}, {"-service"}} {
		is := is.New(t)
		path := filepath.Join(t.TempDir(), "key")
		is.NoErr(os.WriteFile(path, []byte("precious"), 0o600)) // a file that exists
		r := invoke("", append(append([]string{"keygen"}, kind...), path)...)
		is.Equal(r.code, exitFailure)
		is.Equal(r.out, "")
		is.True(strings.Contains(r.err, "never overwritten"))
		content, err := os.ReadFile(path)
		is.NoErr(err)
		is.Equal(string(content), "precious")
	}
}

func TestKeyFileModes(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "key")
	makeKey(t, path)
	info, err := os.Stat(path)
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), fs.FileMode(0o600))
	is.NoErr(os.Chmod(path, 0o644))
	r := invoke("", "pub", path)
	is.Equal(r.code, exitUsage)
	is.True(strings.Contains(r.err, "chmod 600")) // what to do next
	is.Equal(r.out, "")
}
