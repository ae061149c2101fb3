package noise_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// pair is the two sides of a handshake by role.
type pair [2]*noise.Handshake

// newPair starts both sides of a classical pattern with all keys there are.
func newPair(t testing.TB, pattern string) pair {
	t.Helper()
	i, r, psk := newKey(t), newKey(t), newPSK(t)
	return startPair(t, "Noise_"+pattern+"_25519_ChaChaPoly_SHA256",
		mechanism.Config{Identity: i, Peer: r.Public(), PSK: psk},
		mechanism.Config{Identity: r, Peer: i.Public(), PSK: psk})
}

func startPair(t testing.TB, protocol string, ic, rc mechanism.Config) pair {
	t.Helper()
	is := is.New(t)
	ic.Role, rc.Role = mechanism.Initiator, mechanism.Responder
	i, err := noise.New(protocol, ic)
	is.NoErr(err) // starting the initiator
	r, err := noise.New(protocol, rc)
	is.NoErr(err) // starting the responder
	return pair{i, r}
}

// deliver has the next message made and read.
func (p pair) deliver() error {
	sender, receiver := p[0], p[1]
	if p[1].Next() == mechanism.Send {
		sender, receiver = p[1], p[0]
	}
	message, err := sender.AppendMessage(nil, nil)
	if err != nil {
		return err
	}
	_, err = receiver.ReadMessage(nil, message)
	return err
}

func (p pair) finish(t testing.TB) pair {
	t.Helper()
	is := is.New(t)
	for p[0].Next() != mechanism.Done {
		is.NoErr(p.deliver()) // message of an honest handshake
	}
	return p
}

// TestPeerIsProved says for each pattern after how many messages each side has
// proof of the other's key (Noise §7.7), 0 standing for never.
func TestPeerIsProved(t *testing.T) {
	for _, tt := range []struct {
		pattern              string
		responder, initiator int // whose key is proved
	}{
		{"N", 0, 0},
		{"K", 0, 1},
		{"X", 0, 1},
		{"NN", 0, 0},
		{"NK", 2, 0},
		{"NX", 2, 0},
		{"KN", 0, 0},
		{"KK", 2, 1},
		{"KX", 2, 0},
		{"XN", 0, 3},
		{"XK", 2, 3},
		{"XX", 2, 3},
		{"IN", 0, 0},
		{"IK", 2, 1},
		{"IX", 2, 0},
		{"NNpsk0", 0, 0},
		{"IXpsk2", 2, 0},
	} {
		t.Run(tt.pattern, func(t *testing.T) {
			is := is.New(t)
			i, r, psk := newKey(t), newKey(t), newPSK(t)
			p := startPair(t, "Noise_"+tt.pattern+"_25519_AESGCM_SHA256",
				mechanism.Config{Identity: i, Peer: r.Public(), PSK: psk},
				mechanism.Config{Identity: r, Peer: i.Public(), PSK: psk})
			check := func(h *noise.Handshake, owner *keys.Private, from, now int) {
				want := mechanism.Peer{}
				if from > 0 && now >= from {
					want.Key = owner.Public()
				}
				is.Equal(h.Peer(), want)
			}
			for n := 0; ; n++ {
				check(p[mechanism.Initiator], r, tt.responder, n)
				check(p[mechanism.Responder], i, tt.initiator, n)
				if p[0].Next() == mechanism.Done {
					return
				}
				is.NoErr(p.deliver()) // message of an honest handshake
			}
		})
	}
}

// lowOrder lists the X25519 public keys whose result is zero with any private
// key: the points of order 1, 2, 4 and 8 of the curve and its twist, and their
// unreduced forms; the most significant bit is not part of a key.
var lowOrder = func() (list [][]byte) {
	for _, text := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		key, err := hex.DecodeString(text)
		if err != nil {
			panic(err)
		}
		other := bytes.Clone(key)
		other[31] |= 0x80
		list = append(list, key, other)
	}
	return list
}()

