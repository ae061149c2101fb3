package trust_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

// openFile returns the policy of a new trust file with the given content.
func openFile(t testing.TB, content string) (policy *trust.FilePolicy, path string) {
	is := is.New(t)
	is.Helper()
	path = filepath.Join(t.TempDir(), "trusted")
	write(t, path, content)
	p, err := trust.File(path)
	is.NoErr(err) // open the trust file
	return p.(*trust.FilePolicy), path
}

func TestFileRestrictions(t *testing.T) {
	alice := newKey(t)
	local := unix("/run/app.sock")
	later := time.Now().Add(time.Hour).Format(time.RFC3339)
	earlier := time.Now().Add(-time.Hour).Format(time.RFC3339)
	for name, c := range map[string]struct {
		line  string
		addr  net.Addr
		creds *trust.Credentials
		want  error
	}{
		"no restriction":            {"", tcp("192.0.2.1"), nil, nil},
		"no restriction or address": {"", nil, nil, nil},
		"name alone":                {"alice", tcp("192.0.2.1"), nil, nil},
		"trailing comment":          {"alice # uid=7 expires=x", tcp("192.0.2.1"), nil, nil},

		"inside":                   {"from=192.0.2.0/24", tcp("192.0.2.255"), nil, nil},
		"outside":                  {"from=192.0.2.0/24", tcp("192.0.3.0"), nil, trust.ErrAddress},
		"single address":           {"from=192.0.2.1", tcp("192.0.2.1"), nil, nil},
		"other single address":     {"from=192.0.2.1", tcp("192.0.2.2"), nil, trust.ErrAddress},
		"second of list":           {"from=10.0.0.0/8,192.0.2.0/24", tcp("192.0.2.1"), nil, nil},
		"second restriction":       {"from=10.0.0.0/8 from=192.0.2.0/24", tcp("192.0.2.1"), nil, nil},
		"in none of list":          {"from=10.0.0.0/8,192.0.2.0/24", tcp("198.51.100.1"), nil, trust.ErrAddress},
		"IPv6 inside":              {"from=2001:db8::/32", tcp("2001:db8:ffff::1"), nil, nil},
		"IPv6 outside":             {"from=2001:db8::/32", tcp("2001:db9::1"), nil, trust.ErrAddress},
		"IPv4 mapped into IPv6":    {"from=192.0.2.0/24", &net.UDPAddr{IP: net.ParseIP("::ffff:192.0.2.7").To16()}, nil, nil},
		"IPv4 is not all of IPv6":  {"from=::/0", tcp("::ffff:192.0.2.7"), nil, trust.ErrAddress},
		"IPv6 is not all of IPv4":  {"from=0.0.0.0/0", tcp("2001:db8::1"), nil, trust.ErrAddress},
		"zone does not count":      {"from=fe80::/10", &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, nil, nil},
		"zone, single address":     {"from=fe80::1", &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, nil, nil},
		"UDP":                      {"from=192.0.2.0/24", &net.UDPAddr{IP: net.ParseIP("192.0.2.1")}, nil, nil},
		"UNIX socket from network": {"from=0.0.0.0/0,::/0", local, user(7), trust.ErrAddress},
		"no address from network":  {"from=0.0.0.0/0,::/0", nil, nil, trust.ErrAddress},
		"nil address":              {"from=0.0.0.0/0,::/0", (*net.TCPAddr)(nil), nil, trust.ErrAddress},
		"empty address":            {"from=0.0.0.0/0,::/0", &net.TCPAddr{}, nil, trust.ErrAddress},
		"foreign TCP address":      {"from=192.0.2.0/24", foreign{"tcp", "192.0.2.1:80"}, nil, nil},
		"foreign pipe":             {"from=0.0.0.0/0", foreign{"pipe", "192.0.2.1:80"}, nil, trust.ErrAddress},
		"foreign nonsense":         {"from=0.0.0.0/0", foreign{"tcp", "pipe"}, nil, trust.ErrAddress},

		"right user":     {"uid=7", local, user(7), nil},
		"wrong user":     {"uid=7", local, user(8), trust.ErrCredentials},
		"no credentials": {"uid=7", tcp("127.0.0.1"), nil, trust.ErrCredentials},
		"root is a user": {"uid=0", local, user(0), nil},
		"root unproved":  {"uid=0", local, nil, trust.ErrCredentials},
		"greatest user":  {"uid=4294967295", local, user(4294967295), nil},

		"not expired": {"expires=" + later, local, nil, nil},
		"expired":     {"expires=" + earlier, local, nil, trust.ErrExpired},

		"all met":      {"alice from=192.0.2.0/24 uid=7 expires=" + later, tcp("192.0.2.1"), user(7), nil},
		"one unmet":    {"alice from=192.0.2.0/24 uid=8 expires=" + later, tcp("192.0.2.1"), user(7), trust.ErrCredentials},
		"other orders": {"expires=" + later + " uid=7", local, user(7), nil},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			policy, _ := openFile(t, alice.String()+" "+c.line+"\n")
			err := policy.Authorize(t.Context(), trust.Peer{Key: alice, Addr: c.addr, Credentials: c.creds})
			is.True(errors.Is(err, c.want)) // as the line says
			is.Equal(errors.Is(err, trust.ErrDenied), c.want != nil)

			err = policy.Authorize(t.Context(), trust.Peer{Key: newKey(t), Addr: c.addr, Credentials: c.creds})
			is.True(errors.Is(err, trust.ErrUnknownKey)) // and only for that key
		})
	}
}

