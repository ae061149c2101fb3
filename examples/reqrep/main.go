// Reqrep asks and answers with mangos' REQ and REP sockets over sealed
// connections:
//
//	reqrep serve bob.key bob.trust securesp+tcp://:7000
//	reqrep ask alice.key spk1:… securesp+tcp://bob.example:7000 question
//
// "securesp keygen" makes the keys; the trust file has a line with the public
// key of each client, and its name. Only the address and the options differ
// from what a mangos program does without security; in return the server knows
// who asks.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "reqrep:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 4 {
		return errors.New("usage: reqrep serve KEYFILE TRUSTFILE URL | reqrep ask KEYFILE PEER URL QUESTION")
	}
	identity, err := keys.Load(args[1])
	if err != nil {
		return err
	}
	config := &securesp.Config{Identity: identity}
	switch {
	case args[0] == "serve" && len(args) == 4:
		if config.Trust, err = trust.File(args[2]); err != nil {
			return err
		}
		sock, _, err := listen(args[3], config)
		if err != nil {
			return err
		}
		return serve(sock)
	case args[0] == "ask" && len(args) == 5:
		peer, err := keys.ParsePublic(args[2])
		if err != nil {
			return err
		}
		config.Trust = trust.Keys(peer)
		answer, err := ask(args[3], config, args[4])
		if err != nil {
			return err
		}
		fmt.Println(answer)
		return nil
	}
	return fmt.Errorf("there is no such use of %q", args[0])
}

// listen returns a REP socket and the address on which it listens.
func listen(url string, config *securesp.Config) (mangos.Socket, string, error) {
	sock, err := rep.NewSocket()
	if err != nil {
		return nil, "", err
	}
	l, err := sock.NewListener(url, spmangos.Options(config))
	if err == nil {
		err = l.Listen()
	}
	if err != nil {
		sock.Close()
		return nil, "", err
	}
	return sock, l.Address(), nil
}

// serve answers until the socket is closed. Each answer says who has asked.
func serve(sock mangos.Socket) error {
	for {
		m, err := sock.RecvMsg()
		if err != nil {
			return err
		}
		state, _ := spmangos.State(m.Pipe)
		answer := fmt.Sprintf("%s, you have asked: %s", state.Peer.Name, strings.TrimSpace(string(m.Body)))
		m.Free()
		if err := sock.Send([]byte(answer)); err != nil {
			return err
		}
	}
}

// ask asks one question.
func ask(url string, config *securesp.Config, question string) (string, error) {
	sock, err := req.NewSocket()
	if err != nil {
		return "", err
	}
	defer sock.Close()
	if err := sock.SetOption(mangos.OptionRecvDeadline, 10*time.Second); err != nil {
		return "", err
	}
	// Dial returns once the server has accepted us, or says why it has not.
	if err := sock.DialOptions(url, spmangos.Options(config)); err != nil {
		return "", err
	}
	if err := sock.Send([]byte(question)); err != nil {
		return "", err
	}
	answer, err := sock.Recv()
	return string(answer), err
}
