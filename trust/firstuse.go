package trust

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/securesp/securesp/internal/safefile"
	"github.com/securesp/securesp/keys"
)

// FirstUse returns a [Policy] that authorises a peer not met before, records
// its key durably in a file and from then on accepts no other key of it: the
// error then is a *[KeyChangedError]. Whoever can intercept the first
// connection wins once and for all, so better have the key beforehand and use
// [Keys] or [File].
//
// It is meant for the side that dials, where a peer is known by its name: the
// address dialled. A peer without a name, one that came to us or over a
// foreign carrier, is known by its IP address without the port, or by the path
// of its UNIX socket; if it has neither it is refused with ErrAddress. CURVE
// peers are refused with ErrUnknownKey: that suite needs the key beforehand.
//
// The file has a line for each peer: what it is known by, in Go's quotes if
// need be, and its key; "#" starts a comment line. It need not exist, is made
// with mode 0600, and may be edited: to forget a peer remove its line. Programs
// that share the file lock it while they add to it, where the system can. While
// there is a line in it that is not understood, every peer is refused with a
// *[FileError].
func FirstUse(path string) (Policy, error) {
	f := &firstUse{file: tracked{path: path}}
	if err := f.refreshLocked(); err != nil {
		return nil, err
	}
	// That no record can be made should not come to light at the first
	// connection.
	if dir, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil, &FileError{Path: path, Err: err}
	} else if !dir.IsDir() {
		return nil, &FileError{Path: path, Err: errors.New("is not in a directory")}
	}
	return f, nil
}

// record is one line of the file.
type record struct {
	key  keys.Public
	line int
}

type records map[string]record

type firstUse struct {
	mu       sync.Mutex
	file     tracked
	known    records
	parseErr error
}

func (f *firstUse) Authorize(ctx context.Context, peer Peer) error {
	if peer.anonymous() {
		return ErrAnonymous
	}
	if peer.Key.IsZero() {
		return ErrUnknownKey
	}
	host, err := hostOf(peer)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	err = f.refreshLocked()
	if known, ok := f.known[host]; ok && err == nil {
		return f.compare(host, known, peer.Key)
	}
	if err != nil && err != f.parseErr {
		return err
	}
	// Not recorded, or read while another process was writing: what counts
	// is what the file says once we have its lock.
	return f.recordLocked(host, peer.Key)
}

func (f *firstUse) compare(host string, known record, got keys.Public) error {
	if known.key == got {
		return nil
	}
	return &KeyChangedError{Host: host, Known: known.key, Got: got, Path: f.file.path, Line: known.line}
}

// refreshLocked takes up the file's content if it has changed. A file that
// does not exist is an empty one.
func (f *firstUse) refreshLocked() error {
	content, changed, err := f.file.look(time.Now())
	if errors.Is(err, fs.ErrNotExist) {
		f.file, f.known, f.parseErr = tracked{path: f.file.path}, nil, nil
		return nil
	}
	if err != nil {
		return err
	}
	if changed {
		f.known, f.parseErr = parseRecords(content)
		if f.parseErr != nil {
			f.parseErr = f.file.named(f.parseErr)
		}
	}
	return f.parseErr
}

// recordLocked adds a record to the file unless another process was faster.
func (f *firstUse) recordLocked(host string, key keys.Public) error {
	file, err := openLocked(f.file.path)
	if err != nil {
		return &FileError{Path: f.file.path, Err: err}
	}
	defer file.Close() // gives up the lock
	if err := f.refreshLocked(); err != nil {
		return err
	}
	if known, ok := f.known[host]; ok {
		return f.compare(host, known, key)
	}
	if err := appendLine(file, formatRecord(host, key)); err != nil {
		return &FileError{Path: f.file.path, Err: err}
	}
	return nil
}

// openLocked opens the file at path, creating it if need be, and waits for the
// lock on it, which lasts until it is closed.
func openLocked(path string) (*os.File, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lock(file); err != nil {
			file.Close()
			return nil, err
		}
		// While we waited the file may have been replaced by another,
		// as editors do; then the lock is on the wrong one.
		ours, err := file.Stat()
		if err != nil {
			file.Close()
			return nil, err
		}
		if current, err := os.Stat(path); err == nil && os.SameFile(ours, current) {
			return file, nil
		}
		file.Close()
	}
}

// appendable is what appendLine needs of an *os.File.
type appendable interface {
	io.ReaderAt
	io.StringWriter
	Name() string
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

// appendLine adds a line to the end of a file and has it on disk when it
// returns. After an error the file is as it was.
func appendLine(file appendable, line string) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if size+int64(len(line)) > maxFileSize {
		return safefile.ErrTooLarge
	}
	if size > 0 {
		last := make([]byte, 1)
		if _, err := file.ReadAt(last, size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			line = "\n" + line
		}
	}
	_, err = file.WriteString(line)
	if err == nil {
		err = file.Sync()
	}
	if err == nil && size == 0 {
		err = safefile.SyncDir(filepath.Dir(file.Name()))
	}
	if err != nil {
		return errors.Join(err, file.Truncate(size))
	}
	return nil
}

// parseRecords reads the content of the file. Its errors are *FileError
// without a path.
func parseRecords(content []byte) (records, error) {
	known := make(records)
	err := eachLine(content, func(number int, line string) error {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			return nil
		}
		host, key, err := parseRecord(line)
		if err != nil {
			return err
		}
		if first, ok := known[host]; ok {
			return fmt.Errorf("the same peer as in line %d", first.line)
		}
		known[host] = record{key, number}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return known, nil
}

func parseRecord(line string) (host string, key keys.Public, err error) {
	const form = "is not of the form: peer, space, key"
	rest := ""
	if line[0] == '"' {
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return "", key, errors.New(form)
		}
		rest = line[len(quoted):]
		host, err = strconv.Unquote(quoted)
		if err != nil {
			return "", key, errors.New(form)
		}
	} else {
		end := strings.IndexFunc(line, unicode.IsSpace)
		if end < 0 {
			return "", key, errors.New(form)
		}
		host, rest = line[:end], line[end:]
	}
	if host == "" || rest == "" || !unicode.IsSpace(rune(rest[0])) {
		return "", key, errors.New(form)
	}
	key, err = keys.ParsePublic(strings.TrimSpace(rest))
	return host, key, err
}

// formatRecord is the inverse of parseRecord.
func formatRecord(host string, key keys.Public) string {
	plain := host != "" && host[0] != '#' && strings.IndexFunc(host, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '"' || r == '\\'
	}) < 0
	if !plain {
		host = strconv.QuoteToASCII(host)
	}
	return host + " " + key.String() + "\n"
}

// hostOf returns what a peer is known by.
func hostOf(peer Peer) (string, error) {
	host := peer.Name
	if host == "" {
		if ip, ok := addrOf(peer.Addr); ok {
			host = ip.String()
		} else if u, ok := peer.Addr.(*net.UnixAddr); ok && u != nil {
			host = u.Name
		}
	} else if name, port, err := net.SplitHostPort(host); err == nil && !strings.Contains(name, "/") {
		host = net.JoinHostPort(strings.ToLower(name), port) // as DNS does
	}
	if host == "" {
		return "", ErrAddress
	}
	// Quoted, a name may take four times its size.
	if len(host) > maxLineSize/8 {
		return "", fmt.Errorf("%w: its name is too long to be recorded", ErrAddress)
	}
	return host, nil
}
