package keys

import (
	"bytes"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
)

// Sizes in bytes of the keys of a service (SPEC §6).
const (
	// ServicePublicSize is the size of a [ServicePublic]: an X25519 public
	// key and an ML-KEM-768 encapsulation key.
	ServicePublicSize = Size + mlkem.EncapsulationKeySize768

	// ServiceSeedSize is the size of what a [ServicePrivate] is made from:
	// an X25519 private key and the seed of an ML-KEM-768 decapsulation key
	// (FIPS 203: d ‖ z).
	ServiceSeedSize = Size + mlkem.SeedSize

	// ServiceIDSize is the size of the number by which a message names the
	// key it is sealed to.
	ServiceIDSize = 4
)

// ServicePrivate is the private key of a service: what all workers that answer
// for the service hold in common, and with which they open messages that are
// sealed end to end (SPEC §7). It is an X25519 key and an ML-KEM-768 key, so
// that recorded messages stay closed as long as either of the two holds.
//
// Whoever has it can open every request ever sealed to it and pass for the
// service. Replace it from time to time: workers hold several at once.
//
// It prints as a note that names only its number. The zero value holds no key
// and no method but those that print may be called on it.
type ServicePrivate struct {
	redacted
	secret func() *serviceSecret
	public *ServicePublic
}

type serviceSecret struct {
	seed     [ServiceSeedSize]byte
	identity *Private
	kem      *mlkem.DecapsulationKey768
}

// GenerateService returns a new random service key.
func GenerateService() (*ServicePrivate, error) {
	var seed [ServiceSeedSize]byte
	defer clear(seed[:])
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, &keyError{"cannot generate a service key: " + err.Error(), err}
	}
	return NewServicePrivate(seed[:])
}

// NewServicePrivate returns the key made from the given ServiceSeedSize bytes,
// which it copies; the caller may clear seed afterwards. It returns an error
// that matches ErrFormat if seed has another length or either of its two parts
// is all zero.
func NewServicePrivate(seed []byte) (*ServicePrivate, error) {
	if len(seed) != ServiceSeedSize {
		return nil, &keyError{"a secret service key does not have this length", ErrFormat}
	}
	var zero [mlkem.SeedSize]byte
	if subtle.ConstantTimeCompare(seed[Size:], zero[:]) == 1 {
		return nil, &keyError{"a secret service key cannot be all zero bytes", ErrFormat}
	}
	identity, err := NewPrivate(seed[:Size])
	if err != nil {
		return nil, err
	}
	kem, err := mlkem.NewDecapsulationKey768(seed[Size:])
	if err != nil { // not reached: every 64 bytes will do
		return nil, &keyError{"a secret service key does not have this form", ErrFormat}
	}
	s := &serviceSecret{[ServiceSeedSize]byte(seed), identity, kem}
	public := newServicePublic(identity.Public(), kem.EncapsulationKey())
	return &ServicePrivate{
		redacted: redacted{"[redacted service key " + public.IDString() + "]"},
		secret:   func() *serviceSecret { return s },
		public:   public,
	}, nil
}

// ParseServicePrivate returns the key that text, "sdk1:…", stands for. Its
// errors match ErrFormat or ErrChecksum.
func ParseServicePrivate(text string) (*ServicePrivate, error) {
	b, err := decodeText(serviceSecretPrefix, text, ServiceSeedSize)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return NewServicePrivate(b)
}

// Public returns what clients need to seal messages to the service. It is nil
// if k is nil or holds no key.
func (k *ServicePrivate) Public() *ServicePublic {
	if k == nil {
		return nil
	}
	return k.public
}

// Identity returns the X25519 half, the static key of the service in Noise
// handshakes. It is no identity for connections: keep those apart.
func (k *ServicePrivate) Identity() *Private { return k.mustSecret().identity }

// Decapsulate returns the shared secret of an ML-KEM-768 ciphertext, for the
// caller to clear. It returns an error that matches ErrFormat if ciphertext
// has another size than mlkem.CiphertextSize768. A ciphertext of that size
// always gives a secret, but a wrong one if it was made for another key or
// altered (FIPS 203: implicit rejection).
func (k *ServicePrivate) Decapsulate(ciphertext []byte) ([]byte, error) {
	secret, err := k.mustSecret().kem.Decapsulate(ciphertext)
	if err != nil {
		return nil, &keyError{"a key encapsulation does not have this length", ErrFormat}
	}
	return secret, nil
}

// Derive returns 32 secret bytes for the purpose that label names, for the
// caller to clear: HKDF-SHA256 of the seed, without salt, with the label as
// info. Every worker that holds the key derives the same. Labels start with
// the name of the protocol they serve, so that no two purposes share one.
func (k *ServicePrivate) Derive(label string) []byte {
	out, err := hkdf.Key(sha256.New, k.mustSecret().seed[:], nil, label, Size)
	if err != nil { // not reached: the length is within HKDF's limit
		panic("securesp: " + err.Error())
	}
	return out
}

