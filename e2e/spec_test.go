package e2e_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/securesp/securesp/keys"
)

// This file opens the vectors a second time, with nothing but primitives and
// the text of SPEC §7: it holds the text and the package to each other.

// noiseState is Noise's SymmetricState (§5.2) on the receiving side.
type noiseState struct {
	h, ck, k []byte
	n        uint64
}

func (s *noiseState) mixHash(b []byte) {
	sum := sha256.Sum256(append(bytes.Clone(s.h), b...))
	s.h = sum[:]
}

func (s *noiseState) derive(ikm []byte, n int) []byte {
	return must(hkdf.Expand(sha256.New, must(hkdf.Extract(sha256.New, ikm, s.ck)), "", 32*n))
}

func (s *noiseState) mixKey(ikm []byte) {
	out := s.derive(ikm, 2)
	s.ck, s.k, s.n = out[:32], out[32:], 0
}

func (s *noiseState) mixKeyAndHash(ikm []byte) {
	out := s.derive(ikm, 3)
	s.ck, s.k, s.n = out[:32], out[64:], 0
	s.mixHash(out[32:64])
}

func (s *noiseState) decrypt(t *testing.T, b []byte) []byte {
	is := is.New(t)
	is.Helper()
	nonce := make([]byte, 12)
	binary.LittleEndian.PutUint64(nonce[4:], s.n)
	s.n++
	plain, err := must(chacha20poly1305.New(s.k)).Open(nil, nonce, b, s.h)
	is.NoErr(err) // part of a Noise message
	s.mixHash(b)
	return plain
}

func dh(own *ecdh.PrivateKey, other []byte) []byte {
	return must(own.ECDH(must(ecdh.X25519().NewPublicKey(other))))
}

// openEnvelope opens a message in an envelope: who sealed it, and its sealed
// part's content.
func specEnvelope(t *testing.T, name string, message, seed []byte) (sender, content []byte) {
	is := is.New(t)
	s := must(ecdh.X25519().NewPrivateKey(seed[:32]))
	kem := must(mlkem.NewDecapsulationKey768(seed[32:]))
	id := sha256.Sum256(append(s.PublicKey().Bytes(), kem.EncapsulationKey().Bytes()...))
	is.Equal(message[1], byte(1))
	is.True(bytes.Equal(message[2:6], id[:4]))
	psk := must(kem.Decapsulate(message[6:1094]))

	// Noise_…psk0, message 1: psk, e, es, s, ss.
	st := &noiseState{}
	sum := sha256.Sum256([]byte(name))
	st.h, st.ck = sum[:], sum[:]
	st.mixHash(append([]byte("securesp-e2e-1"), message[:1094]...))
	st.mixHash(s.PublicKey().Bytes())
	st.mixKeyAndHash(psk)
	re := message[1094:1126]
	st.mixHash(re)
	st.mixKey(re)
	st.mixKey(dh(s, re))
	sender = st.decrypt(t, message[1126:1174])
	st.mixKey(dh(s, sender))
	key := st.decrypt(t, message[1174:1222])
	is.Equal(len(key), 32)

	content, err := must(chacha20poly1305.New(key)).Open(nil, make([]byte, 12), message[1222:], message[:1222])
	is.NoErr(err) // the sealed part
	return sender, content
}

// specSeed reads a secret service key (SPEC §6).
func specSeed(text string) []byte {
	return must(base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, "sdk1:")))[:96]
}

func TestSpecification(t *testing.T) {
	is := is.New(t)
	v := readVectors(t)
	body := must(hex.DecodeString(v.Body))
	seed := specSeed(v.Service)
	client := must(keys.ParsePrivate(v.Client)).Public().Bytes()
	stamp := binary.BigEndian.AppendUint64(nil, uint64(v.Time))

	// REQUEST and ONE-WAY: body ‖ unix-ms:u64 ‖ flags:u8.
	for i, message := range []string{v.Request, v.OneWay} {
		name := []string{"Noise_IKpsk0_25519_ChaChaPoly_SHA256", "Noise_Xpsk0_25519_ChaChaPoly_SHA256"}[i]
		sender, content := specEnvelope(t, name, must(hex.DecodeString(message)), seed)
		is.True(bytes.Equal(sender, client))
		is.True(bytes.Equal(content, append(append(bytes.Clone(body), stamp...), byte(1-i)))) // wants a ticket
	}

	// TICKET REQUEST.
	m := must(hex.DecodeString(v.TicketRequest))
	is.True(bytes.Equal(m[:4], []byte{0xE3, 1, 0, 121}))
	ticket, nonce, sealed := m[4:125], m[125:149], m[149:]
	id := must(hex.DecodeString(v.KeyID))
	is.True(bytes.Equal(ticket[:4], id))
	is.Equal(binary.BigEndian.Uint32(ticket[4:]), uint32(v.Time/86_400_000))
	ticketKey := must(hkdf.Key(sha256.New, seed, nil, "securesp-e2e-1 ticket"+string(ticket[4:8]), 32))
	plain, err := must(chacha20poly1305.NewX(ticketKey)).Open(nil, ticket[8:32], ticket[32:], ticket[:8])
	is.NoErr(err) // the ticket
	is.Equal(len(plain), 73)
	is.Equal(plain[0], byte(1))
	is.True(bytes.Equal(plain[33:65], client))
	is.Equal(binary.BigEndian.Uint64(plain[65:]), uint64(v.Time/1000+3600))
	exchange := must(chacha20poly1305.NewX(plain[1:33]))
	content, err := exchange.Open(nil, nonce, sealed, m[:149])
	is.NoErr(err) // its sealed part
	is.True(bytes.Equal(content, append(append(bytes.Clone(body), stamp...), 0)))

	// TICKET REPLY: body ‖ TLVs ‖ TLV length:u16 ‖ status:u8.
	m = must(hex.DecodeString(v.TicketReply))
	is.Equal(m[0], byte(0xE4))
	content, err = exchange.Open(nil, m[1:25], m[25:], append(bytes.Clone(m[:25]), nonce...))
	is.NoErr(err) // its sealed part
	is.True(bytes.Equal(content, append(bytes.Clone(body), 0, 0, 0)))
}

