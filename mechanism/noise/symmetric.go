package noise

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
	"math"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/securesp/securesp/mechanism"
)

// keyLen is the size of every cipher key and pre-shared key (Noise §4.2).
const keyLen = 32

// rekeyNonce is reserved for REKEY (Noise §11.3): no message ever uses it.
const rekeyNonce = math.MaxUint64

// hashKind is a hash function of Noise §12. New protocols use SHA256; the
// others exist to be held against published test vectors.
type hashKind struct {
	size int
	new  func() hash.Hash
}

var hashes = map[string]hashKind{
	"SHA256":  {sha256.Size, sha256.New},
	"SHA512":  {sha512.Size, sha512.New},
	"BLAKE2s": {blake2s.Size, func() hash.Hash { return must(blake2s.New256(nil)) }},
	"BLAKE2b": {blake2b.Size, func() hash.Hash { return must(blake2b.New512(nil)) }},
}

const maxHashLen = 64

// cipherKind is a cipher function of Noise §12.
type cipherKind struct {
	new      func(key []byte) (cipher.AEAD, error)
	putNonce func(nonce *[nonceLen]byte, n uint64)
}

const nonceLen = 12

// The two ciphers write the same 64-bit counter into the last 8 bytes of the
// nonce in opposite byte orders.
var ciphers = map[string]cipherKind{
	"ChaChaPoly": {
		chacha20poly1305.New,
		func(nonce *[nonceLen]byte, n uint64) { binary.LittleEndian.PutUint64(nonce[4:], n) },
	},
	"AESGCM": {
		func(key []byte) (cipher.AEAD, error) {
			block, err := aes.NewCipher(key)
			if err != nil {
				return nil, err
			}
			return cipher.NewGCM(block)
		},
		func(nonce *[nonceLen]byte, n uint64) { binary.BigEndian.PutUint64(nonce[4:], n) },
	},
}

// aead returns the cipher under key, which has keyLen bytes.
func (k cipherKind) aead(key []byte) cipher.AEAD { return must(k.new(key)) }

// rekeyed returns the cipher under REKEY of the key that old has (Noise §4.2):
// the first 32 bytes of encrypting 32 zeros with the reserved nonce.
func (k cipherKind) rekeyed(old cipher.AEAD) cipher.AEAD {
	var nonce [nonceLen]byte
	k.putNonce(&nonce, rekeyNonce)
	var zeros [keyLen]byte
	sealed := old.Seal(make([]byte, 0, keyLen+tagLen), nonce[:], zeros[:], nil)
	defer clear(sealed)
	return k.aead(sealed[:keyLen])
}

// cipherState is the CipherState of Noise §5.1 as handshakes use it. The zero
// value has no key.
type cipherState struct {
	kind  cipherKind
	aead  cipher.AEAD // nil: no key
	n     uint64
	nonce [nonceLen]byte
}

func (c *cipherState) initializeKey(key []byte) {
	c.aead, c.n = c.kind.aead(key), 0
}

func (c *cipherState) nextNonce() []byte {
	if c.n == rekeyNonce {
		panic("securesp: handshake nonce exhausted") // a handshake uses a handful
	}
	c.kind.putNonce(&c.nonce, c.n)
	c.n++
	return c.nonce[:]
}

// encryptWithAD appends the ciphertext to dst; without a key that is the
// plaintext.
func (c *cipherState) encryptWithAD(dst, ad, plaintext []byte) []byte {
	if c.aead == nil {
		return append(dst, plaintext...)
	}
	return c.aead.Seal(dst, c.nextNonce(), plaintext, ad)
}

func (c *cipherState) decryptWithAD(dst, ad, ciphertext []byte) ([]byte, error) {
	if c.aead == nil {
		return append(dst, ciphertext...), nil
	}
	out, err := c.aead.Open(dst, c.nextNonce(), ciphertext, ad)
	if err != nil {
		return nil, mechanism.ErrAuthentication
	}
	return out, nil
}

// symmetricState is the SymmetricState of Noise §5.2. A copy of the struct is
// a snapshot of the state.
type symmetricState struct {
	cipherState
	hash  hashKind
	ckBuf [maxHashLen]byte
	hBuf  [maxHashLen]byte
}

func (s *symmetricState) ck() []byte { return s.ckBuf[:s.hash.size] }
func (s *symmetricState) h() []byte  { return s.hBuf[:s.hash.size] }

func (s *symmetricState) initialize(p *protocol) {
	s.kind, s.hash = p.cipher, p.hash
	if len(p.name) <= s.hash.size {
		copy(s.h(), p.name) // the rest stays zero
	} else {
		d := s.hash.new()
		d.Write([]byte(p.name))
		d.Sum(s.hBuf[:0])
	}
	copy(s.ck(), s.h())
}

func (s *symmetricState) mixHash(data []byte) {
	d := s.hash.new()
	d.Write(s.h())
	d.Write(data)
	d.Sum(s.hBuf[:0])
}

// hkdf is HKDF(ck, ikm, n) of Noise §4.3: RFC 5869 with the chaining key as
// salt and empty info. It returns n outputs of the hash's size.
func (s *symmetricState) hkdf(ikm []byte, n int) []byte {
	prk := must(hkdf.Extract(s.hash.new, ikm, s.ck()))
	defer clear(prk)
	return must(hkdf.Expand(s.hash.new, prk, "", n*s.hash.size))
}

func (s *symmetricState) mixKey(ikm []byte) {
	out := s.hkdf(ikm, 2)
	defer clear(out)
	copy(s.ck(), out)
	s.initializeKey(out[s.hash.size:][:keyLen])
}

func (s *symmetricState) mixKeyAndHash(ikm []byte) {
	out := s.hkdf(ikm, 3)
	defer clear(out)
	copy(s.ck(), out)
	s.mixHash(out[s.hash.size:][:s.hash.size])
	s.initializeKey(out[2*s.hash.size:][:keyLen])
}

func (s *symmetricState) encryptAndHash(dst, plaintext []byte) []byte {
	start := len(dst)
	dst = s.encryptWithAD(dst, s.h(), plaintext)
	s.mixHash(dst[start:])
	return dst
}

func (s *symmetricState) decryptAndHash(dst, ciphertext []byte) ([]byte, error) {
	out, err := s.decryptWithAD(dst, s.h(), ciphertext)
	if err != nil {
		return nil, err
	}
	s.mixHash(ciphertext)
	return out, nil
}

// split returns the keys of the two directions, the initiator's sending key
// first.
func (s *symmetricState) split() (i2r, r2i [keyLen]byte) {
	out := s.hkdf(nil, 2)
	defer clear(out)
	return [keyLen]byte(out), [keyLen]byte(out[s.hash.size:])
}

// must unwraps results of primitives that only fail for sizes that are fixed
// here.
func must[T any](v T, err error) T {
	if err != nil {
		panic("securesp: " + err.Error())
	}
	return v
}
