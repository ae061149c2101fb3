package testnet

import (
	"bytes"
	"encoding/binary"
	"sync"
)

// Tap decides what arrives of p, the next bytes sent in one direction, and
// whether the direction ends behind them. It must not keep or change p. A Tap
// is called by one sender at a time.
type Tap func(p []byte) (arrives []byte, end bool)

// Recorder keeps what passes it.
type Recorder struct {
	mu  sync.Mutex
	buf []byte
}

// Tap returns a Tap that lets everything pass and records it in r.
func (r *Recorder) Tap() Tap {
	return func(p []byte) ([]byte, bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.buf = append(r.buf, p...)
		return p, false
	}
}

// Bytes returns a copy of what was recorded.
func (r *Recorder) Bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.buf)
}

// Len returns how much was recorded.
func (r *Recorder) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.buf)
}

// at returns a Tap that hands the byte with the given number, counted from 0,
// to f, and has what f returns arrive in its place.
func at(offset int64, f func(b byte) (arrives []byte, end bool)) Tap {
	var passed int64
	return func(p []byte) ([]byte, bool) {
		i := offset - passed
		passed += int64(len(p))
		if i < 0 || i >= int64(len(p)) {
			return p, false
		}
		instead, end := f(p[i])
		arrives := append(bytes.Clone(p[:i]), instead...)
		if end {
			return arrives, true
		}
		return append(arrives, p[i+1:]...), false
	}
}

// Flip returns a Tap that inverts the bits of mask in the byte with the given
// number.
func Flip(offset int64, mask byte) Tap {
	return at(offset, func(b byte) ([]byte, bool) { return []byte{b ^ mask}, false })
}

// Insert returns a Tap that lets one more byte arrive before the byte with the
// given number. It is the complement of that byte: an equal one would be no
// change up to there, and none at all before the last byte.
func Insert(offset int64) Tap {
	return at(offset, func(b byte) ([]byte, bool) { return []byte{^b, b}, false })
}

// Drop returns a Tap that loses the byte with the given number.
func Drop(offset int64) Tap {
	return at(offset, func(byte) ([]byte, bool) { return nil, false })
}

// Cut returns a Tap that ends the direction before the byte with the given
// number.
func Cut(offset int64) Tap {
	return at(offset, func(byte) ([]byte, bool) { return nil, true })
}

// Records returns a Tap that hands each whole record (SPEC §4) to f, counted
// from 0, and has arrive what f returns. The stream must be at the start of a
// record.
func Records(f func(i int, record []byte) [][]byte) Tap {
	var held []byte
	i := 0
	return func(p []byte) (arrives []byte, end bool) {
		held = append(held, p...)
		for len(held) >= 2 {
			size := 2 + int(binary.BigEndian.Uint16(held))
			if len(held) < size {
				break
			}
			for _, r := range f(i, bytes.Clone(held[:size])) {
				arrives = append(arrives, r...)
			}
			held = held[size:]
			i++
		}
		return arrives, false
	}
}
