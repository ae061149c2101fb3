package curve

import (
	"crypto/ecdh"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/crypto/nacl/box"
	"golang.org/x/crypto/nacl/secretbox"

	//lint:ignore SA1019 HSalsa20 is how NaCl makes a key of X25519's result, and nothing else exports it.
	"golang.org/x/crypto/salsa20/salsa"

	"github.com/securesp/securesp/mechanism"
)

const (
	keySize       = 32
	longNonceSize = 16
	boxOverhead   = box.Overhead
)

// Nonce prefixes (RFC 26). A short nonce is a prefix of 16 bytes and a counter
// of 8, a long one a prefix of 8 bytes and 16 random ones.
const (
	prefixHello    = "CurveZMQHELLO---"
	prefixWelcome  = "WELCOME-"
	prefixCookie   = "COOKIE--"
	prefixInitiate = "CurveZMQINITIATE"
	prefixVouch    = "VOUCH---"
	prefixReady    = "CurveZMQREADY---"
	prefixMessageC = "CurveZMQMESSAGEC" // from the client, the initiator
	prefixMessageS = "CurveZMQMESSAGES" // from the server, the responder
)

func shortNonce(prefix string, counter uint64) (nonce [24]byte) {
	copy(nonce[:16], prefix)
	binary.BigEndian.PutUint64(nonce[16:], counter)
	return nonce
}

func longNonce(prefix string, random []byte) (nonce [24]byte) {
	copy(nonce[:8], prefix)
	copy(nonce[8:], random)
	return nonce
}

// newKey makes an ephemeral key. It reads the private bytes itself, because
// ecdh.GenerateKey does not promise to use the reader it is given.
func newKey(rand io.Reader) (*ecdh.PrivateKey, error) {
	var private [keySize]byte
	defer clear(private[:])
	if err := fill(rand, private[:]); err != nil {
		return nil, err
	}
	return ecdh.X25519().NewPrivateKey(private[:])
}

func fill(rand io.Reader, b []byte) error {
	if _, err := io.ReadFull(rand, b); err != nil {
		return fmt.Errorf("securesp: reading randomness: %w", err)
	}
	return nil
}

// checkPublic refuses a public key whose unused top bit is set. X25519 ignores
// that bit, so without this check an altered key would still work and one key
// would have two names. No honest implementation sets it: a u-coordinate is
// less than 2^255-19 (RFC 7748 section 5).
func checkPublic(public []byte) error {
	if public[keySize-1]&0x80 != 0 {
		return mechanism.ErrAuthentication
	}
	return nil
}

// boxKey returns the key of boxes between private and public, what NaCl calls
// beforenm. Unlike box.Precompute it refuses public keys of low order, with
// which the result would be known to everybody.
func boxKey(private *ecdh.PrivateKey, public []byte) (*[32]byte, error) {
	if err := checkPublic(public); err != nil {
		return nil, err
	}
	remote, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, mechanism.ErrAuthentication
	}
	secret, err := private.ECDH(remote)
	if err != nil {
		return nil, mechanism.ErrAuthentication
	}
	key := new([32]byte)
	copy(key[:], secret)
	clear(secret)
	salsa.HSalsa20(key, new([16]byte), key, &salsa.Sigma)
	return key, nil
}

// seal and open are box_afternm and its inverse, which is also what secretbox
// does; a cookie is one of the latter.
func seal(dst, plaintext []byte, nonce [24]byte, key *[32]byte) []byte {
	return secretbox.Seal(dst, plaintext, &nonce, key)
}

func open(dst, sealed []byte, nonce [24]byte, key *[32]byte) ([]byte, error) {
	out, ok := secretbox.Open(dst, sealed, &nonce, key)
	if !ok {
		return nil, mechanism.ErrAuthentication
	}
	return out, nil
}
