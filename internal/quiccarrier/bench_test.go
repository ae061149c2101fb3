package quiccarrier_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/mechanism"
)

// The same work on a Conn over UDP and on package quic-go alone, with
// certificates on both sides. Figures are worth something only as a ratio of
// neighbours in one run.

// benchConnect makes a connected pair and what closes it.
type benchConnect func(b *testing.B) (dial func() (client, server io.ReadWriteCloser), stop func())

func connectSecuresp(b *testing.B) (func() (client, server io.ReadWriteCloser), func()) {
	b.Helper()
	initiator, responder := configs(b, mechanism.IKhfsAESGCM)
	l, err := securesp.Listen("udp", "127.0.0.1:0", responder)
	if err != nil {
		b.Fatal(err)
	}
	return func() (io.ReadWriteCloser, io.ReadWriteCloser) {
		client, err := securesp.Dial("udp", l.Addr().String(), initiator)
		if err != nil {
			b.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		return client, server
	}, func() { l.Close() }
}

// plainStream is a stream that takes its connection and socket along.
type plainStream struct {
	*quic.Stream
	conn      *quic.Conn
	transport *quic.Transport
}

func (s plainStream) Close() error {
	err := s.conn.CloseWithError(0, "")
	if s.transport != nil {
		s.transport.Close()
		s.transport.Conn.Close()
	}
	return err
}

func connectQUIC(b *testing.B) (func() (client, server io.ReadWriteCloser), func()) {
	b.Helper()
	certificate := benchCertificate(b)
	listenOn := func() *quic.Transport {
		conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		return &quic.Transport{Conn: conn}
	}
	server := listenOn()
	l, err := server.Listen(&tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"bench"},
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	client := &tls.Config{Certificates: []tls.Certificate{certificate}, InsecureSkipVerify: true, NextProtos: []string{"bench"}}
	dial := func() (io.ReadWriteCloser, io.ReadWriteCloser) {
		t := listenOn()
		c, err := t.Dial(context.Background(), l.Addr(), client, nil)
		if err != nil {
			b.Fatal(err)
		}
		near, err := c.OpenStream()
		if err != nil {
			b.Fatal(err)
		}
		near.Write([]byte{0}) // makes it visible
		s, err := l.Accept(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		far, err := s.AcceptStream(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := far.Read(make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
		return plainStream{near, c, t}, plainStream{far, s, nil}
	}
	return dial, func() {
		l.Close()
		server.Close()
		server.Conn.Close()
	}
}

var benchPeers = []struct {
	name    string
	connect benchConnect
}{{"securesp", connectSecuresp}, {"quic-go", connectQUIC}}

func BenchmarkBulk(b *testing.B) {
	for _, p := range benchPeers {
		b.Run(p.name, func(b *testing.B) {
			dial, stop := p.connect(b)
			defer stop()
			client, server := dial()
			defer closePair(client, server)
			const size = 1 << 20
			done := make(chan struct{})
			go func() {
				defer close(done)
				io.CopyN(io.Discard, onlyReader{server}, int64(b.N)*size)
			}()
			buf := make([]byte, size)
			b.SetBytes(size)
			b.ResetTimer()
			for range b.N {
				if _, err := client.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			<-done
		})
	}
}

// onlyReader keeps io.CopyN from using anything but Read, with a large buffer.
type onlyReader struct{ io.Reader }

func (r onlyReader) WriteTo(w io.Writer) (int64, error) {
	return io.CopyBuffer(w, struct{ io.Reader }{r.Reader}, make([]byte, 256<<10))
}

func BenchmarkPingPong(b *testing.B) {
	for _, p := range benchPeers {
		b.Run(p.name, func(b *testing.B) {
			dial, stop := p.connect(b)
			defer stop()
			client, server := dial()
			defer closePair(client, server)
			go func() {
				buf := make([]byte, 64)
				for {
					if _, err := io.ReadFull(server, buf); err != nil {
						return
					}
					if _, err := server.Write(buf); err != nil {
						return
					}
				}
			}()
			buf := make([]byte, 64)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, err := client.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(client, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSetUp(b *testing.B) {
	for _, p := range benchPeers {
		b.Run(p.name, func(b *testing.B) {
			dial, stop := p.connect(b)
			defer stop()
			for range b.N {
				client, server := dial()
				b.StopTimer()
				closePair(client, server)
				b.StartTimer()
			}
		})
	}
}

func closePair(a, b io.Closer) {
	done := make(chan struct{})
	go func() { a.Close(); close(done) }()
	b.Close()
	<-done
}

func benchCertificate(b *testing.B) tls.Certificate {
	b.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		b.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}
