package zmtp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/securesp/securesp/mechanism"
)

// Layout of the greeting (RFC 37, "Formal Grammar"):
//
//	FF | 8 bytes of no meaning | 7F | major | minor | mechanism 20 | as-server | 31 zeros
const (
	greetingSize  = 64
	signatureEnd  = 9
	versionAt     = 10
	mechanismAt   = 12
	mechanismSize = 20
	asServerAt    = 32

	versionMajor = 3
	versionMinor = 1
)

var curveName = [mechanismSize]byte{'C', 'U', 'R', 'V', 'E'}

// appendGreeting appends our greeting in the given role of CURVE.
func appendGreeting(dst []byte, role mechanism.Role) []byte {
	var g [greetingSize]byte
	g[0], g[signatureEnd] = 0xFF, 0x7F
	g[versionAt], g[versionAt+1] = versionMajor, versionMinor
	copy(g[mechanismAt:], curveName[:])
	if role == mechanism.Responder {
		g[asServerAt] = 1
	}
	return append(dst, g[:]...)
}

// checkGreeting checks that the peer speaks ZMTP 3 with CURVE and does not
// claim our own role in it. Libzmq leaves as-server zero for servers, too, so
// two clients only notice each other when a command does not fit.
func checkGreeting(g [greetingSize]byte, role mechanism.Role) error {
	switch {
	case g[0] != 0xFF || g[signatureEnd] != 0x7F:
		return fmt.Errorf("%w: the peer does not speak ZMTP", ErrProtocol)
	case g[versionAt] < versionMajor:
		return fmt.Errorf("%w: the peer speaks an old version of ZMTP", ErrProtocol)
	case [mechanismSize]byte(g[mechanismAt:]) != curveName:
		return fmt.Errorf("%w: the peer does not use CURVE", ErrProtocol)
	case g[asServerAt] != 0 && role == mechanism.Responder:
		return fmt.Errorf("%w: the peer has our own role in CURVE", ErrProtocol)
	}
	return nil
}

// Flags of a frame (RFC 37, "Framing").
const (
	flagMore    = 0x01 // never set here: CURVE has it inside MESSAGE
	flagLong    = 0x02
	flagCommand = 0x04
)

// appendFrame appends a frame: flags | size:u8, or u64 if long | body.
func appendFrame(dst []byte, flags byte, body []byte) []byte {
	if len(body) <= 255 {
		dst = append(dst, flags, byte(len(body)))
	} else {
		dst = append(dst, flags|flagLong)
		dst = binary.BigEndian.AppendUint64(dst, uint64(len(body)))
	}
	return append(dst, body...)
}

// readFrame reads a frame with exactly the given flags, but for flagLong, and
// a body of at most limit bytes.
func readFrame(r io.Reader, flags byte, limit int) ([]byte, error) {
	var header [9]byte
	if _, err := io.ReadFull(r, header[:2]); err != nil {
		return nil, err
	}
	size := uint64(header[1])
	if header[0]&flagLong != 0 {
		if _, err := io.ReadFull(r, header[2:]); err != nil {
			return nil, noEOF(err)
		}
		size = binary.BigEndian.Uint64(header[1:])
	}
	if header[0]&^flagLong != flags {
		return nil, fmt.Errorf("%w: a frame of another kind than expected", ErrProtocol)
	}
	if size > uint64(limit) {
		return nil, ErrTooLarge
	}
	// The buffer grows with what arrives, not with what was announced.
	var body bytes.Buffer
	_, err := io.CopyN(&body, r, int64(size))
	return body.Bytes(), noEOF(err)
}

// noEOF says that the end of the stream came too early.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
