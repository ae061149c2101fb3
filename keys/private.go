package keys

import (
	"crypto/ecdh"
	"crypto/rand"
)

// Private is a private key: an X25519 key with which a peer proves who it is.
// It prints as a note that names only its public key. The zero value holds no
// key; only Public and ECDH may be called on it.
type Private struct {
	redacted
	key    func() *ecdh.PrivateKey // always the same object
	agree  func(peer Public) ([]byte, error)
	public Public
}

// Generate returns a new random key.
func Generate() (*Private, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, &keyError{"cannot generate a private key: " + err.Error(), err}
	}
	return newPrivate(key), nil
}

// NewPrivate returns the key with the given 32 bytes, which it copies; the
// caller may clear b afterwards. It returns an error that matches ErrFormat if
// b has another length or is all zero.
func NewPrivate(b []byte) (*Private, error) {
	if err := checkBytes("private key", b); err != nil {
		return nil, err
	}
	key, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil { // not reached: every 32 bytes will do
		return nil, &keyError{"a private key does not have this form", ErrFormat}
	}
	return newPrivate(key), nil
}

// ParsePrivate returns the key that text, "ssk1:…", stands for. Its errors
// match ErrFormat or ErrChecksum.
func ParsePrivate(text string) (*Private, error) {
	b, err := decodeText(privatePrefix, text, Size)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return NewPrivate(b)
}

func newPrivate(key *ecdh.PrivateKey) *Private {
	public := Public{[Size]byte(key.PublicKey().Bytes())}
	known := new(agreements)
	return &Private{
		redacted: redacted{"[redacted private key of " + public.String() + "]"},
		key:      func() *ecdh.PrivateKey { return key },
		agree:    func(peer Public) ([]byte, error) { return known.with(key, peer) },
		public:   public,
	}
}

// Public returns the public key, by which others know the holder of p. It is
// the zero value if p is nil or holds no key.
func (p *Private) Public() Public {
	if p == nil {
		return Public{}
	}
	return p.public
}

// ECDH returns the key for use with package crypto/ecdh: the same object each
// time, because a kept object need not compute its public key again. It is nil
// if p is nil or holds no key. Unlike p it must not be printed.
func (p *Private) ECDH() *ecdh.PrivateKey {
	if p == nil || p.key == nil {
		return nil
	}
	return p.key()
}

// Reveal returns the secret key as text, "ssk1:…" (SPEC §6). Whoever reads it
// can pass for the holder of p.
func (p *Private) Reveal() string {
	b := p.mustECDH().Bytes()
	defer clear(b)
	return encodeText(privatePrefix, b)
}

func (p *Private) mustECDH() *ecdh.PrivateKey {
	key := p.ECDH()
	if key == nil {
		panic("securesp: keys.Private holds no key")
	}
	return key
}

// Load reads a private key from an identity file: one line "ssk1:…", else only
// blank lines and comments, which start with "#". Symbolic links are followed.
//
// Its errors match ErrFormat or ErrChecksum if the content is not that,
// ErrPermissions if anybody but the owner may access the file (not checked on
// Windows), or the file system's error.
func Load(path string) (*Private, error) {
	var p *Private
	err := loadKey(path, privatePrefix, func(text string) (err error) {
		p, err = ParsePrivate(text)
		return err
	})
	return p, err
}

// Save writes the key to a new identity file, which only its owner may read,
// and has it on disk when it returns. A file that exists is never touched: the
// error then matches fs.ErrExist. After an error no file is left.
func (p *Private) Save(path string) error {
	return saveKey(path, "# securesp private key: keep it secret\n# public key: "+p.Public().String(), p.Reveal())
}
