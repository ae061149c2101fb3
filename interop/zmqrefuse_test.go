package interop

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/zmtp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/curve"
)

// What libzmq reports when a handshake failed.
const (
	zmqCryptographic = "HANDSHAKE_FAILED_PROTOCOL 285212673" // ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC
	zmqDisconnected  = "HANDSHAKE_FAILED_NO_DETAIL"          // and an error number of the system
	zmqDenied        = "HANDSHAKE_FAILED_AUTH 400"
)

// TestZMQWrongServerKey: a client with the wrong server key learns nothing but
// that the connection ends, and its server sees a HELLO that it cannot open.
// So it is among libzmq's own, and between them and us.
func TestZMQWrongServerKey(t *testing.T) {
	t.Run("reference", func(t *testing.T) {
		is := is.New(t)
		server, client := startZMQ(t), startZMQ(t)
		connectZMQ(server, client, newParty(t), newParty(t), newParty(t).key.Public())
		is.Equal(server.event(), zmqCryptographic)
		is.True(strings.HasPrefix(client.event(), zmqDisconnected))
	})
	t.Run("our client", func(t *testing.T) {
		is := is.New(t)
		peer := startZMQ(t)
		a := arrangement{mechanism.Initiator, true, "PUSH", "PULL"}
		c := a.connect(t, peer, newParty(t), newParty(t), func(_ map[string]any, us *zmtp.Config) {
			us.Server = newParty(t).key.Public()
		})
		_, err := zmtp.Handshake(c.carrier, c.config)
		is.True(connectionEnded(err))
		is.Equal(peer.event(), zmqCryptographic)
	})
	t.Run("libzmq's client", func(t *testing.T) {
		is := is.New(t)
		peer := startZMQ(t)
		a := arrangement{mechanism.Responder, false, "PULL", "PUSH"}
		c := a.connect(t, peer, newParty(t), newParty(t), func(zmq map[string]any, _ *zmtp.Config) {
			zmq["server"] = newParty(t).key.Public()
		})
		_, err := zmtp.Handshake(c.carrier, c.config)
		is.True(errors.Is(err, mechanism.ErrAuthentication))
		is.NoErr(c.carrier.Close()) // as libzmq does
		is.True(strings.HasPrefix(peer.event(), zmqDisconnected))
	})
}

// TestZMQUnauthorized: a client whose key is not on the list gets ERROR 400.
func TestZMQUnauthorized(t *testing.T) {
	t.Run("reference", func(t *testing.T) {
		is := is.New(t)
		server, client := startZMQ(t), startZMQ(t)
		server.do("allow", map[string]any{"directory": newParty(t).directory}) // somebody else
		theirs := newParty(t)
		connectZMQ(server, client, theirs, newParty(t), theirs.key.Public())
		is.Equal(server.event(), zmqDenied)
		is.Equal(client.event(), zmqDenied)
	})
	t.Run("our client", func(t *testing.T) {
		is := is.New(t)
		peer := startZMQ(t)
		peer.do("allow", map[string]any{"directory": newParty(t).directory}) // somebody else
		a := arrangement{mechanism.Initiator, true, "PUSH", "PULL"}
		c := a.connect(t, peer, newParty(t), newParty(t), nil)
		_, err := zmtp.Handshake(c.carrier, c.config)
		var refused *curve.RefusedError
		is.True(errors.As(err, &refused))
		is.Equal(refused.Status, curve.StatusDenied)
		is.Equal(peer.event(), zmqDenied)
	})
	t.Run("libzmq's client", func(t *testing.T) {
		is := is.New(t)
		peer := startZMQ(t)
		ours, theirs := newParty(t), newParty(t)
		a := arrangement{mechanism.Responder, false, "PULL", "PUSH"}
		c := a.connect(t, peer, ours, theirs, func(_ map[string]any, us *zmtp.Config) {
			us.Authorize = func(client keys.CurvePublic) bool {
				return client != theirs.key.Public() // anybody else
			}
		})
		_, err := zmtp.Handshake(c.carrier, c.config)
		is.True(errors.Is(err, zmtp.ErrUnauthorized))
		is.Equal(peer.event(), zmqDenied)
	})
}

// connectZMQ has a libzmq PUSH as CURVE client connect to a libzmq PULL.
func connectZMQ(server, client *zmqPeer, serverParty, clientParty party, serverKey keys.CurvePublic) {
	port := server.do("open", map[string]any{"type": "PULL", "certificate": serverParty.secret}).Port
	client.do("open", map[string]any{
		"type":        "PUSH",
		"certificate": clientParty.secret,
		"server":      serverKey,
		"address":     net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
	})
}
