package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/securesp/securesp"
)

// catter is one run of the command cat.
type catter struct {
	stdio
	settings
	log         *slog.Logger
	config      *securesp.Config
	command     string
	keep        bool
	max         int
	receiveOnly bool
}

// cat joins a sealed connection to standard input and output, or to a command.
func cat(ctx context.Context, std stdio, args []string) error {
	c := catter{stdio: std}
	flags := newFlags()
	c.register(flags)
	flags.StringVar(&c.command, "exec", "", "")
	flags.BoolVar(&c.keep, "keep", false, "")
	flags.BoolVar(&c.keep, "k", false, "")
	flags.IntVar(&c.max, "max", 64, "")
	flags.BoolVar(&c.receiveOnly, "recv-only", false, "")
	words, err := parse(flags, args, "listen|dial ADDRESS")
	if err != nil {
		return err
	}
	listen := words[0] == "listen"
	switch {
	case !listen && words[0] != "dial":
		return usagef("wants listen or dial before the address")
	case c.keep && (!listen || c.command == ""):
		return usagef("--keep goes with listen and --exec only")
	case c.receiveOnly && c.command != "":
		return usagef("--recv-only does not go with --exec")
	case c.max < 1:
		return usagef("--max must be positive")
	}
	e, err := parseEndpoint(words[1])
	if err != nil {
		return err
	}
	level := slog.LevelWarn
	if c.verbose {
		level = slog.LevelDebug
	}
	c.log = c.logger(level)
	if c.config, err = c.settings.config(c.log); err != nil {
		return err
	}
	if listen {
		return c.listen(ctx, e)
	}
	return c.dial(ctx, e)
}

func (c *catter) dial(ctx context.Context, e endpoint) error {
	conn, err := c.dialer(c.config).DialContext(ctx, e.network, e.address)
	if err != nil {
		return err
	}
	return c.serve(ctx, conn.(*securesp.Conn))
}

func (c *catter) listen(ctx context.Context, e endpoint) error {
	l, err := listenSealed(e, c.config, c.log)
	if err != nil {
		return err
	}
	defer l.Close()
	c.log.Info("listening", "address", e.at(l).String())
	if c.keep {
		return serveEach(ctx, l, c.max, c.log, func(conn net.Conn) {
			if err := c.serve(ctx, conn.(*securesp.Conn)); err != nil && ctx.Err() == nil {
				c.log.Warn("connection failed", "remote", conn.RemoteAddr().String(), "err", plainText(err))
			}
		})
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	conn, err := l.AcceptConn()
	if err != nil {
		return err
	}
	l.Close()
	return c.serve(ctx, conn)
}

// serve handles one connection to its end.
func (c *catter) serve(ctx context.Context, conn *securesp.Conn) error {
	logOpen(c.log, conn)
	release := closeOn(ctx, conn)
	defer release()
	if c.command != "" {
		return c.execute(ctx, conn)
	}
	return c.join(ctx, conn)
}

// logOpen writes what a new connection has established.
func logOpen(log *slog.Logger, conn *securesp.Conn) {
	state := conn.ConnectionState()
	log.Debug("connected", "remote", conn.RemoteAddr().String(), "suite", state.Suite.String(),
		"peer", state.Peer.Key.String(), "name", state.Peer.Name)
	if !state.Traits.Secure {
		log.Warn("this connection has no security", "remote", conn.RemoteAddr().String())
	}
}

// closeOn closes conn when ctx ends. The returned function, to be called once,
// undoes that, or waits until it is done.
func closeOn(ctx context.Context, conn *securesp.Conn) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = conn.CloseWithCode(securesp.CloseGoingAway)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// lastWords is how long a side whose sending fails waits to learn why.
const lastWords = time.Second

// join copies in both directions until both have ended or one has failed, and
// closes conn. A read of standard input that is under way then cannot be
// interrupted; it ends with the program.
func (c *catter) join(ctx context.Context, conn *securesp.Conn) error {
	bar := c.progress()
	defer bar.finish()
	sent := make(chan error, 1)
	if !c.receiveOnly {
		go func() { sent <- send(conn, bar.input(c.in, "sent", sizeOf(c.in))) }()
	}
	received := make(chan error, 1)
	go func() { received <- receive(bar.output(c.out, "received"), conn) }()

	var err error
	select {
	case err = <-received:
		// The peer has ended its direction. Ours may go on, but nobody at a
		// terminal expects to have to end it by hand.
		if err == nil && !c.receiveOnly && !isTerminal(c.in) {
			select {
			case err = <-sent:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	case err = <-sent:
		err = outcome(conn, err, received)
	}
	return finish(conn, err)
}

// outcome returns what became of a connection whose sending half has ended
// with the given result.
func outcome(conn *securesp.Conn, sent error, received <-chan error) error {
	var local *localError
	if errors.As(sent, &local) {
		return sent
	}
	if sent != nil { // the peer may have said why
		_ = conn.SetReadDeadline(time.Now().Add(lastWords))
	}
	got := <-received
	if sent != nil && (got == nil || errors.Is(got, os.ErrDeadlineExceeded)) {
		return sent
	}
	return got
}

// finish closes conn, as a success or not, and returns err or else what went
// wrong with that.
func finish(conn *securesp.Conn, err error) error {
	if err == nil {
		return conn.Close()
	}
	_ = conn.CloseWithCode(closeBroken) // says nothing if the peer has ended it
	return err
}

// send copies in to conn and ends that direction.
func send(conn *securesp.Conn, in io.Reader) error {
	source := &source{reader: in}
	_, err := io.Copy(conn, source)
	switch {
	case source.err != nil:
		return &localError{"cannot read the input", source.err}
	case err != nil:
		return err
	}
	if err = conn.CloseWrite(); closedNormally(err) {
		return nil // it has heard enough, and we had nothing more to say
	}
	return err
}

// closedNormally reports whether err is that the peer has closed the
// connection, and not because something is wrong.
func closedNormally(err error) bool {
	var closed *securesp.CloseError
	return errors.As(err, &closed) && closed.Code == securesp.CloseNormal
}

// receive copies conn to out until the peer ends its direction.
func receive(out io.Writer, conn *securesp.Conn) error {
	sink := &sink{writer: out}
	_, err := io.Copy(sink, conn)
	if sink.err != nil {
		return &localError{"cannot write the output", sink.err}
	}
	return err
}

// source keeps a reader's error apart from the errors of what is read into.
type source struct {
	reader io.Reader
	err    error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// sink is source for a writer.
type sink struct {
	writer io.Writer
	err    error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.writer.Write(p)
	if err != nil {
		s.err = err
	}
	return n, err
}
