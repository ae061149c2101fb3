package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

const (
	patience = 10 * time.Second       // with the whole exchange
	resend   = 200 * time.Millisecond // after so much silence
	maxSize  = 1500
)

// overUDP sends datagrams, which may get lost, come twice or in another order.
// With IKhfs the handshake is one datagram each way. Whoever waits for an
// answer asks again; ReadMessage leaves the handshake as it was when something
// came that is not the answer.
func overUDP(out io.Writer) error {
	alice, err := keys.Generate()
	if err != nil {
		return err
	}
	bob, err := keys.Generate()
	if err != nil {
		return err
	}
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer server.Close() // harmless the second time
	client, err := net.DialUDP("udp", nil, server.LocalAddr().(*net.UDPAddr))
	if err != nil {
		return err
	}
	defer client.Close()

	done := make(chan error, 1)
	go func() { done <- serveUDP(server, bob, alice.Public()) }()
	answer, err := askUDP(client, alice, bob.Public(), []byte("hello, Bob"))
	server.Close()
	if err := errors.Join(err, <-done); err != nil {
		return err
	}
	report(out, "over UDP", mechanism.IKhfsChaChaPoly, answer)
	return nil
}

// askUDP is Alice: it sends one question and returns the answer.
func askUDP(conn *net.UDPConn, alice *keys.Private, bob keys.Public, question []byte) ([]byte, error) {
	suite, _ := noise.Mechanism(mechanism.IKhfsChaChaPoly)
	h, err := suite.NewHandshake(mechanism.Config{Role: mechanism.Initiator, Identity: alice, Peer: bob})
	if err != nil {
		return nil, err
	}
	first, err := h.AppendMessage(nil, nil)
	if err != nil {
		return nil, err
	}
	err = ask(conn, func() ([]byte, error) { return first, nil },
		func(datagram []byte) bool {
			_, err := h.ReadMessage(nil, datagram)
			return err == nil
		})
	if err != nil {
		return nil, err
	}
	session, err := h.PacketSession()
	if err != nil {
		return nil, err
	}
	var answer []byte
	err = ask(conn,
		func() ([]byte, error) { return session.Seal(nil, question) }, // a new packet each time
		func(datagram []byte) bool {
			answer, err = session.Open(nil, datagram)
			return err == nil
		})
	return answer, err
}

// ask sends what question returns, again and again, until accept takes a
// datagram.
func ask(conn *net.UDPConn, question func() ([]byte, error), accept func([]byte) bool) error {
	end := time.Now().Add(patience)
	buffer := make([]byte, maxSize)
	for time.Now().Before(end) {
		datagram, err := question()
		if err != nil {
			return err
		}
		if _, err := conn.Write(datagram); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(resend)); err != nil {
			return err
		}
		for {
			n, err := conn.Read(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
			if accept(buffer[:n]) {
				return nil
			}
		}
	}
	return os.ErrDeadlineExceeded
}

// responder is Bob's side. A server for many would have one for each of them
// and find it by PacketSession.Index, with which every packet begins.
type responder struct {
	bob   *keys.Private
	alice keys.Public

	session       mechanism.PacketSession
	confirmed     bool   // a packet was opened, so Alice is really there
	first, second []byte // the handshake, to answer a repeated message
}

// answer returns what to send back for one datagram, nil for nothing.
func (r *responder) answer(datagram []byte) ([]byte, error) {
	if r.session != nil {
		if question, err := r.session.Open(nil, datagram); err == nil {
			r.confirmed = true
			return r.session.Seal(nil, append([]byte("you said: "), question...))
		}
	}
	if bytes.Equal(datagram, r.first) {
		return r.second, nil // ours got lost
	}
	if r.confirmed {
		return nil, nil
	}
	// Until a packet was opened, what began a session may have been a copy
	// of an old first message, which must not keep the real Alice out.
	suite, _ := noise.Mechanism(mechanism.IKhfsChaChaPoly)
	h, err := suite.NewHandshake(mechanism.Config{Role: mechanism.Responder, Identity: r.bob})
	if err != nil {
		return nil, err
	}
	if _, err := h.ReadMessage(nil, datagram); err != nil || h.Peer().Key != r.alice {
		return nil, nil // noise, or somebody else: not worth an answer
	}
	if r.second, err = h.AppendMessage(nil, nil); err != nil {
		return nil, err
	}
	r.first = bytes.Clone(datagram)
	r.session, err = h.PacketSession()
	return r.second, err
}

// serveUDP is Bob: it answers until conn is closed.
func serveUDP(conn *net.UDPConn, bob *keys.Private, alice keys.Public) error {
	r := responder{bob: bob, alice: alice}
	buffer := make([]byte, maxSize)
	for {
		n, from, err := conn.ReadFromUDP(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := r.answer(buffer[:n])
		if err != nil {
			return err
		}
		if answer == nil {
			continue
		}
		if _, err := conn.WriteToUDP(answer, from); err != nil {
			return err
		}
	}
}
