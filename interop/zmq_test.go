package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/zmtp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

const (
	zmqTimeout     = 20 * time.Second
	maxMessageSize = 4 << 20
)

// party is a key and the certificate files that hold it.
type party struct {
	key       *keys.CurvePrivate
	directory string // in which the public certificate is the only *.key
	secret    string // the secret certificate
}

func newParty(t *testing.T) party {
	t.Helper()
	is := is.New(t)
	key, err := keys.GenerateCurve()
	is.NoErr(err) // generate a key
	directory := t.TempDir()
	path := filepath.Join(directory, "party.key")
	cert := keys.CurveCert{Public: key.Public(), Private: key, Metadata: map[string]string{"name": t.Name()}}
	is.NoErr(cert.Save(path)) // write the certificate
	return party{key, directory, path + "_secret"}
}

// connection is our side of a connection under way to a libzmq socket.
type connection struct {
	carrier net.Conn
	config  zmtp.Config
}

// arrangement says who plays which part.
type arrangement struct {
	ourRole mechanism.Role // in CURVE
	weDial  bool
	ourType string
	zmqType string
}

func (a arrangement) String() string {
	who := "libzmq dials"
	if a.weDial {
		who = "we dial"
	}
	return fmt.Sprintf("%s to %s as %s, %s", a.ourType, a.zmqType, a.ourRole, who)
}

// connect makes both sides' sockets and brings them to where our handshake
// can begin.
func (a arrangement) connect(t *testing.T, peer *zmqPeer, ours, theirs party, change func(zmq map[string]any, us *zmtp.Config)) connection {
	t.Helper()
	is := is.New(t)
	us := zmtp.Config{
		Role:           a.ourRole,
		Identity:       ours.key,
		SocketType:     a.ourType,
		Authorize:      func(client keys.CurvePublic) bool { return client == theirs.key.Public() },
		MaxMessageSize: maxMessageSize,
	}
	them := map[string]any{"type": a.zmqType, "certificate": theirs.secret}
	if a.ourRole == mechanism.Initiator {
		us.Server = theirs.key.Public()
	} else {
		them["server"] = ours.key.Public()
	}
	if change != nil {
		change(them, &us)
	}
	var carrier net.Conn
	if a.weDial {
		port := peer.do("open", them).Port
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		is.NoErr(err) // dial libzmq
		carrier = conn
	} else {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		is.NoErr(err) // listen
		defer l.Close()
		them["address"] = l.Addr().String()
		peer.do("open", them)
		is.NoErr(l.(*net.TCPListener).SetDeadline(time.Now().Add(zmqTimeout))) // bound the wait
		carrier, err = l.Accept()
		is.NoErr(err) // accept libzmq
	}
	t.Cleanup(func() { carrier.Close() })
	is.NoErr(carrier.SetDeadline(time.Now().Add(zmqTimeout))) // bound the test
	return connection{carrier, us}
}

// handshake completes our side.
func (c connection) handshake(t *testing.T) *zmtp.Conn {
	t.Helper()
	is := is.New(t)
	conn, err := zmtp.Handshake(c.carrier, c.config)
	is.NoErr(err) // handshake with libzmq
	return conn
}

// messageSizes are around what changes in ZMTP's frames, up to 1 MiB.
var messageSizes = []int{0, 1, 200, 222, 223, 255, 256, 1 << 16, 1 << 20}

func content(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7 + size)
	}
	return b
}

// TestZMQ exchanges messages with libzmq in every arrangement.
func TestZMQ(t *testing.T) {
	for _, role := range []mechanism.Role{mechanism.Initiator, mechanism.Responder} {
		for _, weDial := range []bool{true, false} {
			for _, types := range [][2]string{{"PUSH", "PULL"}, {"PULL", "PUSH"}, {"REQ", "REP"}, {"REP", "REQ"}} {
				a := arrangement{role, weDial, types[0], types[1]}
				t.Run(a.String(), a.exchange)
			}
		}
	}
}

func (a arrangement) exchange(t *testing.T) {
	is := is.New(t)
	peer := startZMQ(t)
	ours, theirs := newParty(t), newParty(t)
	c := a.connect(t, peer, ours, theirs, nil).handshake(t)
	is.Equal(peer.event(), "HANDSHAKE_SUCCEEDED 0")
	is.Equal(c.Peer(), theirs.key.Public())
	theirType, _ := c.Metadata().Get("Socket-Type")
	is.Equal(string(theirType), a.zmqType)

	for _, size := range messageSizes {
		a.round(t, c, peer, [][]byte{content(size)})
	}
	a.round(t, c, peer, [][]byte{content(3), {}, content(70_000), {}})
}

