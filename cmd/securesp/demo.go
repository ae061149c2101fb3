package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

// demonstration is one run of the command demo: alice dials bob, who trusts
// those in a trust file.
type demonstration struct {
	stdio
	payload             payload
	alice, bob, mallory *keys.Private
	trustFile           string
	tcp, udp, ipc       *server // bob's
}

// demo shows on this machine what the library is for, and checks it.
func demo(ctx context.Context, std stdio, args []string) (err error) {
	flags := newFlags()
	size := flags.Int("size", 256, "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil || flags.NArg() > 1 || *size < 1 || *size > 1<<20 {
		return usagef("wants a size from 1 to %d MiB and one FILE at most", 1<<20)
	}
	d := demonstration{stdio: std}
	if d.payload, err = newPayload(flags.Arg(0), int64(*size)<<20); err != nil {
		return &localError{"cannot read what to send", err}
	}
	dir, err := os.MkdirTemp("", "securesp-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer d.end()
	if err := d.prepare(dir); err != nil {
		return err
	}
	for _, act := range []func(context.Context) error{d.transfers, d.sealed, d.failures} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintln(d.out, "\nAll of it as it should be.")
	return nil
}

// prepare makes keys and bob's trust file, and has bob listen.
func (d *demonstration) prepare(dir string) error {
	fmt.Fprintf(d.out, "Keys, in a temporary directory\n")
	for _, who := range []struct {
		name string
		key  **keys.Private
	}{{"alice", &d.alice}, {"bob", &d.bob}, {"mallory", &d.mallory}} {
		path := filepath.Join(dir, who.name+".key")
		made, err := keys.Generate()
		if err != nil {
			return err
		}
		if err := made.Save(path); err != nil {
			return err
		}
		if *who.key, err = keys.Load(path); err != nil {
			return err
		}
		row(d.out, who.name, "%v", (*who.key).Public())
	}
	d.trustFile = filepath.Join(dir, "bob.trust")
	if err := d.rewriteTrust(d.alice.Public().String() + " alice\n"); err != nil {
		return err
	}
	policy, err := trust.File(d.trustFile)
	if err != nil {
		return err
	}
	for _, start := range []struct {
		server  **server
		network string
		address string
	}{{&d.tcp, "tcp", "127.0.0.1:0"}, {&d.udp, "udp", "127.0.0.1:0"}, {&d.ipc, "ipc", filepath.Join(dir, "bob.socket")}} {
		if *start.server, err = serveHashes(endpoint{start.network, start.address}, d.bob, policy); err != nil {
			return err
		}
	}
	return nil
}

// end ends bob's servers.
func (d *demonstration) end() {
	for _, s := range []*server{d.tcp, d.udp, d.ipc} {
		if s != nil {
			s.close()
		}
	}
}

// rewriteTrust replaces the content of bob's trust file.
func (d *demonstration) rewriteTrust(content string) error {
	next := d.trustFile + ".new"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(next, d.trustFile)
}

// dial connects as who, expecting the holder of the key peer.
func dial(ctx context.Context, at endpoint, who, peer *keys.Private) (*securesp.Conn, error) {
	d := securesp.Dialer{Config: &securesp.Config{Identity: who, Trust: trust.Keys(peer.Public())}}
	conn, err := d.DialContext(ctx, at.network, at.address)
	if err != nil {
		return nil, err
	}
	return conn.(*securesp.Conn), nil
}

// transfers sends the payload over each carrier.
func (d *demonstration) transfers(ctx context.Context) error {
	fmt.Fprintf(d.out, "\nalice sends %s (%s) to bob\n", formatSize(float64(d.payload.size)), d.payload.what)
	fmt.Fprintf(d.out, "  %-8s %-46s %9s %12s   %s\n", "carrier", "suite", "time", "rate", "SHA-256 at bob's")
	want, err := d.payload.hash()
	if err != nil {
		return &localError{"cannot read what to send", err}
	}
	for _, bob := range []*server{d.tcp, d.udp, d.ipc} {
		if err := d.transfer(ctx, bob, want); err != nil {
			return err
		}
	}
	return nil
}

// transfer sends the payload once and compares the hash that bob answers with.
func (d *demonstration) transfer(ctx context.Context, bob *server, want []byte) error {
	conn, err := dial(ctx, bob.at, d.alice, d.bob)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer closeOn(ctx, conn)()
	in, err := d.payload.open()
	if err != nil {
		return &localError{"cannot read what to send", err}
	}
	defer in.Close()
	start, bar := time.Now(), d.progress()
	if err := send(conn, bar.input(in, "sent", d.payload.size)); err != nil {
		return err
	}
	got, err := conn.ReadMessage(nil)
	if err != nil {
		return err
	}
	elapsed := time.Since(start)
	bar.clear()
	seen := bob.result()
	if !bytes.Equal(got, want) || seen.err != nil || seen.bytes != d.payload.size {
		return fmt.Errorf("what bob got over %s is not what alice sent", bob.at.network)
	}
	fmt.Fprintf(d.out, "  %-8s %-46v %9s %10s/s   %.4x… matches\n", bob.at.network, conn.ConnectionState().Suite,
		formatTime(elapsed), formatSize(float64(d.payload.size)/elapsed.Seconds()), got)
	return nil
}

// payload is what alice sends.
type payload struct {
	what string
	size int64
	open func() (io.ReadCloser, error)
}

// newPayload returns the file at path or, if that is empty, size bytes of this
// program, over and over.
func newPayload(path string, size int64) (payload, error) {
	if path != "" {
		info, err := os.Stat(path)
		if err != nil {
			return payload{}, err
		}
		if !info.Mode().IsRegular() {
			return payload{}, errors.New("it is not a regular file")
		}
		return payload{filepath.Base(path), info.Size(), func() (io.ReadCloser, error) { return os.Open(path) }}, nil
	}
	self, err := os.Executable()
	if err != nil {
		return payload{}, err
	}
	content, err := os.ReadFile(self)
	if err != nil {
		return payload{}, err
	}
	return payload{"this program, over and over", size, func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(&endless{content: content}, size)), nil
	}}, nil
}

