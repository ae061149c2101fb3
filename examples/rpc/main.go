// Rpc keeps notes for others, with the standard library's net/rpc over sealed
// connections:
//
//	rpc serve bob.key bob.trust :7000
//	rpc put alice.key spk1:… bob.example:7000 title text
//	rpc get alice.key spk1:… bob.example:7000 title
//
// "securesp keygen" makes the keys; the trust file has a line with the public
// key of each client. net/rpc does not tell a method who calls it, so each
// connection has a server of its own, which knows its peer: clients see
// nobody's notes but their own.
package main

import (
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"sync"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rpc:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 4 {
		return errors.New("usage: rpc serve KEYFILE TRUSTFILE ADDRESS | rpc put KEYFILE PEER ADDRESS TITLE TEXT | rpc get KEYFILE PEER ADDRESS TITLE")
	}
	identity, err := keys.Load(args[1])
	if err != nil {
		return err
	}
	config := &securesp.Config{Identity: identity, Protocol: "notes"}
	if args[0] == "serve" {
		if config.Trust, err = trust.File(args[2]); err != nil {
			return err
		}
		l, err := securesp.Listen("tcp", args[3], config)
		if err != nil {
			return err
		}
		return new(store).serve(l)
	}
	peer, err := keys.ParsePublic(args[2])
	if err != nil {
		return err
	}
	config.Trust = trust.Keys(peer)
	client, err := dial(args[3], config)
	if err != nil {
		return err
	}
	defer client.Close()
	switch {
	case args[0] == "put" && len(args) == 6:
		return client.Call("Notes.Put", Note{args[4], args[5]}, &struct{}{})
	case args[0] == "get" && len(args) == 5:
		var note Note
		if err := client.Call("Notes.Get", args[4], &note); err != nil {
			return err
		}
		fmt.Println(note.Text)
		return nil
	}
	return fmt.Errorf("there is no such call of %q", args[0])
}

// dial returns a client of the server at address.
func dial(address string, config *securesp.Config) (*rpc.Client, error) {
	conn, err := securesp.Dial("tcp", address, config)
	if err != nil {
		return nil, err
	}
	return rpc.NewClient(conn), nil
}

// store holds everybody's notes.
type store struct {
	mu    sync.Mutex
	notes map[keys.Public]map[string]string // by owner and title
}

// serve serves all connections from l until that fails.
func (s *store) serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		server := rpc.NewServer()
		owner := conn.(*securesp.Conn).ConnectionState().Peer.Key
		if err := server.Register(&Notes{s, owner}); err != nil {
			conn.Close()
			return err
		}
		go server.ServeConn(conn) // closes conn
	}
}

// Note is one note.
type Note struct{ Title, Text string }

// Notes are the methods for the holder of one key.
type Notes struct {
	store *store
	owner keys.Public
}

// Put keeps a note.
func (n *Notes) Put(note Note, _ *struct{}) error {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	if n.store.notes == nil {
		n.store.notes = make(map[keys.Public]map[string]string)
	}
	if n.store.notes[n.owner] == nil {
		n.store.notes[n.owner] = make(map[string]string)
	}
	n.store.notes[n.owner][note.Title] = note.Text
	return nil
}

// Get returns the note of that title.
func (n *Notes) Get(title string, note *Note) error {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	text, ok := n.store.notes[n.owner][title]
	if !ok {
		return errors.New("you have no note of that title")
	}
	*note = Note{title, text}
	return nil
}
