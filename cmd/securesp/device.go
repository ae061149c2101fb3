package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/xbus"
	"go.nanomsg.org/mangos/v3/protocol/xpair"
	"go.nanomsg.org/mangos/v3/protocol/xpub"
	"go.nanomsg.org/mangos/v3/protocol/xpull"
	"go.nanomsg.org/mangos/v3/protocol/xpush"
	"go.nanomsg.org/mangos/v3/protocol/xrep"
	"go.nanomsg.org/mangos/v3/protocol/xreq"
	"go.nanomsg.org/mangos/v3/protocol/xrespondent"
	"go.nanomsg.org/mangos/v3/protocol/xstar"
	"go.nanomsg.org/mangos/v3/protocol/xsub"
	"go.nanomsg.org/mangos/v3/protocol/xsurveyor"
	_ "go.nanomsg.org/mangos/v3/transport/tcp" // the plain sides

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/spmangos"
)

// devicePatterns are the raw sockets of a device: front is what faces the
// programs that ask, publish, push or survey.
var devicePatterns = map[string]struct {
	front, back func() (mangos.Socket, error)
}{
	"reqrep":   {xrep.NewSocket, xreq.NewSocket},
	"pubsub":   {xsub.NewSocket, xpub.NewSocket},
	"pipeline": {xpull.NewSocket, xpush.NewSocket},
	"survey":   {xrespondent.NewSocket, xsurveyor.NewSocket},
	"pair":     {xpair.NewSocket, xpair.NewSocket},
	"bus":      {xbus.NewSocket, xbus.NewSocket},
	"star":     {xstar.NewSocket, xstar.NewSocket},
}

// Between attempts to connect.
const (
	reconnectMin = 100 * time.Millisecond
	reconnectMax = 10 * time.Second
)

// deviceRun is one run of the command device.
type deviceRun struct {
	settings
	log     *slog.Logger
	config  *securesp.Config
	maxSize int
}

// deviceEnd is one side of a device.
type deviceEnd struct {
	endpoint
	sealed, listens bool
}

// device forwards messages between programs that speak SP, with or without
// security.
func device(ctx context.Context, std stdio, args []string) error {
	var d deviceRun
	flags := newFlags()
	d.register(flags)
	flags.IntVar(&d.maxSize, "max-size", 1<<20, "")
	words, err := parse(flags, args, "PATTERN listen|dial FRONT listen|dial BACK")
	if err != nil {
		return err
	}
	pattern, ok := devicePatterns[words[0]]
	switch {
	case !ok:
		return usagef("there is no pattern %q; -h lists them", words[0])
	case d.maxSize < 0:
		return usagef("--max-size must not be negative")
	}
	front, err := parseDeviceEnd(words[1], words[2])
	if err != nil {
		return err
	}
	back, err := parseDeviceEnd(words[3], words[4])
	if err != nil {
		return err
	}
	if !front.sealed && !back.sealed {
		return usagef("neither side is sealed; write securesp+%s for the one that leaves this machine", back)
	}
	level := slog.LevelInfo
	if d.verbose {
		level = slog.LevelDebug
	}
	d.log = std.logger(level)
	if d.config, err = d.settings.config(d.log); err != nil {
		return err
	}
	d.config.Logger = d.log
	return d.serve(ctx, pattern.front, pattern.back, front, back)
}

// parseDeviceEnd understands how to get to one side of a device.
func parseDeviceEnd(way, url string) (deviceEnd, error) {
	e, err := parseEndpoint(url)
	if err != nil {
		return deviceEnd{}, err
	}
	end := deviceEnd{endpoint: e, sealed: strings.HasPrefix(url, "securesp+"), listens: way == "listen"}
	if e.isSocket() {
		end.network = "ipc"
	}
	known := []string{"tcp", "ipc"}
	if end.sealed {
		known = append(known, "udp")
	}
	switch {
	case way != "listen" && way != "dial":
		return end, usagef("wants listen or dial before each address")
	case !slices.Contains(known, end.network):
		return end, usagef("address %q: a device's addresses are tcp://…, ipc://… and, sealed, securesp+tcp://…, securesp+ipc://…, securesp+udp://…", url)
	}
	return end, nil
}

