package securesp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/mechanism"
)

// TestProtocolViolations has an authenticated peer send sealed records that
// the protocol does not permit. What came before still counts; then reading
// fails for good, and the peer is told with which code.
func TestProtocolViolations(t *testing.T) {
	eachRawSuite(t, func(t *testing.T, suite mechanism.Suite) {
		tooLong := append(binary.BigEndian.AppendUint16(nil, 0x4001), bytes.Repeat([]byte{'x'}, 256)...)
		for _, tc := range []struct {
			name string
			typ  mechanism.Type
			body []byte
			err  error
			code securesp.CloseCode
		}{
			{"READY again", mechanism.Ready, rawReady, securesp.ErrProtocol, securesp.CloseProtocolError},
			{"unknown type 05", 0x05, nil, securesp.ErrProtocol, securesp.CloseProtocolError},
			{"unknown type FF", 0xFF, []byte("x"), securesp.ErrProtocol, securesp.CloseProtocolError},
			{"CLOSE without a code", mechanism.Close, []byte{0}, securesp.ErrProtocol, securesp.CloseProtocolError},
			{"CLOSE with too long a reason", mechanism.Close, tooLong, securesp.ErrProtocol, securesp.CloseProtocolError},
			{"padding without an end", mechanism.DataPadded, append(frameBytes([]byte("x"), -1, false), 0, 0), securesp.ErrProtocol, securesp.CloseProtocolError},
			{"padding of zeros only", mechanism.DataPadded, make([]byte, 20), securesp.ErrProtocol, securesp.CloseProtocolError},
			{"padded and empty", mechanism.DataPadded, nil, securesp.ErrProtocol, securesp.CloseProtocolError},
			{"frame longer than its record", mechanism.Data, []byte{8 << 2, 'x'}, securesp.ErrProtocol, securesp.CloseProtocolError},
			{"frame of impossible size", mechanism.Data, append(binary.AppendUvarint(nil, 1<<63), 'x'), securesp.ErrProtocol, securesp.CloseProtocolError},
			{"size not minimal", mechanism.Data, []byte{0x84, 0x00, 'x'}, securesp.ErrProtocol, securesp.CloseProtocolError},
			{"size without an end", mechanism.Data, []byte{0x84}, securesp.ErrProtocol, securesp.CloseProtocolError},
			{"size beyond 64 bits", mechanism.Data, bytes.Repeat([]byte{0xFF}, 11), securesp.ErrProtocol, securesp.CloseProtocolError},
			{"total not minimal", mechanism.Data, []byte{1<<2 | 2, 0x81, 0x00, 'x'}, securesp.ErrProtocol, securesp.CloseProtocolError},
			{"total missing", mechanism.Data, []byte{1<<2 | 2}, securesp.ErrProtocol, securesp.CloseProtocolError},
			{"total above the maximum", mechanism.Data, frameBytes([]byte("x"), securesp.DefaultMaxMessageSize+1, true), securesp.ErrMessageTooLarge, securesp.CloseTooLarge},
			{"total of 2^62", mechanism.Data, frameBytes([]byte("x"), 1<<62, true), securesp.ErrMessageTooLarge, securesp.CloseTooLarge},
			{"total below what follows", mechanism.Data, frameBytes([]byte("xyz"), 2, false), securesp.ErrProtocol, securesp.CloseProtocolError},
			{"total above what follows", mechanism.Data, frameBytes([]byte("xyz"), 4, false), securesp.ErrProtocol, securesp.CloseProtocolError},
			{"total in a later frame", mechanism.Data, append(frameBytes([]byte("x"), -1, true), frameBytes([]byte("y"), 2, false)...), securesp.ErrProtocol, securesp.CloseProtocolError},
		} {
			t.Run(tc.name, func(t *testing.T) {
				is := is.New(t)
				p, c := rawPair(t, suite, nil)
				defer p.end(c)
				p.record(mechanism.Data, frameBytes([]byte("before"), -1, false))
				p.record(tc.typ, tc.body)
				p.record(mechanism.Data, frameBytes([]byte("behind"), -1, false))
				m, err := c.ReadMessage(nil)
				is.NoErr(err) // what came before
				is.Equal(string(m), "before")
				for range 2 {
					m, err = c.ReadMessage(nil)
					is.True(errors.Is(err, tc.err)) // the violation, for good
					is.Equal(len(m), 0)
				}
				is.Equal(p.closeCode(), tc.code) // and the peer is told
				_, err = c.Write([]byte("x"))
				is.True(err != nil) // it is over in both directions
			})
		}
	})
}

