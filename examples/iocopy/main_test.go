package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func TestMain(m *testing.M) { leak.Main(m) }

// parties returns the configurations of a sender and a receiver that trust
// each other.
func parties(t *testing.T) (sender, receiver *securesp.Config) {
	is := is.New(t)
	is.Helper()
	a, err := keys.Generate()
	is.NoErr(err)
	b, err := keys.Generate()
	is.NoErr(err)
	return &securesp.Config{Identity: a, Trust: trust.Keys(b.Public())},
		&securesp.Config{Identity: b, Trust: trust.Keys(a.Public())}
}

func TestCopy(t *testing.T) {
	is := is.New(t)
	sender, receiver := parties(t)
	l, err := securesp.Listen("tcp", "127.0.0.1:0", receiver)
	is.NoErr(err) // listen
	original := make([]byte, 5<<20+1)
	rand.Read(original)
	sent := make(chan error, 1)
	go func() { sent <- send(l.Addr().String(), sender, bytes.NewReader(original)) }()
	var copied bytes.Buffer
	is.NoErr(receive(l, &copied))                  // receive
	is.NoErr(<-sent)                               // send
	is.True(bytes.Equal(copied.Bytes(), original)) // the content
}

// broken is a source that fails after some data.
type broken struct{ left int }

var errBroken = errors.New("the disk has failed")

func (b *broken) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errBroken
	}
	n := min(len(p), b.left)
	b.left -= n
	return n, nil
}

// TestCutShort has the sender vanish in the midst of the data.
func TestCutShort(t *testing.T) {
	is := is.New(t)
	sender, receiver := parties(t)
	l, err := securesp.Listen("tcp", "127.0.0.1:0", receiver)
	is.NoErr(err) // listen
	sent := make(chan error, 1)
	go func() {
		conn, err := securesp.Dial("tcp", l.Addr().String(), sender)
		if err == nil {
			_, err = io.Copy(conn, &broken{left: 1 << 20})
			conn.Flush()
			conn.NetConn().Close() // as if the machine had gone
			conn.Close()
		}
		sent <- err
	}()
	err = receive(l, io.Discard)
	is.True(errors.Is(err, io.ErrUnexpectedEOF)) // the receiver knows that something is missing
	is.True(errors.Is(<-sent, errBroken))        // and the sender why
}