// foreign is a net.Addr of nobody we know.
type foreign struct{ network, text string }

func (f foreign) Network() string { return f.network }
func (f foreign) String() string  { return f.text }

// TestFileExpiry sees that trust ends at the very moment, not after it.
func TestFileExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		alice := newKey(t)
		policy, _ := openFile(t, alice.String()+" expires="+time.Now().Add(time.Minute).Format(time.RFC3339Nano))
		time.Sleep(time.Minute - 1)
		is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: alice})) // a nanosecond left
		time.Sleep(time.Nanosecond)
		is.True(errors.Is(policy.Authorize(t.Context(), trust.Peer{Key: alice}), trust.ErrExpired))
	})
}

// secretText is a private key in the wrong place.
const secretText = "ssk1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8Avt-z"

func TestFileBadLines(t *testing.T) {
	alice, bob := newKey(t).String(), newKey(t).String()
	for name, line := range map[string]string{
		"no key":                alice[5:],
		"name first":            "alice " + alice,
		"mistyped key":          alice[:10] + string(alice[10]^1) + alice[11:],
		"private key":           secretText,
		"private key as name":   alice + " " + secretText,
		"second key":            alice + " " + bob,
		"duplicate key":         bob + "\n" + bob,
		"name with restriction": alice + " uid=7 alice",
		"two names":             alice + " alice smith",
		"long name":             alice + " " + strings.Repeat("a", 129),
		"unprintable name":      alice + " a\x1b[31m",
		"not UTF-8":             alice + " \xff",
		"NUL":                   alice + "\x00",
		"unknown restriction":   alice + " gid=7",
		"upper-case":            alice + " UID=7",
		"no restriction name":   alice + " =7",
		"from without value":    alice + " from=",
		"from with hole":        alice + " from=10.0.0.0/8,,::/0",
		"from with name":        alice + " from=localhost",
		"from with port":        alice + " from=192.0.2.1:80",
		"from with zone":        alice + " from=fe80::1%eth0",
		"from prefix too long":  alice + " from=192.0.2.0/33",
		"from with host bits":   alice + " from=192.0.2.1/24",
		"from mapped":           alice + " from=::ffff:192.0.2.0/120",
		"from mapped address":   alice + " from=::ffff:192.0.2.1",
		"uid with name":         alice + " uid=root",
		"uid negative":          alice + " uid=-1",
		"uid too large":         alice + " uid=4294967296",
		"uid empty":             alice + " uid=",
		"uid twice":             alice + " uid=7 uid=7",
		"expires date":          alice + " expires=2030-12-31",
		"expires without zone":  alice + " expires=2030-12-31T00:00:00",
		"expires year 1":        alice + " expires=0001-01-01T00:00:00Z",
		"expires twice":         alice + " expires=2030-12-31T00:00:00Z expires=2030-12-31T00:00:00Z",
		"long line":             alice + " alice #" + strings.Repeat("x", 4096),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			path := filepath.Join(t.TempDir(), "trusted")
			write(t, path, "# comment\n\n"+line+"\n")
			policy, err := trust.File(path)
			is.True(policy == nil) // nothing of the file is used
			var e *trust.FileError
			is.True(errors.As(err, &e)) // a *FileError
			is.Equal(e.Path, path)
			is.Equal(e.Line, 3+strings.Count(line, "\n"))
			text := err.Error()
			is.True(strings.HasPrefix(text, fmt.Sprintf("securesp: trust file %s, line %d: ", path, e.Line)))
			is.Equal(strings.Count(text, "securesp: "), 1)
			is.True(!strings.Contains(text, secretText[5:20])) // secrets stay secret
			is.True(!errors.Is(err, trust.ErrDenied))
		})
	}
}