// TestRecordsWithoutData are permitted and invisible: cover traffic, pongs
// nobody asked for, empty data records and empty frames.
func TestRecordsWithoutData(t *testing.T) {
	eachRawSuite(t, func(t *testing.T, suite mechanism.Suite) {
		is := is.New(t)
		p, c := rawPair(t, suite, nil)
		defer p.end(c)
		p.record(mechanism.Pad, make([]byte, 1000))
		p.record(mechanism.Pong, nil)
		p.record(mechanism.Data, nil)
		p.record(mechanism.Data, frameBytes([]byte("a"), 2, true))
		p.record(mechanism.Pad, nil)
		p.record(mechanism.Data, frameBytes(nil, -1, true))
		p.record(mechanism.DataPadded, append(frameBytes([]byte("b"), -1, false), 0x80))
		m, err := c.ReadMessage(nil)
		is.NoErr(err) // read
		is.Equal(string(m), "ab")
		p.record(mechanism.Ping, []byte("with a body"))
		p.record(mechanism.Data, frameBytes(nil, -1, false))
		m, err = c.ReadMessage(nil)
		is.NoErr(err) // an empty message
		is.Equal(len(m), 0)
		typ, body := p.next()
		is.Equal(typ, mechanism.Pong) // the answer
		is.Equal(len(body), 0)        // with nothing of ours in it
	})
}

// TestFlood sends 500,000 records that carry nothing, and reads none of the
// answers. What they cost is bounded, and the connection goes on.
func TestFlood(t *testing.T) {
	const flood = 500_000
	for _, tc := range []struct {
		name string
		typ  mechanism.Type
		body []byte
	}{
		{"PING", mechanism.Ping, nil},
		{"PONG", mechanism.Pong, nil},
		{"PAD", mechanism.Pad, make([]byte, 10)},
		{"DATA without frames", mechanism.Data, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			p, c := rawPair(t, mechanism.XXAESGCM, nil)
			defer p.end(c)
			type result struct {
				m   []byte
				err error
			}
			got := make(chan result)
			go func() {
				m, err := c.ReadMessage(nil)
				got <- result{m, err}
				if err == nil {
					err = c.WriteMessage([]byte("answer"))
				}
				got <- result{nil, err}
			}()
			before := heap()
			var record []byte
			for range flood {
				var err error
				record, err = p.session.Encode(record[:0], tc.typ, tc.body)
				is.NoErr(err)
				p.send(record)
			}
			p.record(mechanism.Data, frameBytes([]byte("still here"), -1, false))
			r := <-got
			is.NoErr(r.err)
			is.Equal(string(r.m), "still here")
			is.True(heap()-before < 7<<20) // all the answers are 9 MiB at least; the carrier holds up to 3 in each direction
			answers := 0
			for {
				if typ, _ := p.next(); typ == mechanism.Data {
					break
				}
				answers++
			}
			is.NoErr((<-got).err)
			is.True(answers < flood*3/4) // the rest was dropped
		})
	}
}

// TestAfterFin: what a peer sends behind its FIN is not looked at.
func TestAfterFin(t *testing.T) {
	eachRawSuite(t, func(t *testing.T, suite mechanism.Suite) {
		is := is.New(t)
		p, c := rawPair(t, suite, nil)
		defer p.end(c)
		p.record(mechanism.Fin, nil)
		p.record(mechanism.Data, frameBytes([]byte("late"), -1, false))
		for range 3 {
			n, err := c.Read(make([]byte, 10))
			is.Equal(n, 0)
			is.Equal(err, io.EOF) // the end stays the end
		}
		is.NoErr(c.WriteMessage([]byte("still open"))) // in the other direction
		typ, body := p.next()
		is.Equal(typ, mechanism.Data)
		is.True(bytes.HasSuffix(body, []byte("still open")))
	})
}