// TestLowOrderKeys gives each side keys that would make the other's private
// key irrelevant, in every place a key can come from.
func TestLowOrderKeys(t *testing.T) {
	for _, low := range lowOrder {
		t.Run(hex.EncodeToString(low), func(t *testing.T) {
			is := is.New(t)

			// The initiator's ephemeral key, first used in the reply.
			p := newPair(t, "XX")
			_, err := p[1].ReadMessage(nil, low)
			is.NoErr(err) // a message without any encryption
			_, err = p[1].AppendMessage(nil, nil)
			is.True(errors.Is(err, mechanism.ErrAuthentication))
			is.Equal(p[1].Next(), mechanism.Send)

			// The same where it is used at once.
			p = newPair(t, "IK")
			message, err := p[0].AppendMessage(nil, nil)
			is.NoErr(err) // a genuine message
			_, err = p[1].ReadMessage(nil, append(bytes.Clone(low), message[32:]...))
			is.True(errors.Is(err, mechanism.ErrAuthentication))
			_, err = p[1].ReadMessage(nil, message)
			is.NoErr(err) // the genuine message after the forged one

			// The responder's ephemeral key.
			p = newPair(t, "NN")
			is.NoErr(p.deliver()) // message 1
			_, err = p[0].ReadMessage(nil, append(bytes.Clone(low), make([]byte, 16)...))
			is.True(errors.Is(err, mechanism.ErrAuthentication))
			is.NoErr(p.deliver()) // the genuine message 2

			// A static key that was configured.
			if peer, err := keys.NewPublic(low); err == nil {
				h, err := noise.New("Noise_NK_25519_AESGCM_SHA256", mechanism.Config{Peer: peer})
				is.NoErr(err) // starting with a bad peer
				_, err = h.AppendMessage(nil, nil)
				is.True(errors.Is(err, mechanism.ErrAuthentication))
				is.Equal(h.Next(), mechanism.Send)
			}

			// A static key that was sent: IN leaves it unencrypted.
			p = newPair(t, "IN")
			message, err = p[0].AppendMessage(nil, nil)
			is.NoErr(err) // a genuine message
			_, err = p[1].ReadMessage(nil, append(bytes.Clone(message[:32]), low...))
			is.NoErr(err) // a message without any encryption
			_, err = p[1].AppendMessage(nil, nil)
			is.True(errors.Is(err, mechanism.ErrAuthentication))
		})
	}
}

// TestMessageLimit: no message exceeds 65,535 bytes (Noise §3), sent or
// received.
func TestMessageLimit(t *testing.T) {
	is := is.New(t)
	p := newPair(t, "NK")
	const most = 65535 - 48
	_, err := p[0].AppendMessage(nil, make([]byte, most+1))
	is.True(errors.Is(err, mechanism.ErrMessageTooLong))
	is.Equal(p[0].Next(), mechanism.Send)
	message, err := p[0].AppendMessage(nil, bytes.Repeat([]byte{7}, most))
	is.NoErr(err) // the longest message
	is.Equal(len(message), 65535)
	_, err = p[1].ReadMessage(nil, append(bytes.Clone(message), 0))
	is.True(errors.Is(err, mechanism.ErrMalformed))
	payload, err := p[1].ReadMessage(nil, message)
	is.NoErr(err) // the longest message
	is.Equal(len(payload), most)
}

// flaky is a source of randomness that fails once.
type flaky struct{ failed bool }

func (f *flaky) Read(b []byte) (int, error) {
	if !f.failed {
		f.failed = true
		return 0, errors.New("not yet")
	}
	for i := range b {
		b[i] = byte(i)
	}
	return len(b), nil
}

// TestFailedSendChangesNothing: an AppendMessage that failed may be repeated.
func TestFailedSendChangesNothing(t *testing.T) {
	for _, pattern := range []string{"NNpsk0", "IK", "XX"} {
		t.Run(pattern, func(t *testing.T) {
			is := is.New(t)
			i, r, psk := newKey(t), newKey(t), newPSK(t)
			p := startPair(t, "Noise_"+pattern+"_25519_ChaChaPoly_SHA256",
				mechanism.Config{Identity: i, Peer: r.Public(), PSK: psk, Rand: new(flaky)},
				mechanism.Config{Identity: r, PSK: psk, Rand: new(flaky)})
			is.True(p.deliver() != nil)
			is.NoErr(p.deliver()) // message 1 at the second attempt
			is.True(p.deliver() != nil)
			p.finish(t)
		})
	}
}

// TestPayloadIsNotReleased: a failed ReadMessage leaves nothing of the payload in
// dst's space.
func TestPayloadIsNotReleased(t *testing.T) {
	is := is.New(t)
	p := newPair(t, "NK")
	message, err := p[0].AppendMessage(nil, bytes.Repeat([]byte{'P'}, 200))
	is.NoErr(err) // making a message
	for n := 32; n < len(message); n++ {
		forged := bytes.Clone(message)
		forged[n] ^= 1
		space := make([]byte, 0, 300)
		_, err := p[1].ReadMessage(space, forged)
		is.True(errors.Is(err, mechanism.ErrAuthentication))
		is.True(!bytes.Contains(space[:cap(space)], []byte("PPPP")))
	}
}

