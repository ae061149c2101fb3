// Sealed-reqrep has clients ask and workers answer through a device that
// nobody trusts: it spreads the requests over the workers, but has no key and
// sees nothing but sealed messages.
//
//	securesp keygen alice.key
//	securesp pub -name alice alice.key > service.trust
//	securesp keygen -service service.key > service.pub
//
//	sealed-reqrep device tcp://127.0.0.1:7000 tcp://127.0.0.1:7001
//	sealed-reqrep work one service.key service.trust tcp://127.0.0.1:7001
//	sealed-reqrep work two service.key service.trust tcp://127.0.0.1:7001
//	sealed-reqrep ask alice.key service.pub tcp://127.0.0.1:7000 'who are you?' 'and now?'
//
// All workers of a service share its key; clients know its public half. Each
// worker knows who asks, by key. One that dies is replaced by another: REQ
// sockets ask again. Whether the connections themselves are secure is another
// matter; here they are not.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	"go.nanomsg.org/mangos/v3/protocol/xrep"
	"go.nanomsg.org/mangos/v3/protocol/xreq"
	_ "go.nanomsg.org/mangos/v3/transport/tcp"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

// retry is how long an answer may take before its request is repeated.
const retry = 500 * time.Millisecond

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sealed-reqrep:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "device":
		if _, err := newDevice(args[1], args[2]); err != nil {
			return err
		}
		select {} // until we are interrupted
	case len(args) == 5 && args[0] == "work":
		return work(args[1], args[2], args[3], args[4])
	case len(args) >= 5 && args[0] == "ask":
		return askAll(out, args[1], args[2], args[3], args[4:])
	}
	return errors.New("usage: sealed-reqrep device FRONT BACK | " +
		"sealed-reqrep work NAME SERVICEKEY TRUSTFILE URL | sealed-reqrep ask KEYFILE SERVICEPUB URL QUESTIONS")
}

func work(name, keyFile, trustFile, url string) error {
	key, err := keys.LoadService(keyFile)
	if err != nil {
		return err
	}
	policy, err := trust.File(trustFile) // may change at any time
	if err != nil {
		return err
	}
	sock, err := newWorker(key, policy, url)
	if err != nil {
		return err
	}
	return serve(sock, name)
}

func askAll(out io.Writer, keyFile, publicFile, url string, questions []string) error {
	identity, err := keys.Load(keyFile)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(publicFile)
	if err != nil {
		return err
	}
	service, err := keys.ParseServicePublic(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	sock, err := newClient(identity, service, url)
	if err != nil {
		return err
	}
	defer sock.Close()
	for _, question := range questions {
		if err := sock.Send([]byte(question)); err != nil {
			return err
		}
		answer, err := sock.Recv() // whatever it is, a worker of the service has sealed it
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", answer)
	}
	return nil
}

// device forwards between clients, which connect to its front, and workers,
// which connect to its back. It is one like any other.
type device struct {
	sockets   [2]mangos.Socket
	addresses [2]string
}

func newDevice(front, back string) (d device, err error) {
	for i, open := range []func() (mangos.Socket, error){xrep.NewSocket, xreq.NewSocket} {
		if d.sockets[i], err = open(); err != nil {
			return d, err
		}
		l, err := d.sockets[i].NewListener([]string{front, back}[i], nil)
		if err == nil {
			err = l.Listen()
		}
		if err != nil {
			return d, err
		}
		d.addresses[i] = l.Address()
	}
	return d, mangos.Device(d.sockets[0], d.sockets[1])
}

// newWorker returns a REP socket that opens requests of those whom policy
// admits.
func newWorker(key *keys.ServicePrivate, policy trust.Policy, url string) (mangos.Socket, error) {
	worker, err := e2e.NewWorker(e2e.WorkerConfig{
		Keys:       []e2e.ServiceKey{{Key: key}},
		Authorize:  spmangos.Authorize(policy),
		Duplicates: e2e.FlagDuplicates, // answered again: the first answer may be lost
	})
	if err != nil {
		return nil, err
	}
	return connect(rep.NewSocket, spmangos.SealConfig{Worker: worker}, url)
}

// newClient returns a REQ socket whose requests only the service can open.
func newClient(identity *keys.Private, service *keys.ServicePublic, url string) (mangos.Socket, error) {
	client, err := e2e.NewClient(e2e.ClientConfig{Identity: identity, Services: []*keys.ServicePublic{service}})
	if err != nil {
		return nil, err
	}
	return connect(req.NewSocket, spmangos.SealConfig{Client: client}, url)
}

// connect opens a socket, seals it and dials.
func connect(open func() (mangos.Socket, error), config spmangos.SealConfig, url string) (mangos.Socket, error) {
	plain, err := open()
	if err != nil {
		return nil, err
	}
	sock, err := spmangos.Seal(plain, config)
	if err != nil {
		plain.Close()
		return nil, err
	}
	if config.Client != nil {
		err = errors.Join(sock.SetOption(mangos.OptionRetryTime, retry), sock.SetOption(mangos.OptionRecvDeadline, 20*retry))
	}
	if err == nil {
		err = sock.Dial(url)
	}
	if err != nil {
		sock.Close()
		return nil, err
	}
	return sock, nil
}

// serve answers until the socket is closed. Each answer says who has answered
// whom.
func serve(sock mangos.Socket, name string) error {
	for {
		m, err := sock.RecvMsg()
		if err != nil {
			return err
		}
		from, _ := spmangos.ProvenanceOf(m) // proved, whatever the message came through
		answer := fmt.Sprintf("worker %s: %s, you have asked: %s", name, from.Name, m.Body)
		m.Free()
		if err := sock.Send([]byte(answer)); err != nil {
			return err
		}
	}
}
