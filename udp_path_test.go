package securesp_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/lossnet"
	"github.com/securesp/securesp/internal/quiccarrier"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// lossyPair is a connection over a network that a test has in its hand.
type lossyPair struct {
	net            *lossnet.Net
	endpoint       *lossnet.Endpoint // the client's, at 10.0.0.2:1000
	client, server *securesp.Conn
	carrier        *quiccarrier.Conn // the client's
}

// overLossnet runs f in a bubble where time is virtual.
func overLossnet(t *testing.T, conditions lossnet.Conditions, initiator, responder *securesp.Config, f func(t *testing.T, p *lossyPair)) {
	t.Helper()
	// What quiccarrier does once a process is done outside the bubble.
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	warm, err := quiccarrier.Listen(conn, quiccarrier.Options{MaxPending: 1})
	if err != nil {
		t.Fatal(err)
	}
	warm.Close()
	synctest.Test(t, func(t *testing.T) {
		p := &lossyPair{net: lossnet.New(1, conditions)}
		inner, err := quiccarrier.Listen(p.net.Listen("10.0.0.1:443"), quiccarrier.Options{MaxPending: 16})
		if err != nil {
			t.Fatal(err)
		}
		l := securesp.NewListener(inner, responder)
		p.endpoint = p.net.Listen("10.0.0.2:1000")
		p.carrier, err = quiccarrier.DialOn(context.Background(), p.endpoint, inner.Addr(), quiccarrier.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p.client = securesp.Client(p.carrier, initiator)
		if err := p.client.HandshakeContext(context.Background()); err != nil {
			t.Fatal(err)
		}
		if p.server, err = l.AcceptConn(); err != nil {
			t.Fatal(err)
		}
		f(t, p)
		// In a bubble nobody may wait for a lock while time must pass: what
		// lingers is gone before the same is closed again.
		time.Sleep(2 * time.Second)
		closeBoth(p.client, p.server)
		time.Sleep(time.Minute)
		l.Close()
	})
}

// A path that loses, delays, reorders and duplicates, with a NAT that forgets
// in the middle of it all, carries stream, messages and datagrams.
func TestUDPOverABadPath(t *testing.T) {
	conditions := lossnet.Conditions{Delay: 20 * time.Millisecond, Loss: 0.05, Duplicate: 0.05, Reorder: 0.1}
	initiator, responder := configs(t, mechanism.IKhfsAESGCM)
	overLossnet(t, conditions, initiator, responder, func(t *testing.T, p *lossyPair) {
		is := is.New(t)
		sent := make([]byte, 1<<20)
		rand.Read(sent)
		errs := make(chan error, 1)
		go func() {
			err := p.client.WriteMessage(sent)
			p.net.Rebind(p.endpoint, "10.0.0.2:2000")
			errs <- errors.Join(err, p.client.WriteMessage(sent), p.client.CloseWrite())
		}()
		for range 2 {
			got, err := p.server.ReadMessage(nil)
			is.NoErr(err)                   // read
			is.True(bytes.Equal(got, sent)) // the message
		}
		_, err := p.server.ReadMessage(nil)
		is.Equal(err, io.EOF) // the authenticated end
		is.NoErr(<-errs)      // write
		is.Equal(p.server.RemoteAddr().String(), "10.0.0.2:2000")
		is.Equal(p.server.ConnectionState().Peer.Addr.String(), "10.0.0.2:1000") // at the handshake

		const datagrams = 200
		go func() {
			for i := range datagrams {
				errs <- p.server.SendDatagram([]byte{byte(i)})
				time.Sleep(time.Millisecond)
			}
		}()
		for range datagrams {
			is.NoErr(<-errs) // send a datagram
		}
		seen := make(map[byte]bool)
		is.NoErr(p.client.SetReadDeadline(time.Now().Add(time.Second)))
		for {
			d, err := p.client.ReceiveDatagram(nil)
			if err != nil {
				is.True(errors.Is(err, os.ErrDeadlineExceeded)) // no more come
				break
			}
			is.True(!seen[d[0]]) // once at most
			seen[d[0]] = true
		}
		is.True(len(seen) < datagrams)   // loss shows
		is.True(len(seen) > datagrams/2) // but most arrive
	})
}

// QUIC lets a client move; a policy that trusts it at one address only is
// asked about the next one.
func TestUDPMoveOutOfBounds(t *testing.T) {
	for _, c := range []struct {
		name string
		use  func(p *lossyPair) error // what the server does at the time
	}{
		{"read", func(p *lossyPair) error {
			if _, err := p.client.Write([]byte("from elsewhere")); err != nil {
				return err
			}
			_, err := p.server.Read(make([]byte, 1))
			return err
		}},
		{"write", func(p *lossyPair) error {
			for range 100 {
				if _, err := p.server.Write([]byte("to elsewhere")); err != nil {
					return err
				}
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		}},
		{"datagram", func(p *lossyPair) error {
			for range 10 {
				if err := p.client.SendDatagram([]byte("from elsewhere")); err != nil {
					return err
				}
				time.Sleep(100 * time.Millisecond)
			}
			for {
				if _, err := p.server.ReceiveDatagram(nil); err != nil {
					return err
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			initiator, responder := configs(t, mechanism.IKhfsAESGCM)
			allowed := func(ctx context.Context, peer trust.Peer) error {
				if a := peer.Addr.(*net.UDPAddr); !a.IP.Equal(net.IPv4(10, 0, 0, 2)) {
					return trust.ErrAddress
				}
				return nil
			}
			responder.Trust = trust.Func(allowed)
			overLossnet(t, lossnet.Conditions{Delay: 5 * time.Millisecond}, initiator, responder, func(t *testing.T, p *lossyPair) {
				is := is.New(t)
				talk := func() {
					_, err := p.client.Write([]byte("hello"))
					is.NoErr(err) // write
					_, err = io.ReadFull(p.server, make([]byte, 5))
					is.NoErr(err) // read
				}
				time.Sleep(time.Second)
				talk()
				p.net.Rebind(p.endpoint, "10.0.0.2:2000") // another port: nothing is wrong with that
				talk()
				time.Sleep(time.Second)
				talk()
				is.Equal(p.server.RemoteAddr().String(), "10.0.0.2:2000")

				p.net.Rebind(p.endpoint, "10.0.0.3:1000")
				is.NoErr(p.client.SendDatagram(nil)) // QUIC validates the path
				time.Sleep(time.Second)
				is.True(errors.Is(c.use(p), securesp.ErrRevoked)) // nothing comes through
				_, err := p.client.Read(make([]byte, 2000))
				for err == nil {
					_, err = p.client.Read(make([]byte, 2000))
				}
				is.Equal(asCloseError(err).Code, securesp.CloseRevoked) // the peer is told
			})
		})
	}
}

// A connection that is given up does not wait for a peer that is gone.
func TestUDPRevocationIsPrompt(t *testing.T) {
	initiator, responder := configs(t, mechanism.IKhfsAESGCM)
	watched := &watchedPolicy{Policy: trust.Anyone(), revoke: make(chan func(error), 1)}
	responder.Trust = watched
	overLossnet(t, lossnet.Conditions{Delay: time.Millisecond}, initiator, responder, func(t *testing.T, p *lossyPair) {
		is := is.New(t)
		p.net.SetConditions(lossnet.Conditions{Loss: 1})
		(<-watched.revoke)(errors.New("changed its mind"))
		_, err := p.server.Read(make([]byte, 1))
		is.True(errors.Is(err, securesp.ErrRevoked))
		time.Sleep(600 * time.Millisecond) // to say why, and for QUIC to be heard
		carrier := p.server.NetConn().(*quiccarrier.Conn)
		is.True(errors.Is(carrier.SendDatagram(nil, time.Time{}), net.ErrClosed)) // QUIC's connection is gone
	})
}

// watchedPolicy hands out what ends a connection.
type watchedPolicy struct {
	trust.Policy
	revoke chan func(error)
}

func (w *watchedPolicy) Watch(_ trust.Peer, f func(error)) (stop func()) {
	w.revoke <- f
	return func() {}
}
