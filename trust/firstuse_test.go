package trust_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

// firstUse returns a policy on the file at path.
func firstUse(t testing.TB, path string) trust.Policy {
	is := is.New(t)
	is.Helper()
	policy, err := trust.FirstUse(path)
	is.NoErr(err) // first use
	return policy
}

func read(t testing.TB, path string) string {
	is := is.New(t)
	is.Helper()
	content, err := os.ReadFile(path)
	is.NoErr(err) // read the file
	return string(content)
}

func TestFirstUse(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "known")
	policy := firstUse(t, path)
	_, err := os.Stat(path)
	is.True(errors.Is(err, fs.ErrNotExist)) // not before there is something to record

	alice, mallory := newKey(t), newKey(t)
	peer := trust.Peer{Key: alice, Name: "example.com:7000", Addr: tcp("192.0.2.1")}
	is.NoErr(policy.Authorize(t.Context(), peer)) // first use
	is.NoErr(policy.Authorize(t.Context(), peer)) // second
	is.Equal(read(t, path), "example.com:7000 "+alice.String()+"\n")
	if runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		is.NoErr(err) // stat
		is.Equal(info.Mode().Perm(), fs.FileMode(0o600))
	}

	for _, policy := range []trust.Policy{policy, firstUse(t, path)} { // also after a restart
		err := policy.Authorize(t.Context(), trust.Peer{Key: mallory, Name: "example.com:7000"})
		is.True(errors.Is(err, trust.ErrKeyChanged)) // refused
		is.True(errors.Is(err, trust.ErrDenied))
		var changed *trust.KeyChangedError
		is.True(errors.As(err, &changed))
		is.Equal(*changed, trust.KeyChangedError{Host: "example.com:7000", Known: alice, Got: mallory, Path: path, Line: 1})
		for _, part := range []string{"example.com:7000", alice.String(), mallory.String(), path, "line 1"} {
			is.True(strings.Contains(err.Error(), part)) // says what to do
		}
		is.NoErr(policy.Authorize(t.Context(), peer)) // the known key still may
	}
	is.Equal(strings.Count(read(t, path), "\n"), 1) // nothing was added
}

func TestFirstUseHosts(t *testing.T) {
	for name, c := range map[string]struct {
		peer trust.Peer
		want string
	}{
		"name before address":    {trust.Peer{Name: "example.com:7000", Addr: tcp("192.0.2.1")}, "example.com:7000"},
		"other port":             {trust.Peer{Name: "example.com:7001"}, "example.com:7001"},
		"case of host names":     {trust.Peer{Name: "EXAMPLE.com:7000"}, "example.com:7000"},
		"IPv6":                   {trust.Peer{Name: "[2001:DB8::1]:7000"}, "[2001:db8::1]:7000"},
		"path":                   {trust.Peer{Name: "/run/App.sock"}, "/run/App.sock"},
		"path with colon":        {trust.Peer{Name: "/run/App:7"}, "/run/App:7"},
		"path with space":        {trust.Peer{Name: "/run/my app.sock"}, `"/run/my app.sock"`},
		"quote":                  {trust.Peer{Name: `a"b`}, `"a\"b"`},
		"backslash":              {trust.Peer{Name: `a\b`}, `"a\\b"`},
		"like a comment":         {trust.Peer{Name: "#a"}, `"#a"`},
		"line break":             {trust.Peer{Name: "a\nb"}, `"a\nb"`},
		"not ASCII":              {trust.Peer{Name: "bücher"}, `"b\u00fccher"`},
		"not UTF-8":              {trust.Peer{Name: "b\xfccher"}, `"b\xfccher"`},
		"address without a name": {trust.Peer{Addr: tcp("192.0.2.1")}, "192.0.2.1"},
		"mapped address":         {trust.Peer{Addr: &net.UDPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 9}}, "192.0.2.1"},
		"IPv6 with zone":         {trust.Peer{Addr: &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}}, "fe80::1%eth0"},
		"UNIX socket":            {trust.Peer{Addr: unix("/run/app.sock")}, "/run/app.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			path := filepath.Join(t.TempDir(), "known")
			c.peer.Key = newKey(t)
			is.NoErr(firstUse(t, path).Authorize(t.Context(), c.peer)) // first use
			is.Equal(read(t, path), c.want+" "+c.peer.Key.String()+"\n")
			is.NoErr(firstUse(t, path).Authorize(t.Context(), c.peer)) // found again
			c.peer.Key = newKey(t)
			is.True(errors.Is(firstUse(t, path).Authorize(t.Context(), c.peer), trust.ErrKeyChanged))
		})
	}
}

