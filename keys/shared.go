package keys

import (
	"crypto/rand"
	"crypto/subtle"
)

// Shared is a pre-shared key: 32 secret bytes that two or more sides hold in
// common. It must be random, never a password. It prints as a note. The zero
// value holds no key and no method but those that print may be called on it.
type Shared struct {
	redacted
	key func() *[Size]byte
}

// GenerateShared returns a new random key.
func GenerateShared() (*Shared, error) {
	var b [Size]byte
	defer clear(b[:])
	if _, err := rand.Read(b[:]); err != nil {
		return nil, &keyError{"cannot generate a pre-shared key: " + err.Error(), err}
	}
	return NewShared(b[:])
}

// NewShared returns the key with the given 32 bytes, which it copies; the
// caller may clear b afterwards. It returns an error that matches ErrFormat if
// b has another length or is all zero.
func NewShared(b []byte) (*Shared, error) {
	if err := checkBytes("pre-shared key", b); err != nil {
		return nil, err
	}
	key := [Size]byte(b)
	return &Shared{
		redacted: redacted{"[redacted pre-shared key]"},
		key:      func() *[Size]byte { return &key },
	}, nil
}

// ParseShared returns the key that text, "sps1:…", stands for. Its errors
// match ErrFormat or ErrChecksum.
func ParseShared(text string) (*Shared, error) {
	b, err := decodeText(sharedPrefix, text, Size)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return NewShared(b)
}

// Bytes returns a copy of the key's 32 secret bytes, for the caller to clear.
func (s *Shared) Bytes() []byte {
	b := *s.secret()
	return b[:]
}

// Reveal returns the secret key as text, "sps1:…" (SPEC §6).
func (s *Shared) Reveal() string { return encodeText(sharedPrefix, s.secret()[:]) }

// Equal reports whether both are the same key, in constant time.
func (s *Shared) Equal(other *Shared) bool {
	return subtle.ConstantTimeCompare(s.secret()[:], other.secret()[:]) == 1
}

func (s *Shared) secret() *[Size]byte {
	if s == nil || s.key == nil {
		panic("securesp: keys.Shared holds no key")
	}
	return s.key()
}

// LoadShared reads a pre-shared key from a file: one line "sps1:…", else only
// blank lines and comments. All else is as with [Load].
func LoadShared(path string) (*Shared, error) {
	var s *Shared
	err := loadKey(path, sharedPrefix, func(text string) (err error) {
		s, err = ParseShared(text)
		return err
	})
	return s, err
}

// Save writes the key to a new file. All else is as with [Private.Save].
func (s *Shared) Save(path string) error {
	return saveKey(path, "# securesp pre-shared key: keep it secret", s.Reveal())
}
