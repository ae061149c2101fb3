package keys

import (
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
)

// curveTextSize is the length of a CURVE key in Z85: 5 characters for 4 bytes.
const curveTextSize = Size / 4 * 5

// CurvePublic is a public key of CURVE (ZeroMQ RFC 26). It is comparable with
// == and may be a map key. The zero value is no key.
type CurvePublic struct{ b [Size]byte }

// NewCurvePublic returns the public key with the given 32 bytes, which it
// copies. It returns an error that matches ErrFormat if b has another length
// or is all zero.
func NewCurvePublic(b []byte) (CurvePublic, error) {
	if err := checkBytes("CURVE public key", b); err != nil {
		return CurvePublic{}, err
	}
	return CurvePublic{[Size]byte(b)}, nil
}

// ParseCurvePublic returns the public key that 40 characters of Z85 stand for.
// Its errors match ErrFormat. Z85 has no checksum: most mistyped keys are
// accepted, as other keys.
func ParseCurvePublic(text string) (CurvePublic, error) {
	b, err := decodeCurve("CURVE public key", text)
	if err != nil {
		return CurvePublic{}, err
	}
	return NewCurvePublic(b)
}

// String returns the key as 40 characters of Z85 (ZeroMQ RFC 32), or "no key"
// for the zero value.
func (p CurvePublic) String() string {
	if p.IsZero() {
		return "no key"
	}
	return encodeZ85(p.b[:])
}

// Bytes returns the key's 32 bytes.
func (p CurvePublic) Bytes() [Size]byte { return p.b }

// IsZero reports whether p is the zero value: no key.
func (p CurvePublic) IsZero() bool { return p == CurvePublic{} }

// ECDH returns the key for use with package crypto/ecdh, or an error that
// matches ErrFormat if p is the zero value.
func (p CurvePublic) ECDH() (*ecdh.PublicKey, error) {
	if err := checkBytes("CURVE public key", p.b[:]); err != nil {
		return nil, err
	}
	return ecdh.X25519().NewPublicKey(p.b[:])
}

// MarshalText returns what String returns, but nothing for the zero value.
func (p CurvePublic) MarshalText() ([]byte, error) {
	if p.IsZero() {
		return []byte{}, nil
	}
	return []byte(p.String()), nil
}

// UnmarshalText accepts what ParseCurvePublic accepts. Empty text gives the
// zero value.
func (p *CurvePublic) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = CurvePublic{}
		return nil
	}
	parsed, err := ParseCurvePublic(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// CurvePrivate is a secret key of CURVE (ZeroMQ RFC 26). It prints as a note
// that names only its public key. The zero value holds no key; only Public and
// ECDH may be called on it.
type CurvePrivate struct {
	redacted
	key    func() *ecdh.PrivateKey // always the same object
	public CurvePublic
}

// GenerateCurve returns a new random key.
func GenerateCurve() (*CurvePrivate, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, &keyError{"cannot generate a CURVE private key: " + err.Error(), err}
	}
	return newCurvePrivate(key), nil
}

// NewCurvePrivate returns the key with the given 32 bytes, which it copies;
// the caller may clear b afterwards. It returns an error that matches
// ErrFormat if b has another length or is all zero.
func NewCurvePrivate(b []byte) (*CurvePrivate, error) {
	if err := checkBytes("CURVE private key", b); err != nil {
		return nil, err
	}
	key, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil { // not reached: every 32 bytes will do
		return nil, &keyError{"a CURVE private key does not have this form", ErrFormat}
	}
	return newCurvePrivate(key), nil
}

// ParseCurvePrivate returns the key that 40 characters of Z85 stand for. Its
// errors match ErrFormat. Z85 has no checksum: most mistyped keys are
// accepted, as other keys.
func ParseCurvePrivate(text string) (*CurvePrivate, error) {
	b, err := decodeCurve("CURVE private key", text)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return NewCurvePrivate(b)
}

func newCurvePrivate(key *ecdh.PrivateKey) *CurvePrivate {
	public := CurvePublic{[Size]byte(key.PublicKey().Bytes())}
	return &CurvePrivate{
		redacted: redacted{"[redacted CURVE private key of " + public.String() + "]"},
		key:      func() *ecdh.PrivateKey { return key },
		public:   public,
	}
}

// Public returns the public key. It is the zero value if p is nil or holds no
// key.
func (p *CurvePrivate) Public() CurvePublic {
	if p == nil {
		return CurvePublic{}
	}
	return p.public
}

// ECDH returns the key for use with package crypto/ecdh: the same object each
// time, because a kept object need not compute its public key again. It is nil
// if p is nil or holds no key. Unlike p it must not be printed.
func (p *CurvePrivate) ECDH() *ecdh.PrivateKey {
	if p == nil || p.key == nil {
		return nil
	}
	return p.key()
}

// Bytes returns a copy of the key's 32 secret bytes, for the caller to clear.
func (p *CurvePrivate) Bytes() [Size]byte {
	key := p.ECDH()
	if key == nil {
		panic("securesp: keys.CurvePrivate holds no key")
	}
	b := key.Bytes()
	defer clear(b)
	return [Size]byte(b)
}

// Reveal returns the secret key as 40 characters of Z85 (ZeroMQ RFC 32).
func (p *CurvePrivate) Reveal() string {
	b := p.Bytes()
	defer clear(b[:])
	return encodeZ85(b[:])
}

func decodeCurve(name, text string) ([]byte, error) {
	if len(text) != curveTextSize {
		return nil, &keyError{fmt.Sprintf("a %s is %d characters of Z85, this text has %d bytes",
			name, curveTextSize, len(text)), ErrFormat}
	}
	b, ok := decodeZ85(text)
	if !ok {
		return nil, &keyError{fmt.Sprintf("%s is not Z85", name), ErrFormat}
	}
	return b, nil
}