func TestFirstUseRefuses(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "known")
	policy := firstUse(t, path)
	key := newKey(t)
	for _, peer := range []trust.Peer{
		{Key: key}, // nothing to know it by
		{Key: key, Addr: unix("")},
		{Key: key, Addr: (*net.UnixAddr)(nil)},
		{Key: key, Addr: foreign{"pipe", "pipe"}},
		{Key: key, Name: strings.Repeat("a", 513)},
	} {
		err := policy.Authorize(t.Context(), peer)
		is.True(errors.Is(err, trust.ErrAddress)) // refused
	}
	err := policy.Authorize(t.Context(), trust.Peer{CurveKey: newCurveKey(t), Name: "example.com:7000"})
	is.True(errors.Is(err, trust.ErrUnknownKey)) // CURVE is not for first use

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = policy.Authorize(ctx, trust.Peer{Key: key, Name: "example.com:7000"})
	is.True(errors.Is(err, context.Canceled)) // too late to record anything
	_, err = os.Stat(path)
	is.True(errors.Is(err, fs.ErrNotExist)) // and nothing was
}

func TestFirstUseEdited(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "known")
	policy := firstUse(t, path)
	a, b := newKey(t), newKey(t)
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: a, Name: "one:1"})) // first use

	// Comments, and a last line without its end, as an editor may leave it.
	replace(t, path, "# known peers\n\none:1 \t"+b.String()+" ")
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: b, Name: "one:1"}))
	is.True(errors.Is(policy.Authorize(t.Context(), trust.Peer{Key: a, Name: "one:1"}), trust.ErrKeyChanged))
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: a, Name: "two:2"}))
	is.Equal(read(t, path), "# known peers\n\none:1 \t"+b.String()+" \ntwo:2 "+a.String()+"\n")

	// A removed line is a forgotten peer, and so is a removed file.
	replace(t, path, "")
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: a, Name: "one:1"}))
	is.NoErr(os.Remove(path))
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: b, Name: "one:1"}))
	is.Equal(read(t, path), "one:1 "+b.String()+"\n")
}

func TestFirstUseBadFile(t *testing.T) {
	key, other := newKey(t).String(), newKey(t)
	for name, line := range map[string]string{
		"no key":             "one:1",
		"no peer":            key,
		"trust file":         key + " alice",
		"mistyped key":       "one:1 " + key[:10] + string(key[10]^1) + key[11:],
		"more":               "one:1 " + key + " alice",
		"private key":        "one:1 " + secretText,
		"empty name":         `"" ` + key,
		"open quotes":        `"one:1 ` + key,
		"nothing after":      `"one:1"`,
		"no space after":     `"one:1"` + key,
		"bad escape":         `"\q" ` + key,
		"duplicate":          "two:2 " + key + "\ntwo:2 " + key,
		"duplicate, quoted":  "two:2 " + key + "\n\"two:2\" " + key,
		"cut off by a crash": "one:1 " + key[:30],
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			path := filepath.Join(t.TempDir(), "known")
			var e *trust.FileError

			policy := firstUse(t, path)
			write(t, path, "# comment\n"+line)
			for range 2 {
				err := policy.Authorize(t.Context(), trust.Peer{Key: other, Name: "other:1"})
				is.True(errors.As(err, &e)) // nobody is let in while we cannot tell who is known
				is.Equal(e.Path, path)
				is.Equal(e.Line, 2+strings.Count(line, "\n"))
				is.True(!errors.Is(err, trust.ErrDenied))
				is.True(!strings.Contains(err.Error(), secretText[5:20]))
			}
			is.Equal(read(t, path), "# comment\n"+line) // and nothing is added
			_, err := trust.FirstUse(path)
			is.True(errors.As(err, &e)) // nor at the start

			write(t, path, "")
			is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: other, Name: "other:1"})) // until it is repaired
		})
	}
}

func TestFirstUseNoDirectory(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	for _, path := range []string{filepath.Join(dir, "missing", "known"), filepath.Join(dir, "file", "known"), dir} {
		_, err := trust.FirstUse(path)
		var e *trust.FileError
		is.True(errors.As(err, &e)) // told at once
	}
}

// TestFirstUseRace has many connections meet many peers for the first time at
// once, through two policies on one file as two processes would be. Of the two
// keys that each peer shows, exactly one is ever accepted.
func TestFirstUseRace(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "known")
	policies := []trust.Policy{firstUse(t, path), firstUse(t, path)}
	pair := []keys.Public{newKey(t), newKey(t)}
	const hosts = 20
	type verdict struct {
		host, key int
		err       error
	}
	verdicts := make(chan verdict, hosts*len(policies)*len(pair))
	var all sync.WaitGroup
	for host := range hosts {
		for _, policy := range policies {
			for key := range pair {
				all.Go(func() {
					err := policy.Authorize(t.Context(), trust.Peer{Key: pair[key], Name: fmt.Sprintf("host-%d:1", host)})
					verdicts <- verdict{host, key, err}
				})
			}
		}
	}
	all.Wait()
	close(verdicts)
	var accepted [hosts][2]int
	for v := range verdicts {
		if v.err == nil {
			accepted[v.host][v.key]++
			continue
		}
		is.True(errors.Is(v.err, trust.ErrKeyChanged)) // the only reason there is
	}
	for _, a := range accepted {
		is.Equal(a[0]*a[1], 0)             // never both keys
		is.Equal(a[0]+a[1], len(policies)) // one, by both policies
	}
	is.Equal(strings.Count(read(t, path), "\n"), hosts) // one record each
}
