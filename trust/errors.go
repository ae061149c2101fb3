package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/securesp/securesp/keys"
)

// ErrDenied is matched by every refusal that is a policy's decision. The other
// errors say why, and match ErrDenied too; a [Policy] of your own may return
// them as well.
var ErrDenied = errors.New("securesp: peer not authorised")

// Reasons to refuse a peer; test with errors.Is.
var (
	// ErrAnonymous means that the peer proved no key.
	ErrAnonymous error = &denial{"securesp: peer not authorised: it has proved no key", ErrDenied}

	// ErrUnknownKey means that nobody trusts the peer's key.
	ErrUnknownKey error = &denial{"securesp: peer not authorised: its key is not trusted", ErrDenied}

	// ErrExpired means that the key was trusted up to a time that is past.
	ErrExpired error = &denial{"securesp: peer not authorised: trust in its key has expired", ErrDenied}

	// ErrAddress means that the key is trusted, but not from where the
	// peer connects, or that there is no telling where that is.
	ErrAddress error = &denial{"securesp: peer not authorised: not from this address", ErrDenied}

	// ErrCredentials means that the key is trusted, but only in the hands
	// of another user of this machine.
	ErrCredentials error = &denial{"securesp: peer not authorised: not as this user", ErrDenied}

	// ErrKeyChanged means that the peer was known by another key. The
	// error is a *KeyChangedError.
	ErrKeyChanged error = &denial{"securesp: peer not authorised: its key has changed", ErrDenied}
)

// denial is a refusal for a reason: another denial, or ErrDenied.
type denial struct {
	text   string
	reason error
}

func (d *denial) Error() string { return d.text }

func (d *denial) Unwrap() error { return d.reason }

// KeyChangedError is what [FirstUse] refuses a peer with that was known by
// another key: it was given a new one, or somebody else answers in its place.
// It matches ErrKeyChanged.
type KeyChangedError struct {
	Host  string      // what the peer is known by
	Known keys.Public // its key so far
	Got   keys.Public // the key it has proved now
	Path  string      // the file with the record
	Line  int         // the record's line, from 1
}

// Error says what happened and what to do.
func (e *KeyChangedError) Error() string {
	return fmt.Sprintf("securesp: THE KEY OF %q HAS CHANGED: it was %v and is now %v. "+
		"Either it was replaced, or somebody is intercepting the connection. "+
		"Ask the peer's operator; only if the new key is confirmed, remove line %d of %s",
		e.Host, e.Known, e.Got, e.Line, e.Path)
}

// Unwrap returns ErrKeyChanged.
func (e *KeyChangedError) Unwrap() error { return ErrKeyChanged }

// FileError is a problem with a file of keys. It never matches ErrDenied.
type FileError struct {
	Path string
	Line int   // from 1; 0 if the file as a whole is meant
	Err  error // what is wrong
}

// Error names the file, the line if there is one, and what is wrong with it.
func (e *FileError) Error() string {
	text := strings.TrimPrefix(e.Err.Error(), "securesp: ")
	var pathError *fs.PathError
	if errors.As(e.Err, &pathError) { // its own text names the file again
		text = pathError.Op + ": " + pathError.Err.Error()
	}
	if e.Line > 0 {
		return fmt.Sprintf("securesp: trust file %s, line %d: %s", e.Path, e.Line, text)
	}
	return fmt.Sprintf("securesp: trust file %s: %s", e.Path, text)
}

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }
