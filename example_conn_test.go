package securesp_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/securesp/securesp/internal/testnet"
)

// A timeout loses nothing: once there is time again, the Conn goes on.
func ExampleConn_SetDeadline() {
	client, server := examplePair(nil)
	defer client.Close()
	defer server.Close()

	if err := client.SetDeadline(time.Now().Add(-time.Second)); err != nil {
		log.Fatal(err)
	}
	_, err := client.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))

	if err := client.SetDeadline(time.Time{}); err != nil {
		log.Fatal(err)
	}
	if err := server.WriteMessage([]byte("still here")); err != nil {
		log.Fatal(err)
	}
	message, err := client.ReadMessage(nil)
	fmt.Printf("%s %v\n", message, err)
	// Output:
	// true
	// still here <nil>
}

func ExampleConn_SetWriteDeadline() {
	client, server := examplePair(nil)
	defer client.Close()
	defer server.Close()

	if err := client.SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
		log.Fatal(err)
	}
	_, err := client.Write([]byte("too late"))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	// Output: true
}

// The carrier is for its own settings, not for reading or writing.
func ExampleConn_NetConn() {
	client, server := examplePair(nil)
	defer client.Close()
	defer server.Close()

	_, inMemory := client.NetConn().(*testnet.Conn)
	fmt.Println(inMemory, client.RemoteAddr() == client.NetConn().RemoteAddr())
	// Output: true true
}
