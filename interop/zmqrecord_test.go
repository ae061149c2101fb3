package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/zmtp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

var updateZMQ = flag.Bool("update-zmq", false, "write the recordings of libzmq that package zmtp's tests replay")

// recording is one connection with libzmq, as in the files that
// internal/zmtp's tests replay.
type recording struct {
	Libzmq   string // its version
	Role     string // ours
	Identity string // our static key
	Peer     string // libzmq's public key
	Random   string // our randomness
	Sent     string
	Received string
}

// recorder records what passes through a carrier.
type recorder struct {
	net.Conn
	sent, received bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) {
	n, err := r.Conn.Write(b)
	r.sent.Write(b[:n])
	return n, err
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.received.Write(b[:n])
	return n, err
}

// fixedBytes returns n bytes that are the same each time.
func fixedBytes(label string, n int) []byte {
	var out []byte
	for i := byte(0); len(out) < n; i++ {
		sum := sha256.Sum256(append([]byte(label), i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// TestZMQRecording has one request and reply in each role with keys and
// randomness of our own that are always the same. What does not depend on
// libzmq's randomness must be what it was when the recording was made.
func TestZMQRecording(t *testing.T) {
	for _, a := range []arrangement{
		{mechanism.Initiator, true, "REQ", "REP"},
		{mechanism.Responder, false, "REP", "REQ"},
	} {
		t.Run(a.ourRole.String(), func(t *testing.T) {
			is := is.New(t)
			peer := startZMQ(t)
			key, err := keys.NewCurvePrivate(fixedBytes("recording: static key", 32))
			is.NoErr(err) // make our key
			random := fixedBytes("recording: randomness", 96)
			theirs := newParty(t)
			c := a.connect(t, peer, party{key: key}, theirs, func(_ map[string]any, us *zmtp.Config) {
				us.Rand = bytes.NewReader(random)
				if a.ourRole == mechanism.Initiator {
					us.Server = theirs.key.Public()
				}
			})
			r := &recorder{Conn: c.carrier}
			c.carrier = r
			conn := c.handshake(t)
			a.round(t, conn, peer, [][]byte{[]byte("hello"), []byte("world")})
			now := recording{
				Libzmq:   peer.do("version", nil).Version,
				Role:     a.ourRole.String(),
				Identity: key.Reveal(),
				Peer:     theirs.key.Public().String(),
				Random:   hex.EncodeToString(random),
				Sent:     hex.EncodeToString(r.sent.Bytes()),
				Received: hex.EncodeToString(r.received.Bytes()),
			}
			file := filepath.Join("..", "internal", "zmtp", "testdata", "libzmq-"+now.Role+".json")
			if *updateZMQ {
				text, err := json.MarshalIndent(now, "", "\t")
				is.NoErr(err)                                           // encode the recording
				is.NoErr(os.WriteFile(file, append(text, '\n'), 0o644)) // write the recording
			}
			text, err := os.ReadFile(file)
			is.NoErr(err) // read the recording
			var then recording
			is.NoErr(json.Unmarshal(text, &then)) // decode the recording
			const greeting = 2 * 64
			is.Equal(now.Sent[:greeting], then.Sent[:greeting])
			is.Equal(len(now.Sent), len(then.Sent))
			is.Equal(len(now.Received), len(then.Received))
			is.True(strings.Contains(now.Sent, hex.EncodeToString([]byte("MESSAGE"))))
		})
	}
}
