package noise_test

import (
	"encoding/binary"
	"fmt"
	"log"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// The five calls, with an initiator that knows the responder's key. The
// messages and records may travel by any means that keeps them in order.
func ExampleMechanism() {
	server, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	client, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	m, ok := noise.Mechanism(mechanism.IKhfsChaChaPoly)
	if !ok {
		log.Fatal("no such suite")
	}
	initiator, err := m.NewHandshake(mechanism.Config{
		Role: mechanism.Initiator, Identity: client, Peer: server.Public(),
	})
	if err != nil {
		log.Fatal(err)
	}
	responder, err := m.NewHandshake(mechanism.Config{
		Role: mechanism.Responder, Identity: server,
	})
	if err != nil {
		log.Fatal(err)
	}

	sender, receiver := initiator, responder
	for sender.Next() == mechanism.Send {
		message, err := sender.AppendMessage(nil, nil)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("handshake message of", len(message), "bytes")
		if _, err := receiver.ReadMessage(nil, message); err != nil {
			log.Fatal(err)
		}
		sender, receiver = receiver, sender
	}
	// Whether this peer is welcome is for the caller to decide now.
	fmt.Println("client proved its key:", responder.Peer().Key == client.Public())

	out, err := initiator.Session()
	if err != nil {
		log.Fatal(err)
	}
	in, err := responder.Session()
	if err != nil {
		log.Fatal(err)
	}
	record, err := out.Encode(nil, mechanism.Data, []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	_, plaintext, err := in.Decode(nil, record)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d bytes on the wire: %s\n", len(record), plaintext)
	sent, received := out.Rekeys()
	fmt.Println("new keys so far:", sent, received)
	out.Erase() // neither can be used any more
	in.Erase()
	// Output:
	// handshake message of 1296 bytes
	// handshake message of 1152 bytes
	// client proved its key: true
	// 24 bytes on the wire: hello
	// new keys so far: 0 0
}

// What an initiator sends along with its last message may be needed to say
// whether it is genuine. A message that is turned away changes nothing: the
// next one may be the right one.
func ExampleHandshake_ReadMessageIf() {
	const protocol = "Noise_NN_25519_ChaChaPoly_SHA256"
	start := func(role mechanism.Role) *noise.Handshake {
		h, err := noise.New(protocol, mechanism.Config{Role: role})
		if err != nil {
			log.Fatal(err)
		}
		return h
	}
	responder := start(mechanism.Responder)
	for _, ticket := range []string{"ticket 17", "ticket 18"} {
		message, err := start(mechanism.Initiator).AppendMessage(nil, []byte(ticket))
		if err != nil {
			log.Fatal(err)
		}
		_, err = responder.ReadMessageIf(nil, message, func(payload []byte) error {
			if string(payload) != "ticket 18" {
				return fmt.Errorf("%s was used before", payload)
			}
			return nil
		})
		fmt.Println(err)
	}
	// Output:
	// ticket 17 was used before
	// <nil>
}

// A one-way pattern seals one message to somebody whose public key is known,
// and authenticates the sender.
func ExampleNew() {
	const protocol = "Noise_Xpsk0_25519_ChaChaPoly_SHA256"
	alice, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	bob, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	psk, err := keys.GenerateShared()
	if err != nil {
		log.Fatal(err)
	}

	h, err := noise.New(protocol, mechanism.Config{
		Role: mechanism.Initiator, Identity: alice, Peer: bob.Public(), PSK: psk,
	})
	if err != nil {
		log.Fatal(err)
	}
	message, err := h.AppendMessage(nil, []byte("for Bob"))
	if err != nil {
		log.Fatal(err)
	}

	h, err = noise.New(protocol, mechanism.Config{
		Role: mechanism.Responder, Identity: bob, PSK: psk,
	})
	if err != nil {
		log.Fatal(err)
	}
	payload, err := h.ReadMessage(nil, message)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, from Alice: %v\n", payload, h.Peer().Key == alice.Public())
	// Output: for Bob, from Alice: true
}

// Datagrams may be lost, reordered or duplicated. Each is opened at most once.
func ExampleHandshake_PacketSession() {
	m, _ := noise.Mechanism(mechanism.NNhfsPSK0AESGCM)
	psk, err := keys.GenerateShared()
	if err != nil {
		log.Fatal(err)
	}
	var sides [2]mechanism.Handshake
	for role := range sides {
		sides[role], err = m.NewHandshake(mechanism.Config{Role: mechanism.Role(role), PSK: psk})
		if err != nil {
			log.Fatal(err)
		}
	}
	for n := range 2 {
		message, err := sides[n].AppendMessage(nil, nil)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := sides[1-n].ReadMessage(nil, message); err != nil {
			log.Fatal(err)
		}
	}
	sender, err := sides[mechanism.Initiator].PacketSession()
	if err != nil {
		log.Fatal(err)
	}
	receiver, err := sides[mechanism.Responder].PacketSession()
	if err != nil {
		log.Fatal(err)
	}

	var packets [][]byte
	for _, text := range []string{"first", "second"} {
		packet, err := sender.Seal(nil, []byte(text))
		if err != nil {
			log.Fatal(err)
		}
		packets = append(packets, packet)
	}
	// A socket that serves many sessions finds the right one by its index.
	sessions := map[uint32]mechanism.PacketSession{receiver.Index(): receiver}
	for _, n := range []int{1, 0, 1} {
		session := sessions[binary.BigEndian.Uint32(packets[n])]
		plaintext, err := session.Open(nil, packets[n])
		fmt.Printf("%q %v\n", plaintext, err)
	}
	sender.Erase()
	receiver.Erase()
	// Output:
	// "second" <nil>
	// "first" <nil>
	// "" securesp: replayed packet
}
