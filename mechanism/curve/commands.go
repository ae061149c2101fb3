package curve

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"

	"github.com/securesp/securesp/mechanism"
)

// The names of the commands as they travel, each after its length (RFC 26).
const (
	nameHello    = "\x05HELLO"
	nameWelcome  = "\x07WELCOME"
	nameInitiate = "\x08INITIATE"
	nameReady    = "\x05READY"
	nameMessage  = "\x07MESSAGE"
	nameError    = "\x05ERROR"
)

// Sizes of the commands and their parts (RFC 26).
const (
	helloSize   = 200
	welcomeSize = 168
	minInitiate = 257
	minReady    = 30

	helloPadding = 72 // RFC 26's prose says 70; its grammar, and libzmq, have 72
	helloZeros   = 64
	cookieSize   = longNonceSize + boxOverhead + 2*keySize
	vouchSize    = longNonceSize + boxOverhead + 2*keySize
)

// hello is the first command, from the initiator:
//
//	"\x05HELLO" | 01 00 | 72 zeros | C' 32 | nonce 8 | Box [64 zeros](C'->S)
type hello struct {
	client [keySize]byte // C'
	nonce  uint64
}

// appendHello appends a HELLO under key, which is that of C' and S. The box
// proves nothing about who sends it, only that S is meant.
func appendHello(dst []byte, h hello, key *[32]byte) []byte {
	dst = append(dst, nameHello...)
	dst = append(dst, 1, 0)
	dst = append(dst, make([]byte, helloPadding)...)
	dst = append(dst, h.client[:]...)
	dst = binary.BigEndian.AppendUint64(dst, h.nonce)
	return seal(dst, make([]byte, helloZeros), shortNonce(prefixHello, h.nonce), key)
}

// parseHello checks a HELLO against the responder's static key and returns it
// with the key of boxes between C' and S.
func parseHello(command []byte, static *ecdh.PrivateKey) (hello, *[32]byte, error) {
	const at = len(nameHello) + 2 + helloPadding
	header := append([]byte(nameHello), 1, 0)
	if len(command) != helloSize || !bytes.HasPrefix(command, header) ||
		!allZero(command[len(header):at]) {
		return hello{}, nil, mechanism.ErrMalformed
	}
	h := hello{
		client: [keySize]byte(command[at:]),
		nonce:  binary.BigEndian.Uint64(command[at+keySize:]),
	}
	key, err := boxKey(static, h.client[:])
	if err != nil {
		return hello{}, nil, err
	}
	zeros, err := open(nil, command[at+keySize+8:], shortNonce(prefixHello, h.nonce), key)
	if err != nil {
		return hello{}, nil, err
	}
	if !allZero(zeros) {
		return hello{}, nil, mechanism.ErrMalformed
	}
	return h, key, nil
}

// welcome is the second command, from the responder:
//
//	"\x07WELCOME" | nonce 16 | Box [S' 32 | cookie 96](S->C')
type welcome struct {
	server [keySize]byte // S'
	cookie [cookieSize]byte
}

// appendWelcome appends a WELCOME under key, which is that of C' and S.
func appendWelcome(dst []byte, w welcome, nonce [longNonceSize]byte, key *[32]byte) []byte {
	dst = append(dst, nameWelcome...)
	dst = append(dst, nonce[:]...)
	plaintext := append(w.server[:], w.cookie[:]...)
	return seal(dst, plaintext, longNonce(prefixWelcome, nonce[:]), key)
}

func parseWelcome(command []byte, key *[32]byte) (welcome, error) {
	if len(command) != welcomeSize || !bytes.HasPrefix(command, []byte(nameWelcome)) {
		return welcome{}, mechanism.ErrMalformed
	}
	command = command[len(nameWelcome):]
	nonce := longNonce(prefixWelcome, command[:longNonceSize])
	plaintext, err := open(nil, command[longNonceSize:], nonce, key)
	if err != nil {
		return welcome{}, err
	}
	return welcome{
		server: [keySize]byte(plaintext),
		cookie: [cookieSize]byte(plaintext[keySize:]),
	}, nil
}

// sealCookie makes the cookie, which is all that the responder keeps of s'
// until it comes back:
//
//	nonce 16 | Box [C' 32 | s' 32](cookie key)
func sealCookie(client [keySize]byte, server *ecdh.PrivateKey, nonce [longNonceSize]byte, key *[32]byte) (cookie [cookieSize]byte) {
	copy(cookie[:], nonce[:])
	private := server.Bytes()
	plaintext := append(client[:], private...)
	seal(cookie[:longNonceSize], plaintext, longNonce(prefixCookie, nonce[:]), key)
	clear(private)
	clear(plaintext)
	return cookie
}