// Reveal returns the secret key as text, "sdk1:…" (SPEC §6).
func (k *ServicePrivate) Reveal() string {
	return encodeText(serviceSecretPrefix, k.mustSecret().seed[:])
}

func (k *ServicePrivate) mustSecret() *serviceSecret {
	if k == nil || k.secret == nil {
		panic("securesp: keys.ServicePrivate holds no key")
	}
	return k.secret()
}

// LoadService reads a service key from a file: one line "sdk1:…", else only
// blank lines and comments. All else is as with [Load].
func LoadService(path string) (*ServicePrivate, error) {
	var k *ServicePrivate
	err := loadKey(path, serviceSecretPrefix, func(text string) (err error) {
		k, err = ParseServicePrivate(text)
		return err
	})
	return k, err
}

// Save writes the key to a new file. All else is as with [Private.Save].
func (k *ServicePrivate) Save(path string) error {
	comment := "# securesp secret service key: keep it secret\n# public key: " + k.Public().String()
	return saveKey(path, comment, k.Reveal())
}

// ServicePublic is the public half of a [ServicePrivate] key: what messages to
// the service are sealed to. It is no secret. Use Equal, not ==, to compare.
type ServicePublic struct {
	identity Public
	kem      *mlkem.EncapsulationKey768
	id       [ServiceIDSize]byte
}

func newServicePublic(identity Public, kem *mlkem.EncapsulationKey768) *ServicePublic {
	p := &ServicePublic{identity: identity, kem: kem}
	digest := sha256.Sum256(p.Bytes())
	p.id = [ServiceIDSize]byte(digest[:])
	return p
}

// NewServicePublic returns the key with the given ServicePublicSize bytes,
// which it copies. It returns an error that matches ErrFormat if b has another
// length or does not hold two keys.
func NewServicePublic(b []byte) (*ServicePublic, error) {
	if len(b) != ServicePublicSize {
		return nil, &keyError{"a service key does not have this length", ErrFormat}
	}
	identity, err := NewPublic(b[:Size])
	if err != nil {
		return nil, err
	}
	kem, err := mlkem.NewEncapsulationKey768(b[Size:])
	if err != nil {
		return nil, &keyError{"a service key does not have this form", ErrFormat}
	}
	return newServicePublic(identity, kem), nil
}

// ParseServicePublic returns the key that text, "sek1:…", stands for. Its
// errors match ErrFormat or ErrChecksum.
func ParseServicePublic(text string) (*ServicePublic, error) {
	b, err := decodeText(servicePrefix, text, ServicePublicSize)
	if err != nil {
		return nil, err
	}
	return NewServicePublic(b)
}

// Identity returns the X25519 half.
func (p *ServicePublic) Identity() Public { return p.identity }

// Encapsulation returns the ML-KEM-768 half, which is immutable.
func (p *ServicePublic) Encapsulation() *mlkem.EncapsulationKey768 { return p.kem }

// ID returns the number by which messages name the key: the first 4 bytes of
// SHA-256 of the key's bytes (SPEC §7).
func (p *ServicePublic) ID() [ServiceIDSize]byte { return p.id }

// IDString returns the number in hexadecimal, for logs.
func (p *ServicePublic) IDString() string {
	const digits = "0123456789abcdef"
	var s [2 * ServiceIDSize]byte
	for i, b := range p.id {
		s[2*i], s[2*i+1] = digits[b>>4], digits[b&15]
	}
	return string(s[:])
}

// Bytes returns a copy of the key's ServicePublicSize bytes, the X25519 key
// first, or nil for the zero value and nil.
func (p *ServicePublic) Bytes() []byte {
	if p.isZero() {
		return nil
	}
	return append(p.identity.Bytes(), p.kem.Bytes()...)
}

// Equal reports whether both are the same key. It is not constant-time, nor
// need it be, since the key is no secret.
func (p *ServicePublic) Equal(other *ServicePublic) bool {
	return bytes.Equal(p.Bytes(), other.Bytes())
}

func (p *ServicePublic) isZero() bool { return p == nil || p.kem == nil }

// String returns the key as text, "sek1:…" (SPEC §6), some 1,600 characters,
// or "no key" for the zero value and nil.
func (p *ServicePublic) String() string {
	if p.isZero() {
		return "no key"
	}
	return encodeText(servicePrefix, p.Bytes())
}

// MarshalText returns what String returns, but nothing for the zero value.
func (p *ServicePublic) MarshalText() ([]byte, error) {
	if p.isZero() {
		return []byte{}, nil
	}
	return []byte(p.String()), nil
}

// UnmarshalText accepts what ParseServicePublic accepts. Empty text gives the
// zero value.
func (p *ServicePublic) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = ServicePublic{}
		return nil
	}
	parsed, err := ParseServicePublic(string(text))
	if err != nil {
		return err
	}
	*p = *parsed
	return nil
}
