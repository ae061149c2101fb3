package main

import (
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestJoin(t *testing.T) {
	is := is.New(t)
	bob, err := keys.Generate()
	is.NoErr(err)
	alice, err := keys.Generate()
	is.NoErr(err)

	server, err := rep.NewSocket()
	is.NoErr(err)
	defer server.Close()
	l, err := server.NewListener("tcp://127.0.0.1:0", nil)
	is.NoErr(err)
	is.NoErr(l.Listen())
	there, err := join("securesp+tcp://127.0.0.1:0", spmangos.Options(&securesp.Config{Identity: bob, Trust: trust.Keys(alice.Public())}),
		l.Address(), nil)
	is.NoErr(err) // beside the server
	defer there.close()
	here, err := join("tcp://127.0.0.1:0", nil,
		there.address, spmangos.Options(&securesp.Config{Identity: alice, Trust: trust.Keys(bob.Public())}))
	is.NoErr(err) // beside the client
	defer here.close()

	client, err := req.NewSocket()
	is.NoErr(err)
	defer client.Close()
	for _, s := range []mangos.Socket{client, server} {
		is.NoErr(s.SetOption(mangos.OptionRecvDeadline, 20*time.Second))
	}
	is.NoErr(client.Dial(here.address))
	for range 3 {
		is.NoErr(client.Send([]byte("anybody there?")))
		question, err := server.Recv()
		is.NoErr(err)
		is.Equal(string(question), "anybody there?")
		is.NoErr(server.Send([]byte("yes")))
		answer, err := client.Recv()
		is.NoErr(err)
		is.Equal(string(answer), "yes")
	}
}
