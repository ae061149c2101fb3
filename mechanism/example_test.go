package mechanism_test

import (
	"errors"
	"fmt"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// secure is all it takes to secure a messaging library of any kind: send and
// receive pass one whole message each, in order, by whatever means.
func secure(config mechanism.Config, peer keys.Public, send func([]byte), receive func() []byte) (mechanism.Session, error) {
	suite, _ := noise.Mechanism(mechanism.XXhfsChaChaPoly)
	h, err := suite.NewHandshake(config)
	if err != nil {
		return nil, err
	}
	for h.Next() != mechanism.Done {
		if h.Next() == mechanism.Receive {
			if _, err := h.ReadMessage(nil, receive()); err != nil {
				return nil, err
			}
			continue
		}
		message, err := h.AppendMessage(nil, nil)
		if err != nil {
			return nil, err
		}
		send(message)
	}
	if h.Peer().Key != peer { // without this, anybody can be at the other end
		return nil, errors.New("not the peer we want to talk to")
	}
	return h.Session()
}

// Two sides that share nothing but two queues of messages.
func Example() {
	alice, _ := keys.Generate()
	bob, _ := keys.Generate()
	toAlice, toBob := make(chan []byte, 1), make(chan []byte, 1)

	go func() {
		config := mechanism.Config{Role: mechanism.Responder, Identity: bob}
		session, err := secure(config, alice.Public(),
			func(m []byte) { toAlice <- m }, func() []byte { return <-toBob })
		if err != nil {
			close(toAlice)
			return
		}
		record, _ := session.Encode(nil, mechanism.Data, []byte("hello, Alice"))
		toAlice <- record
	}()

	config := mechanism.Config{Role: mechanism.Initiator, Identity: alice}
	session, err := secure(config, bob.Public(),
		func(m []byte) { toBob <- m }, func() []byte { return <-toAlice })
	if err != nil {
		fmt.Println(err)
		return
	}
	_, plaintext, err := session.Decode(nil, <-toAlice)
	fmt.Printf("%s %v\n", plaintext, err)
	// Output: hello, Alice <nil>
}

// Records can be sealed and opened where they are, so that a large message is
// never copied: the plaintext is put where its ciphertext will be.
func ExampleSession_inPlace() {
	sender, receiver := sessions()

	message := "no copies"
	buffer := make([]byte, sender.Overhead()+len(message))
	plaintext := buffer[sender.Lead() : sender.Lead()+len(message)]
	copy(plaintext, message) // or read a file into it

	record, err := sender.Encode(buffer[:0], mechanism.Data, plaintext)
	if err != nil {
		fmt.Println(err)
		return
	}
	lead := receiver.Lead()
	_, opened, err := receiver.Decode(record[lead:lead], record)
	fmt.Printf("%s %v %v\n", opened, err, &opened[0] == &plaintext[0])
	// Output: no copies <nil> true
}

// Packets may be lost, come late or come twice.
func ExamplePacketSession() {
	sender, receiver := packetSessions()

	first, _ := sender.Seal(nil, []byte("first"))
	second, _ := sender.Seal(nil, []byte("second"))
	for _, packet := range [][]byte{second, first, second} {
		plaintext, err := receiver.Open(nil, packet)
		fmt.Printf("%q %v\n", plaintext, err)
	}
	// Output:
	// "second" <nil>
	// "first" <nil>
	// "" securesp: replayed packet
}

// finished returns both sides of a finished handshake, for examples of what
// comes after it.
func finished() (initiator, responder mechanism.Handshake) {
	key, _ := keys.Generate()
	suite, _ := noise.Mechanism(mechanism.NKhfsChaChaPoly)
	initiator, _ = suite.NewHandshake(mechanism.Config{Role: mechanism.Initiator, Peer: key.Public()})
	responder, _ = suite.NewHandshake(mechanism.Config{Role: mechanism.Responder, Identity: key})
	from, to := initiator, responder
	for from.Next() == mechanism.Send {
		message, err := from.AppendMessage(nil, nil)
		if err != nil {
			panic(err)
		}
		if _, err := to.ReadMessage(nil, message); err != nil {
			panic(err)
		}
		from, to = to, from
	}
	return initiator, responder
}

func sessions() (a, b mechanism.Session) {
	initiator, responder := finished()
	a, _ = initiator.Session()
	b, _ = responder.Session()
	return a, b
}

func packetSessions() (a, b mechanism.PacketSession) {
	initiator, responder := finished()
	a, _ = initiator.PacketSession()
	b, _ = responder.PacketSession()
	return a, b
}
