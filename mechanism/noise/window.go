package noise

// Size of the replay window (SPEC §5 asks for at least 8192 counters).
const (
	windowSize  = 8192
	windowWords = windowSize/wordBits + 1 // one word is partly in the future
	wordBits    = 64
)

// window remembers which counters were accepted: the sliding window of RFC
// 6479, in which words of bits are reused in a ring, so that moving the window
// never shifts bits. The zero value is ready for use. It is not safe for
// concurrent use.
type window struct {
	next uint64 // one more than the highest accepted counter
	ring [windowWords]uint64
}

// fresh reports whether n may still be accepted: it was not, and is not too
// old to tell.
func (w *window) fresh(n uint64) bool {
	if n >= w.next {
		return true
	}
	if w.next-n > windowSize {
		return false
	}
	word, bit := w.at(n)
	return *word&bit == 0
}

// accept reports whether n is fresh and makes it no longer so.
func (w *window) accept(n uint64) bool {
	if !w.fresh(n) {
		return false
	}
	if n >= w.next {
		w.moveTo(n)
	}
	word, bit := w.at(n)
	*word |= bit
	return true
}

// moveTo makes n the highest counter: the words between the old highest one's
// and n's are new.
func (w *window) moveTo(n uint64) {
	from := uint64(0)
	if w.next > 0 {
		from = (w.next - 1) / wordBits
	}
	for i := range min(n/wordBits-from, windowWords) {
		w.ring[(from+1+i)%windowWords] = 0
	}
	w.next = n + 1
}

func (w *window) at(n uint64) (word *uint64, bit uint64) {
	return &w.ring[n/wordBits%windowWords], 1 << (n % wordBits)
}
