package securesp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// exampleKeys returns two new keys. A program keeps its own in a file (see
// keys.Load) and is told the others' public keys.
func exampleKeys() (client, server *keys.Private) {
	client, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	server, err = keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	return client, server
}

// exampleCurveKeys is exampleKeys for the suite CURVE.
func exampleCurveKeys() (client, server *keys.CurvePrivate) {
	client, err := keys.GenerateCurve()
	if err != nil {
		log.Fatal(err)
	}
	server, err = keys.GenerateCurve()
	if err != nil {
		log.Fatal(err)
	}
	return client, server
}

// examplePair returns the two ends of a connection in memory.
func examplePair(change func(client, server *securesp.Config)) (client, server *securesp.Conn) {
	clientKey, serverKey := exampleKeys()
	clientConfig := &securesp.Config{Identity: clientKey, Trust: trust.Keys(serverKey.Public())}
	serverConfig := &securesp.Config{Identity: serverKey, Trust: trust.Keys(clientKey.Public())}
	if change != nil {
		change(clientConfig, serverConfig)
	}
	near, far := testnet.Pipe(64 << 10)
	client, server = securesp.Client(near, clientConfig), securesp.Server(far, serverConfig)
	done := make(chan error)
	go func() { done <- server.HandshakeContext(context.Background()) }()
	if err := errors.Join(client.HandshakeContext(context.Background()), <-done); err != nil {
		log.Fatal(err)
	}
	return client, server
}

// The server knows the clients it serves by their public keys, the client the
// one server it talks to.
func Example() {
	clientKey, serverKey := exampleKeys()

	l, err := securesp.Listen("tcp", "127.0.0.1:0", &securesp.Config{
		Identity: serverKey,
		Trust:    trust.Keys(clientKey.Public()),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept() // whose peer has proved its key
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()

	c, err := securesp.Dial("tcp", l.Addr().String(), &securesp.Config{
		Identity: clientKey,
		Trust:    trust.Keys(serverKey.Public()),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "hello")
	if err := c.CloseWrite(); err != nil {
		log.Fatal(err)
	}
	echo, err := io.ReadAll(c)
	fmt.Printf("%s %v\n", echo, err)
	// Output: hello <nil>
}

func ExampleDial() {
	clientKey, serverKey := exampleKeys()
	config := &securesp.Config{Identity: serverKey, Trust: trust.Keys()} // trusts nobody
	l, err := securesp.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	_, err = securesp.Dial("tcp", l.Addr().String(), &securesp.Config{
		Identity: clientKey,
		Trust:    trust.Keys(serverKey.Public()),
	})
	// The verdict is here before Dial returns, and it is typed.
	var handshake *securesp.HandshakeError
	fmt.Println(errors.Is(err, securesp.ErrRefused), errors.As(err, &handshake))
	fmt.Println(handshake.Peer.Key == serverKey.Public()) // it was the right server
	// Output:
	// true true
	// true
}

func ExampleListen() {
	clientKey, serverKey := exampleKeys()
	directory, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(directory)

	l, err := securesp.Listen("unix", filepath.Join(directory, "socket"), &securesp.Config{
		Identity:         serverKey,
		Trust:            trust.Keys(clientKey.Public()),
		SocketMode:       0o600,
		OnHandshakeError: func(err error) { log.Print(err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := securesp.Dial("unix", l.Addr().String(), &securesp.Config{
			Identity: clientKey,
			Trust:    trust.Keys(serverKey.Public()),
		})
		if err == nil {
			c.Close()
		}
	}()

	c, err := l.AcceptConn()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.ConnectionState().Peer.Key == clientKey.Public())
	// Output: true
}

// A Dialer fits wherever a net.Dialer's DialContext does.
func ExampleDialer() {
	clientKey, serverKey := exampleKeys()
	l, err := securesp.Listen("tcp", "127.0.0.1:0", &securesp.Config{
		Identity: serverKey,
		Trust:    trust.Keys(clientKey.Public()),
		Protocol: "http/1.1",
	})
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		// A handler can ask who its client is.
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c.(*securesp.Conn).ConnectionState().Peer)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			peer := r.Context().Value(peerKey{}).(trust.Peer)
			fmt.Fprint(w, "hello, ", peer.Key == clientKey.Public())
		}),
	}
	go server.Serve(l)
	defer server.Close()

	dialer := &securesp.Dialer{Config: &securesp.Config{
		Identity: clientKey,
		Trust:    trust.Keys(serverKey.Public()),
		Protocol: "http/1.1",
	}}
	transport := &http.Transport{DialContext: dialer.DialContext}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://" + l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	fmt.Printf("%s\n", body)
	// Output: hello, true
}

type peerKey struct{}

// Any net.Conn can carry a secure connection.
func ExampleClient() {
	clientKey, serverKey := exampleKeys()
	near, far := net.Pipe()
	go func() {
		server := securesp.Server(far, &securesp.Config{Identity: serverKey, Trust: trust.Keys(clientKey.Public())})
		server.WriteMessage([]byte("at your service")) // runs the handshake first
		server.Close()
	}()

	client := securesp.Client(near, &securesp.Config{Identity: clientKey, Trust: trust.Keys(serverKey.Public())})
	defer client.Close()
	message, err := client.ReadMessage(nil)
	fmt.Printf("%s %v\n", message, err)
	// Output: at your service <nil>
}

func ExampleServer() {
	clientKey, serverKey := exampleKeys()
	near, far := net.Pipe()
	client := securesp.Client(near, &securesp.Config{Identity: clientKey, Trust: trust.Keys(serverKey.Public())})
	go func() {
		io.Copy(io.Discard, client) // runs the handshake first
		client.Close()
	}()

	server := securesp.Server(far, &securesp.Config{Identity: serverKey, Trust: trust.Keys(clientKey.Public())})
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fmt.Println(server.HandshakeContext(ctx))
	// Output: <nil>
}

// A Listener secures the connections of any other listener.
func ExampleNewListener() {
	clientKey, serverKey := exampleKeys()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	l := securesp.NewListener(inner, &securesp.Config{Identity: serverKey, Trust: trust.Keys(clientKey.Public())})
	defer l.Close()
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Write([]byte("GET / HTTP/1.1\r\n\r\n")) // never comes out of Accept
			c.Close()
		}
		secure, err := securesp.Dial("tcp", l.Addr().String(), &securesp.Config{
			Identity: clientKey,
			Trust:    trust.Keys(serverKey.Public()),
		})
		if err == nil {
			fmt.Fprint(secure, "it's me")
			secure.Close()
		}
	}()
	c, err := l.Accept()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	fmt.Printf("%s %v\n", text, err)
	// Output: it's me <nil>
}

