package spmangos_test

import (
	"errors"
	"fmt"
	"log"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

// newKey stands for keys.Load, which programs will rather use.
func newKey() *keys.Private {
	k, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	return k
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A server that knows who asks.
func Example() {
	serverKey, clientKey := newKey(), newKey()

	server, err := rep.NewSocket()
	check(err)
	defer server.Close()
	l, err := server.NewListener("securesp+tcp://127.0.0.1:0", spmangos.Options(&securesp.Config{
		Identity: serverKey,
		Trust:    trust.Keys(clientKey.Public()),
	}))
	check(err)
	check(l.Listen())

	client, err := req.NewSocket()
	check(err)
	defer client.Close()
	check(client.DialOptions(l.Address(), spmangos.Options(&securesp.Config{
		Identity: clientKey,
		Trust:    trust.Keys(serverKey.Public()),
	})))
	check(client.Send([]byte("hello")))

	m, err := server.RecvMsg()
	check(err)
	sender, ok := spmangos.PeerKey(m.Pipe)
	fmt.Printf("%s, from the client: %v\n", m.Body, ok && sender == clientKey.Public())
	m.Free()
	// Output: hello, from the client: true
}

// Whatever listens or dials without a config of its own uses the default.
func ExampleSetDefault() {
	key := newKey()
	spmangos.SetDefault(&securesp.Config{Identity: key, Trust: trust.Keys(key.Public())})
	defer spmangos.SetDefault(nil)

	a, err := pair.NewSocket()
	check(err)
	defer a.Close()
	b, err := pair.NewSocket()
	check(err)
	defer b.Close()
	l, err := a.NewListener("securesp+tcp://127.0.0.1:0", nil)
	check(err)
	check(l.Listen())
	check(b.Dial(l.Address()))
	check(b.Send([]byte("hello")))
	got, err := a.Recv()
	check(err)
	fmt.Printf("%s\n", got)
	// Output: hello
}

// A refused client that gives up, instead of asking for ever.
func ExampleOptions() {
	serverKey, strangerKey := newKey(), newKey()
	server, err := rep.NewSocket()
	check(err)
	defer server.Close()
	l, err := server.NewListener("securesp+tcp://127.0.0.1:0", spmangos.Options(&securesp.Config{
		Identity: serverKey,
		Trust:    trust.Keys(), // nobody
	}))
	check(err)
	check(l.Listen())

	reasons := make(chan error, 1)
	options := spmangos.Options(&securesp.Config{
		Identity:         strangerKey,
		Trust:            trust.Keys(serverKey.Public()),
		OnHandshakeError: func(err error) { reasons <- err },
	})
	options[spmangos.OptionStopOnAuthError] = true
	options[mangos.OptionDialAsynch] = true
	client, err := req.NewSocket()
	check(err)
	defer client.Close()
	check(client.DialOptions(l.Address(), options)) // returns at once
	fmt.Println(errors.Is(<-reasons, securesp.ErrRefused))
	// Output: true
}

// The state of a connection, as an event hook sees it.
func ExampleState() {
	key := newKey()
	options := spmangos.Options(&securesp.Config{Identity: key, Trust: trust.Keys(key.Public())})
	a, err := pair.NewSocket()
	check(err)
	defer a.Close()
	attached := make(chan string, 1)
	a.SetPipeEventHook(func(event mangos.PipeEvent, p mangos.Pipe) {
		if event != mangos.PipeEventAttached {
			return
		}
		if state, ok := spmangos.State(p); ok {
			attached <- fmt.Sprintf("secure: %v, limit: %d", state.Traits.Secure, state.PeerMaxMessageSize)
		}
	})
	l, err := a.NewListener("securesp+tcp://127.0.0.1:0", options)
	check(err)
	check(l.Listen())
	b, err := pair.NewSocket()
	check(err)
	defer b.Close()
	check(b.DialOptions(l.Address(), options))
	fmt.Println(<-attached)
	// Output: secure: true, limit: 1048576
}

func ExamplePeerKey() {
	_, ok := spmangos.PeerKey(nil) // as in a message that was not received
	fmt.Println(ok)
	// Output: false
}
