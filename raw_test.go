package securesp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/curve"
	"github.com/securesp/securesp/mechanism/noise"
)

// rawPeer is an initiator made from the specification and a mechanism alone.
// It knows the keys and may say what a Conn never would.
type rawPeer struct {
	t       testing.TB
	wire    *testnet.Conn
	session mechanism.Session
}

// rawReady is the READY body of a peer that accepts messages of any size.
var rawReady = append([]byte{1, 0, 8}, bytes.Repeat([]byte{0x7F}, 8)...)

// rawSuites are the suites that a rawPeer is tried with: one of Noise, and CURVE.
var rawSuites = []mechanism.Suite{mechanism.XXAESGCM, mechanism.Curve}

// eachRawSuite runs test as a subtest for each of rawSuites.
func eachRawSuite(t *testing.T, test func(t *testing.T, suite mechanism.Suite)) {
	for _, suite := range rawSuites {
		t.Run(suite.String(), func(t *testing.T) { test(t, suite) })
	}
}

// newRawPeer runs the handshake of the initiator's first suite against a
// responder with the given configuration and sends a verdict of type typ. It
// returns the responder, and the error that its handshake ended with.
func newRawPeer(t testing.TB, initiator, responder *securesp.Config, tlvs []byte, typ mechanism.Type, verdict []byte) (*rawPeer, *securesp.Conn, error) {
	t.Helper()
	near, far := testnet.Pipe(1 << 20)
	p := &rawPeer{t: t, wire: near}
	c := securesp.Server(far, responder)
	done := make(chan error, 1)
	go func() { done <- c.HandshakeContext(context.Background()) }()

	suite := initiator.Suites[0]
	head := rawHello([]mechanism.Suite{suite}, tlvs, nil)
	head = head[:len(head)-2] // up to mlen (SPEC §2)
	m, _ := noise.Mechanism(suite)
	config := mechanism.Config{
		Role:          mechanism.Initiator,
		Prologue:      append([]byte("securesp/1\x00"), head...),
		Identity:      initiator.Identity,
		CurveIdentity: initiator.CurveIdentity,
	}
	if suite == mechanism.Curve {
		m = curve.Mechanism()
		config.CurvePeer = responder.CurveIdentity.Public()
	}
	hs, err := m.NewHandshake(config)
	p.must(err)
	m1, err := hs.AppendMessage(nil, nil)
	p.must(err)
	p.send(rawHello([]mechanism.Suite{suite}, tlvs, m1))
	if !bytes.Equal(p.take(6), acceptStart) {
		t.Fatal("the responder does not accept")
	}
	var last []byte // what goes with the verdict
	for hs.Next() != mechanism.Done {
		p.send(last)
		last = nil
		if hs.Next() == mechanism.Receive {
			_, err = hs.ReadMessage(nil, p.take(int(binary.BigEndian.Uint16(p.take(2)))))
			p.must(err)
			continue
		}
		message, err := hs.AppendMessage(nil, nil)
		p.must(err)
		last = append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
	}
	p.session, err = hs.Session()
	p.must(err)
	record, err := p.session.Encode(nil, typ, verdict)
	p.must(err)
	p.send(append(last, record...))
	return p, c, <-done
}

// rawPair returns a raw peer and the responder that has accepted it.
func rawPair(t testing.TB, suite mechanism.Suite, change func(responder *securesp.Config)) (*rawPeer, *securesp.Conn) {
	t.Helper()
	initiator, responder := configs(t, suite)
	if change != nil {
		change(responder)
	}
	p, c, err := newRawPeer(t, initiator, responder, nil, mechanism.Ready, rawReady)
	p.must(err)
	if typ, _ := p.next(); typ != mechanism.Ready {
		t.Fatalf("the responder's first record has type %v", typ)
	}
	return p, c
}

func (p *rawPeer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *rawPeer) send(b []byte) {
	p.t.Helper()
	_, err := p.wire.Write(b)
	p.must(err)
}

// record sends a sealed record.
func (p *rawPeer) record(typ mechanism.Type, plaintext []byte) {
	p.t.Helper()
	r, err := p.session.Encode(nil, typ, plaintext)
	p.must(err)
	p.send(r)
}

// take returns the next n bytes from the responder.
func (p *rawPeer) take(n int) []byte {
	p.t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(p.wire, b)
	p.must(err)
	return b
}

// next opens the responder's next record.
func (p *rawPeer) next() (mechanism.Type, []byte) {
	p.t.Helper()
	size := p.take(2)
	typ, plaintext, err := p.session.Decode(nil, append(size, p.take(int(binary.BigEndian.Uint16(size)))...))
	p.must(err)
	return typ, plaintext
}

// closeCode reads up to the responder's CLOSE and returns its code.
func (p *rawPeer) closeCode() securesp.CloseCode {
	p.t.Helper()
	for {
		if typ, body := p.next(); typ == mechanism.Close {
			if len(body) < 2 {
				p.t.Fatal("CLOSE without a code")
			}
			return securesp.CloseCode(binary.BigEndian.Uint16(body))
		}
	}
}

// end closes both sides.
func (p *rawPeer) end(c *securesp.Conn) { closeBoth(p.wire, c) }

// frameBytes returns a frame as SPEC §4 has it. total below zero means none.
func frameBytes(body []byte, total int64, more bool) []byte {
	v := uint64(len(body)) << 2
	if more {
		v |= 1
	}
	if total < 0 {
		return append(binary.AppendUvarint(nil, v), body...)
	}
	return append(binary.AppendUvarint(binary.AppendUvarint(nil, v|2), uint64(total)), body...)
}

// asCloseError returns the CloseError in err, or a zero one.
func asCloseError(err error) securesp.CloseError {
	var ce *securesp.CloseError
	if errors.As(err, &ce) {
		return *ce
	}
	return securesp.CloseError{Code: 0xFFFF}
}
