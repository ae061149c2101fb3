package main

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
)

// probing probes and checks the exit code and that the output has all of the
// given texts.
func probing(t *testing.T, code int, texts []string, args ...string) result {
	t.Helper()
	r := invoke("", append([]string{"probe"}, args...)...)
	if r.code != code || r.err != "" {
		t.Errorf("exit code %d, want %d\n%s%s", r.code, code, r.out, r.err)
	}
	for _, text := range texts {
		if !strings.Contains(r.out, text) {
			t.Errorf("no %q in\n%s", text, r.out)
		}
	}
	return r
}

// awaiting runs bob, who never says a word.
func (c cast) awaiting(t *testing.T, args ...string) string {
	t.Helper()
	_, at := listening(t, endlessInput{}, append([]string{"cat", "listen", "-k", "--exec", "cat"}, args...)...)
	return at
}

func TestProbeGood(t *testing.T) {
	c := newCast(t)
	for network, address := range c.addresses() {
		t.Run(network, func(t *testing.T) {
			is := is.New(t)
			at := c.awaiting(t, c.asBob(address, "--protocol", "test/1")...)
			r := probing(t, exitOK, []string{
				at + "\n", "accepts us", "Noise_IKhfs_25519+MLKEM768_", "hybrid", c.bob + ", as expected",
				c.alice, `"test/1"`, "16.0 MiB", "connecting", "handshake",
			}, c.asAlice(at, "--protocol", "test/1")...)
			is.True(regexp.MustCompile(`handshake +\d[\d.]* (µs|ms|s)\n`).MatchString(r.out)) // a time
			is.True(!strings.Contains(r.out, "not verified"))
			probing(t, exitOK, []string{"binding"}, c.asAlice(at, "--protocol", "test/1", "-v")...)
		})
	}
}

func TestProbeWithoutIdentity(t *testing.T) {
	c := newCast(t)
	closed := c.awaiting(t, c.asBob("127.0.0.1:0")...)
	probing(t, exitRefused, []string{"not authorised", c.bob, "not verified", "new for this probe", "securesp pub"}, closed)
	probing(t, exitRefused, []string{"not authorised"}, closed, "-i", c.strayKey, "--peer", c.bob)
	open := c.awaiting(t, "127.0.0.1:0", "-i", c.bobKey, "--anyone")
	probing(t, exitOK, []string{"Noise_XXhfs", c.bob, "not verified"}, open)
}

func TestProbeWrongKey(t *testing.T) {
	c := newCast(t)
	at := c.awaiting(t, c.asBob("127.0.0.1:0")...)
	probing(t, exitUntrusted, []string{"wrong key", "expected     " + c.alice, "found        " + c.bob},
		at, "-i", c.aliceKey, "--peer", c.alice)
	two := filepath.Join(c.dir, "two")
	other := makeKey(t, two)
	probing(t, exitUntrusted, []string{"we do not trust the peer's key", c.bob},
		at, "-i", c.aliceKey, "--peer", c.alice+","+other) // two keys, so they meet first
}

func TestProbeSharedKeysDiffer(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	ours, theirs := filepath.Join(c.dir, "ours"), filepath.Join(c.dir, "theirs")
	is.Equal(invoke("", "keygen", "-psk", ours).code, exitOK)
	is.Equal(invoke("", "keygen", "-psk", theirs).code, exitOK)
	at := c.awaiting(t, c.asBob("127.0.0.1:0", "--psk-file", theirs)...)
	probing(t, exitUntrusted, nil, c.asAlice(at, "--psk-file", ours)...)
	probing(t, exitIncompatible, nil, c.asAlice(at)...)
	probing(t, exitOK, []string{"XXhfs+psk3"}, c.asAlice(at, "--psk-file", theirs)...)

	at = c.awaiting(t, "127.0.0.1:0", "--psk-file", theirs, "--name", "bob")
	names := []string{at, "--name", "alice", "--peer-name", "bob", "--psk-file"}
	probing(t, exitUntrusted, []string{"wrong key"}, append(names, ours)...)
	probing(t, exitOK, []string{"NNhfs+psk0"}, append(names, theirs)...)
}

