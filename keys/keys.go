// Package keys holds the key types of securesp, their text and their files.
//
// A [Private] key names a program or person; the rest of the world knows it by
// its [Public] key. A [Shared] key is a secret that two or more sides hold in
// common. [ServicePrivate] and [ServicePublic] are the keys of a service that
// messages are sealed to end to end. [CurvePrivate] and [CurvePublic] are keys
// of CURVE (ZeroMQ RFC 26). They are types of their own so that no key ever
// serves two protocols.
//
// As text (SPEC §6) a key is a prefix that says what it is and base64url of
// the key and a checksum:
//
//	spk1:…  public key, may be shown to anybody
//	ssk1:…  private key
//	sps1:…  pre-shared key
//	sek1:…  public key of a service, may be shown to anybody
//	sdk1:…  private key of a service
//
// CURVE keys are 40 characters of Z85 instead, as everywhere in ZeroMQ.
//
// Secret types do not print: every verb of package fmt, log/slog and the text
// and JSON encodings show a note in their place, also where such a key is a
// field, exported or not, of something else that is printed. Only methods
// called Reveal, Bytes, ECDH, Agree and Derive hand secrets out. Do not print what ECDH
// returns: the type is the standard library's and shows all it holds.
//
// All types are immutable and safe for concurrent use.
package keys

import (
	"errors"
)

// Size is the length in bytes of every key in this package.
const Size = 32

// Errors that parsing, loading and saving return; test with errors.Is. Errors
// of the file system are wrapped too: fs.ErrNotExist, fs.ErrExist and so on.
// No error contains any part of a key.
var (
	// ErrFormat means that the bytes, text or file are not a key of the
	// wanted kind.
	ErrFormat = errors.New("securesp: not a key of this kind")

	// ErrChecksum means that the text has the form of a key, but was
	// altered or mistyped.
	ErrChecksum = errors.New("securesp: key checksum mismatch")

	// ErrPermissions means that others than its owner may access a file
	// that holds a secret.
	ErrPermissions = errors.New("securesp: secret file accessible to others")
)

// keyError is an error with a text of its own that matches another error.
type keyError struct {
	text string
	kind error
}

func (e *keyError) Error() string { return "securesp: " + e.text }

func (e *keyError) Unwrap() error { return e.kind }
