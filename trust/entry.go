package trust

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/securesp/securesp/keys"
)

// Bounds on what is read.
const (
	maxFileSize = 16 << 20
	maxLineSize = 4096
	maxNameSize = 128
)

// entry is one line of a trust file (SPEC §6).
type entry struct {
	key     keys.Public
	name    string         // "" if it has none
	from    []netip.Prefix // where the peer may connect from; nil means anywhere
	uid     *uint32        // the user the peer must run as; nil means any
	expires time.Time      // when trust ends; zero means never
}

// check returns the reason for which the holder of the entry's key may not
// connect, or nil.
func (e *entry) check(peer Peer, now time.Time) error {
	if !e.expires.IsZero() && !now.Before(e.expires) {
		return ErrExpired
	}
	if e.from != nil && !contains(e.from, peer.Addr) {
		return ErrAddress
	}
	if e.uid != nil && (peer.Credentials == nil || peer.Credentials.UID != *e.uid) {
		return ErrCredentials
	}
	return nil
}

// entries is the content of a trust file.
type entries map[keys.Public]*entry

// authorize decides about a peer as Policy does.
func (s entries) authorize(peer Peer, now time.Time) error {
	if peer.anonymous() {
		return ErrAnonymous
	}
	e, ok := s[peer.Key]
	if !ok {
		return ErrUnknownKey
	}
	return e.check(peer, now)
}

// parseEntries reads the content of a trust file. Its errors are *FileError
// without a path.
func parseEntries(content []byte) (entries, error) {
	set := make(entries)
	lines := make(map[keys.Public]int)
	err := eachLine(content, func(number int, line string) error {
		e, err := parseEntry(line)
		if err != nil || e == nil {
			return err
		}
		if first, ok := lines[e.key]; ok {
			return fmt.Errorf("the same key as in line %d", first)
		}
		set[e.key], lines[e.key] = e, number
		return nil
	})
	if err != nil {
		return nil, err
	}
	return set, nil
}

// eachLine calls f for each line, with its number. An error of f becomes a
// *FileError without a path.
func eachLine(content []byte, f func(number int, line string) error) error {
	number := 0
	for line := range bytes.Lines(content) {
		number++
		err := checkLine(line)
		if err == nil {
			err = f(number, string(line))
		}
		if err != nil {
			return &FileError{Line: number, Err: err}
		}
	}
	return nil
}

func checkLine(line []byte) error {
	if len(line) > maxLineSize {
		return fmt.Errorf("line longer than %d bytes", maxLineSize)
	}
	if !utf8.Valid(line) {
		return errors.New("line is not UTF-8 text")
	}
	return nil
}

// parseEntry reads one line: a key, a name or none, restrictions. It returns
// nil for a line without an entry. Errors do not quote the line, since a
// misplaced secret might be in it.
func parseEntry(line string) (*entry, error) {
	fields := strings.Fields(line)
	for i, field := range fields {
		if field[0] == '#' {
			fields = fields[:i]
			break
		}
	}
	if len(fields) == 0 {
		return nil, nil
	}
	key, err := keys.ParsePublic(fields[0])
	if err != nil {
		return nil, err
	}
	e := &entry{key: key}
	for i, field := range fields[1:] {
		option, value, isOption := strings.Cut(field, "=")
		switch {
		case isOption:
			err = e.restrict(option, value)
		case i == 0:
			e.name, err = field, checkName(field)
		default:
			err = errors.New("after key and name come only restrictions: from=, uid=, expires=")
		}
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

func checkName(name string) error {
	if len(name) > maxNameSize {
		return fmt.Errorf("name longer than %d bytes", maxNameSize)
	}
	if len(name) > 4 && name[0] == 's' && name[3:5] == "1:" {
		return errors.New("a second key on one line")
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return errors.New("name has an unprintable character")
		}
	}
	return nil
}

// restrict applies one restriction to e.
func (e *entry) restrict(option, value string) error {
	switch option {
	case "from":
		for text := range strings.SplitSeq(value, ",") {
			prefix, err := parsePrefix(text)
			if err != nil {
				return err
			}
			e.from = append(e.from, prefix)
		}
	case "uid":
		uid, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return errors.New("uid= is not the number of a user")
		}
		if e.uid != nil {
			return errors.New("more than one uid=")
		}
		e.uid = new(uint32(uid))
	case "expires":
		expires, err := time.Parse(time.RFC3339, value)
		if err != nil || expires.IsZero() {
			return errors.New("expires= is not a time as in RFC 3339, such as 2030-12-31T23:59:59Z")
		}
		if !e.expires.IsZero() {
			return errors.New("more than one expires=")
		}
		e.expires = expires
	default:
		return errors.New("unknown restriction; there are from=, uid= and expires=")
	}
	return nil
}
