package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func TestMain(m *testing.M) { leak.Main(m) }

// scene is a service behind a device on whose connections somebody listens in.
type scene struct {
	t             *testing.T
	dir           string
	service       *keys.ServicePrivate
	policy        trust.Policy
	front, back   string // where clients and workers connect
	seen          testnet.Recorder
	wires, served sync.WaitGroup
}

func newScene(t *testing.T) *scene {
	is := is.New(t)
	s := &scene{t: t, dir: t.TempDir()}
	alice, err := keys.Generate()
	is.NoErr(err)
	is.NoErr(alice.Save(s.file("alice.key")))
	is.NoErr(os.WriteFile(s.file("service.trust"), []byte(alice.Public().String()+" alice\n"), 0o600))
	s.policy, err = trust.File(s.file("service.trust"))
	is.NoErr(err)
	s.service, err = keys.GenerateService()
	is.NoErr(err)
	is.NoErr(os.WriteFile(s.file("service.pub"), []byte(s.service.Public().String()+"\n"), 0o600))
	d, err := newDevice("tcp://127.0.0.1:0", "tcp://127.0.0.1:0")
	is.NoErr(err) // start the device
	t.Cleanup(func() {
		for _, sock := range d.sockets {
			sock.Close()
		}
		s.served.Wait()
		s.wires.Wait()
	})
	s.front, s.back = s.tap(d.addresses[0]), s.tap(d.addresses[1])
	return s
}

func (s *scene) file(name string) string { return filepath.Join(s.dir, name) }

// tap records what passes to and from an address, and returns the one at which
// it can be reached instead.
func (s *scene) tap(url string) string {
	is := is.New(s.t)
	is.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	s.t.Cleanup(func() { l.Close() })
	s.wires.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(url, "tcp://"))
			if err != nil {
				near.Close()
				continue
			}
			s.wires.Go(func() { s.wire(near, far) })
			s.wires.Go(func() { s.wire(far, near) })
		}
	})
	return "tcp://" + l.Addr().String()
}

// wire is one direction of a connection; when it ends, so does the other.
func (s *scene) wire(from, to net.Conn) {
	record := s.seen.Tap()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		record(buf[:n])
		if _, writeErr := to.Write(buf[:n]); err != nil || writeErr != nil {
			from.Close()
			to.Close()
			return
		}
	}
}

// newWorker connects a worker that does not answer yet.
func (s *scene) newWorker() mangos.Socket {
	is := is.New(s.t)
	is.Helper()
	sock, err := newWorker(s.service, s.policy, s.back)
	is.NoErr(err) // connect a worker
	s.t.Cleanup(func() { sock.Close() })
	return sock
}

func (s *scene) serve(sock mangos.Socket, name string) {
	s.served.Go(func() { serve(sock, name) })
}

// ask runs the client and returns what it prints.
func (s *scene) ask(questions ...string) string {
	is := is.New(s.t)
	is.Helper()
	var out strings.Builder
	is.NoErr(run(&out, append([]string{"ask", s.file("alice.key"), s.file("service.pub"), s.front}, questions...)))
	return out.String()
}

func TestAsk(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	s.serve(s.newWorker(), "one")
	is.Equal(s.ask("who is there?"), "worker one: alice, you have asked: who is there?\n")
	s.serve(s.newWorker(), "two")
	questions := make([]string, 20)
	for i := range questions {
		questions[i] = "which of you?"
	}
	answers := s.ask(questions...)
	is.Equal(strings.Count(answers, ": alice, you have asked: which of you?\n"), len(questions))
	is.True(strings.Contains(answers, "worker one:"))
	is.True(strings.Contains(answers, "worker two:"))

	seen := s.seen.Bytes()
	is.True(len(seen) > 0) // somebody has listened in
	alice, err := keys.Load(s.file("alice.key"))
	is.NoErr(err)
	for _, secret := range []string{"which of you", "asked", "worker", "alice", string(alice.Public().Bytes())} {
		is.True(!bytes.Contains(seen, []byte(secret))) // nothing readable passes
	}
}

// TestReplaced kills a worker that has a request in its hands.
func TestReplaced(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	victim := s.newWorker()
	answer := make(chan string, 1)
	go func() {
		var out strings.Builder
		err := run(&out, []string{"ask", s.file("alice.key"), s.file("service.pub"), s.front, "who is there?"})
		if err != nil {
			out.WriteString(err.Error())
		}
		answer <- out.String()
	}()
	_, err := victim.RecvMsg()
	is.NoErr(err) // it has the request
	is.NoErr(victim.Close())
	s.serve(s.newWorker(), "heir")
	is.Equal(<-answer, "worker heir: alice, you have asked: who is there?\n")
}

// TestRefused makes sure that a service answers those it trusts, and that a
// client believes nobody but the service.
func TestRefused(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	s.serve(s.newWorker(), "one")
	mallory, err := keys.Generate()
	is.NoErr(err)
	is.NoErr(mallory.Save(s.file("mallory.key")))
	err = run(io.Discard, []string{"ask", s.file("mallory.key"), s.file("service.pub"), s.front, "let me in"})
	is.True(errors.Is(err, e2e.ErrNotAuthorized))

	other, err := keys.GenerateService()
	is.NoErr(err)
	is.NoErr(os.WriteFile(s.file("other.pub"), []byte(other.Public().String()), 0o600))
	err = run(io.Discard, []string{"ask", s.file("alice.key"), s.file("other.pub"), s.front, "who are you?"})
	is.True(errors.Is(err, e2e.ErrUnknownKey))
}
