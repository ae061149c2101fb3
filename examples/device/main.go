// Device lets REQ programs that know nothing of security reach a REP program
// behind a sealed connection, over two of mangos' devices:
//
//	device there bob.key bob.trust securesp+tcp://:7000 tcp://127.0.0.1:5555
//	device here alice.key spk1:… tcp://127.0.0.1:5556 securesp+tcp://bob.example:7000
//
// The first runs beside the REP program, which listens on port 5555, the second
// beside its clients, which connect to port 5556. "securesp device" does the
// same for every pattern.
package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/xrep"
	"go.nanomsg.org/mangos/v3/protocol/xreq"
	_ "go.nanomsg.org/mangos/v3/transport/tcp"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "device:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 {
		return errors.New("usage: device there KEYFILE TRUSTFILE SEALED PLAIN | device here KEYFILE PEER PLAIN SEALED")
	}
	identity, err := keys.Load(args[1])
	if err != nil {
		return err
	}
	config := &securesp.Config{Identity: identity, Logger: slog.Default()}
	sealed := spmangos.Options(config)
	var b *bridge
	switch args[0] {
	case "there":
		if config.Trust, err = trust.File(args[2]); err != nil {
			return err
		}
		b, err = join(args[3], sealed, args[4], nil)
	case "here":
		var peer keys.Public
		if peer, err = keys.ParsePublic(args[2]); err != nil {
			return err
		}
		config.Trust = trust.Keys(peer)
		b, err = join(args[3], nil, args[4], sealed)
	default:
		return fmt.Errorf("there is no such use of %q", args[0])
	}
	if err != nil {
		return err
	}
	defer b.close()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	<-interrupted
	return nil
}

// bridge is a running device.
type bridge struct {
	front, back mangos.Socket
	address     string // where front listens
}

// join forwards between clients that connect to the address from, and the
// server at the address to, which may come later.
func join(from string, fromOptions map[string]interface{}, to string, toOptions map[string]interface{}) (*bridge, error) {
	b := new(bridge)
	var err error
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.front, err = xrep.NewSocket(); err != nil {
		return nil, err
	}
	if b.back, err = xreq.NewSocket(); err != nil {
		return nil, err
	}
	if err = b.back.SetOption(mangos.OptionDialAsynch, true); err != nil {
		return nil, err
	}
	if err = b.back.DialOptions(to, toOptions); err != nil {
		return nil, err
	}
	l, err := b.front.NewListener(from, fromOptions)
	if err != nil {
		return nil, err
	}
	if err = l.Listen(); err != nil {
		return nil, err
	}
	b.address = l.Address()
	if err = mangos.Device(b.front, b.back); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *bridge) close() {
	for _, s := range []mangos.Socket{b.front, b.back} {
		if s != nil {
			s.Close()
		}
	}
}
