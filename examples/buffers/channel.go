package main

import (
	"io"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// overChannel has two goroutines that trust the channels between them with
// nothing. Both sides know each other's key and check it; XXhfs keeps those
// keys from everybody who listens.
func overChannel(out io.Writer) error {
	alice, err := keys.Generate()
	if err != nil {
		return err
	}
	bob, err := keys.Generate()
	if err != nil {
		return err
	}
	toAlice, toBob := make(chan []byte, 1), make(chan []byte, 1)

	failed := make(chan error, 1)
	go func() {
		defer close(toBob)
		session, err := channelSession(mechanism.Initiator, alice, bob.Public(), toBob, toAlice)
		if err != nil {
			failed <- err
			return
		}
		record, err := session.Encode(nil, mechanism.Data, []byte("hello, Bob"))
		if err == nil {
			toBob <- record
		}
		failed <- err
	}()

	session, err := channelSession(mechanism.Responder, bob, alice.Public(), toAlice, toBob)
	close(toAlice) // Alice, should she still wait for something, gets an error
	if err != nil {
		return err
	}
	record := <-toBob
	if err := <-failed; err != nil {
		return err
	}
	_, plaintext, err := session.Decode(nil, record)
	if err != nil {
		return err
	}
	report(out, "over a channel", mechanism.XXhfsChaChaPoly, plaintext)
	return nil
}

// channelSession is one side of overChannel's handshake.
func channelSession(role mechanism.Role, identity *keys.Private, peer keys.Public, to chan<- []byte, from <-chan []byte) (mechanism.Session, error) {
	suite, _ := noise.Mechanism(mechanism.XXhfsChaChaPoly)
	h, err := suite.NewHandshake(mechanism.Config{Role: role, Identity: identity})
	if err != nil {
		return nil, err
	}
	err = shake(h,
		func(message []byte) error {
			to <- message
			return nil
		},
		func() ([]byte, error) {
			message, open := <-from
			if !open {
				return nil, io.ErrUnexpectedEOF
			}
			return message, nil
		})
	if err != nil {
		return nil, err
	}
	if h.Peer().Key != peer {
		return nil, errStranger
	}
	return h.Session()
}