// openCookie returns C' and s'.
func openCookie(cookie []byte, key *[32]byte) (client [keySize]byte, server *ecdh.PrivateKey, err error) {
	plaintext, err := open(nil, cookie[longNonceSize:], longNonce(prefixCookie, cookie[:longNonceSize]), key)
	if err != nil {
		return client, nil, err
	}
	defer clear(plaintext)
	server, err = ecdh.X25519().NewPrivateKey(plaintext[keySize:])
	if err != nil {
		return client, nil, mechanism.ErrAuthentication
	}
	return [keySize]byte(plaintext), server, nil
}

// initiate is the third command, from the initiator:
//
//	"\x08INITIATE" | cookie 96 | nonce 8 | Box [C 32 | vouch 96 | metadata](C'->S')
type initiate struct {
	cookie   [cookieSize]byte
	nonce    uint64
	client   [keySize]byte // C
	vouch    [vouchSize]byte
	metadata []byte
}

// appendInitiate appends an INITIATE under key, which is that of C' and S'.
func appendInitiate(dst []byte, i initiate, key *[32]byte) []byte {
	dst = append(dst, nameInitiate...)
	dst = append(dst, i.cookie[:]...)
	dst = binary.BigEndian.AppendUint64(dst, i.nonce)
	plaintext := append(i.client[:], i.vouch[:]...)
	plaintext = append(plaintext, i.metadata...)
	return seal(dst, plaintext, shortNonce(prefixInitiate, i.nonce), key)
}

// splitInitiate checks the outer form of an INITIATE and returns its clear
// parts and its box, which openInitiate opens with what the cookie yields.
func splitInitiate(command []byte) (i initiate, sealed []byte, err error) {
	if len(command) < minInitiate || len(command) > mechanism.MaxHandshakeMessage ||
		!bytes.HasPrefix(command, []byte(nameInitiate)) {
		return i, nil, mechanism.ErrMalformed
	}
	command = command[len(nameInitiate):]
	i.cookie = [cookieSize]byte(command)
	command = command[cookieSize:]
	i.nonce = binary.BigEndian.Uint64(command)
	return i, command[8:], nil
}

func openInitiate(i initiate, sealed []byte, key *[32]byte) (initiate, error) {
	plaintext, err := open(nil, sealed, shortNonce(prefixInitiate, i.nonce), key)
	if err != nil {
		return i, err
	}
	i.client = [keySize]byte(plaintext)
	i.vouch = [vouchSize]byte(plaintext[keySize:])
	i.metadata = plaintext[keySize+vouchSize:]
	return i, nil
}

// sealVouch makes the vouch, by which the initiator's static key C stands for
// C' and for nobody but S, under the key of C and S':
//
//	nonce 16 | Box [C' 32 | S 32](C->S')
func sealVouch(client, server [keySize]byte, nonce [longNonceSize]byte, key *[32]byte) (vouch [vouchSize]byte) {
	copy(vouch[:], nonce[:])
	plaintext := append(client[:], server[:]...)
	seal(vouch[:longNonceSize], plaintext, longNonce(prefixVouch, nonce[:]), key)
	return vouch
}

// openVouch returns C' and S.
func openVouch(vouch []byte, key *[32]byte) (client, server [keySize]byte, err error) {
	plaintext, err := open(nil, vouch[longNonceSize:], longNonce(prefixVouch, vouch[:longNonceSize]), key)
	if err != nil {
		return client, server, err
	}
	return [keySize]byte(plaintext), [keySize]byte(plaintext[keySize:]), nil
}

// appendReady appends the fourth command, from the responder, under the key of
// C' and S':
//
//	"\x05READY" | nonce 8 | Box [metadata](S'->C')
func appendReady(dst []byte, nonce uint64, metadata []byte, key *[32]byte) []byte {
	dst = append(dst, nameReady...)
	dst = binary.BigEndian.AppendUint64(dst, nonce)
	return seal(dst, metadata, shortNonce(prefixReady, nonce), key)
}

func parseReady(command []byte, key *[32]byte) (nonce uint64, metadata []byte, err error) {
	if len(command) < minReady || len(command) > mechanism.MaxHandshakeMessage ||
		!bytes.HasPrefix(command, []byte(nameReady)) {
		return 0, nil, mechanism.ErrMalformed
	}
	command = command[len(nameReady):]
	nonce = binary.BigEndian.Uint64(command)
	metadata, err = open(nil, command[8:], shortNonce(prefixReady, nonce), key)
	return nonce, metadata, err
}

func allZero(b []byte) bool {
	var or byte
	for _, c := range b {
		or |= c
	}
	return or == 0
}
