// Http runs an HTTP server and client over sealed connections, with the
// standard library's http.Server and http.Transport:
//
//	http serve bob.key bob.trust :7000
//	http get alice.key spk1:… http://bob.example:7000/
//
// "securesp keygen" makes the keys; the trust file has a line with the public
// key and the name of each client. Handlers know their client by both: there
// are no passwords and no tokens, and removing a line ends the client's
// connections.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "http:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return errors.New("usage: http serve KEYFILE TRUSTFILE ADDRESS | http get KEYFILE PEER URL")
	}
	identity, err := keys.Load(args[1])
	if err != nil {
		return err
	}
	config := &securesp.Config{Identity: identity, Protocol: "http/1.1"}
	switch args[0] {
	case "serve":
		if config.Trust, err = trust.File(args[2]); err != nil {
			return err
		}
		l, err := securesp.Listen("tcp", args[3], config)
		if err != nil {
			return err
		}
		return newServer().Serve(l)
	case "get":
		peer, err := keys.ParsePublic(args[2])
		if err != nil {
			return err
		}
		config.Trust = trust.Keys(peer)
		response, err := newClient(config).Get(args[3])
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.Copy(os.Stdout, response.Body)
		return err
	}
	return fmt.Errorf("there is no %q", args[0])
}

// peerKey is the key of the peer in a request's context.
type peerKey struct{}

// newServer returns a server whose handlers find out with peerOf who asks.
func newServer() *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(greet),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			// A Listener has done the handshake before Accept returns.
			return context.WithValue(ctx, peerKey{}, c.(*securesp.Conn).ConnectionState().Peer)
		},
	}
}

func peerOf(r *http.Request) trust.Peer { return r.Context().Value(peerKey{}).(trust.Peer) }

func greet(w http.ResponseWriter, r *http.Request) {
	peer := peerOf(r)
	fmt.Fprintf(w, "Hello, %s, known by %v.\n", peer.Name, peer.Key)
}

// newClient returns a client for URLs that begin with "http://": the
// connection is sealed below HTTP.
func newClient(config *securesp.Config) *http.Client {
	dialer := &securesp.Dialer{Config: config}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
}