// TestSecretsAreForgotten: a finished handshake keeps no key but those of its
// sessions, and those only until they are asked for.
func TestSecretsAreForgotten(t *testing.T) {
	is := is.New(t)
	for _, pattern := range []string{"IKpsk2", "XX", "NN", "X"} {
		for _, h := range newPair(t, pattern).finish(t) {
			is.True(noise.HandshakeIsForgotten(h))
			is.True(!noise.SecretsAreForgotten(h))
			_, err := h.Session()
			is.NoErr(err) // session of a finished handshake
			_, err = h.PacketSession()
			is.NoErr(err) // packet session of a finished handshake
			is.True(noise.SecretsAreForgotten(h))
		}
	}
}

// TestQuantumEavesdropper: who has recorded a hybrid handshake and later learns
// all X25519 keys of the initiator, but not its ML-KEM key, can open nothing
// from message 2 on; and the other way round.
func TestQuantumEavesdropper(t *testing.T) {
	is := is.New(t)
	hybrid := 0
	for suite := range messageSizes {
		if !strings.Contains(suite.String(), "MLKEM768") {
			continue
		}
		hybrid++
		t.Run(suite.String(), func(t *testing.T) {
			is := is.New(t)
			p := fixed(suite)
			is.NoErr(p.deliver())
			recorded, err := p[1].AppendMessage(nil, []byte("payload"))
			is.NoErr(err) // message 2

			all, onlyDH, onlyKEM := noise.Steal(p[0]), noise.Steal(p[0]), noise.Steal(p[0])
			noise.LoseKEM(onlyDH)
			noise.LoseDH(onlyKEM)
			got, err := all.ReadMessage(nil, recorded)
			is.NoErr(err) // with both keys it is open
			is.Equal(string(got), "payload")
			for _, thief := range []*noise.Handshake{onlyDH, onlyKEM} {
				_, err := thief.ReadMessage(nil, recorded)
				is.True(errors.Is(err, mechanism.ErrAuthentication)) // with one it is not
			}
		})
	}
	is.Equal(hybrid, 10)
}

// TestOneWay: after a one-way handshake only the initiator can send.
func TestOneWay(t *testing.T) {
	for _, pattern := range []string{"N", "K", "X", "Xpsk1"} {
		t.Run(pattern, func(t *testing.T) {
			is := is.New(t)
			p := newPair(t, pattern).finish(t)
			i, err := p[0].Session()
			is.NoErr(err) // initiator's session
			r, err := p[1].Session()
			is.NoErr(err) // responder's session
			record, err := i.Encode(nil, mechanism.Data, []byte("one way"))
			is.NoErr(err) // encoding
			_, got, err := r.Decode(nil, record)
			is.NoErr(err) // decoding
			is.Equal(string(got), "one way")
			_, err = r.Encode(nil, mechanism.Data, nil)
			is.True(errors.Is(err, mechanism.ErrUnsupported))
			_, _, err = i.Decode(nil, record)
			is.True(errors.Is(err, mechanism.ErrUnsupported))

			ip, err := p[0].PacketSession()
			is.NoErr(err) // initiator's packet session
			rp, err := p[1].PacketSession()
			is.NoErr(err) // responder's packet session
			packet, err := ip.Seal(nil, []byte("one way"))
			is.NoErr(err) // sealing
			got, err = rp.Open(nil, packet)
			is.NoErr(err) // opening
			is.Equal(string(got), "one way")
			_, err = rp.Seal(nil, nil)
			is.True(errors.Is(err, mechanism.ErrUnsupported))
			back := bytes.Clone(packet)
			copy(back, []byte{byte(ip.Index() >> 24), byte(ip.Index() >> 16), byte(ip.Index() >> 8), byte(ip.Index())})
			_, err = ip.Open(nil, back)
			is.True(errors.Is(err, mechanism.ErrUnsupported))
		})
	}
}

// TestFormat: what prints names the protocol.
func TestFormat(t *testing.T) {
	is := is.New(t)
	p := newPair(t, "NN")
	is.Equal(fmt.Sprintf("%+v", p[1]), "Noise_NN_25519_ChaChaPoly_SHA256 responder")
}
