package securesp_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"math/big"
	"os"
	"time"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/trust"
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

// tlsCarrier is a TLS connection as a carrier. A middleman who ends TLS on both
// sides of it has two channels, and the handshake inside finds that out, so it
// matters little whose certificates they are.
type tlsCarrier struct{ *tls.Conn }

func (c tlsCarrier) ChannelBinding() ([]byte, error) {
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	state := c.ConnectionState()
	return state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32) // RFC 9266
}

func ExampleChannelBinder() {
	clientKey, serverKey := exampleKeys()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	certificate, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		log.Fatal(err)
	}
	config := &tls.Config{
		Certificates:       []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: private}},
		InsecureSkipVerify: true,
	}

	near, far := testnet.Pipe(64 << 10)
	client := securesp.Client(tlsCarrier{tls.Client(near, config)}, &securesp.Config{
		Identity: clientKey, Trust: trust.Keys(serverKey.Public()),
	})
	defer client.Close()
	server := securesp.Server(tlsCarrier{tls.Server(far, config)}, &securesp.Config{
		Identity: serverKey, Trust: trust.Keys(clientKey.Public()),
	})
	defer server.Close()
	done := make(chan error)
	go func() { done <- server.HandshakeContext(context.Background()) }()
	err = errors.Join(client.HandshakeContext(context.Background()), <-done)
	binding, _ := client.NetConn().(securesp.ChannelBinder).ChannelBinding()
	fmt.Println(len(binding), err)
	// Output: 32 <nil>
}
