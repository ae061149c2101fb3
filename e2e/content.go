package e2e

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/securesp/securesp/internal/overlap"
)

const (
	keySize   = chacha20poly1305.KeySize
	tagSize   = chacha20poly1305.Overhead
	xNonceLen = chacha20poly1305.NonceSizeX
)

// protocolLabel starts every label and prologue (SPEC §7).
const protocolLabel = "securesp-e2e-1"

// zeroNonce goes with keys that seal one message only.
var zeroNonce [chacha20poly1305.NonceSize]byte

// oneTime returns the cipher for a key that seals one message only.
func oneTime(key []byte) cipher.AEAD { return must(chacha20poly1305.New(key)) }

// manyTimes returns the cipher for a key that seals any number of messages
// with random nonces.
func manyTimes(key []byte) cipher.AEAD { return must(chacha20poly1305.NewX(key)) }

func expand(prk []byte, label string) []byte {
	return must(hkdf.Expand(sha256.New, prk, label, keySize))
}

// A sealed part is the end of a message: AEAD(body ‖ tail), with everything
// before it as associated data (SPEC §7). The tail comes last so that the body
// is opened to where its reader wants it.

// sealPart appends body and tail to dst and seals them in place.
func sealPart(dst, data []byte, aead cipher.AEAD, nonce, body, tail []byte) []byte {
	at := len(dst)
	dst = append(dst, body...)
	dst = append(dst, tail...)
	return aead.Seal(dst[:at], nonce, dst[at:], data)
}

// openPart opens the sealed part of message, which starts at index at, and
// appends body and tail to dst.
func openPart(dst, message []byte, at int, data []byte, aead cipher.AEAD, nonce []byte) ([]byte, error) {
	dst = grow(dst, len(message)-at, message)
	out, err := aead.Open(dst, nonce, message[at:], data)
	if err != nil {
		return nil, ErrAuthentication
	}
	return out, nil
}

// grow makes room for size bytes behind dst, where input must not be.
func grow(dst []byte, size int, input []byte) []byte {
	dst = slices.Grow(dst, size)
	if overlap.Any(dst[len(dst):len(dst)+size], input) {
		panic("securesp: output buffer overlaps the input")
	}
	return dst
}

// Tail of what a sender seals unasked: requests and one-way messages (SPEC §7).
//
//	unix-ms:u64 | flags:u8
const requestTailSize = 8 + 1

const flagWantTicket = 1 << 0

type requestTail struct {
	time       time.Time
	wantTicket bool
}

func (t requestTail) bytes() (b [requestTailSize]byte) {
	putMillis(b[:], t.time)
	if t.wantTicket {
		b[8] |= flagWantTicket
	}
	return b
}

// cutRequestTail splits what follows the first start bytes of opened into body
// and tail. The body is returned with those bytes before it. After an error
// nothing of it is left.
func cutRequestTail(opened []byte, start int) ([]byte, requestTail, error) {
	at := len(opened) - requestTailSize
	if at >= start && opened[at+8]&^flagWantTicket == 0 {
		if t, ok := millis(opened[at:]); ok {
			return opened[:at], requestTail{t, opened[at+8]&flagWantTicket != 0}, nil
		}
	}
	clear(opened[start:])
	return nil, requestTail{}, ErrMalformed
}

func putMillis(b []byte, t time.Time) {
	binary.BigEndian.PutUint64(b, uint64(max(t.UnixMilli(), 0)))
}

// maxMillis is the last millisecond of the year 9999: beyond it, arithmetic on
// times would have to mind overflow.
const maxMillis = 253402300799999

func millis(b []byte) (time.Time, bool) {
	ms := binary.BigEndian.Uint64(b)
	return time.UnixMilli(int64(ms)), ms <= maxMillis
}

// must unwraps results of primitives that only fail for sizes that are fixed
// here.
func must[T any](v T, err error) T {
	if err != nil {
		panic("securesp: " + err.Error())
	}
	return v
}
