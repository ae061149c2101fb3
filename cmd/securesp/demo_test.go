package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// TestDemo sees that the demonstration comes to its end, shows what it says,
// and leaves nothing behind.
func TestDemo(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	content := []byte(randomText(5_000_000))
	file := filepath.Join(t.TempDir(), "file")
	is.NoErr(os.WriteFile(file, content, 0o600))
	r := invoke("", "demo", file)
	is.Equal(r.err, "")
	is.Equal(r.code, exitOK)
	hash := fmt.Sprintf("%.4x…", sha256.Sum256(content))
	is.Equal(strings.Count(r.out, hash+" matches"), 3) // one for each carrier
	for _, text := range []string{
		"tcp ", "udp ", "ipc ", "4.8 MiB", "IKhfs",
		"mallory: not authorised", "alice: wrong key", "bob: what the peer sent does not authenticate",
		"200 in ", "could read none of it",
		"cut after", "alice: not authorised", "All of it",
	} {
		is.True(strings.Contains(r.out, text)) // shown
	}
	entries, err := os.ReadDir(dir)
	is.NoErr(err)
	is.Equal(len(entries), 0) // nothing left behind
}

func TestDemoOfItself(t *testing.T) {
	is := is.New(t)
	r := invoke("", "demo", "-size", "8")
	is.Equal(r.code, exitOK)
	is.True(strings.Contains(r.out, "8.0 MiB (this program"))
}

func TestDemoInterrupted(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(context.Background())
	r := launch(ctx, nil, "demo", "-size", "1")
	r.out.await(t, "(What must fail)")
	cancel()
	is.Equal((<-r.done).code, exitInterrupted)
}

func TestDemoNoFile(t *testing.T) {
	is := is.New(t)
	is.Equal(invoke("", "demo", filepath.Join(t.TempDir(), "none")).code, exitFailure)
	is.Equal(invoke("", "demo", t.TempDir()).code, exitFailure)
}

// TestDemoExpects sees that the demonstration does not take any failure for
// the one it wants.
func TestDemoExpects(t *testing.T) {
	is := is.New(t)
	_, err := expect("alice", nil, isRefused)
	is.True(err != nil) // no failure at all
	_, err = expect("alice", os.ErrDeadlineExceeded, isRefused)
	is.True(err != nil) // another one
}

// TestPayload sees that what is sent over and over is so, and that each
// opening reads the same.
func TestPayload(t *testing.T) {
	is := is.New(t)
	p, err := newPayload("", 30<<20)
	is.NoErr(err)
	first, err := p.hash()
	is.NoErr(err)
	second, err := p.hash()
	is.NoErr(err)
	is.True(bytes.Equal(first, second))
	self, err := os.Executable()
	is.NoErr(err)
	content, err := os.ReadFile(self)
	is.NoErr(err)
	repeated := bytes.Repeat(content, 30<<20/len(content)+1)[:30<<20]
	want := sha256.Sum256(repeated)
	is.True(bytes.Equal(first, want[:]))
}
