package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"
)

// plainServer serves each plain connection with handle, until the test ends.
// It returns its address.
func plainServer(t *testing.T, network string, handle func(net.Conn)) string {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "plain.socket")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return network + "://" + l.Addr().String()
}

// countAndEcho answers, only after the end of the input, with its length and
// itself.
func countAndEcho(conn net.Conn) {
	input, err := io.ReadAll(conn)
	if err == nil {
		fmt.Fprintf(conn, "%d:%s", len(input), input)
	}
}

// ask sends text, ends that direction and returns the whole answer.
func ask(address, text string) (string, error) {
	network, address, _ := strings.Cut(address, "://")
	conn, err := net.Dial(network, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, text)
		if err == nil {
			err = conn.(interface{ CloseWrite() error }).CloseWrite()
		}
		sent <- err
	}()
	answer, err := io.ReadAll(conn)
	return string(answer), errors.Join(err, <-sent)
}

// tunnels starts both ends of a tunnel to a plain target and returns them and
// the address where it begins.
func (c cast) tunnels(t *testing.T, entry, sealed, target string) (alice, bob *running, address string) {
	t.Helper()
	bob, at := listening(t, nil, c.asBob("tunnel", "listen", sealed, target)...)
	alice, address = listening(t, nil, c.asAlice("tunnel", "dial", entry, at)...)
	return alice, bob, address
}

// TestTunnel has many connections at once, each with its own text, all of them
// half-closed before the answer comes.
func TestTunnel(t *testing.T) {
	const size = 50_000
	for networks, connections := range map[[3]string]int{
		{"tcp", "tcp", "tcp"}:    48,
		{"unix", "unix", "unix"}: 48,
		{"tcp", "udp", "unix"}:   12, // a QUIC handshake each, within five seconds of its own
	} {
		t.Run(strings.Join(networks[:], " "), func(t *testing.T) {
			c := newCast(t)
			at := func(network, file string) string {
				if network == "unix" {
					return "unix://" + filepath.Join(c.dir, file)
				}
				return network + "://127.0.0.1:0"
			}
			target := plainServer(t, networks[2], countAndEcho)
			alice, bob, entry := c.tunnels(t, at(networks[0], "entry"), at(networks[1], "sealed"), target)
			errs := make(chan error, connections)
			for range connections {
				go func() {
					text := randomText(size)
					answer, err := ask(entry, text)
					if want := fmt.Sprint(size, ":", text); err == nil && answer != want {
						err = fmt.Errorf("the answer differs: %d bytes, want %d", len(answer), len(want))
					}
					errs <- err
				}()
			}
			for range connections {
				if err := <-errs; err != nil {
					t.Errorf("%v\nalice:\n%s\nbob:\n%s", err, alice.err, bob.err)
				}
			}
		})
	}
}

// TestTunnelPlainSocketMode sees that only its owner may use a plain socket.
func TestTunnelPlainSocketMode(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	entry := filepath.Join(c.dir, "entry")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: entry})
	is.NoErr(err)
	l.SetUnlinkOnClose(false)
	l.Close() // what a killed program leaves behind
	listening(t, nil, c.asAlice("tunnel", "dial", "ipc://"+entry, "localhost:1")...)
	info, err := os.Stat(entry)
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), os.FileMode(0o600))

	other := filepath.Join(c.dir, "other")
	listening(t, nil, c.asAlice("tunnel", "dial", "ipc://"+other, "localhost:1", "--mode", "660")...)
	info, err = os.Stat(other)
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), os.FileMode(0o660))

	r := invoke("", c.asAlice("tunnel", "dial", "ipc://"+entry, "localhost:1")...)
	is.Equal(r.code, exitFailure) // a socket in use is not replaced
	r = invoke("", c.asAlice("tunnel", "dial", "ipc://"+c.aliceKey, "localhost:1")...)
	is.Equal(r.code, exitFailure) // nor is what is none
	is.Equal(invoke("", "pub", c.aliceKey).out, c.alice+"\n")
}

