// Udp reports what a sensor measures, over UDP:
//
//	udp watch bob.key bob.trust :7000
//	udp report alice.key spk1:… bob.example:7000 < readings
//
// "securesp keygen" makes the keys; the trust file names each sensor. Readings
// go as datagrams: what gets lost on the way is not sent again, since the next
// one says more. A line that begins with "alarm: " goes as a message and
// arrives, and the connection survives when the sensor gets a new address.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "udp:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return errors.New("usage: udp watch KEYFILE TRUSTFILE ADDRESS | udp report KEYFILE PEER ADDRESS")
	}
	identity, err := keys.Load(args[1])
	if err != nil {
		return err
	}
	config := &securesp.Config{Identity: identity, Protocol: "readings"}
	switch args[0] {
	case "watch":
		if config.Trust, err = trust.File(args[2]); err != nil {
			return err
		}
		l, err := securesp.Listen("udp", args[3], config)
		if err != nil {
			return err
		}
		return watch(l, log.New(os.Stdout, "", log.LstdFlags))
	case "report":
		peer, err := keys.ParsePublic(args[2])
		if err != nil {
			return err
		}
		config.Trust = trust.Keys(peer)
		conn, err := securesp.Dial("udp", args[3], config)
		if err != nil {
			return err
		}
		return errors.Join(report(conn, os.Stdin), conn.Close())
	}
	return fmt.Errorf("there is no %q", args[0])
}

// report sends what comes in line by line.
func report(conn *securesp.Conn, in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		send := conn.SendDatagram
		if strings.HasPrefix(lines.Text(), "alarm: ") {
			send = func(line []byte) error { return conn.WriteMessage(line) }
		}
		if err := send(lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// watch logs what all sensors report, until l fails.
func watch(l *securesp.Listener, out *log.Logger) error {
	var sensors sync.WaitGroup
	defer sensors.Wait()
	for {
		conn, err := l.AcceptConn()
		if err != nil {
			return err
		}
		sensors.Go(func() { follow(conn, out) })
	}
}

// follow logs what one sensor reports. Datagrams and messages come side by
// side.
func follow(conn *securesp.Conn, out *log.Logger) {
	var both sync.WaitGroup
	for _, receive := range []func([]byte) ([]byte, error){conn.ReceiveDatagram, conn.ReadMessage} {
		both.Go(func() {
			defer conn.Close() // ends the other one as well
			var line []byte
			for {
				var err error
				if line, err = receive(line[:0]); err != nil {
					if err != io.EOF && !errors.Is(err, net.ErrClosed) {
						out.Printf("%s: %v", conn.ConnectionState().Peer.Name, err)
					}
					return
				}
				out.Printf("%s: %q", conn.ConnectionState().Peer.Name, line)
			}
		})
	}
	both.Wait()
}