func (p payload) hash() ([]byte, error) {
	in, err := p.open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	h := sha256.New()
	_, err = io.Copy(h, in)
	return h.Sum(nil), err
}

// endless reads content over and over.
type endless struct {
	content []byte
	at      int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.at == len(e.content) {
		e.at = 0
	}
	n := copy(p, e.content[e.at:])
	e.at += n
	return n, nil
}

// server hashes all it is sent, answers with the hash, and keeps a record.
type server struct {
	at      endpoint
	l       *securesp.Listener
	done    chan struct{}
	results chan seen  // one for each connection that was accepted
	refused chan error // one for each that was not
}

// seen is what bob got from one connection.
type seen struct {
	bytes int64
	err   error
}

func serveHashes(at endpoint, identity *keys.Private, policy trust.Policy) (*server, error) {
	// All is read soon; nothing ever waits for room.
	s := &server{done: make(chan struct{}), results: make(chan seen, 16), refused: make(chan error, 16)}
	l, err := securesp.Listen(at.network, at.address, &securesp.Config{
		Identity: identity, Trust: policy, OnHandshakeError: func(err error) { s.refused <- err },
	})
	if err != nil {
		return nil, err
	}
	s.l, s.at = l, at.at(l)
	go func() {
		defer close(s.done)
		_ = serveEach(context.Background(), l, 8, slog.New(slog.DiscardHandler), func(c net.Conn) { s.results <- serveHash(c.(*securesp.Conn)) })
	}()
	return s, nil
}

func serveHash(conn *securesp.Conn) seen {
	defer conn.Close()
	h := sha256.New()
	n, err := io.Copy(h, conn)
	if err == nil {
		err = conn.WriteMessage(h.Sum(nil))
	}
	return seen{n, err}
}

// result returns what became of the oldest connection not asked about yet.
func (s *server) result() seen { return <-s.results }

func (s *server) close() {
	s.l.Close()
	<-s.done
}