// TestTunnelSurvives sees that what goes wrong with one connection does not
// touch the next.
func TestTunnelSurvives(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	target := plainServer(t, "tcp", countAndEcho)
	bob, sealed := listening(t, nil, c.asBob("tunnel", "listen", "127.0.0.1:0", target)...)
	alice, entry := listening(t, nil, c.asAlice("tunnel", "dial", "127.0.0.1:0", sealed)...)
	stray, strayEntry := listening(t, nil, "tunnel", "dial", "127.0.0.1:0", sealed, "-i", c.strayKey, "--peer", c.bob)
	good := func() {
		t.Helper()
		answer, err := ask(entry, "hello")
		is.NoErr(err)
		is.Equal(answer, "5:hello")
	}
	good()

	_, err := ask(sealed, "GET / HTTP/1.0\r\n\r\n") // no securesp at all
	_ = err                                         // whichever way that ends
	bob.err.await(t, "(does not speak securesp)")
	good()

	_, err = ask(strayEntry, "hello") // a key that bob does not trust
	is.True(err != nil)               // broken, not ended
	stray.err.await(t, "(does not trust our key)")
	good()

	nowhere, _, gone := c.tunnels(t, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:1") // nobody at the target
	_, err = ask(gone, "hello")
	is.True(err != nil)
	nowhere.err.await(t, "(cut behind the peer)")

	_, dead := listening(t, nil, c.asAlice("tunnel", "dial", "127.0.0.1:0", "127.0.0.1:1")...) // nobody at the other end
	_, err = ask(dead, "hello")
	is.True(err != nil)
	good()
	is.True(!strings.Contains(alice.err.String(), "WARN")) // alice had no trouble
}

// TestTunnelBreaks sees that a connection that breaks at one end breaks at the
// other, rather than seem to end.
func TestTunnelBreaks(t *testing.T) {
	for name, network := range map[string]string{"at the target": "target", "at the client": "client"} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := newCast(t)
			accepted, finished := make(chan *net.TCPConn, 1), make(chan struct{})
			defer close(finished)
			target := plainServer(t, "tcp", func(conn net.Conn) {
				accepted <- conn.(*net.TCPConn)
				<-finished
			})
			_, _, entry := c.tunnels(t, "127.0.0.1:0", "127.0.0.1:0", target)
			dialed, err := net.Dial("tcp", strings.TrimPrefix(entry, "tcp://"))
			is.NoErr(err)
			defer dialed.Close()
			client, server := dialed.(*net.TCPConn), <-accepted
			breaks, sees := client, server
			if network == "target" {
				breaks, sees = server, client
			}
			_, err = breaks.Write([]byte("half of it"))
			is.NoErr(err)
			b := make([]byte, 64)
			n, err := io.ReadFull(sees, b[:10])
			is.NoErr(err)
			is.Equal(string(b[:n]), "half of it")
			is.NoErr(breaks.SetLinger(0))
			is.NoErr(breaks.Close())
			_, err = sees.Read(b)
			is.True(err != nil && err != io.EOF) // no end, a break
		})
	}
}

// TestTunnelRevocation takes a key off the trust file while connections of it
// and of another key are open.
func TestTunnelRevocation(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	stray := strings.TrimSpace(invoke("", "pub", c.strayKey).out)
	c.trust(t, c.alice+" alice\n"+stray+" stray\n")
	target := plainServer(t, "tcp", func(conn net.Conn) { io.Copy(conn, conn) })
	bob, sealed := listening(t, nil, c.asBob("tunnel", "listen", "127.0.0.1:0", target)...)
	alice, aliceEntry := listening(t, nil, c.asAlice("tunnel", "dial", "127.0.0.1:0", sealed)...)
	_, strayEntry := listening(t, nil, "tunnel", "dial", "127.0.0.1:0", sealed, "-i", c.strayKey, "--peer", c.bob)
	b := make([]byte, 5)
	open := func(entry string) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(entry, "tcp://"))
		is.NoErr(err)
		echo(is, conn, b)
		return conn
	}
	hers, theirs := open(aliceEntry), open(strayEntry)
	defer hers.Close()
	defer theirs.Close()

	c.trust(t, stray+" stray\n")
	_, err := hers.Read(b)
	is.True(err != nil && err != io.EOF) // cut, not ended
	alice.err.await(t, "(does not trust our key)")
	bob.err.await(t, "(taken off our trust file).* peer=alice")
	echo(is, theirs, b) // the other goes on

	_, err = ask(aliceEntry, "hello")
	is.True(err != nil) // nor does she get in again
	c.trust(t, stray+" stray\n"+c.alice+" alice\n")
	again := open(aliceEntry) // until she is back on the list
	is.NoErr(again.Close())
}

