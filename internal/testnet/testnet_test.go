package testnet_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/net/nettest"

	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/internal/testnet"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestNetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := testnet.Pipe(4 << 10)
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

// TestTaps sends "abcdef" in pieces of two past each Tap.
func TestTaps(t *testing.T) {
	for _, tc := range []struct {
		name string
		tap  testnet.Tap
		want string
	}{
		{"nothing", nil, "abcdef"},
		{"flip first", testnet.Flip(0, 0x20), "Abcdef"},
		{"flip last", testnet.Flip(5, 0x20), "abcdeF"},
		{"flip beyond", testnet.Flip(6, 0x20), "abcdef"},
		{"insert", testnet.Insert(3), "abc\x9bdef"},
		{"drop", testnet.Drop(4), "abcdf"},
		{"cut", testnet.Cut(3), "abc"},
		{"cut at once", testnet.Cut(0), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			a, b := testnet.Pipe(100)
			a.Tap(tc.tap)
			for _, p := range []string{"ab", "cd", "ef"} {
				n, err := a.Write([]byte(p))
				is.NoErr(err)  // write
				is.Equal(n, 2) // the sender notices nothing
			}
			is.NoErr(a.Close()) // close
			got, err := io.ReadAll(b)
			is.NoErr(err)                  // read to the end
			is.Equal(string(got), tc.want) // what arrived
		})
	}
}

func TestRecordsTap(t *testing.T) {
	is := is.New(t)
	a, b := testnet.Pipe(100)
	a.Tap(testnet.Records(func(i int, record []byte) [][]byte {
		switch i {
		case 0:
			return [][]byte{record, record}
		case 1:
			return nil
		}
		return [][]byte{record}
	}))
	for _, c := range []byte("\x00\x01x\x00\x02yy\x00\x00\x00\x01z") {
		_, err := a.Write([]byte{c})
		is.NoErr(err) // write
	}
	is.NoErr(a.Close()) // close
	got, err := io.ReadAll(b)
	is.NoErr(err)                                                // read
	is.Equal(string(got), "\x00\x01x\x00\x01x\x00\x00\x00\x01z") // first doubled, second lost
}

func TestSlowOneByteReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		a, b := testnet.Pipe(3)
		b.LimitReads(1)
		b.SlowReads(time.Second)
		start := time.Now()
		n, err := a.Write([]byte("abc"))
		is.NoErr(err)  // there is room
		is.Equal(n, 3) // for all
		is.NoErr(a.SetWriteDeadline(time.Now().Add(1500 * time.Millisecond)))
		done := make(chan struct{})
		go func() {
			defer close(done)
			time.Sleep(time.Millisecond)
			io.ReadAll(b)
		}()
		n, err = a.Write([]byte("defg"))
		is.True(errors.Is(err, os.ErrDeadlineExceeded)) // the reader is too slow
		is.Equal(n, 1)                                  // and this is exact
		is.Equal(time.Since(start), 1500*time.Millisecond)
		a.Close()
		<-done
	})
}

func TestListener(t *testing.T) {
	is := is.New(t)
	l := testnet.Listen(10)
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Write([]byte("hi"))
			c.Close()
		}
	}()
	c, err := l.Dial()
	is.NoErr(err) // dial
	got, err := io.ReadAll(c)
	is.NoErr(err)               // read
	is.Equal(string(got), "hi") // what was sent
	is.NoErr(l.Close())         // close
	_, err = l.Accept()
	is.True(errors.Is(err, net.ErrClosed)) // no more
	_, err = l.Dial()
	is.True(errors.Is(err, net.ErrClosed)) // no more
}
