package interop

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	flynn "github.com/flynn/noise"
	"github.com/matryer/is"

	"github.com/securesp/securesp/mechanism"
)

var flynnPatterns = map[string]flynn.HandshakePattern{
	"N": flynn.HandshakeN, "K": flynn.HandshakeK, "X": flynn.HandshakeX,
	"NN": flynn.HandshakeNN, "NK": flynn.HandshakeNK, "NX": flynn.HandshakeNX,
	"KN": flynn.HandshakeKN, "KK": flynn.HandshakeKK, "KX": flynn.HandshakeKX,
	"XN": flynn.HandshakeXN, "XK": flynn.HandshakeXK, "XX": flynn.HandshakeXX,
	"IN": flynn.HandshakeIN, "IK": flynn.HandshakeIK, "IX": flynn.HandshakeIX,
}

var flynnCiphers = map[string]flynn.CipherFunc{
	"AESGCM":     flynn.CipherAESGCM,
	"ChaChaPoly": flynn.CipherChaChaPoly,
}

var flynnHashes = map[string]flynn.HashFunc{
	"SHA256":  flynn.HashSHA256,
	"SHA512":  flynn.HashSHA512,
	"BLAKE2s": flynn.HashBLAKE2s,
	"BLAKE2b": flynn.HashBLAKE2b,
}

func TestFlynn(t *testing.T) {
	agreeOn(t, new(flynnPeer), append(classical, withPSK...), canRekey)
}

// flynnPeer is github.com/flynn/noise as a peer.
type flynnPeer struct {
	initiator          bool
	state              *flynn.HandshakeState
	sending, receiving *flynn.CipherState
}

func (f *flynnPeer) start(s setup) error {
	config, err := flynnConfig(s.protocol)
	if err != nil {
		return err
	}
	config.Random = rand.Reader
	config.Initiator = s.initiator
	config.Prologue = s.prologue
	config.PeerStatic = s.rs
	config.PresharedKey = s.psk
	if s.s != nil {
		if config.StaticKeypair, err = flynnKey(s.s); err != nil {
			return err
		}
	}
	f.initiator = s.initiator
	f.state, err = flynn.NewHandshakeState(config)
	return err
}

// flynnConfig returns what follows from a protocol name.
func flynnConfig(protocol string) (config flynn.Config, err error) {
	part := strings.Split(protocol, "_")
	if len(part) != 5 {
		return config, errors.New("no protocol name")
	}
	pattern, placement, psk := strings.Cut(part[1], "psk")
	var known bool
	if config.Pattern, known = flynnPatterns[pattern]; !known {
		return config, fmt.Errorf("no pattern %q", pattern)
	}
	if psk {
		if config.PresharedKeyPlacement, err = strconv.Atoi(placement); err != nil {
			return config, err
		}
	}
	config.CipherSuite = flynnSuite(part[3], part[4])
	return config, nil
}

func flynnSuite(cipher, hash string) flynn.CipherSuite {
	return flynn.NewCipherSuite(flynn.DH25519, flynnCiphers[cipher], flynnHashes[hash])
}

// flynnKey returns a key pair with the given secret key.
func flynnKey(secret []byte) (flynn.DHKey, error) {
	return flynn.DH25519.GenerateKeypair(&once{secret})
}

// once is a source of randomness that yields the given bytes.
type once struct{ b []byte }

func (o *once) Read(p []byte) (int, error) {
	n := copy(p, o.b)
	o.b = o.b[n:]
	if n == 0 {
		return 0, errors.New("no more randomness")
	}
	return n, nil
}

func (f *flynnPeer) keep(first, second *flynn.CipherState) {
	if first == nil {
		return
	}
	f.sending, f.receiving = first, second
	if !f.initiator {
		f.sending, f.receiving = second, first
	}
}

func (f *flynnPeer) write(payload []byte) ([]byte, error) {
	message, first, second, err := f.state.WriteMessage(nil, payload)
	f.keep(first, second)
	return message, err
}

func (f *flynnPeer) read(message []byte) ([]byte, error) {
	payload, first, second, err := f.state.ReadMessage(nil, message)
	f.keep(first, second)
	if err != nil {
		err = errors.Join(errRefused, err)
	}
	return payload, err
}

func (f *flynnPeer) finish() (hash, remote []byte, err error) {
	return f.state.ChannelBinding(), f.state.PeerStatic(), nil
}

func (f *flynnPeer) encrypt(ad, plaintext []byte) ([]byte, error) {
	return f.sending.Encrypt(nil, ad, plaintext)
}

func (f *flynnPeer) decrypt(ad, ciphertext []byte) ([]byte, error) {
	return f.receiving.Decrypt(nil, ad, ciphertext)
}

func (f *flynnPeer) rekey(nonce uint64) error {
	f.receiving.Rekey()
	f.receiving.SetNonce(nonce)
	return nil
}

// TestFlynnSendsPastRekey has the peer send so much that our receiving key is
// replaced twice.
func TestFlynnSendsPastRekey(t *testing.T) {
	is := is.New(t)
	f := new(flynnPeer)
	m := newMeeting(t, "Noise_XX_25519_AESGCM_SHA256", mechanism.Responder)
	is.NoErr(f.start(m.theirs)) // start the peer
	m.handshake(is, f)
	session := m.compare(is, f)
	const interval = 1 << 16 // SPEC §4
	header := []byte{0, 17, byte(mechanism.Ping)}
	for n := range uint64(2*interval + 1) {
		if n > 0 && n%interval == 0 {
			f.sending.Rekey()
			f.sending.SetNonce(n)
		}
		ciphertext, err := f.encrypt(header, nil)
		is.NoErr(err) // the peer seals a record
		_, _, err = session.Decode(nil, append(header[:3:3], ciphertext...))
		is.NoErr(err) // open it
	}
	_, received := session.Rekeys()
	is.Equal(received, uint64(2))
}