func TestGroupSpecification(t *testing.T) {
	is := is.New(t)
	v := readVectors(t)
	g := v.Group
	body, topic := must(hex.DecodeString(v.Body)), must(hex.DecodeString(g.Topic))
	sender, state := specEnvelope(t, "Noise_Xpsk0_25519_ChaChaPoly_SHA256", must(hex.DecodeString(g.Update)), specSeed(g.Member))
	is.True(bytes.Equal(sender, must(keys.ParsePrivate(g.Owner)).Public().Bytes()))

	// The state: name, id, serial, epoch, keys, one sender.
	is.Equal(string(state[:7]), "\x06circle")
	id, rest := state[7:23], state[31:] // without the serial
	is.Equal(binary.BigEndian.Uint32(rest), uint32(1))
	key, topicKey := rest[4:36], rest[36:68]
	is.Equal(binary.BigEndian.Uint16(rest[68:]), uint16(1))
	identity, sign := rest[70:102], rest[102:134]
	is.Equal(string(rest[134:140]), "\x05alice")
	is.Equal(len(rest), 140+9) // and the tail of every envelope

	signSeed := must(hkdf.Key(sha256.New, specSeed(g.Sender), nil, "securesp-e2e-1 group signing", 32))
	is.True(bytes.Equal(sign, ed25519.NewKeyFromSeed(signSeed).Public().(ed25519.PublicKey)))
	card := must(hex.DecodeString(g.Card))
	is.True(bytes.Equal(card[1216:], slices.Concat(sign, identity, card[1280:])))
	is.True(ed25519.Verify(sign, append([]byte("securesp-e2e-1 group card"), card[:1280]...), card[1280:]))
	senderID := sha256.Sum256(bytes.Join([][]byte{[]byte("securesp-e2e-1 group sender"), id, identity, sign}, nil))
	messageKey := must(hkdf.Expand(sha256.New, key, "securesp-e2e-1 group message", 32))
	mac := hmac.New(sha256.New, topicKey)
	mac.Write(topic)
	prefixes := [][]byte{topic, mac.Sum(nil)[:16], nil, topic}
	inner := [][]byte{nil, topic, topic, nil}

	for i, text := range g.Messages {
		m := must(hex.DecodeString(text))
		var context []byte
		if i == 3 {
			context = must(hex.DecodeString(g.Context))
		}
		n := len(m)
		is.Equal(m[n-1], byte(0xE6))
		signature, signed := m[n-65:n-1], m[:n-65]
		trailer := signed[len(signed)-22:]
		is.True(bytes.Equal(trailer[:8], senderID[:8]))
		is.Equal(binary.BigEndian.Uint32(trailer[8:]), uint32(1))
		is.Equal(binary.BigEndian.Uint64(trailer[12:]), uint64(v.Time)*1_000_000+uint64(i))
		is.Equal(int(binary.BigEndian.Uint16(trailer[20:])), len(prefixes[i]))
		prefix, sealed := signed[:len(prefixes[i])], signed[len(prefixes[i]):len(signed)-22]
		is.True(bytes.Equal(prefix, prefixes[i]))

		contextLen := binary.BigEndian.AppendUint64(nil, uint64(len(context)))
		digest := sha256.Sum256(bytes.Join([][]byte{
			[]byte("securesp-e2e-1 group signature"), id, contextLen, context, signed, {0xE6},
		}, nil))
		is.Equal(hex.EncodeToString(digest[:]), g.Digests[i])
		is.True(ed25519.Verify(sign, digest[:], signature))

		data := bytes.Join([][]byte{trailer, id, prefix, context}, nil)
		content, err := must(chacha20poly1305.NewX(messageKey)).Open(nil, sealed[:24], sealed[24:], data)
		is.NoErr(err) // the sealed part
		want := bytes.Join([][]byte{body, inner[i]}, nil)
		want = binary.BigEndian.AppendUint16(want, uint16(len(inner[i])))
		want = append(want, byte(i%3))
		want = binary.BigEndian.AppendUint64(want, uint64(v.Time))
		is.True(bytes.Equal(content, want))
	}
}
