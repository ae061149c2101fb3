package securesp_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// TestDialAndListen uses the two as a program does, on each network.
func TestDialAndListen(t *testing.T) {
	for _, network := range []string{"tcp", "tcp4", "unix", "ipc"} {
		t.Run(network, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, mechanism.XXAESGCM)
			address := "127.0.0.1:0"
			if network == "unix" || network == "ipc" {
				address = filepath.Join(t.TempDir(), "s")
			}
			l, err := securesp.Listen(network, address, responder)
			is.NoErr(err)
			address = l.Addr().String()
			type result struct {
				conn *securesp.Conn
				err  error
			}
			got := make(chan result, 1)
			go func() {
				c, err := l.AcceptConn()
				got <- result{c, err}
			}()
			a, err := securesp.Dial(network, address, initiator)
			is.NoErr(err)
			b := <-got
			is.NoErr(b.err)
			is.Equal(a.ConnectionState().Peer.Name, address) // what we dialled
			is.Equal(b.conn.ConnectionState().Peer.Name, "") // it claims nothing
			is.True(b.conn.ConnectionState().Peer.Addr != nil)
			is.NoErr(a.WriteMessage([]byte("hello")))
			m, err := b.conn.ReadMessage(nil)
			is.NoErr(err)
			is.Equal(string(m), "hello")
			closeBoth(a, b.conn)
			is.NoErr(l.Close())

			_, err = securesp.Dial(network, address, initiator)
			var he *securesp.HandshakeError
			is.True(err != nil && !errors.As(err, &he)) // nobody listens: package net's own error
			var oe *net.OpError
			is.True(errors.As(err, &oe))
		})
	}
}

// TestDialerContext cancels a dial in its handshake.
func TestDialerContext(t *testing.T) {
	is := is.New(t)
	initiator, _ := configs(t, mechanism.XXAESGCM)
	l, err := net.Listen("tcp", "127.0.0.1:0") // which never answers
	is.NoErr(err)
	defer l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.Read(make([]byte, 1)) // HELLO is there: the handshake is under way
		cancel()
		io.Copy(io.Discard, c) // it is the dialer that hangs up
	}()
	d := securesp.Dialer{Config: initiator}
	c, err := d.DialContext(ctx, "tcp", l.Addr().String())
	is.True(c == nil) // and no typed nil
	is.True(errors.Is(err, context.Canceled))
}

// TestCredentials joins what the kernel says of the peer to its key.
func TestCredentials(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.XXAESGCM)
	asked := make(chan trust.Peer, 1)
	responder.Trust = trust.Func(func(_ context.Context, p trust.Peer) error {
		asked <- p
		return nil
	})
	a, b := connect(t, "unix", initiator, responder)
	p := <-asked
	is.Equal(p.Key, initiator.Identity.Public())
	if runtime.GOOS == "linux" {
		is.True(p.Credentials != nil)
		is.Equal(p.Credentials.PID, os.Getpid())
		is.Equal(int(p.Credentials.UID), os.Getuid())
		is.Equal(int(p.Credentials.GID), os.Getgid())
		is.Equal(*b.ConnectionState().Peer.Credentials, *p.Credentials)
		is.Equal(a.ConnectionState().Peer.Credentials.PID, os.Getpid()) // the dialling side, too
	}
	a, _ = connect(t, "tcp", initiator, responder)
	is.True((<-asked).Credentials == nil) // there are none over TCP
	is.True(a.ConnectionState().Peer.Credentials == nil)
}

// TestSocketFile: the file that a dead process has left behind is replaced; a
// live one, or one that is no socket, is not; a closed listener leaves none.
func TestSocketFile(t *testing.T) {
	is := is.New(t)
	_, responder := configs(t, mechanism.XXAESGCM)
	path := filepath.Join(t.TempDir(), "s")

	dead, err := net.Listen("unix", path)
	is.NoErr(err)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	is.NoErr(dead.Close())
	_, err = os.Lstat(path)
	is.NoErr(err) // it has left its file
	l, err := securesp.Listen("unix", path, responder)
	is.NoErr(err) // which is replaced

	_, err = securesp.Listen("unix", path, responder)
	is.True(errors.Is(err, syscall.EADDRINUSE)) // this one lives
	_, err = os.Lstat(path)
	is.NoErr(err) // and keeps its file
	is.NoErr(l.Close())
	_, err = os.Lstat(path)
	is.True(errors.Is(err, fs.ErrNotExist)) // until it is closed

	is.NoErr(os.WriteFile(path, []byte("precious"), 0o600))
	_, err = securesp.Listen("unix", path, responder)
	is.True(err != nil)
	content, err := os.ReadFile(path)
	is.NoErr(err)
	is.Equal(string(content), "precious")
}

// TestSocketMode sets the permissions of the file.
func TestSocketMode(t *testing.T) {
	is := is.New(t)
	_, responder := configs(t, mechanism.XXAESGCM)
	for _, mode := range []fs.FileMode{0o600, 0o660, 0o666} {
		responder = responder.Clone()
		responder.SocketMode = mode
		path := filepath.Join(t.TempDir(), "s")
		l, err := securesp.Listen("unix", path, responder)
		is.NoErr(err)
		info, err := os.Lstat(path)
		is.NoErr(err)
		is.Equal(info.Mode().Perm(), mode)
		is.NoErr(l.Close())
	}
}

// TestNoDescriptorLeak fails many handshakes in many ways, over sockets, and
// counts the descriptors that are open before and after.
func TestNoDescriptorLeak(t *testing.T) {
	is := is.New(t)
	count := func() int {
		entries, err := os.ReadDir("/dev/fd")
		is.NoErr(err)
		return len(entries)
	}
	initiator, responder := configs(t, mechanism.XXAESGCM)
	stranger := initiator.Clone()
	stranger.Identity = newParty(t).identity
	other := initiator.Clone()
	other.Suites = []mechanism.Suite{mechanism.XXChaChaPoly}
	failures := make(chan error, 300)
	responder.OnHandshakeError = func(err error) { failures <- err }
	before := count()
	l, err := securesp.Listen("tcp", "127.0.0.1:0", responder)
	is.NoErr(err)
	done := acceptAll(l)
	address := l.Addr().String()
	for range 20 {
		_, err := securesp.Dial("tcp", address, stranger)
		is.True(errors.Is(err, securesp.ErrRefused))
		_, err = securesp.Dial("tcp", address, other)
		is.True(errors.Is(err, securesp.ErrNoCommonSuite))
		c, err := net.Dial("tcp", address)
		is.NoErr(err)
		_, err = c.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		is.NoErr(err)
		c.Close()
		good, err := securesp.Dial("tcp", address, initiator)
		is.NoErr(err)
		is.NoErr(good.Close())
	}
	for range 60 {
		is.True(!strings.Contains((<-failures).Error(), "GET"))
	}
	is.NoErr(l.Close())
	<-done
	// The accepted connections close once they have read the end.
	for count() > before {
		runtime.Gosched()
	}
}
