package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
)

const fuzzKey = "spk1:j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF9SRxoV"

// format is the inverse of parseEntry.
func (e *entry) format() string {
	var b strings.Builder
	b.WriteString(e.key.String())
	if e.name != "" {
		b.WriteString(" " + e.name)
	}
	for _, from := range e.from {
		b.WriteString(" from=" + from.String())
	}
	if e.uid != nil {
		fmt.Fprintf(&b, " uid=%d", *e.uid)
	}
	if !e.expires.IsZero() {
		b.WriteString(" expires=" + e.expires.Format(time.RFC3339Nano))
	}
	return b.String()
}

// FuzzTrustFile: what is accepted says the same when written out and read
// again, and errors name a line that is there.
func FuzzTrustFile(f *testing.F) {
	for _, line := range []string{
		"", "# comment", fuzzKey, fuzzKey + " alice", fuzzKey + " # alice",
		fuzzKey + " from=192.0.2.0/24,2001:db8::1 from=10.0.0.0/8",
		fuzzKey + " alice uid=1000 expires=2030-12-31T23:59:59.25+01:00",
		fuzzKey + "\r\n\r\n" + fuzzKey, fuzzKey + " from=::ffff:1.2.3.4", fuzzKey + " x=y",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		set, err := parseEntries(content)
		if err != nil {
			var e *FileError
			if !errors.As(err, &e) || e.Line < 1 || e.Line > 1+strings.Count(string(content), "\n") || set != nil {
				t.Errorf("error %v, entries %v", err, set)
			}
			return
		}
		var text strings.Builder
		for _, e := range set {
			text.WriteString(e.format() + "\n")
		}
		again, err := parseEntries([]byte(text.String()))
		if err != nil || len(again) != len(set) {
			t.Fatalf("%q became %q: %v", content, text.String(), err)
		}
		for key, e := range set {
			a := again[key]
			if a == nil || !a.expires.Equal(e.expires) {
				t.Fatalf("%q became %q", content, text.String())
			}
			a.expires = e.expires
			if !reflect.DeepEqual(a, e) {
				t.Errorf("%+v became %+v", e, a)
			}
		}
	})
}

// FuzzKnownPeers: the same for the file of FirstUse, and whatever a peer is
// known by is found again.
func FuzzKnownPeers(f *testing.F) {
	f.Add([]byte("# comment\nexample.com:7000 "+fuzzKey), "example.com:7000")
	f.Add([]byte("\"a b\" "+fuzzKey+"\n\"\\u00fc\" \t"+fuzzKey), "a b")
	f.Add([]byte("\"\" "+fuzzKey), "")
	f.Add([]byte("a\u00a0b "+fuzzKey), "a\u00a0b\xff\x00\"\\#")
	key, err := keys.ParsePublic(fuzzKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte, host string) {
		if known, err := parseRecords(content); err == nil {
			var text strings.Builder
			for host, r := range known {
				text.WriteString(formatRecord(host, r.key))
			}
			again, err := parseRecords([]byte(text.String()))
			if err != nil || len(again) != len(known) {
				t.Fatalf("%q became %q: %v", content, text.String(), err)
			}
			for host, r := range known {
				if again[host].key != r.key {
					t.Errorf("%q: %v became %v", host, r.key, again[host].key)
				}
			}
		}
		if host, err := hostOf(Peer{Name: host}); err == nil {
			known, err := parseRecords([]byte(formatRecord(host, key)))
			if err != nil || known[host].key != key {
				t.Errorf("%q became %v: %v", host, known, err)
			}
		}
	})
}

