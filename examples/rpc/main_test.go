package main

import (
	"errors"
	"net"
	"net/rpc"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func TestMain(m *testing.M) { leak.Main(m) }

func generate(t *testing.T) *keys.Private {
	is := is.New(t)
	is.Helper()
	key, err := keys.Generate()
	is.NoErr(err)
	return key
}

func TestNotes(t *testing.T) {
	is := is.New(t)
	server, alice, bob := generate(t), generate(t), generate(t)
	l, err := securesp.Listen("tcp", "127.0.0.1:0", &securesp.Config{
		Identity: server, Protocol: "notes", Trust: trust.Keys(alice.Public(), bob.Public()),
	})
	is.NoErr(err) // listen
	served := make(chan error, 1)
	go func() { served <- new(store).serve(l) }()

	connect := func(identity *keys.Private) *rpc.Client {
		is.Helper()
		c, err := dial(l.Addr().String(), &securesp.Config{
			Identity: identity, Protocol: "notes", Trust: trust.Keys(server.Public()),
		})
		is.NoErr(err) // dial
		return c
	}
	var note Note
	a, b := connect(alice), connect(bob)
	is.NoErr(a.Call("Notes.Put", Note{"shopping", "milk"}, &struct{}{})) // alice writes
	is.NoErr(a.Call("Notes.Get", "shopping", &note))                     // alice reads
	is.Equal(note.Text, "milk")
	err = b.Call("Notes.Get", "shopping", &note)
	var failed rpc.ServerError
	is.True(errors.As(err, &failed)) // bob does not see alice's note
	is.NoErr(a.Close())
	again := connect(alice)
	is.NoErr(again.Call("Notes.Get", "shopping", &note)) // the owner is the key, not the connection
	is.NoErr(again.Close())
	is.NoErr(b.Close())
	is.NoErr(l.Close())
	is.True(errors.Is(<-served, net.ErrClosed))
}
