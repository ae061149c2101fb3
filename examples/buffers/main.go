// Command buffers secures three things that are no connections: a Go channel,
// a directory of files, and UDP datagrams. It uses nothing of securesp but the
// five calls on buffers of package mechanism: Next, AppendMessage, ReadMessage,
// and then Encode and Decode, or Seal and Open where messages may get lost.
//
//	go run ./examples/buffers
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/securesp/securesp/mechanism"
)

func main() {
	log.SetFlags(0)
	if err := run(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(out io.Writer) error {
	for _, example := range []func(io.Writer) error{overChannel, overFiles, overUDP} {
		if err := example(out); err != nil {
			return err
		}
	}
	return nil
}

// errStranger means that the peer proved a key that is not the one we want to
// talk to. A handshake only says who is there; whether that is welcome is the
// program's to decide, before it sends or believes anything.
var errStranger = errors.New("the peer is not the one we want to talk to")

// shake runs a handshake with a way to send a message and one to receive the
// next. What they are is not its concern.
func shake(h mechanism.Handshake, send func([]byte) error, receive func() ([]byte, error)) error {
	for {
		switch h.Next() {
		case mechanism.Send:
			message, err := h.AppendMessage(nil, nil)
			if err != nil {
				return err
			}
			if err := send(message); err != nil {
				return err
			}
		case mechanism.Receive:
			message, err := receive()
			if err != nil {
				return err
			}
			if _, err := h.ReadMessage(nil, message); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// report prints what came out at the other end.
func report(out io.Writer, what string, suite mechanism.Suite, plaintext []byte) {
	fmt.Fprintf(out, "%s, %v: %s\n", what, suite, plaintext)
}