func TestFileKeyErrors(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "trusted")
	alice := newKey(t).String()
	write(t, path, alice[:len(alice)-1]+string(alice[len(alice)-1]^1)+"\n")
	_, err := trust.File(path)
	is.True(errors.Is(err, keys.ErrChecksum) || errors.Is(err, keys.ErrFormat)) // says why
}

func TestFileOpenErrors(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	_, err := trust.File(filepath.Join(dir, "missing"))
	is.True(errors.Is(err, fs.ErrNotExist)) // no file
	var e *trust.FileError
	is.True(errors.As(err, &e)) // a *FileError
	is.Equal(strings.Count(err.Error(), "missing"), 1)
	_, err = trust.File(dir)
	is.True(errors.As(err, &e)) // a directory

	large := filepath.Join(dir, "large")
	write(t, large, "")
	is.NoErr(os.Truncate(large, 16<<20+1)) // a hole is enough
	_, err = trust.File(large)
	is.True(errors.As(err, &e)) // too large
	is.Equal(e.Line, 0)
}

func TestFileNamesAndPins(t *testing.T) {
	is := is.New(t)
	alice, bob := newKey(t), newKey(t)
	policy, path := openFile(t, "")
	_, ok := policy.Pinned()
	is.True(!ok) // an empty file pins nothing
	is.True(errors.Is(policy.Authorize(t.Context(), trust.Peer{Key: alice}), trust.ErrUnknownKey))

	replace(t, path, alice.String()+" alice\n")
	key, ok := policy.Pinned()
	is.True(ok)
	is.Equal(key, alice)
	is.Equal(policy.NameOf(alice), "alice")
	is.Equal(policy.NameOf(bob), "")

	replace(t, path, alice.String()+"\n"+bob.String()+" bøb\n")
	_, ok = policy.Pinned()
	is.True(!ok)
	is.Equal(policy.NameOf(alice), "")
	is.Equal(policy.NameOf(bob), "bøb")
}