// echo sees that what is sent to conn comes back.
func echo(is *is.I, conn net.Conn, b []byte) {
	is.Helper()
	_, err := conn.Write([]byte("hello"))
	is.NoErr(err)
	_, err = io.ReadFull(conn, b)
	is.NoErr(err)
	is.Equal(string(b), "hello")
}

// TestTunnelBadTrustFile sees that a trust file that becomes unreadable is
// reported and changes nothing.
func TestTunnelBadTrustFile(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	target := plainServer(t, "tcp", countAndEcho)
	_, bob, entry := c.tunnels(t, "127.0.0.1:0", "127.0.0.1:0", target)
	c.trust(t, "what is this\n")
	answer, err := ask(entry, "hello")
	is.NoErr(err)
	is.Equal(answer, "5:hello")
	bob.err.await(t, "(last good content stays in force).*line 1")
}

// TestTunnelMax sees that one connection more than --max waits for its turn.
func TestTunnelMax(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	target := plainServer(t, "tcp", countAndEcho)
	_, sealed := listening(t, nil, c.asBob("tunnel", "listen", "127.0.0.1:0", target)...)
	alice, entry := listening(t, nil, c.asAlice("tunnel", "dial", "127.0.0.1:0", sealed, "--max", "1")...)
	first, err := net.Dial("tcp", strings.TrimPrefix(entry, "tcp://"))
	is.NoErr(err)
	defer first.Close()
	alice.err.await(t, "msg=(connected)")
	answers := make(chan error, 1)
	go func() {
		answer, err := ask(entry, "second")
		if err == nil && answer != "6:second" {
			err = errors.New(answer)
		}
		answers <- err
	}()
	_, err = io.WriteString(first, "first")
	is.NoErr(err)
	is.NoErr(first.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(first)
	is.NoErr(err)
	is.Equal(string(answer), "5:first")
	is.NoErr(<-answers)
	// The second was taken on only after the first had ended.
	is.True(strings.Index(alice.err.String(), "connection ended") < strings.LastIndex(alice.err.String(), "msg=connected"))
}

// TestTunnelEnds sees that ending a tunnel ends its connections, and that it
// is no failure.
func TestTunnelEnds(t *testing.T) {
	for _, which := range []string{"dial", "listen"} {
		t.Run(which, func(t *testing.T) {
			is := is.New(t)
			c := newCast(t)
			target := plainServer(t, "tcp", func(conn net.Conn) { io.Copy(conn, conn) })
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var ended *running
			var sealed, entry string
			if which == "listen" {
				ended = launch(ctx, nil, c.asBob("tunnel", "listen", "127.0.0.1:0", target, "-v")...)
				sealed = ended.err.await(t, `msg=listening address=(\S+)`)
			} else {
				_, sealed = listening(t, nil, c.asBob("tunnel", "listen", "127.0.0.1:0", target)...)
			}
			if which == "dial" {
				ended = launch(ctx, nil, c.asAlice("tunnel", "dial", "127.0.0.1:0", sealed, "-v")...)
				entry = ended.err.await(t, `msg=listening address=(\S+)`)
			} else {
				_, entry = listening(t, nil, c.asAlice("tunnel", "dial", "127.0.0.1:0", sealed)...)
			}
			conn, err := net.Dial("tcp", strings.TrimPrefix(entry, "tcp://"))
			is.NoErr(err)
			defer conn.Close()
			b := make([]byte, 5)
			echo(is, conn, b)
			cancel()
			r := <-ended.done
			is.Equal(r.code, exitOK)
			_, err = conn.Read(b)
			is.True(err != nil && err != io.EOF) // cut, not ended
		})
	}
}

// TestTunnelWarns sees that whoever opens the plain side to other machines is
// told what that means.
func TestTunnelWarns(t *testing.T) {
	c := newCast(t)
	r, _ := listening(t, nil, c.asAlice("tunnel", "dial", "0.0.0.0:0", "localhost:1")...)
	r.err.await(t, "(acts with our key)")
}