// TestTrackedReadsOnce sees that a settled file is not read again.
func TestTrackedReadsOnce(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "f")
	settled := time.Now().Add(-unsettled)
	put := func(content string, mtime time.Time) {
		is.Helper()
		is.NoErr(os.WriteFile(path, []byte(content), 0o600)) // in place
		is.NoErr(os.Chtimes(path, mtime, mtime))
	}
	tr := tracked{path: path}
	look := func(want string, wantChanged bool) {
		is.Helper()
		content, changed, err := tr.look(time.Now())
		is.NoErr(err) // look
		is.Equal(changed, wantChanged)
		if changed {
			is.Equal(string(content), want)
		}
	}
	put("one", settled)
	look("one", true)
	look("", false)
	// Nothing that stat shows is different, so this goes unnoticed: proof
	// that the file is not read each time.
	put("two", settled)
	look("", false)
	put("two", settled.Add(time.Nanosecond))
	look("two", true)
	put("three", settled.Add(time.Nanosecond))
	look("three", true)
	// A recent file is read each time.
	put("one", time.Now())
	look("one", true)
	put("two", time.Now())
	look("two", true)
	look("", false)
}

// faulty is a file whose disk fails.
type faulty struct {
	*os.File
	writeErr, syncErr error
}

func (f faulty) WriteString(s string) (int, error) {
	if f.writeErr != nil {
		n, err := f.File.WriteString(s[:len(s)/2])
		return n, errors.Join(err, f.writeErr)
	}
	return f.File.WriteString(s)
}

func (f faulty) Sync() error { return errors.Join(f.syncErr, f.File.Sync()) }

// TestAppendLineFails sees that no half record stays in the file.
func TestAppendLineFails(t *testing.T) {
	boom := errors.New("boom")
	for _, before := range []string{"", "one\n", "one"} {
		for _, fault := range []faulty{{writeErr: boom}, {syncErr: boom}} {
			is := is.New(t)
			path := filepath.Join(t.TempDir(), "f")
			is.NoErr(os.WriteFile(path, []byte(before), 0o600)) // what is there
			file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
			is.NoErr(err) // open
			fault.File = file
			is.True(errors.Is(appendLine(fault, "two\n"), boom)) // the error comes out
			content, err := os.ReadFile(path)
			is.NoErr(err) // read
			is.Equal(string(content), before)
			is.NoErr(appendLine(file, "two\n")) // and the next one works
			content, err = os.ReadFile(path)
			is.NoErr(err) // read
			is.Equal(string(content), strings.TrimPrefix(strings.TrimSuffix(before, "\n")+"\ntwo\n", "\n"))
			is.NoErr(file.Close())
		}
	}
}

func TestAppendLineBound(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "f")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	is.NoErr(err) // open
	defer file.Close()
	is.NoErr(file.Truncate(maxFileSize - 3))
	is.True(appendLine(file, "two\n") != nil) // the file would be too large to be read
	info, err := file.Stat()
	is.NoErr(err) // stat
	is.Equal(info.Size(), int64(maxFileSize-3))
}

// TestOpenLockedReplaced sees that the lock is taken on the file that is at
// the path by then.
func TestOpenLockedReplaced(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "f")
	first, err := openLocked(path)
	is.NoErr(err) // lock
	second := make(chan error, 1)
	go func() {
		file, err := openLocked(path) // may or may not wait by the time of the rename
		if err == nil {
			var ours, there fs.FileInfo
			ours, err = file.Stat()
			if err == nil {
				there, err = os.Stat(path)
			}
			if err == nil && !os.SameFile(ours, there) {
				err = errors.New("lock on a file that is not there any more")
			}
			file.Close()
		}
		second <- err
	}()
	is.NoErr(os.WriteFile(path+".new", nil, 0o600))
	is.NoErr(os.Rename(path+".new", path))
	is.NoErr(first.Close())
	is.NoErr(<-second)
}

func BenchmarkFileAuthorize(b *testing.B) {
	key, err := keys.ParsePublic(fuzzKey)
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "trusted")
	old := time.Now().Add(-time.Hour)
	if err := errors.Join(os.WriteFile(path, []byte(fuzzKey), 0o600), os.Chtimes(path, old, old)); err != nil {
		b.Fatal(err)
	}
	policy, err := File(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := policy.Authorize(b.Context(), Peer{Key: key}); err != nil {
			b.Fatal(err)
		}
	}
}
