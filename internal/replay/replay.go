// Package replay tells packets that were received before from new ones.
package replay

// WindowSize is how many counters back from the highest one a [Window]
// remembers (SPEC §5 asks for at least 8192).
const WindowSize = 8192

const (
	wordBits = 64
	words    = WindowSize/wordBits + 1 // the highest counter's word may be nearly empty
)

// Window remembers which counters were accepted. It is the sliding window of
// RFC 6479, in which words of bits are reused in a ring so that moving the
// window never shifts bits. The zero value is ready for use. It takes about 1
// KiB and is not safe for concurrent use.
type Window struct {
	next uint64 // one more than the highest accepted counter
	ring [words]uint64
}

// Fresh reports whether Accept would accept counter n: it was not accepted
// yet, and is higher than the highest accepted one less WindowSize.
func (w *Window) Fresh(n uint64) bool {
	if n >= w.next {
		return true
	}
	if w.next-n > WindowSize {
		return false
	}
	word, bit := w.at(n)
	return *word&bit == 0
}

// Accept accepts counter n, which must be less than 2^64-1, if it is fresh and
// reports whether it was. Only what has authenticated may be accepted: it
// moves the window.
func (w *Window) Accept(n uint64) bool {
	if !w.Fresh(n) {
		return false
	}
	if n >= w.next {
		w.moveTo(n)
	}
	word, bit := w.at(n)
	*word |= bit
	return true
}

// moveTo makes n the highest counter. The words after the old highest one's
// hold counters that are too old now.
func (w *Window) moveTo(n uint64) {
	from := uint64(0)
	if w.next > 0 {
		from = (w.next - 1) / wordBits
	}
	for i := range min(n/wordBits-from, words) {
		w.ring[(from+1+i)%words] = 0
	}
	w.next = n + 1
}

func (w *Window) at(n uint64) (word *uint64, bit uint64) {
	return &w.ring[n/wordBits%words], 1 << (n % wordBits)
}