// TestFileReload changes the file in each way a change could go unnoticed.
func TestFileReload(t *testing.T) {
	alice, bob := newKey(t), newKey(t) // texts of one size
	old := time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		settled bool // the file was last changed long ago
		change  func(t *testing.T, path string)
	}{
		"renamed":  {true, func(t *testing.T, path string) { replace(t, path, bob.String()) }},
		"in place": {true, func(t *testing.T, path string) { write(t, path, bob.String()) }},
		"in place, same size and recent time": {false, func(t *testing.T, path string) {
			is := is.New(t)
			info, err := os.Stat(path)
			is.NoErr(err) // stat
			write(t, path, bob.String())
			is.NoErr(os.Chtimes(path, info.ModTime(), info.ModTime())) // as if within a tick of its clock
		}},
		"in place, same old time": {true, func(t *testing.T, path string) {
			is := is.New(t)
			write(t, path, bob.String()+"\n")
			is.NoErr(os.Chtimes(path, old, old))
		}},
		"renamed, same size and old time": {true, func(t *testing.T, path string) {
			is := is.New(t)
			write(t, path+".new", bob.String())
			is.NoErr(os.Chtimes(path+".new", old, old)) // as rsync -t leaves it
			is.NoErr(os.Rename(path+".new", path))
		}},
		"link turned": {true, func(t *testing.T, path string) {
			is := is.New(t)
			write(t, path+".target", bob.String())
			is.NoErr(os.Chtimes(path+".target", old, old))
			is.NoErr(os.Symlink(path+".target", path+".new"))
			is.NoErr(os.Rename(path+".new", path))
		}},
		"removed and made anew": {true, func(t *testing.T, path string) {
			is := is.New(t)
			is.NoErr(os.Remove(path))
			write(t, path, bob.String())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			policy, path := openFile(t, alice.String())
			if c.settled {
				is.NoErr(os.Chtimes(path, old, old))
			}
			for range 3 {
				is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: alice})) // so far
			}
			c.change(t, path)
			is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: bob})) // at once
			is.True(errors.Is(policy.Authorize(t.Context(), trust.Peer{Key: alice}), trust.ErrUnknownKey))
			is.NoErr(policy.Err())
		})
	}
}

// TestFileGoesBad sees that the last good content stays in force, and that
// each problem is reported once.
func TestFileGoesBad(t *testing.T) {
	is := is.New(t)
	alice, bob := newKey(t), newKey(t)
	policy, path := openFile(t, alice.String()+"\n")
	var reports []error
	policy.OnError(func(err error) {
		reports = append(reports, err)
		is.True(policy.Err() != nil) // the policy may be used here
	})
	inForce := func(want int) {
		is.Helper()
		for range 3 {
			is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: alice}))                              // still trusted
			is.True(errors.Is(policy.Authorize(t.Context(), trust.Peer{Key: bob}), trust.ErrUnknownKey)) // not yet trusted
		}
		is.Equal(len(reports), want)
		is.Equal(policy.Err(), reports[want-1])
	}
	line := func() int {
		var e *trust.FileError
		is.True(errors.As(reports[len(reports)-1], &e)) // a *FileError
		is.Equal(e.Path, path)
		return e.Line
	}

	replace(t, path, bob.String()+"\nnonsense\n")
	inForce(1)
	is.Equal(line(), 2)
	replace(t, path, bob.String()+"\nother nonsense\n")
	inForce(2) // other content is another problem
	is.Equal(line(), 2)
	is.NoErr(os.Remove(path))
	inForce(3)
	is.Equal(line(), 0)
	is.True(errors.Is(reports[2], fs.ErrNotExist))
	replace(t, path, bob.String()+"\nother nonsense\n")
	inForce(4)
	is.Equal(line(), 2)

	replace(t, path, bob.String()+"\n")
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: bob})) // good again
	is.NoErr(policy.Err())
	is.Equal(len(reports), 4)
}

func TestFileReportsToSlog(t *testing.T) {
	is := is.New(t)
	var log bytes.Buffer
	previous := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(previous)
	policy, path := openFile(t, "")
	replace(t, path, "nonsense\n")
	for range 3 {
		is.True(policy.Err() != nil)
	}
	is.Equal(strings.Count(log.String(), "\n"), 1) // once
	is.True(strings.Contains(log.String(), path+", line 1"))
}
