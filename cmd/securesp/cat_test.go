package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// randomText returns n bytes that no accident produces twice.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return string(b)
}

// TestCatBothWays sends different amounts in both directions at once.
func TestCatBothWays(t *testing.T) {
	c := newCast(t)
	for network, address := range c.addresses() {
		for _, sizes := range [][2]int{{0, 0}, {1, 3 << 20}, {3 << 20, 1}, {1 << 20, 1 << 20}} {
			t.Run(network, func(t *testing.T) {
				is := is.New(t)
				up, down := randomText(sizes[0]), randomText(sizes[1])
				bob, at := listening(t, strings.NewReader(down), c.asBob("cat", "listen", address)...)
				alice := invoke(up, c.asAlice("cat", "dial", at)...)
				is.Equal(alice.err, "")
				is.Equal(alice.code, exitOK)
				is.True(alice.out == down) // alice got it all
				got := <-bob.done
				is.Equal(got.code, exitOK)
				is.True(got.out == up) // bob got it all
			})
		}
	}
}

// TestCatHalfClose sees that a side that has nothing more to say still
// listens, whichever side that is.
func TestCatHalfClose(t *testing.T) {
	for name, first := range map[string]int{"alice ends first": 0, "bob ends first": 1} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := newCast(t)
			bobIn, bobTypes := io.Pipe()
			aliceIn, aliceTypes := io.Pipe()
			bob, at := listening(t, bobIn, c.asBob("cat", "listen", "127.0.0.1:0")...)
			alice := launch(context.Background(), aliceIn, c.asAlice("cat", "dial", at)...)
			sides := []struct {
				*running
				types *io.PipeWriter
			}{{alice, aliceTypes}, {bob, bobTypes}}
			early, late := sides[first], sides[1-first]
			is.NoErr(early.types.Close()) // the end of its input
			for _, line := range []string{"one\n", "two\n"} {
				_, err := io.WriteString(late.types, line)
				is.NoErr(err)            // the other goes on
				early.out.await(t, line) // and is heard
			}
			is.NoErr(late.types.Close())
			for _, s := range sides {
				is.Equal((<-s.done).code, exitOK)
			}
		})
	}
}

// TestCatReceiveOnly sees that a receiver that sends nothing confirms, and
// leaves its input alone.
func TestCatReceiveOnly(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	in, typed := io.Pipe() // never ends by itself
	defer typed.Close()
	bob, at := listening(t, in, c.asBob("cat", "listen", "127.0.0.1:0", "--recv-only")...)
	text := randomText(1 << 20)
	is.Equal(invoke(text, c.asAlice("cat", "dial", at)...), result{exitOK, "", ""})
	got := <-bob.done
	is.Equal(got.code, exitOK)
	is.True(got.out == text)
}

// TestCatEverySetting is a transfer with everything switched on.
func TestCatEverySetting(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	psk, socket := filepath.Join(c.dir, "psk"), filepath.Join(c.dir, "socket")
	is.Equal(invoke("", "keygen", "-psk", psk).code, exitOK)
	with := func(args []string) []string {
		return append(args, "--psk-file", psk, "--suite", "xxhfs+psk3", "--protocol", "test/1", "--keep-alive", "1m",
			"--padding", "power-of-two", "--timeout", "20s")
	}
	bob, at := listening(t, strings.NewReader(""), with(c.asBob("cat", "listen", "unix://"+socket, "--mode", "620"))...)
	is.Equal(at, "unix://"+socket)
	info, err := os.Stat(socket)
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), os.FileMode(0o620))
	is.Equal(invoke("hello", with(c.asAlice("cat", "dial", at))...), result{exitOK, "", ""})
	got := <-bob.done
	is.Equal(got.out, "hello")
	is.True(strings.Contains(got.err, "suite=Noise_XXhfs+psk3")) // as asked for
	is.True(strings.Contains(got.err, "name=alice"))
}

// TestCatSharedSecretOnly needs no keys but one.
func TestCatSharedSecretOnly(t *testing.T) {
	is := is.New(t)
	psk := filepath.Join(t.TempDir(), "psk")
	is.Equal(invoke("", "keygen", "-psk", psk).code, exitOK)
	bob, at := listening(t, strings.NewReader(""), "cat", "listen", "127.0.0.1:0", "--psk-file", psk, "--name", "bob")
	is.Equal(invoke("hello", "cat", "dial", at, "--psk-file", psk, "--name", "alice", "--peer-name", "bob").code, exitOK)
	is.Equal((<-bob.done).out, "hello")
}

// TestCatCut sees that a cut connection is never taken for the end of the data,
// by either side.
func TestCatCut(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	in, typed := io.Pipe()
	defer typed.Close()
	bobIn, bobTyped := io.Pipe()
	defer bobTyped.Close()
	bob, at := listening(t, bobIn, c.asBob("cat", "listen", "127.0.0.1:0")...)
	way := newWay(t, at)
	alice := launch(context.Background(), in, c.asAlice("cat", "dial", way.address())...)
	_, err := io.WriteString(typed, "half of it\n")
	is.NoErr(err)
	bob.out.await(t, "half of it\n")
	way.cut()
	got := <-bob.done
	is.Equal(got.code, exitCut)
	is.Equal(got.out, "half of it\n")
	is.True(strings.Contains(got.err, "not everything")) // the user is told
	is.Equal((<-alice.done).code, exitCut)
}

