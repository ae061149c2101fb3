package testnet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// FreeAddress returns a loopback address on which nobody listens, neither TCP
// nor UDP. Its port is none of those that the system gives out by itself, so
// that no other program of a test run gets it by chance before it is used.
func FreeAddress(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		// Linux gives out ports from 32768, the other systems from 49152.
		address := fmt.Sprint("127.0.0.1:", 16384+rand.IntN(16384))
		if err = tryAddress(address); err == nil {
			return address
		}
	}
	t.Fatal(err)
	return ""
}

func tryAddress(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	return c.Close()
}
