// Iocopy copies standard input of one program to standard output of another,
// over a sealed connection, with nothing but io.Copy:
//
//	iocopy receive bob.key bob.trust :7000 > copy
//	iocopy send alice.key spk1:… bob.example:7000 < original
//
// "securesp keygen" makes the keys; the trust file has a line with the public
// key of each sender. It shows that both sides learn how it ended: the sender
// succeeds only once the receiver has confirmed the end of the data, and data
// that was cut short is an error for the receiver.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "iocopy:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return errors.New("usage: iocopy receive KEYFILE TRUSTFILE ADDRESS | iocopy send KEYFILE PEER ADDRESS")
	}
	identity, err := keys.Load(args[1])
	if err != nil {
		return err
	}
	config := &securesp.Config{Identity: identity}
	switch args[0] {
	case "receive":
		if config.Trust, err = trust.File(args[2]); err != nil {
			return err
		}
		l, err := securesp.Listen("tcp", args[3], config)
		if err != nil {
			return err
		}
		return receive(l, os.Stdout)
	case "send":
		peer, err := keys.ParsePublic(args[2])
		if err != nil {
			return err
		}
		config.Trust = trust.Keys(peer)
		return send(args[3], config, os.Stdin)
	}
	return fmt.Errorf("there is no %q", args[0])
}

// receive copies what the first trusted sender sends to out.
func receive(l net.Listener, out io.Writer) error {
	defer l.Close()
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, conn); err != nil {
		conn.Close()
		return err // io.ErrUnexpectedEOF: cut short
	}
	return conn.Close() // tells the sender that all was received
}

// send sends all of in and returns once the receiver has it.
func send(address string, config *securesp.Config, in io.Reader) error {
	conn, err := securesp.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.Copy(conn, in); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn) // ends without error when the receiver closes
	return err
}
