package noise

import (
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha256"
	"io"
	"reflect"

	"github.com/securesp/securesp/mechanism"
)

// Derandomize makes encapsulation draw its randomness from source, so that a
// handshake whose Config.Rand is fixed is the same each time.
func Derandomize(h *Handshake, source io.Reader) {
	h.encapsulate = func(key *mlkem.EncapsulationKey768) (shared, ciphertext []byte) {
		seed := make([]byte, 32)
		if err := readSeed(source, seed); err != nil {
			panic(err)
		}
		shared, ciphertext, err := mlkemtest.Encapsulate768(key, seed)
		if err != nil {
			panic(err)
		}
		return shared, ciphertext
	}
}

// Transport is a plain CipherState of Noise §5.1, as published vectors use it
// after the handshake: without records and their headers.
type Transport struct{ state cipherState }

// Split returns the transports of a finished handshake by the sender's role.
func Split(h *Handshake) [2]*Transport {
	var out [2]*Transport
	for role, key := range h.secrets.traffic {
		out[role] = &Transport{cipherState{kind: h.protocol.cipher}}
		out[role].state.initializeKey(key[:])
	}
	return out
}

// Encrypt is EncryptWithAd without associated data.
func (t *Transport) Encrypt(plaintext []byte) []byte {
	return t.state.encryptWithAD(nil, nil, plaintext)
}

// HandshakeHash returns the hash of a finished handshake.
func HandshakeHash(h *Handshake) []byte { return h.secrets.binding }

// Script returns the messages of a protocol as text, to be compared with the
// specification's.
func Script(name string) (messages []string, sizes []int, err error) {
	p, err := parseProtocol(name)
	if err != nil {
		return nil, nil, err
	}
	for _, message := range p.messages {
		text := ""
		for i, t := range message {
			if i > 0 {
				text += " "
			}
			text += string(t)
		}
		messages = append(messages, text)
	}
	return messages, p.overhead, nil
}

// SkipTo makes counter n the next one of the sessions' given direction, as if
// the records before had been sent. It keeps the key: tests that need the key
// of n's epoch start close to it.
func SkipTo(s mechanism.Session, sending bool, n uint64) {
	d := &s.(*session).recv
	if sending {
		d = &s.(*session).send
	}
	d.n = n
}

// SkipPacketsTo makes counter n the next one that Seal uses.
func SkipPacketsTo(p mechanism.PacketSession, n uint64) { p.(*packetSession).send.n = n }

// DH is the Diffie-Hellman function of handshakes, on bytes.
func DH(private, public []byte) ([]byte, error) {
	own, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		return nil, err
	}
	other, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	return dh(own, other)
}

// Cipher returns a cipher by its Noise name.
func Cipher(name string, key []byte) cipher.AEAD { return ciphers[name].aead(key) }

// Encapsulate does what token ekem1 of a responder that has read message 1
// begins with.
func Encapsulate(h *Handshake) (shared, ciphertext []byte) { return h.encapsulate(h.rekem) }

// Decapsulate does what token ekem1 of an initiator that has sent message 1
// ends with.
func Decapsulate(h *Handshake, ciphertext []byte) ([]byte, error) {
	return h.kem.Decapsulate(ciphertext)
}

// SkipToEpoch makes a packet session's receiving side be in the given epoch,
// with the key it has.
func SkipToEpoch(p mechanism.PacketSession, epoch uint64) { p.(*packetSession).recv.epoch = epoch }

// HoldsOldKey reports whether a packet session could still open packets of the
// epoch before the newest.
func HoldsOldKey(p mechanism.PacketSession) bool { return p.(*packetSession).recv.prev != nil }

// HandshakeIsForgotten reports whether no secret of the handshake proper is
// left.
func HandshakeIsForgotten(h *Handshake) bool {
	want := handshakeState{step: h.step, rs: h.rs, proved: h.proved}
	return reflect.DeepEqual(h.handshakeState, want) && h.s == nil && h.psk == nil && h.rand == nil
}

// SecretsAreForgotten reports whether the sessions' secrets are gone, too.
func SecretsAreForgotten(h *Handshake) bool {
	return h.secrets.traffic == [2][keyLen]byte{} && h.secrets.packet == [sha256.Size]byte{}
}

// Steal returns a copy of h: who has it knows all that h knows, and can do on
// what was recorded what h can do.
func Steal(h *Handshake) *Handshake {
	stolen := *h
	return &stolen
}

// LoseKEM replaces the ML-KEM key of an initiator that has sent message 1.
func LoseKEM(h *Handshake) { h.kem = must(mlkem.GenerateKey768()) }

// LoseDH replaces all its X25519 keys.
func LoseDH(h *Handshake) {
	h.e = must(ecdh.X25519().GenerateKey(nil))
	if h.s != nil {
		h.s = must(ecdh.X25519().GenerateKey(nil))
	}
}