func TestProbeIncompatible(t *testing.T) {
	c := newCast(t)
	at := c.awaiting(t, c.asBob("127.0.0.1:0", "--suite", "XX", "--protocol", "test/1")...)
	probing(t, exitIncompatible, []string{"no suite in common"}, c.asAlice(at, "--suite", "XXhfs")...)
	probing(t, exitIncompatible, []string{"different application protocols"}, c.asAlice(at, "--suite", "XX", "--protocol", "test/2")...)
	probing(t, exitOK, []string{"Noise_XX_25519_"}, c.asAlice(at, "--suite", "XX", "--protocol", "test/1")...)
	// The hints of a responder of another time (SPEC §2).
	probing(t, exitIncompatible, []string{"no protocol version in common"}, says(t, "\x00SPS\x02\x02\x01"))
	probing(t, exitIncompatible, []string{"no protocol version in common"}, says(t, "\x00SPS\x02\x00\x00\x00"))
	probing(t, exitTimeout, []string{"no room"}, says(t, "\x00SPS\x01\x02\x03"))
}

func TestProbeNull(t *testing.T) {
	c := newCast(t)
	at := c.awaiting(t, "127.0.0.1:0", "--suite", "NULL")
	probing(t, exitOK, []string{"NULL", "NO SECURITY"}, at, "--suite", "NULL")
	probing(t, exitIncompatible, []string{"no suite in common"}, at)
}

// says runs a server that reads a little and then sends text.
func says(t *testing.T, text string) string {
	t.Helper()
	return plainServer(t, "tcp", func(conn net.Conn) {
		conn.Read(make([]byte, 1))
		io.WriteString(conn, text)
		io.Copy(io.Discard, conn)
	})
}

func TestProbeForeign(t *testing.T) {
	for name, c := range map[string]struct{ text, verdict string }{
		"SSH":      {"SSH-2.0-OpenSSH_9.2\r\n", "does not speak securesp"},
		"HTTP":     {"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak securesp"},
		"TLS":      {"\x15\x03\x01\x00\x02\x02\x46", "does not speak securesp"},
		"plain SP": {"\x00SP\x00\x00\x31\x00\x00", "plain SP without security"},
		"nonsense": {"\x00SPS\x01\x09\x00\x00", "does not speak securesp"},
	} {
		t.Run(name, func(t *testing.T) {
			probing(t, exitForeign, []string{c.verdict, "next "}, says(t, c.text))
		})
	}
	t.Run("hangs up", func(t *testing.T) {
		probing(t, exitForeign, []string{"hung up without an answer"}, plainServer(t, "tcp", func(conn net.Conn) {
			conn.Read(make([]byte, 8192))
		}))
	})
	t.Run("resets", func(t *testing.T) {
		probing(t, exitForeign, []string{"hung up without an answer"}, plainServer(t, "tcp", func(conn net.Conn) {
			conn.Read(make([]byte, 1))
			conn.(*net.TCPConn).SetLinger(0)
		}))
	})
	t.Run("echo", func(t *testing.T) {
		probing(t, exitForeign, []string{"does not speak securesp"}, plainServer(t, "tcp", func(conn net.Conn) { io.Copy(conn, conn) }))
	})
}

func TestProbeNobody(t *testing.T) {
	free := testnet.FreeAddress(t)
	probing(t, exitNobody, []string{"nobody listens there", "tcp://" + free, "next "}, free)
	probing(t, exitNobody, []string{"nobody listens there"}, "ipc://"+filepath.Join(t.TempDir(), "none"))
}

func TestProbeTimeout(t *testing.T) {
	at := says(t, "") // listens, and never answers
	probing(t, exitTimeout, []string{"somebody listens there, but does not answer"}, at, "--timeout", "50ms")
}

// TestProbeTimeoutUDP has nobody at all at the address: UDP does not tell.
func TestProbeTimeoutUDP(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	probing(t, exitTimeout, []string{"no answer at all"}, "udp://"+silent.LocalAddr().String(), "--timeout", "50ms")
}

func TestProbeInterrupted(t *testing.T) {
	is := is.New(t)
	at := says(t, "")
	ctx, cancel := context.WithCancel(context.Background())
	r := launch(ctx, nil, "probe", at)
	cancel()
	is.Equal((<-r.done).code, exitInterrupted)
}

// TestSuiteNames sees that every suite can be asked for, by its full name and
// its pattern.
func TestSuiteNames(t *testing.T) {
	is := is.New(t)
	for _, s := range mechanism.Suites() {
		got, err := parseSuites([]string{strings.ToLower(s.String())})
		if s == mechanism.Curve {
			is.True(err != nil) // there are no flags for its keys
			is.True(!strings.Contains(suiteNames(), s.String()))
			continue
		}
		is.NoErr(err)
		is.Equal(got, []mechanism.Suite{s})
		parts := strings.Split(s.String(), "_")
		if len(parts) < 2 {
			continue // NULL has nothing to leave out
		}
		got, err = parseSuites([]string{parts[1]})
		is.NoErr(err)
		is.Equal(len(got), 2) // with either cipher
		is.True(got[0] == s || got[1] == s)
	}
}
