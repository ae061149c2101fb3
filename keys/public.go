package keys

import (
	"crypto/ecdh"
)

// Public is the public half of a [Private] key: an X25519 public key. It is
// comparable with == and may be a map key; such comparison is not
// constant-time, nor need it be, since the key is no secret. The zero value is
// no key.
type Public struct{ b [Size]byte }

// NewPublic returns the public key with the given 32 bytes, which it copies.
// It returns an error that matches ErrFormat if b has another length or is all
// zero.
func NewPublic(b []byte) (Public, error) {
	if err := checkBytes("public key", b); err != nil {
		return Public{}, err
	}
	return Public{[Size]byte(b)}, nil
}

// ParsePublic returns the public key that text, "spk1:…", stands for. Its
// errors match ErrFormat or ErrChecksum.
func ParsePublic(text string) (Public, error) {
	b, err := decodeText(publicPrefix, text, Size)
	if err != nil {
		return Public{}, err
	}
	return NewPublic(b)
}

// String returns the key as text, "spk1:…" (SPEC §6), or "no key" for the zero
// value.
func (p Public) String() string {
	if p.IsZero() {
		return "no key"
	}
	return encodeText(publicPrefix, p.b[:])
}

// Bytes returns a copy of the key's 32 bytes.
func (p Public) Bytes() []byte { return p.b[:] }

// IsZero reports whether p is the zero value: no key.
func (p Public) IsZero() bool { return p == Public{} }

// ECDH returns the key for use with package crypto/ecdh, or an error that
// matches ErrFormat if p is the zero value. A key of low order is not noticed
// here but by the Diffie-Hellman operation, which then fails.
func (p Public) ECDH() (*ecdh.PublicKey, error) {
	if err := checkBytes("public key", p.b[:]); err != nil {
		return nil, err
	}
	return ecdh.X25519().NewPublicKey(p.b[:])
}

// MarshalText returns what String returns, but nothing for the zero value.
func (p Public) MarshalText() ([]byte, error) {
	if p.IsZero() {
		return []byte{}, nil
	}
	return []byte(p.String()), nil
}

// UnmarshalText accepts what ParsePublic accepts. Empty text gives the zero
// value.
func (p *Public) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = Public{}
		return nil
	}
	parsed, err := ParsePublic(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}
