package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestRun(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	is.NoErr(run(&out)) // run the program
	is.Equal(out.String(), `over a channel, Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256: hello, Bob
over 5 files, CURVE: hello, server
over UDP, Noise_IKhfs_25519+MLKEM768_ChaChaPoly_SHA256: you said: hello, Bob
`)
}

// TestStranger has Bob refuse somebody who is not Alice.
func TestStranger(t *testing.T) {
	is := is.New(t)
	alice, err := keys.Generate()
	is.NoErr(err) // Alice's key
	bob, err := keys.Generate()
	is.NoErr(err) // Bob's key
	mallory, err := keys.Generate()
	is.NoErr(err) // Mallory's key
	toMallory, toBob := make(chan []byte, 1), make(chan []byte, 1)
	done := make(chan error)
	go func() {
		_, err := channelSession(mechanism.Initiator, mallory, bob.Public(), toBob, toMallory)
		done <- err
	}()
	_, err = channelSession(mechanism.Responder, bob, alice.Public(), toMallory, toBob)
	is.True(errors.Is(err, errStranger))
	is.NoErr(<-done) // Mallory's handshake, which only proves who she is
}

// TestLossyUDP loses, repeats and replays what Bob gets.
func TestLossyUDP(t *testing.T) {
	is := is.New(t)
	alice, err := keys.Generate()
	is.NoErr(err) // Alice's key
	bob, err := keys.Generate()
	is.NoErr(err) // Bob's key
	r := responder{bob: bob, alice: alice.Public()}
	begin := func(identity *keys.Private) (mechanism.Handshake, []byte) {
		suite, _ := noise.Mechanism(mechanism.IKhfsChaChaPoly)
		h, err := suite.NewHandshake(mechanism.Config{Role: mechanism.Initiator, Identity: identity, Peer: bob.Public()})
		is.NoErr(err) // start a handshake
		first, err := h.AppendMessage(nil, nil)
		is.NoErr(err) // its first message
		return h, first
	}
	answer := func(datagram []byte) []byte {
		is.Helper()
		reply, err := r.answer(datagram)
		is.NoErr(err) // Bob goes on whatever comes
		return reply
	}

	mallory, err := keys.Generate()
	is.NoErr(err) // Mallory's key
	_, strange := begin(mallory)
	is.True(answer(strange) == nil)
	is.True(answer([]byte("noise")) == nil)
	_, old := begin(alice) // recorded by somebody who now sends it again
	is.True(answer(old) != nil)

	h, first := begin(alice)
	lost := answer(first)
	second := answer(first)
	is.True(bytes.Equal(lost, second))
	_, err = h.ReadMessage(nil, second)
	is.NoErr(err) // the repeated answer
	session, err := h.PacketSession()
	is.NoErr(err) // Alice's session
	question, err := session.Seal(nil, []byte("well?"))
	is.NoErr(err) // seal
	plaintext, err := session.Open(nil, answer(question))
	is.NoErr(err) // open
	is.Equal(string(plaintext), "you said: well?")
	is.True(answer(question) == nil) // the same packet again
	is.True(answer(old) == nil)      // the session stands
}
