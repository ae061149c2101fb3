package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"strings"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/unixsock"
)

// endpoint is where to listen or dial: a network and an address as package
// securesp knows them.
type endpoint struct{ network, address string }

// parseEndpoint understands NETWORK://ADDRESS, and ADDRESS alone as TCP's. The
// networks themselves are package securesp's business. As mangos writes
// addresses of sealed sockets, NETWORK may start with "securesp+".
func parseEndpoint(text string) (endpoint, error) {
	network, address, found := strings.Cut(text, "://")
	if !found {
		network, address = "tcp", text
	}
	e := endpoint{strings.TrimPrefix(network, "securesp+"), address}
	if e.isSocket() {
		if address == "" {
			return e, usagef("address %q: the path is missing; write ipc:///run/example.socket", text)
		}
		return e, nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		why := "it is none"
		if a := new(net.AddrError); errors.As(err, &a) {
			why = a.Err
		}
		return e, usagef("address %q: %s; write tcp://HOST:PORT, HOST:PORT or ipc://PATH", text, why)
	}
	return e, nil
}

func (e endpoint) String() string { return e.network + "://" + e.address }

// isSocket reports whether e is a UNIX socket.
func (e endpoint) isSocket() bool { return e.network == "unix" || e.network == "ipc" }

// at returns e with the address that a listener really has.
func (e endpoint) at(l net.Listener) endpoint {
	return endpoint{e.network, l.Addr().String()}
}

// plainNetwork returns the network for connections that are not sealed, which
// must be streams.
func (e endpoint) plainNetwork() (string, error) {
	switch e.network {
	case "unix", "ipc":
		return "unix", nil
	case "tcp", "tcp4", "tcp6":
		return e.network, nil
	}
	return "", usagef("the plain side of a tunnel is tcp:// or ipc://, not %s", e)
}

// listenPlain listens for connections that are not sealed. A socket file gets
// the given mode; one that a dead process has left behind is replaced.
func listenPlain(e endpoint, mode fs.FileMode) (net.Listener, error) {
	network, err := e.plainNetwork()
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		return unixsock.Listen(e.address, mode)
	}
	return net.Listen(network, e.address)
}

// listenSealed listens for sealed connections, and logs who fails to make one.
func listenSealed(e endpoint, config *securesp.Config, log *slog.Logger) (*securesp.Listener, error) {
	config = config.Clone()
	config.OnHandshakeError = func(err error) {
		args := []any{"err", plainText(err)}
		var handshake *securesp.HandshakeError
		if errors.As(err, &handshake) && !handshake.Peer.Key.IsZero() {
			args = append(args, "peer", handshake.Peer.Key.String())
		}
		log.Warn("handshake failed", args...)
	}
	return securesp.Listen(e.network, e.address, config)
}