// round passes one message over, and for the sockets that are made for it, one
// back.
func (a arrangement) round(t *testing.T, c *zmtp.Conn, peer *zmqPeer, parts [][]byte) {
	t.Helper()
	is := is.New(t)
	// REQ and REP put an empty part before those of the application
	// (RFC 28); in libzmq their sockets add and remove it.
	var envelope [][]byte
	if a.ourType == "REQ" || a.ourType == "REP" {
		envelope = [][]byte{{}}
	}
	toZMQ := func() {
		is.NoErr(c.Send(append(envelope, parts...)...)) // send to libzmq
		is.True(equalParts(peer.receive(), parts))
	}
	fromZMQ := func() {
		peer.send(parts...)
		got, err := c.Receive()
		is.NoErr(err) // receive from libzmq
		is.True(equalParts(got, append(envelope, parts...)))
	}
	switch a.ourType {
	case "PUSH":
		toZMQ()
	case "PULL":
		fromZMQ()
	case "REQ":
		toZMQ()
		fromZMQ()
	case "REP":
		fromZMQ()
		toZMQ()
	}
}

func equalParts(a, b [][]byte) bool {
	return len(a) == len(b) && bytes.Equal(bytes.Join(a, []byte("|")), bytes.Join(b, []byte("|")))
}

// connectionEnded reports whether err says that the peer closed or reset the
// connection.
func connectionEnded(err error) bool {
	var timeout net.Error
	isTimeout := errors.As(err, &timeout) && timeout.Timeout()
	var op *net.OpError
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) && !isTimeout
}

// TestZMQAuthorized: with our certificate file in the directory that pyzmq's
// authenticator reads, we are let in.
func TestZMQAuthorized(t *testing.T) {
	is := is.New(t)
	peer := startZMQ(t)
	ours := newParty(t)
	peer.do("allow", map[string]any{"directory": ours.directory})
	a := arrangement{mechanism.Initiator, true, "PUSH", "PULL"}
	c := a.connect(t, peer, ours, newParty(t), nil).handshake(t)
	is.Equal(peer.event(), "HANDSHAKE_SUCCEEDED 0")
	a.round(t, c, peer, [][]byte{content(10)})
}

// TestZMQCertificate: we use a key that pyzmq made.
func TestZMQCertificate(t *testing.T) {
	is := is.New(t)
	peer := startZMQ(t)
	directory := t.TempDir()
	peer.do("certify", map[string]any{"directory": directory})
	public, err := keys.LoadCurveCert(filepath.Join(directory, "made.key"))
	is.NoErr(err) // load the public certificate
	secret := filepath.Join(directory, "made.key_secret")
	_, err = keys.LoadCurveCert(secret)
	is.True(errors.Is(err, keys.ErrPermissions)) // pyzmq lets everybody read it
	is.NoErr(os.Chmod(secret, 0o600))            // as our error says
	made, err := keys.LoadCurveCert(secret)
	is.NoErr(err) // load the secret certificate
	is.Equal(made.Public, public.Public)
	is.Equal(made.Metadata["name"], "pyzmq")

	peer.do("allow", map[string]any{"directory": directory})
	a := arrangement{mechanism.Initiator, true, "PUSH", "PULL"}
	a.connect(t, peer, party{key: made.Private}, newParty(t), nil).handshake(t)
	is.Equal(peer.event(), "HANDSHAKE_SUCCEEDED 0")
}

// TestZMQSocketTypes: sockets that do not go together do not connect.
func TestZMQSocketTypes(t *testing.T) {
	for _, role := range []mechanism.Role{mechanism.Initiator, mechanism.Responder} {
		t.Run(role.String(), func(t *testing.T) {
			is := is.New(t)
			peer := startZMQ(t)
			a := arrangement{role, true, "PUSH", "REP"}
			c := a.connect(t, peer, newParty(t), newParty(t), nil)
			_, err := zmtp.Handshake(c.carrier, c.config)
			if role == mechanism.Responder {
				is.True(errors.Is(err, zmtp.ErrSocketType))
			} else {
				is.True(connectionEnded(err)) // libzmq refuses our INITIATE
			}
		})
	}
}
