package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/leak"
)

// asProgram in the environment makes the test binary be the program.
const asProgram = "SECURESP_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	leak.Main(m)
}

// result is what a run of the program came to.
type result struct {
	code     int
	out, err string
}

// invoke runs the program to its end.
func invoke(in string, args ...string) result {
	return <-launch(context.Background(), strings.NewReader(in), args...).done
}

// running is a run of the program that may still go on.
type running struct {
	out, err *console
	done     chan result // gets one value
}

// launch runs the program in the background.
func launch(ctx context.Context, in io.Reader, args ...string) *running {
	r := &running{out: newConsole(), err: newConsole(), done: make(chan result, 1)}
	go func() {
		code := run(ctx, args, stdio{in, r.out, r.err})
		r.out.close()
		r.err.close()
		r.done <- result{code, r.out.String(), r.err.String()}
	}()
	return r
}

// listening runs the program with -v added and returns once it listens, with
// the address. The test's end is the program's.
func listening(t *testing.T, in io.Reader, args ...string) (*running, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := launch(ctx, in, append(args, "-v")...)
	t.Cleanup(func() {
		cancel()
		<-r.err.closed
	})
	text := r.err.await(t, `msg=listening address=(\S+)`)
	return r, text
}

// console is a stream that the program writes to.
type console struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
	once    sync.Once
	closed  chan struct{}
}

func newConsole() *console {
	return &console{changed: make(chan struct{}), closed: make(chan struct{})}
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
	return c.buf.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

func (c *console) close() { c.once.Do(func() { close(c.closed) }) }

// await waits until the pattern matches, and returns what its group matches.
func (c *console) await(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	expired := time.After(20 * time.Second)
	for {
		c.mu.Lock()
		match, changed := re.FindStringSubmatch(c.buf.String()), c.changed
		c.mu.Unlock()
		if match != nil {
			return match[len(match)-1]
		}
		select {
		case <-changed:
		case <-expired:
			t.Fatalf("the program has not written %q in time:\n%s", pattern, c.String())
		case <-c.closed:
			if re.FindStringSubmatch(c.String()) == nil {
				t.Fatalf("the program ended without %q:\n%s", pattern, c.String())
			}
		}
	}
}

// cast is alice, who dials, and bob, who trusts her.
type cast struct {
	dir                string
	aliceKey, bobKey   string // files
	alice, bob         string // public keys
	bobTrust, strayKey string
}

func newCast(t *testing.T) cast {
	t.Helper()
	dir := t.TempDir()
	c := cast{
		dir: dir, aliceKey: filepath.Join(dir, "alice.key"), bobKey: filepath.Join(dir, "bob.key"),
		strayKey: filepath.Join(dir, "stray.key"), bobTrust: filepath.Join(dir, "bob.trust"),
	}
	c.alice, c.bob = makeKey(t, c.aliceKey), makeKey(t, c.bobKey)
	makeKey(t, c.strayKey)
	c.trust(t, c.alice+" alice\n")
	return c
}

func makeKey(t *testing.T, path string) string {
	t.Helper()
	r := invoke("", "keygen", path)
	if r.code != exitOK {
		t.Fatal(r)
	}
	return strings.TrimSpace(r.out)
}

// trust replaces the content of bob's trust file.
func (c cast) trust(t *testing.T, content string) {
	t.Helper()
	next := c.bobTrust + ".new"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, c.bobTrust); err != nil {
		t.Fatal(err)
	}
}

// asAlice returns arguments with which alice connects to bob.
func (c cast) asAlice(args ...string) []string {
	return append(args, "-i", c.aliceKey, "--peer", c.bob)
}

// asBob returns arguments with which bob listens for alice.
func (c cast) asBob(args ...string) []string {
	return append(args, "-i", c.bobKey, "--trust", c.bobTrust)
}

// addresses are one of each kind to listen on.
func (c cast) addresses() map[string]string {
	return map[string]string{
		"tcp": "tcp://127.0.0.1:0",
		"udp": "udp://127.0.0.1:0",
		"ipc": "ipc://" + filepath.Join(c.dir, "bob.socket"),
	}
}

func TestHelp(t *testing.T) {
	is := is.New(t)
	for _, c := range commands() {
		for _, args := range [][]string{{c.name, "-h"}, {c.name, "--help"}, {"help", c.name}} {
			is.Equal(invoke("", args...), result{exitOK, c.usage, ""}) // usage on standard output
		}
		is.True(strings.Contains(mainUsage, "securesp "+c.name))
		is.True(strings.Contains(c.usage, "Examples"))
	}
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}} {
		is.Equal(invoke("", args...), result{exitOK, mainUsage, ""})
	}
	is.Equal(invoke(""), result{exitUsage, "", mainUsage})
	is.True(strings.HasPrefix(invoke("", "version").out, "securesp "))
}

