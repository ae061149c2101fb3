package securesp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/mechanism"
)

// benchPair returns a connected pair over TCP on loopback.
func benchPair(b *testing.B, transport string, suite mechanism.Suite) (*securesp.Conn, *securesp.Conn) {
	b.Helper()
	initiator, responder := configs(b, suite)
	return connect(b, transport, initiator, responder)
}

// stream measures one sender of writes of the given size against a reader.
func stream(b *testing.B, w io.WriteCloser, r io.Reader, size int) {
	b.Helper()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	done := make(chan error, 1)
	total := int64(size) * int64(b.N)
	go func() {
		buf := make([]byte, 1<<20)
		for total > 0 {
			n, err := r.Read(buf)
			total -= int64(n)
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	p := make([]byte, size)
	b.ResetTimer()
	for range b.N {
		if _, err := w.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, transport := range []string{"tcp", "unix"} {
		for _, suite := range []mechanism.Suite{mechanism.IKhfsAESGCM, mechanism.IKhfsChaChaPoly} {
			for _, size := range []int{64, 1 << 10, 64 << 10, 1 << 20} {
				b.Run(fmt.Sprintf("%s/%v/%d", transport, suite, size), func(b *testing.B) {
					w, r := benchPair(b, transport, suite)
					stream(b, w, r, size)
				})
			}
		}
	}
}

func BenchmarkMessages(b *testing.B) {
	for _, size := range []int{64, 1 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w, r := benchPair(b, "tcp", mechanism.IKhfsAESGCM)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			done := make(chan error, 1)
			go func() {
				var buf []byte
				var err error
				for range b.N {
					if buf, err = r.ReadMessage(buf[:0]); err != nil {
						break
					}
				}
				done <- err
			}()
			p := make([]byte, size)
			for range b.N {
				if err := w.WriteMessage(p); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkPingPong(b *testing.B) {
	for _, transport := range []string{"tcp", "unix"} {
		b.Run(transport, func(b *testing.B) {
			near, far := benchPair(b, transport, mechanism.IKhfsAESGCM)
			pingPong(b, near, far)
		})
	}
}

func pingPong(b *testing.B, near, far net.Conn) {
	b.Helper()
	b.ReportAllocs()
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{far}, struct{ io.Reader }{far}, make([]byte, 64))
		done <- err
	}()
	p := make([]byte, 64)
	b.ResetTimer()
	for range b.N {
		if _, err := near.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(near, p); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	near.Close()
	<-done
}

func BenchmarkHandshake(b *testing.B) {
	for _, suite := range []mechanism.Suite{mechanism.IKhfsAESGCM, mechanism.XXhfsAESGCM, mechanism.XXAESGCM} {
		b.Run(suite.String(), func(b *testing.B) {
			initiator, responder := configs(b, suite)
			l, err := securesp.Listen("tcp", "127.0.0.1:0", responder)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						io.Copy(io.Discard, c)
						c.Close()
					}()
				}
			}()
			b.ReportAllocs()
			d := securesp.Dialer{Config: initiator}
			for b.Loop() {
				c, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
	}
}
