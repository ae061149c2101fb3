package securesp

import (
	"encoding/binary"
	"fmt"

	"github.com/securesp/securesp/mechanism"
)

// A DATA record's plaintext is a sequence of frames (SPEC §4):
//
//	uvarint(len<<2 | total<<1 | more) | [uvarint total message length] | bytes
//
// A message is zero or more frames with the more bit and one without; only its
// first frame may state the total.

// frame is a parsed frame header.
type frame struct {
	size     int    // bytes that follow the header
	total    uint64 // length of the whole message, if hasTotal
	hasTotal bool
	more     bool
}

// maxFrameHeader is the longest header of a frame in a record: a size of at
// most 16,384 and any total.
const maxFrameHeader = 3 + binary.MaxVarintLen64

var errFrame = fmt.Errorf("%w: malformed frame", ErrProtocol)

// appendHeader appends the header of f to dst.
func (f frame) appendHeader(dst []byte) []byte {
	v := uint64(f.size) << 2
	if f.more {
		v |= 1
	}
	if !f.hasTotal {
		return binary.AppendUvarint(dst, v)
	}
	return binary.AppendUvarint(binary.AppendUvarint(dst, v|2), f.total)
}

// parseFrame parses the frame header at the start of p, which is not empty, and
// returns what follows it, which is at least f.size bytes.
func parseFrame(p []byte) (f frame, rest []byte, err error) {
	v, n := uint64(p[0]), 1
	if v >= 0x80 {
		if v, n, err = uvarint(p); err != nil {
			return f, nil, err
		}
	}
	rest = p[n:]
	f.more = v&1 != 0
	f.hasTotal = v&2 != 0
	if f.hasTotal {
		if f.total, n, err = uvarint(rest); err != nil {
			return f, nil, err
		}
		rest = rest[n:]
	}
	if v>>2 > uint64(len(rest)) {
		return f, nil, errFrame
	}
	f.size = int(v >> 2)
	return f, rest, nil
}

// uvarint reads a minimally encoded unsigned varint and its length.
func uvarint(p []byte) (v uint64, n int, err error) {
	if len(p) >= 2 && p[0] >= 0x80 && p[1]-1 < 0x7F { // most sizes take two bytes
		return uint64(p[0]&0x7F) | uint64(p[1])<<7, 2, nil
	}
	v, n = binary.Uvarint(p)
	if n <= 0 || n > 1 && p[n-1] == 0 {
		return 0, 0, errFrame
	}
	return v, n, nil
}

// unpad removes ISO 7816-4 padding: a byte 0x80 and zeros.
func unpad(p []byte) ([]byte, error) {
	n := len(p)
	for n > 0 && p[n-1] == 0 {
		n--
	}
	if n == 0 || p[n-1] != 0x80 {
		return nil, fmt.Errorf("%w: malformed padding", ErrProtocol)
	}
	return p[:n-1], nil
}

// parseRecord returns the size of the record that starts p, or 0 if p is too
// short to tell. overhead is the session's.
func parseRecord(p []byte, overhead int) (t mechanism.Type, size int, err error) {
	if len(p) < mechanism.HeaderSize {
		return 0, 0, nil
	}
	t = mechanism.Type(p[2])
	size = 2 + int(binary.BigEndian.Uint16(p))
	if t == mechanism.Clear {
		overhead = mechanism.HeaderSize
	}
	if size < overhead || size > overhead+mechanism.MaxPlaintext {
		return 0, 0, fmt.Errorf("%w: impossible record length", ErrProtocol)
	}
	return t, size, nil
}

// gather reads through the parts of one message.
type gather struct {
	parts [][]byte
	off   int // bytes taken of parts[0]
	left  int // bytes not yet taken, in all
}

// appendTo moves the next n bytes to dst.
func (g *gather) appendTo(dst []byte, n int) []byte {
	g.left -= n
	for n > 0 {
		p := g.parts[0][g.off:]
		if len(p) > n {
			g.off += n
			return append(dst, p[:n]...)
		}
		dst = append(dst, p...)
		n -= len(p)
		g.parts, g.off = g.parts[1:], 0
	}
	return dst
}
