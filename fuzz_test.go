package securesp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
	"github.com/securesp/securesp/trust"
)

// seed adds a corpus and fails if it is empty.
func seed(f *testing.F, corpus [][]byte) {
	f.Helper()
	if len(corpus) == 0 {
		f.Fatal("the seed corpus is empty")
	}
	for _, p := range corpus {
		f.Add(p)
	}
}

// fuzzHellos are HELLOs, good and bad.
func fuzzHellos() [][]byte {
	xx := appendHelloHead(nil, []mechanism.Suite{mechanism.XXhfsAESGCM}, "", "")
	named := appendHelloHead(nil, []mechanism.Suite{mechanism.NNhfsPSK0AESGCM, mechanism.NNhfsPSK0ChaChaPoly}, "alice", "bob")
	good := appendBlock(bytes.Clone(xx), make([]byte, 1216))
	return [][]byte{
		good, appendBlock(named, make([]byte, 1248)), appendBlock(bytes.Clone(xx), nil), good[:100], xx,
		[]byte("\x00SP\x00\x00\x50\x00\x00"), []byte("GET / HTTP/1.1\r\n\r\n"), []byte("\x00SPS\x02\x00"), {},
	}
}

// FuzzHello: what is accepted as a HELLO is that, byte for byte, and does not
// depend on how it arrives. Nothing behind it is lost.
func FuzzHello(f *testing.F) {
	seed(f, fuzzHellos())
	f.Fuzz(func(t *testing.T, p []byte) {
		r := prefaceReader{carrier: bytes.NewReader(p)}
		h, err := readHello(&r)
		slow := prefaceReader{carrier: iotest.OneByteReader(bytes.NewReader(p))}
		_, slowErr := readHello(&slow)
		if (err == nil) != (slowErr == nil) {
			t.Errorf("at once: %v, byte by byte: %v", err, slowErr)
		}
		if err != nil {
			if !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrNotSecureSP) && !errors.Is(err, ErrVersion) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error of an unknown kind: %v", err)
			}
			return
		}
		if !bytes.HasPrefix(p, h.whole) || len(h.whole) > maxHello {
			t.Errorf("took %d bytes that were not sent", len(h.whole))
		}
		if again := appendBlock(bytes.Clone(h.head), h.message); !bytes.Equal(again, h.whole) {
			t.Error("head and message do not make up the whole")
		}
		if rest, _ := io.ReadAll(io.MultiReader(bytes.NewReader(r.buf), r.carrier)); !bytes.Equal(rest, p[len(h.whole):]) {
			t.Error("bytes behind HELLO were lost")
		}
		// Written again from its parts, it means the same.
		parts := appendBlock(appendHelloHead(nil, h.suites, h.local, h.remote), h.message)
		if len(parts) <= maxHello && len(h.local) <= maxNameLen && len(h.remote) <= maxNameLen {
			h2, err := readHello(&prefaceReader{carrier: bytes.NewReader(parts)})
			if err != nil || h2.local != h.local || h2.remote != h.remote || !bytes.Equal(h2.message, h.message) || len(h2.suites) != len(h.suites) {
				t.Errorf("does not survive: %v", err)
			}
		}
	})
}

// FuzzReply: an accepted reply, written again, is what was read.
func FuzzReply(f *testing.F) {
	seed(f, [][]byte{
		appendBlock(appendReply(nil, kindAccept), make([]byte, 1200)),
		binary.BigEndian.AppendUint16(appendReply(nil, kindRetry), uint16(mechanism.XXhfsChaChaPoly)),
		append(appendReply(nil, kindReject), rejectBusy),
		append([]byte("\x00SPS\x07\x02"), rejectVersion),
		[]byte("\x00SP\x00\x00\x50\x00\x00"), []byte("HTTP/1.1 400"), {},
	})
	f.Fuzz(func(t *testing.T, p []byte) {
		r := prefaceReader{carrier: bytes.NewReader(p)}
		rep, err := readReply(&r)
		if err != nil {
			return
		}
		again := appendReply(nil, rep.kind)
		switch rep.kind {
		case kindAccept:
			again = appendBlock(again, rep.message)
		case kindRetry:
			again = binary.BigEndian.AppendUint16(again, uint16(rep.suite))
		case kindReject:
			again = append(again, rep.code)
			again[4] = p[4] // understood in any version
			if rejection(rep.code) == nil {
				t.Error("a rejection without an error")
			}
		default:
			t.Errorf("kind %d was accepted", rep.kind)
		}
		if !bytes.HasPrefix(p, again) {
			t.Errorf("read as %x", again)
		}
	})
}

