package securesp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/null"
)

// TestFrameRoundTrip parses what appendHeader makes, and checks the header
// against the bytes of SPEC §4.
func TestFrameRoundTrip(t *testing.T) {
	for _, f := range []frame{
		{}, {size: 1}, {size: 31}, {size: 32}, {size: 4095}, {size: 4096}, {size: mechanism.MaxPlaintext},
		{size: 5, more: true}, {size: 5, hasTotal: true, total: 5}, {hasTotal: true},
		{size: 100, more: true, hasTotal: true, total: math.MaxUint64},
	} {
		is := is.New(t)
		head := f.appendHeader(nil)
		is.True(len(head) <= maxFrameHeader)
		want := uint64(f.size) << 2
		if f.hasTotal {
			want |= 2
		}
		if f.more {
			want |= 1
		}
		v, n := binary.Uvarint(head)
		is.Equal(v, want)
		if f.hasTotal {
			v, n2 := binary.Uvarint(head[n:])
			is.Equal(v, f.total)
			n += n2
		}
		is.Equal(n, len(head))

		body := make([]byte, f.size+3)
		got, rest, err := parseFrame(append(head, body...))
		is.NoErr(err)
		is.Equal(got, f)
		is.Equal(len(rest), len(body)) // the body and what follows it
		if f.size > 0 {
			_, _, err = parseFrame(append(head, body[:f.size-1]...))
			is.True(errors.Is(err, ErrProtocol)) // one byte short
		}
	}
}

// TestBatch packs messages of all sizes into records and takes them out again:
// no record is longer than permitted, and padding is well-formed.
func TestBatch(t *testing.T) {
	for _, padding := range []Padding{0, PadPowerOfTwo, 1, 64, 5000, 16383, 16384} {
		is := is.New(t)
		m, _ := null.Mechanism().NewHandshake(mechanism.Config{})
		_, err := m.AppendMessage(nil, nil)
		is.NoErr(err)
		_, err = m.ReadMessage(nil, nil)
		is.NoErr(err)
		session, err := m.Session()
		is.NoErr(err)
		b := batch{lead: session.Lead(), trail: session.Overhead() - session.Lead(), padding: padding, open: -1}
		var want, got [][]byte
		for size := 0; size < 70000; size = size*5/4 + 1 {
			p := bytes.Repeat([]byte{byte(size)}, size)
			want = append(want, p)
			var msg message
			msg.parts, msg.left = [][]byte{p[:size/3], nil, p[size/3:]}, size
			msg.total, msg.atomic = uint64(size), size%2 == 0
			b.appendMessage(&msg)
		}
		records, err := b.seal(session, 0)
		is.NoErr(err)
		stream, current, seen := b.buf, []byte{}, 0
		for len(stream) > 0 {
			typ, size, err := parseRecord(stream, session.Overhead())
			is.NoErr(err)
			_, plaintext, err := session.Decode(nil, stream[:size])
			is.NoErr(err)
			is.True(len(plaintext) <= mechanism.MaxPlaintext)
			if padding != 0 {
				is.Equal(typ, mechanism.DataPadded)
				if padding > 0 {
					is.True(len(plaintext)%int(padding) == 0 || len(plaintext) == mechanism.MaxPlaintext)
				} else {
					is.Equal(len(plaintext)&(len(plaintext)-1), 0)
				}
				plaintext, err = unpad(plaintext)
				is.NoErr(err)
			}
			for len(plaintext) > 0 {
				f, rest, err := parseFrame(plaintext)
				is.NoErr(err)
				current = append(current, rest[:f.size]...)
				plaintext = rest[f.size:]
				if !f.more {
					got = append(got, current)
					current = []byte{}
				}
			}
			stream = stream[size:]
			seen++
		}
		is.Equal(seen, records)
		is.Equal(len(got), len(want))
		for i := range want {
			is.True(bytes.Equal(got[i], want[i]))
		}
		b.reset()
		is.True(b.empty() && b.store == nil) // and holds nothing
	}
}