// TestCloseReason checks that a peer's reason is available but never part of
// an error's text.
func TestCloseReason(t *testing.T) {
	eachRawSuite(t, func(t *testing.T, suite mechanism.Suite) {
		is := is.New(t)
		p, c := rawPair(t, suite, nil)
		defer p.end(c)
		p.record(mechanism.Close, append([]byte{0x40, 0x07}, "\x1b[31mowned"...))
		_, err := c.Read(make([]byte, 10))
		ce := asCloseError(err)
		is.Equal(ce.Code, securesp.CloseCode(0x4007))
		is.Equal(ce.Reason, "\x1b[31mowned")
		is.True(!strings.Contains(err.Error(), "owned")) // not echoed
		_, err = c.Write([]byte("x"))
		is.Equal(asCloseError(err).Code, securesp.CloseCode(0x4007)) // from Write, too
	})
}

// TestMalformedReady tries bodies of the verdict.
func TestMalformedReady(t *testing.T) {
	eachRawSuite(t, func(t *testing.T, suite mechanism.Suite) {
		long := append([]byte{2, 1, 0}, make([]byte, 256)...)
		for _, tc := range []struct {
			name string
			body []byte
			ok   bool
		}{
			{"only the size", rawReady, true},
			{"unknown entries", append(bytes.Clone(rawReady), 0x99, 0, 2, 1, 2, 0x20, 0, 0), true},
			{"half an entry", append(bytes.Clone(rawReady), 0x99, 0), false},
			{"entry overruns", append(bytes.Clone(rawReady), 0x99, 0, 9, 1), false},
			{"entry twice", append(bytes.Clone(rawReady), rawReady...), false},
			{"size of four bytes", []byte{1, 0, 4, 0, 0, 1, 0}, false},
			{"protocol of 256 bytes", append(bytes.Clone(rawReady), long...), false},
			{"another protocol", append(bytes.Clone(rawReady), 2, 0, 1, 'x'), false},
			{"clear flag of two bytes", append(bytes.Clone(rawReady), 3, 0, 2, 1, 1), false},
		} {
			t.Run(tc.name, func(t *testing.T) {
				is := is.New(t)
				initiator, responder := configs(t, suite)
				p, c, err := newRawPeer(t, initiator, responder, nil, mechanism.Ready, tc.body)
				is.Equal(err == nil, tc.ok)
				is.Equal(c.ConnectionState().HandshakeComplete, tc.ok)
				if tc.name == "another protocol" {
					is.True(errors.Is(err, securesp.ErrProtocolMismatch))
				} else if !tc.ok {
					is.True(errors.Is(err, securesp.ErrProtocol))
				}
				p.end(c)
			})
		}
	})
}

// TestUnknownHelloEntry: unknown entries of a HELLO are ignored, though the
// handshake covers them (TestDowngrade).
func TestUnknownHelloEntry(t *testing.T) {
	eachRawSuite(t, func(t *testing.T, suite mechanism.Suite) {
		is := is.New(t)
		initiator, responder := configs(t, suite)
		p, c, err := newRawPeer(t, initiator, responder, []byte{0x77, 0, 3, 1, 2, 3}, mechanism.Ready, rawReady)
		is.NoErr(err) // accepted
		p.end(c)
	})
}

// TestNoVerdict sends something else where READY belongs: a connection never
// surfaces.
func TestNoVerdict(t *testing.T) {
	eachRawSuite(t, func(t *testing.T, suite mechanism.Suite) {
		for _, tc := range []struct {
			typ  mechanism.Type
			body []byte
			err  error
		}{
			{mechanism.Data, frameBytes([]byte("x"), -1, false), securesp.ErrProtocol},
			{mechanism.Pad, nil, securesp.ErrProtocol},
			{mechanism.Ping, nil, securesp.ErrProtocol},
			{mechanism.Fin, nil, securesp.ErrProtocol},
			{0x44, nil, securesp.ErrProtocol},
			{mechanism.Close, nil, securesp.ErrProtocol},
			{mechanism.Close, []byte{0, 3}, securesp.ErrRefused},
			{mechanism.Close, []byte{0, 2}, securesp.ErrProtocolMismatch},
		} {
			is := is.New(t)
			initiator, responder := configs(t, suite)
			p, c, err := newRawPeer(t, initiator, responder, nil, tc.typ, tc.body)
			is.True(errors.Is(err, tc.err))
			is.True(!c.ConnectionState().HandshakeComplete)
			p.end(c)
		}
	})
}