func ExampleConn_WriteMessage() {
	client, server := examplePair(nil)
	defer server.Close()
	go func() {
		client.WriteMessage([]byte("a header, "), []byte("and a body"))
		client.WriteMessage() // an empty message is one, too
		client.Close()
	}()
	for {
		message, err := server.ReadMessage(nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%q\n", message)
	}
	// Output:
	// "a header, and a body"
	// ""
	// EOF
}

// With a buffer of its own, a loop over messages allocates nothing.
func ExampleConn_ReadMessage() {
	client, server := examplePair(nil)
	defer server.Close()
	go func() {
		for i := range 3 {
			fmt.Fprintf(client, "message %d", i)
		}
		client.Close()
	}()
	var buffer []byte
	for {
		var err error
		if buffer, err = server.ReadMessage(buffer[:0]); err != nil {
			break
		}
		fmt.Printf("%s\n", buffer)
	}
	// Output:
	// message 0
	// message 1
	// message 2
}

// A server that waits on many connections holds a buffer only for those on
// which a message has begun.
func ExampleConn_ReadMessageFunc() {
	client, server := examplePair(nil)
	defer server.Close()
	go func() {
		client.Write([]byte("a message"))
		client.Close()
	}()
	message, err := server.ReadMessageFunc(func(size int) []byte { return make([]byte, 0, size) })
	fmt.Printf("%s %v\n", message, err)
	// Output:
	// a message <nil>
}

func ExampleConn_CloseWrite() {
	client, server := examplePair(nil)
	go func() {
		defer server.Close()
		request, _ := io.ReadAll(server) // ends where the client says
		server.Write(bytes.ToUpper(request))
	}()
	defer client.Close()
	fmt.Fprint(client, "that is all")
	if err := client.CloseWrite(); err != nil {
		log.Fatal(err)
	}
	answer, err := io.ReadAll(client)
	fmt.Printf("%s %v\n", answer, err)
	// Output: THAT IS ALL <nil>
}

func ExampleConn_CloseWithCode() {
	client, server := examplePair(nil)
	const tryTomorrow = securesp.CloseApplication + 1
	go server.CloseWithCode(tryTomorrow)
	defer client.Close()
	_, err := client.ReadMessage(nil)
	var closed *securesp.CloseError
	if errors.As(err, &closed) {
		fmt.Println(closed.Code == tryTomorrow)
	}
	// Output: true
}

func ExampleConn_ConnectionState() {
	client, server := examplePair(nil)
	defer server.Close()
	defer client.Close()
	state := client.ConnectionState()
	fmt.Println(state.Traits.Secure, state.Traits.Hybrid, len(state.Binding))
	fmt.Println(strings.HasPrefix(state.Suite.String(), "Noise_IKhfs_25519+MLKEM768_"))
	// Output:
	// true true 32
	// true
}

func ExampleConn_Stats() {
	client, server := examplePair(nil)
	defer server.Close()
	go func() {
		client.WriteMessage(make([]byte, 1000))
		client.Close()
	}()
	io.Copy(io.Discard, server)
	stats := server.Stats()
	fmt.Println(stats.MessagesReceived, stats.BytesReceived)
	// Output: 1 1000
}

func ExampleConn_WriteClear() {
	client, server := examplePair(func(client, server *securesp.Config) {
		client.AllowClear, server.AllowClear = true, true // it takes both
	})
	defer server.Close()
	go func() {
		client.WriteClear([]byte("anybody may read this, and may have written it"))
		client.Close()
	}()
	payload, err := server.ReadClear(nil)
	fmt.Printf("%s %v\n", payload, err)
	// Output: anybody may read this, and may have written it <nil>
}

// Flush waits until the carrier has taken everything, as before a measurement
// or a long pause.
func ExampleConn_Flush() {
	client, server := examplePair(nil)
	defer server.Close()
	go io.Copy(io.Discard, server)
	defer client.Close()
	for range 100 {
		if err := client.WriteMessage([]byte("tick")); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(client.Flush())
	// Output: <nil>
}

func ExampleConfig_Clone() {
	clientKey, serverKey := exampleKeys()
	base := &securesp.Config{Identity: clientKey, Trust: trust.Keys(serverKey.Public())}
	patient := base.Clone() // base may be in use: it is not changed
	patient.HandshakeTimeout = time.Minute
	fmt.Println(base.HandshakeTimeout, patient.HandshakeTimeout)
	// Output: 0s 1m0s
}

// Two programs that share nothing but a secret.
func ExampleConfig_preSharedKey() {
	secret, err := keys.GenerateShared()
	if err != nil {
		log.Fatal(err)
	}
	near, far := net.Pipe()
	alice := securesp.Client(near, &securesp.Config{PSK: secret, Name: "alice", PeerName: "bob"})
	bob := securesp.Server(far, &securesp.Config{PSK: secret, Name: "bob"}) // whoever has it
	defer bob.Close()
	go func() {
		fmt.Fprint(alice, "hello")
		alice.Close()
	}()
	text, err := io.ReadAll(bob)
	fmt.Printf("%s %v, from %s\n", text, err, bob.ConnectionState().Peer.Name)
	// Output: hello <nil>, from alice
}

// A policy of one's own decides by whatever it likes.
func ExampleConfig_trust() {
	clientKey, serverKey := exampleKeys()
	near, far := net.Pipe()
	server := securesp.Server(far, &securesp.Config{
		Identity: serverKey,
		Trust: trust.Func(func(ctx context.Context, peer trust.Peer) error {
			if peer.Key == clientKey.Public() {
				return nil
			}
			return trust.ErrUnknownKey
		}),
	})
	defer server.Close()
	go io.Copy(io.Discard, server)
	client := securesp.Client(near, &securesp.Config{
		Identity: clientKey,
		Trust:    trust.Anyone(), // no authentication of the server
	})
	defer client.Close()
	fmt.Println(client.HandshakeContext(context.Background()))
	fmt.Println(strings.Contains(client.ConnectionState().Suite.String(), "_XXhfs_"))
	// Output:
	// <nil>
	// true
}

// One suite and no other: both sides must list it.
func ExampleConfig_suites() {
	client, server := examplePair(func(client, server *securesp.Config) {
		only := []mechanism.Suite{mechanism.XXChaChaPoly}
		client.Suites, server.Suites = only, only
	})
	defer server.Close()
	defer client.Close()
	fmt.Println(client.ConnectionState().Suite)
	// Output: Noise_XX_25519_ChaChaPoly_SHA256
}

// Several suites, the best first: what the other side can speak of them is
// used. CURVE has keys of its own, so one policy is put together from two.
func ExampleConfig_mechanisms() {
	clientCurve, serverCurve := exampleCurveKeys()
	hybrid, classical := mechanism.IKhfsAESGCM, mechanism.XXAESGCM
	for _, understood := range []mechanism.Suite{hybrid, mechanism.Curve, classical} {
		client, server := examplePair(func(client, server *securesp.Config) {
			client.Suites = []mechanism.Suite{hybrid, mechanism.Curve, classical}
			client.CurveIdentity = clientCurve
			client.Trust = trust.AnyOf(client.Trust, trust.CurveKeys(serverCurve.Public()))
			server.Suites = []mechanism.Suite{understood}
			server.CurveIdentity = serverCurve
			server.Trust = trust.AnyOf(server.Trust, trust.CurveKeys(clientCurve.Public()))
		})
		fmt.Println(client.ConnectionState().Suite)
		client.Close()
		server.Close()
	}
	// Output:
	// Noise_IKhfs_25519+MLKEM768_AESGCM_SHA256
	// CURVE
	// Noise_XX_25519_AESGCM_SHA256
}

// The key log is for network analysers, and gives all secrecy away.
func ExampleConfig_keyLogWriter() {
	var lines bytes.Buffer // a file, in a program
	client, server := examplePair(func(client, _ *securesp.Config) { client.KeyLogWriter = &lines })
	defer server.Close()
	defer client.Close()
	fmt.Println(strings.Count(lines.String(), "SECURESP ") > 0)
	// Output: true
}