// TestHelpIsTrue sees that the flags are those that the usage explains.
func TestHelpIsTrue(t *testing.T) {
	is := is.New(t)
	flags := newFlags()
	new(settings).register(flags)
	flags.VisitAll(func(f *flag.Flag) {
		is.True(regexp.MustCompile(`(^|\s)--?` + f.Name + `[\s,]`).MatchString(commonUsage)) // flag explained
	})
	for _, c := range commands() {
		for _, match := range regexp.MustCompile(`(?m)(?:^  |, )(--?[a-z-]+)`).FindAllStringSubmatch(c.usage, -1) {
			r := invoke("", c.name, match[1])
			is.Equal(r.code, exitUsage)                          // nothing but a flag
			is.True(!strings.Contains(r.err, "but not defined")) // explained flag exists
		}
	}
	for d := isOK; d <= isInterrupted; d++ {
		code := d.verdict().code
		is.True(strings.Contains(mainUsage, fmt.Sprintf("\n  %-4d ", code))) // exit code explained
		is.Equal(code == exitFailure, d == isFailure || d == isForbidden)    // everything known has a code
	}
}

func TestUsageErrors(t *testing.T) {
	c := newCast(t)
	for name, args := range map[string][]string{
		"unknown command":       {"frobnicate"},
		"unknown flag":          {"probe", "--frobnicate", "localhost:1"},
		"no address":            {"probe"},
		"two addresses":         {"probe", "localhost:1", "localhost:2"},
		"no port":               {"probe", "localhost"},
		"no path":               {"probe", "ipc://"},
		"path without network":  {"probe", "/run/x"},
		"unknown network":       c.asAlice("cat", "dial", "carrier-pigeon://coop:1"),
		"neither way":           c.asAlice("cat", "localhost:1", "localhost:2"),
		"neither way of tunnel": c.asAlice("tunnel", "both", "localhost:1", "localhost:2"),
		"no identity":           {"cat", "dial", "localhost:1", "--peer", c.bob},
		"no trust":              {"cat", "dial", "localhost:1", "-i", c.aliceKey},
		"trust twice":           {"cat", "dial", "localhost:1", "-i", c.aliceKey, "--peer", c.bob, "--anyone"},
		"no such identity":      {"cat", "dial", "localhost:1", "-i", c.dir + "/none", "--peer", c.bob},
		"identity is no key":    {"cat", "dial", "localhost:1", "-i", c.bobTrust, "--peer", c.bob},
		"no such trust file":    {"cat", "dial", "localhost:1", "-i", c.aliceKey, "--trust", c.dir + "/none"},
		"trust file is none":    {"cat", "dial", "localhost:1", "-i", c.aliceKey, "--trust", c.aliceKey},
		"mistyped peer":         {"cat", "dial", "localhost:1", "-i", c.aliceKey, "--peer", c.bob[:20] + "A" + c.bob[21:] + "A"},
		"unknown suite":         c.asAlice("cat", "dial", "localhost:1", "--suite", "ROT13"),
		"suite without PSK":     c.asAlice("cat", "dial", "localhost:1", "--suite", "XXhfs+psk3"),
		"padding":               c.asAlice("cat", "dial", "localhost:1", "--padding", "some"),
		"mode":                  c.asAlice("cat", "dial", "localhost:1", "--mode", "rw"),
		"timeout":               c.asAlice("cat", "dial", "localhost:1", "--timeout", "-1s"),
		"keep without exec":     c.asBob("cat", "listen", "localhost:1", "-k"),
		"max":                   c.asBob("tunnel", "listen", "localhost:1", "localhost:2", "--max", "0"),
		"tunnel's plain side":   c.asBob("tunnel", "listen", "127.0.0.1:0", "udp://localhost:2"),
		"tunnel, late mistake":  c.asAlice("tunnel", "dial", "127.0.0.1:0", "localhost:2", "--suite", "XXhfs+psk3"),
		"demo of two files":     {"demo", "a", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := invoke("", args...)
			is.Equal(r.code, exitUsage)
			is.Equal(r.out, "")
			is.True(strings.HasPrefix(r.err, "securesp")) // who says it
			is.True(strings.Count(r.err, "\n") >= 1 && strings.HasSuffix(r.err, "\n"))
		})
	}
}

// TestSecretsInArguments sees that a secret passed by mistake is not repeated.
func TestSecretsInArguments(t *testing.T) {
	const tail = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8Avt-z"
	for _, secret := range []string{"ssk1:" + tail, "sps1:" + tail} {
		for _, args := range [][]string{
			{"cat", "dial", "localhost:1", "-i", secret, "--anyone"},
			{"cat", "dial", "localhost:1", "--psk-file", secret},
			{"probe", "localhost:1", "--peer", secret},
			{"pub", secret},
			{"keygen", secret},
			{"tunnel", "dial", "localhost:0", "localhost:1", "-i", secret, "--anyone"},
		} {
			is := is.New(t)
			r := invoke("", args...)
			is.Equal(r.code, exitUsage)
			is.True(strings.Contains(r.err, "secret"))
			is.True(!strings.Contains(r.out+r.err, tail[:10])) // not repeated
		}
	}
}
