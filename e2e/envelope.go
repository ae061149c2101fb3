package e2e

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"slices"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// An envelope is the front of every message that is sealed to a service key
// (SPEC §7):
//
//	form:u8 | suite:u8 | keyid:4 | KEM ciphertext:1088 | Noise message:128
//
// The Noise message carries a fresh content key, which seals what follows the
// envelope. It does not carry the body itself: a Noise message ends at 65,535
// bytes, and this way every body is sealed alike.
const (
	keyIDAt      = 2
	ciphertextAt = keyIDAt + keys.ServiceIDSize
	noiseAt      = ciphertextAt + mlkem.CiphertextSize768
	noiseSize    = keys.Size + (keys.Size + tagSize) + (keySize + tagSize) // e, s, payload
	envelopeSize = noiseAt + noiseSize

	// requestOverhead is by how much a message in an envelope is longer
	// than its body.
	requestOverhead = envelopeSize + requestTailSize + tagSize
)

// noiseNames has the Noise protocol of each form that is an envelope.
var noiseNames = map[byte]string{
	formRequest:     "Noise_IKpsk0_25519_ChaChaPoly_SHA256",
	formOneWay:      "Noise_Xpsk0_25519_ChaChaPoly_SHA256",
	formGroupUpdate: "Noise_Xpsk0_25519_ChaChaPoly_SHA256",
}

// sealEnvelope appends a whole message: envelope, body, tail. The handshake
// that it returns goes on with the reply, if the form has one.
func sealEnvelope(dst []byte, form byte, from *keys.Private, to *keys.ServicePublic, r randomness, body []byte, tail requestTail) ([]byte, *noise.Handshake, error) {
	dst = grow(dst, requestOverhead+len(body), body)
	start := len(dst)
	secret, ciphertext := r.encapsulateTo(to.Encapsulation())
	defer clear(secret)
	id := to.ID()
	dst = append(dst, form, suiteOne)
	dst = append(dst, id[:]...)
	dst = append(dst, ciphertext...)

	handshake, err := newHandshake(form, secret, mechanism.Config{
		Role:     mechanism.Initiator,
		Prologue: prologue(dst[start:]),
		Identity: from,
		Peer:     to.Identity(),
		Rand:     r.source,
	})
	if err != nil {
		return nil, nil, err
	}
	var key [keySize]byte
	defer clear(key[:])
	r.read(key[:])
	if dst, err = handshake.AppendMessage(dst, key[:]); err != nil {
		return nil, nil, err
	}
	t := tail.bytes()
	return sealPart(dst, dst[start:], oneTime(key[:]), zeroNonce[:], body, t[:]), handshake, nil
}

func prologue(front []byte) []byte {
	return append([]byte(protocolLabel), front[:noiseAt]...)
}

func newHandshake(form byte, secret []byte, config mechanism.Config) (*noise.Handshake, error) {
	psk, err := keys.NewShared(secret)
	if err != nil {
		return nil, err
	}
	config.PSK = psk
	return noise.New(noiseNames[form], config)
}

// checkEnvelope looks at what can be checked without a key, and returns the
// number of the key that the message claims to be for.
func checkEnvelope(message []byte, form byte, maxBody int) (id [keys.ServiceIDSize]byte, err error) {
	switch {
	case len(message) < requestOverhead || message[0] != form || message[1] != suiteOne:
		return id, ErrMalformed
	case len(message)-requestOverhead > maxBody:
		return id, ErrTooLarge
	}
	return [keys.ServiceIDSize]byte(message[keyIDAt:]), nil
}

// envelope is an opened one.
type envelope struct {
	handshake *noise.Handshake
	sender    keys.Public
	key       [keySize]byte // content key
}

// openEnvelope opens the envelope of a message that checkEnvelope found to be
// long enough.
func openEnvelope(message []byte, key *keys.ServicePrivate, r randomness) (*envelope, error) {
	secret, err := key.Decapsulate(message[ciphertextAt:noiseAt])
	if err != nil {
		return nil, ErrMalformed
	}
	defer clear(secret)
	return readEnvelope(message, key, secret, r)
}

// readEnvelope is openEnvelope once the KEM's secret is known.
func readEnvelope(message []byte, key *keys.ServicePrivate, secret []byte, r randomness) (*envelope, error) {
	handshake, err := newHandshake(message[0], secret, mechanism.Config{
		Role:     mechanism.Responder,
		Prologue: prologue(message),
		Identity: key.Identity(),
		Rand:     r.source,
	})
	if err != nil {
		return nil, err
	}
	e := &envelope{handshake: handshake}
	if _, err := handshake.ReadMessage(e.key[:0], message[noiseAt:envelopeSize]); err != nil {
		return nil, ErrAuthentication
	}
	e.sender = handshake.Peer().Key
	return e, nil
}

// openBody appends body and tail of the message to dst and forgets the content
// key.
func (e *envelope) openBody(dst, message []byte) ([]byte, requestTail, error) {
	defer clear(e.key[:])
	opened, err := openPart(dst, message, envelopeSize, message[:envelopeSize], oneTime(e.key[:]), zeroNonce[:])
	if err != nil {
		return nil, requestTail{}, err
	}
	return cutRequestTail(opened, len(dst))
}

// envelopeNonce returns what makes the message unique: the Noise ephemeral key.
func envelopeNonce(message []byte) []byte { return message[noiseAt : noiseAt+keys.Size] }

// cloneEnvelope keeps what openEnvelope needs.
func cloneEnvelope(message []byte) []byte { return slices.Clone(message[:envelopeSize]) }

// lowOrder reports whether nothing can be sealed to the key: whoever made it did
// so on purpose. In a member's card it would make every update of a group fail.
func lowOrder(k keys.Public) bool {
	public, err := k.ECDH()
	if err != nil {
		return true
	}
	_, err = must(ecdh.X25519().GenerateKey(rand.Reader)).ECDH(public)
	return err != nil
}