// TestCatOutputFails sees that a sender learns that its data was not stored.
func TestCatOutputFails(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	errs, code := newConsole(), make(chan int, 1)
	go func() {
		code <- run(ctx, c.asBob("cat", "listen", "127.0.0.1:0", "--recv-only", "-v"), stdio{strings.NewReader(""), fullDisk{}, errs})
		errs.close()
	}()
	at := errs.await(t, `msg=listening address=(\S+)`)
	alice := invoke(randomText(1<<20), c.asAlice("cat", "dial", at)...)
	is.Equal(alice.code, exitCut)
	is.True(strings.Contains(alice.err, "behind the peer"))
	is.Equal(<-code, exitFailure)
	is.True(strings.Contains(errs.String(), "no space left"))
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// TestCatInputFails sees that a receiver learns that the sender's input broke.
func TestCatInputFails(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	bob, at := listening(t, strings.NewReader(""), c.asBob("cat", "listen", "127.0.0.1:0")...)
	in, typed := io.Pipe()
	alice := launch(context.Background(), in, c.asAlice("cat", "dial", at)...)
	typed.CloseWithError(errors.New("bad sector"))
	got := <-alice.done
	is.Equal(got.code, exitFailure)
	is.True(strings.Contains(got.err, "bad sector"))
	is.Equal((<-bob.done).code, exitCut)
}

// TestCatPeerClosesEarly sees that a sender whose peer wants no more fails.
func TestCatPeerClosesEarly(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	_, at := listening(t, strings.NewReader(""), c.asBob("cat", "listen", "127.0.0.1:0", "--exec", "head -c 1")...)
	alice := launch(context.Background(), endlessInput{}, c.asAlice("cat", "dial", at)...)
	is.Equal((<-alice.done).code, exitCut)
}

// endlessInput never ends.
type endlessInput struct{}

func (endlessInput) Read(p []byte) (int, error) { return len(p), nil }

// TestCatInterrupted sees that both sides of an open connection end when one
// is interrupted, and that only that one says so.
func TestCatInterrupted(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	in, typed := io.Pipe()
	defer typed.Close()
	bobIn, bobTyped := io.Pipe()
	defer bobTyped.Close()
	bob, at := listening(t, bobIn, c.asBob("cat", "listen", "127.0.0.1:0")...)
	alice := launch(ctx, in, c.asAlice("cat", "dial", at, "-v")...)
	alice.err.await(t, "msg=(connected)")
	bob.err.await(t, "msg=(connected)")
	cancel()
	is.Equal((<-alice.done).code, exitInterrupted)
	got := <-bob.done
	is.Equal(got.code, exitCut)
	is.True(strings.Contains(got.err, "going away")) // a sealed farewell, not a broken carrier

	// While nobody has come yet:
	ctx, cancel = context.WithCancel(context.Background())
	waiting := launch(ctx, strings.NewReader(""), c.asBob("cat", "listen", "127.0.0.1:0", "-v")...)
	waiting.err.await(t, "(listening)")
	cancel()
	is.Equal((<-waiting.done).code, exitInterrupted)
}

// TestCatRefused sees that each side says whose key is the problem.
func TestCatRefused(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	bob, at := listening(t, strings.NewReader(""), c.asBob("cat", "listen", "127.0.0.1:0")...)
	stray := invoke("x", "cat", "dial", at, "-i", c.strayKey, "--peer", c.bob)
	is.Equal(stray.code, exitRefused)
	is.True(strings.Contains(stray.err, "next:"))
	key := strings.TrimSpace(invoke("", "pub", c.strayKey).out)
	bob.err.await(t, "handshake failed.* peer=("+key+")") // bob's log names who it was
	is.Equal(invoke("x", "cat", "dial", at, "-i", c.aliceKey, "--peer", key).code, exitUntrusted)
	is.Equal(invoke("x", c.asAlice("cat", "dial", at)...).code, exitOK) // none of this stopped bob
	is.Equal((<-bob.done).out, "x")
}

// TestCatFirstUse sees that a key is noted once and then insisted on.
func TestCatFirstUse(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	known := filepath.Join(c.dir, "known")
	dial := func(at string) result {
		return invoke("x", "cat", "dial", at, "-i", c.aliceKey, "--first-use", known)
	}
	bob, at := listening(t, strings.NewReader(""), c.asBob("cat", "listen", "127.0.0.1:0")...)
	is.Equal(dial(at).code, exitOK)
	<-bob.done
	content, err := os.ReadFile(known)
	is.NoErr(err)
	is.True(strings.Contains(string(content), c.bob)) // noted

	_, again := listening(t, strings.NewReader(""), "cat", "listen", at, "-i", c.strayKey, "--trust", c.bobTrust)
	is.Equal(again, at)
	r := dial(at)
	is.Equal(r.code, exitUntrusted)
	is.True(strings.Contains(r.err, "HAS CHANGED"))
}

// way is a TCP connection's way to somewhere, which can be cut.
type way struct {
	l       net.Listener
	to      string
	started chan struct{}
	ended   chan struct{}
	a, b    net.Conn
}

// newWay returns a way to the given tcp:// address for one connection.
func newWay(t *testing.T, to string) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{l: l, to: strings.TrimPrefix(to, "tcp://"), started: make(chan struct{}), ended: make(chan struct{})}
	go w.run()
	t.Cleanup(w.cut)
	return w
}

func (w *way) address() string { return "tcp://" + w.l.Addr().String() }

func (w *way) run() {
	defer close(w.ended)
	defer w.l.Close()
	var err error
	if w.a, err = w.l.Accept(); err != nil {
		close(w.started)
		return
	}
	if w.b, err = net.Dial("tcp", w.to); err != nil {
		w.a.Close()
	}
	close(w.started)
	if err != nil {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		io.Copy(w.a, w.b)
	}()
	io.Copy(w.b, w.a)
	<-back
}

// cut ends both connections, as a broken wire would.
func (w *way) cut() {
	w.l.Close()
	<-w.started
	for _, c := range []net.Conn{w.a, w.b} {
		if c != nil {
			c.Close()
		}
	}
	<-w.ended
}