// FuzzFrames: frames that are accepted are minimal, so they have one form.
func FuzzFrames(f *testing.F) {
	seed(f, [][]byte{
		append(frame{size: 3}.appendHeader(nil), "abc"...),
		append(frame{size: 3, more: true, hasTotal: true, total: 1 << 40}.appendHeader(nil), "abc"...),
		{0x80, 0}, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1}, {},
	})
	f.Fuzz(func(t *testing.T, p []byte) {
		for len(p) > 0 {
			fr, rest, err := parseFrame(p)
			if err != nil {
				if !errors.Is(err, ErrProtocol) {
					t.Errorf("error of an unknown kind: %v", err)
				}
				return
			}
			if head := fr.appendHeader(nil); !bytes.Equal(head, p[:len(p)-len(rest)]) {
				t.Errorf("%x is also %x", p[:len(p)-len(rest)], head)
			}
			p = rest[fr.size:]
		}
	})
}

// FuzzUnpad: padding that is accepted is a byte 80 and zeros.
func FuzzUnpad(f *testing.F) {
	seed(f, [][]byte{{0x80}, {1, 0x80, 0, 0}, {0x80, 0x80}, {0, 0}, {}})
	f.Fuzz(func(t *testing.T, p []byte) {
		got, err := unpad(p)
		if err != nil {
			return
		}
		again := append(bytes.Clone(got), 0x80)
		if again = append(again, make([]byte, len(p)-len(again))...); !bytes.Equal(again, p) {
			t.Errorf("%x became %x", p, got)
		}
	})
}

// FuzzReady: an accepted READY body, written again, says the same.
func FuzzReady(f *testing.F) {
	seed(f, [][]byte{
		appendReady(nil, &Config{}),
		appendReady(nil, &Config{Protocol: "a/1", AllowClear: true, MaxMessageSize: 1, Extensions: map[uint8][]byte{0x10: {1}, 0x1F: nil}}),
		{1, 0, 4, 0, 0, 0, 1}, {2, 0xFF, 0xFF}, {},
	})
	f.Fuzz(func(t *testing.T, p []byte) {
		var a, b ready
		if a.parse(p) != nil {
			return
		}
		if len(a.protocol) > maxProtocolLen || a.maxMessage > 1<<62 {
			return // more than a Config can say
		}
		c := &Config{Protocol: a.protocol, AllowClear: a.clear, MaxMessageSize: int(a.maxMessage), Extensions: a.extensions}
		if err := b.parse(appendReady(nil, c)); err != nil {
			t.Errorf("does not survive: %v", err)
		}
		if a.maxMessage != 0 && a.maxMessage != b.maxMessage || a.protocol != b.protocol || a.clear != b.clear || len(a.extensions) != len(b.extensions) {
			t.Errorf("%+v became %+v", a, b)
		}
	})
}

// FuzzClose: an accepted CLOSE body has one form.
func FuzzClose(f *testing.F) {
	seed(f, [][]byte{appendClose(nil, CloseRevoked, "gone"), {0}, {0, 0}, make([]byte, 2+256), {}})
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := parseClose(p)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("error of an unknown kind: %v", err)
			}
			return
		}
		if again := appendClose(nil, c.Code, c.Reason); !bytes.Equal(again, p) {
			t.Errorf("%x became %x", p, again)
		}
		if c.Reason != "" && bytes.Contains([]byte(c.Error()), []byte(c.Reason)) && len(c.Reason) > 20 {
			t.Error("the reason is echoed")
		}
	})
}

// script is a carrier that has a fixed input and takes any output. Addresses
// and deadlines are the inner one's.
type script struct {
	net.Conn
	in io.Reader
}

func (s script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s script) Write(p []byte) (int, error) { return len(p), nil }

