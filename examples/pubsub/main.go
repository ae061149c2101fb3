// Pubsub publishes the lines of its standard input, with mangos' PUB and SUB
// sockets over sealed connections:
//
//	pubsub publish bob.key bob.trust securesp+tcp://:7000 < feed
//	pubsub subscribe alice.key spk1:… securesp+tcp://bob.example:7000 weather
//
// "securesp keygen" makes the keys; the trust file has a line with the public
// key of each subscriber. A subscriber that is taken off it is disconnected at
// once. The first word of a line is its topic.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pub"
	"go.nanomsg.org/mangos/v3/protocol/sub"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pubsub:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 4 {
		return errors.New("usage: pubsub publish KEYFILE TRUSTFILE URL | pubsub subscribe KEYFILE PEER URL TOPIC")
	}
	identity, err := keys.Load(args[1])
	if err != nil {
		return err
	}
	// With a logger, failures are not silent while mangos connects in the
	// background.
	config := &securesp.Config{Identity: identity, Logger: slog.Default()}
	switch {
	case args[0] == "publish" && len(args) == 4:
		if config.Trust, err = trust.File(args[2]); err != nil {
			return err
		}
		sock, _, err := publisher(args[3], config)
		if err != nil {
			return err
		}
		defer sock.Close()
		return publish(sock, os.Stdin)
	case args[0] == "subscribe" && len(args) == 5:
		peer, err := keys.ParsePublic(args[2])
		if err != nil {
			return err
		}
		config.Trust = trust.Keys(peer)
		sock, err := subscribe(args[3], config, args[4])
		if err != nil {
			return err
		}
		defer sock.Close()
		return show(os.Stdout, sock)
	}
	return fmt.Errorf("there is no such use of %q", args[0])
}

// publisher returns a PUB socket and the address on which it listens.
func publisher(url string, config *securesp.Config) (mangos.Socket, string, error) {
	sock, err := pub.NewSocket()
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

// publish sends each line to whoever has subscribed to its beginning.
func publish(sock mangos.Socket, lines io.Reader) error {
	scanner := bufio.NewScanner(lines)
	for scanner.Scan() {
		if err := sock.Send(scanner.Bytes()); err != nil {
			return err
		}
	}
	return scanner.Err()
}

// subscribe returns a SUB socket that connects in the background, again and
// again if need be, but not once it has been refused.
func subscribe(url string, config *securesp.Config, topic string) (mangos.Socket, error) {
	sock, err := sub.NewSocket()
	if err != nil {
		return nil, err
	}
	options := spmangos.Options(config)
	options[spmangos.OptionStopOnAuthError] = true
	options[mangos.OptionDialAsynch] = true
	if err = sock.SetOption(mangos.OptionSubscribe, topic); err == nil {
		err = sock.DialOptions(url, options)
	}
	if err != nil {
		sock.Close()
		return nil, err
	}
	return sock, nil
}

// show prints what arrives.
func show(w io.Writer, sock mangos.Socket) error {
	for {
		line, err := sock.Recv()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s\n", line); err != nil {
			return err
		}
	}
}
