package curve_test

import (
	"fmt"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/curve"
)

// The suite, on buffers: what AppendMessage returns is what travels.
func ExampleMechanism() {
	clientKey, _ := keys.GenerateCurve()
	serverKey, _ := keys.GenerateCurve()

	client, err := curve.Mechanism().NewHandshake(mechanism.Config{
		Role:          mechanism.Initiator,
		CurveIdentity: clientKey,
		CurvePeer:     serverKey.Public(), // known beforehand
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := curve.Mechanism().NewHandshake(mechanism.Config{
		Role:          mechanism.Responder,
		CurveIdentity: serverKey,
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	from, to := client, server
	for from.Next() == mechanism.Send {
		message, err := from.AppendMessage(nil, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		if _, err := to.ReadMessage(nil, message); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(len(message), "bytes")
		from, to = to, from
	}
	fmt.Println("the server knows its client:", server.Peer().CurveKey == clientKey.Public())
	// Output:
	// 200 bytes
	// 168 bytes
	// 311 bytes
	// 84 bytes
	// the server knows its client: true
}

// CurveZMQ itself, as spoken with libzmq: metadata says what kind of socket
// each side is, and the server decides before its READY.
func ExampleNew() {
	clientKey, _ := keys.GenerateCurve()
	serverKey, _ := keys.GenerateCurve()

	client, err := curve.New(curve.Config{
		Role:     mechanism.Initiator,
		Identity: clientKey,
		Peer:     serverKey.Public(),
		Metadata: curve.Metadata{{Name: "Socket-Type", Value: []byte("REQ")}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := curve.New(curve.Config{
		Role:     mechanism.Responder,
		Identity: serverKey,
		Metadata: curve.Metadata{{Name: "Socket-Type", Value: []byte("REP")}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	from, to := client, server
	for from.Next() == mechanism.Send {
		if server.Peer() != (keys.CurvePublic{}) && server.Peer() != clientKey.Public() {
			refusal := curve.AppendRefusal(nil, curve.StatusDenied)
			fmt.Printf("sending %q and closing the connection\n", refusal)
			return
		}
		command, err := from.AppendCommand(nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := to.ReadCommand(command); err != nil {
			fmt.Println(err)
			return
		}
		from, to = to, from
	}
	kind, _ := server.Metadata().Get("Socket-Type")
	fmt.Printf("the client is a %s socket\n", kind)

	sender, err := client.Messages()
	if err != nil {
		fmt.Println(err)
		return
	}
	receiver, err := server.Messages()
	if err != nil {
		fmt.Println(err)
		return
	}
	message, err := sender.Encode(nil, 0, []byte("hello"))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, content, err := receiver.Decode(nil, message)
	fmt.Printf("%d bytes travel, %q arrives, %v\n", len(message), content, err)
	sender.Erase() // its keys are not needed any more
	receiver.Erase()
	// Output:
	// the client is a REQ socket
	// 38 bytes travel, "hello" arrives, <nil>
}