// FuzzRecords hands a receiver a stream of bytes: it never delivers more than
// arrived and always comes to an end that is not an orderly one. In NULL, which
// anybody can forge, every record gets past authentication, so this reaches
// all that lies behind it.
func FuzzRecords(f *testing.F) {
	session := fuzzSession(f)
	rec := func(t mechanism.Type, p []byte) []byte {
		r, err := session.Encode(nil, t, p)
		if err != nil {
			f.Fatal(err)
		}
		return r
	}
	data := append(frame{size: 3}.appendHeader(nil), "abc"...)
	seed(f, [][]byte{
		rec(mechanism.Data, data),
		append(rec(mechanism.DataPadded, append(bytes.Clone(data), 0x80, 0)), rec(mechanism.Fin, nil)...),
		append(rec(mechanism.Ping, nil), rec(mechanism.Close, []byte{0, 0})...),
		append(rec(mechanism.Pad, make([]byte, 9)), rec(mechanism.Close, []byte{0, 7, 'x'})...),
		{0, 2, byte(mechanism.Clear), 'c'}, {0xFF, 0xFF, 0}, {},
	})
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	f.Fuzz(func(t *testing.T, p []byte) {
		c := newConn(script{near, bytes.NewReader(p)}, &Config{AllowClear: true, NoCoalescing: true}, false)
		c.clearPermitted = true
		c.sender.init(c, fuzzSession(t))
		c.receiver.init(c, fuzzSession(t), nil)
		total := 0
		for {
			m, err := c.receiver.readMessage(nil, nil)
			if err != nil {
				break
			}
			total += len(m)
		}
		if total > len(p) {
			t.Errorf("%d bytes came out of %d", total, len(p))
		}
		if c.receiver.err == nil {
			t.Error("no final error")
		}
		c.sender.rest()
	})
}

func fuzzSession(t testing.TB) mechanism.Session {
	m, _ := mechanismFor(mechanism.Null)
	h, err := m.NewHandshake(mechanism.Config{})
	if err == nil {
		_, err = h.AppendMessage(nil, nil)
	}
	if err == nil {
		_, err = h.ReadMessage(nil, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.Session()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// FuzzHandshake hands the same bytes to a responder and an initiator as all
// that the peer ever says: neither gets a connection, and neither waits.
func FuzzHandshake(f *testing.F) {
	identity, err := keys.Generate()
	if err != nil {
		f.Fatal(err)
	}
	curveIdentity, err := keys.GenerateCurve()
	if err != nil {
		f.Fatal(err)
	}
	config := &Config{Identity: identity, Trust: trust.Anyone(), Suites: []mechanism.Suite{mechanism.XXAESGCM, mechanism.XXhfsAESGCM}}
	// A responder takes CURVE, too; an initiator would have to know whom it
	// dials.
	responder := config.Clone()
	responder.Suites = append(responder.Suites, mechanism.Curve)
	responder.CurveIdentity = curveIdentity
	curveOnly := config.Clone()
	curveOnly.Suites = []mechanism.Suite{mechanism.Curve}
	curveOnly.CurveIdentity, curveOnly.Trust = curveIdentity, trust.CurveKeys(curveIdentity.Public())
	m, _ := noise.Mechanism(mechanism.XXAESGCM)
	head := appendHelloHead(nil, []mechanism.Suite{mechanism.XXAESGCM}, "", "")
	h, err := m.NewHandshake(mechanism.Config{Prologue: append([]byte(prologueLabel), head...), Identity: identity})
	if err != nil {
		f.Fatal(err)
	}
	m1, err := h.AppendMessage(nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	seed(f, append(fuzzHellos(),
		appendBlock(head, m1),
		appendBlock(appendHelloHead(nil, []mechanism.Suite{mechanism.Curve}, "", ""), append([]byte("\x05HELLO\x01\x00"), make([]byte, 192)...)),
		appendBlock(appendReply(nil, kindAccept), append([]byte("\x07WELCOME"), make([]byte, 160)...)),
		appendBlock(appendReply(nil, kindAccept), make([]byte, 96)),
		append(appendReply(nil, kindReject), rejectHandshake),
		binary.BigEndian.AppendUint16(appendReply(nil, kindRetry), uint16(mechanism.XXhfsAESGCM))))
	f.Fuzz(func(t *testing.T, p []byte) {
		for i, config := range []*Config{responder, config, curveOnly} {
			near, far := net.Pipe()
			c := newConn(script{near, bytes.NewReader(p)}, config, i > 0)
			c.runHandshake()
			if c.hs.err == nil || c.established.Load() {
				t.Errorf("configuration %d: a connection came of %x", i, p)
			}
			far.Close()
		}
	})
}
