package securesp

import "sync"

// buffer is a pooled byte slice of one of a few fixed capacities. A connection
// holds one only while bytes are on their way.
type buffer struct {
	b     []byte // always at full capacity
	class int
}

// bufferSizes are the capacities: one that suits small messages, one that
// holds any record with room to spare, and one for bulk data, where what
// counts is how many records share a system call.
var bufferSizes = [...]int{4 << 10, 36 << 10, 512 << 10}

const largestBuffer = len(bufferSizes) - 1

var bufferPools [len(bufferSizes)]sync.Pool

// getBuffer returns a buffer of at least n bytes, or of the largest class.
func getBuffer(n int) *buffer {
	class := 0
	for class < largestBuffer && bufferSizes[class] < n {
		class++
	}
	if b, ok := bufferPools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, bufferSizes[class]), class: class}
}

// release gives the buffer back. It may be nil. Plaintext and ciphertext stay
// in it until it is used again or collected.
func (b *buffer) release() {
	if b != nil {
		bufferPools[b.class].Put(b)
	}
}