func (e deviceEnd) url() string {
	if e.sealed {
		return "securesp+" + e.String()
	}
	return e.String()
}

// serve forwards until ctx ends.
func (d *deviceRun) serve(ctx context.Context, newFront, newBack func() (mangos.Socket, error), front, back deviceEnd) error {
	var sockets []mangos.Socket
	defer func() {
		for _, s := range sockets {
			s.Close()
		}
	}()
	for _, open := range []func() (mangos.Socket, error){newFront, newBack} {
		s, err := open()
		if err != nil {
			return err
		}
		sockets = append(sockets, s)
		s.SetPipeEventHook(d.logPipe)
		if err := s.SetOption(mangos.OptionMaxRecvSize, d.maxSize); err != nil {
			return err
		}
	}
	if err := mangos.Device(sockets[0], sockets[1]); err != nil {
		return err
	}
	for i, end := range []deviceEnd{front, back} {
		attach := d.dialEnd
		if end.listens {
			attach = d.listenEnd
		}
		if err := attach(ctx, sockets[i], end); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// listenEnd has a socket listen.
func (d *deviceRun) listenEnd(_ context.Context, s mangos.Socket, end deviceEnd) error {
	options := make(map[string]interface{})
	var mode fs.FileMode // of a plain socket file
	if end.sealed {
		options = spmangos.Options(d.config)
	} else if end.network == "ipc" {
		var err error
		if mode, err = d.socketMode(plainSocketMode); err != nil {
			return err
		}
		options["UNIX-IPC-CHMOD"] = mode
	}
	l, err := s.NewListener(end.url(), options)
	if err != nil {
		return err
	}
	if err := l.Listen(); err != nil {
		return err
	}
	if options["UNIX-IPC-CHMOD"] != nil {
		if err := checkMode(end.address, mode); err != nil {
			return err
		}
	}
	d.log.Info("listening", "address", l.Address())
	if !end.sealed && end.network == "tcp" {
		host, _, _ := net.SplitHostPort(strings.TrimPrefix(l.Address(), "tcp://"))
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			d.log.Warn(exposedText, "address", l.Address())
		}
	}
	return nil
}

// checkMode sees to it that a socket file is not open to more than mode lets
// in: mangos' ipc does not tell whether it could set the mode.
func checkMode(path string, mode fs.FileMode) error {
	if strings.HasPrefix(path, "@") { // no file
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if wide := info.Mode().Perm() &^ mode; wide != 0 {
		return fmt.Errorf("securesp: %s has mode %04o, wider than %04o", path, info.Mode().Perm(), mode)
	}
	return nil
}

// dialEnd has a socket dial until it is answered, and again whenever the
// connection ends.
func (d *deviceRun) dialEnd(ctx context.Context, s mangos.Socket, end deviceEnd) error {
	options := make(map[string]interface{})
	if end.sealed {
		// A mistake in the configuration is worth an end of the program.
		done, cancel := context.WithCancel(ctx)
		cancel() // nothing is really dialed
		c, err := d.dialer(d.config).DialContext(done, end.network, end.address)
		if err == nil {
			c.Close()
		}
		if diagnose(err).verdict().code == exitUsage {
			return err
		}
		options = spmangos.Options(d.config)
	}
	options[mangos.OptionDialAsynch] = true
	options[mangos.OptionReconnectTime] = reconnectMin
	options[mangos.OptionMaxReconnectTime] = reconnectMax
	return s.DialOptions(end.url(), options)
}

// logPipe logs connections as they come and go.
func (d *deviceRun) logPipe(event mangos.PipeEvent, p mangos.Pipe) {
	log := d.log.With("address", p.Address())
	if key, ok := spmangos.PeerKey(p); ok {
		log = log.With("peer", key.String())
	}
	switch event {
	case mangos.PipeEventAttached:
		log.Debug("connected")
	case mangos.PipeEventDetached:
		reason, _ := p.GetOption(spmangos.OptionCloseError)
		if err, ok := reason.(error); ok && !errors.Is(err, net.ErrClosed) {
			log.Warn("connection failed", "err", plainText(err))
			return
		}
		log.Debug("connection ended")
	}
}
