package securesp

import (
	"encoding/binary"

	"github.com/securesp/securesp/mechanism"
)

// batch collects records that will be sealed and written together. Until then
// each is a slot that leaves room for what sealing adds, so that it can be
// sealed in place:
//
//	lead bytes: n:u16 | type:u8 | ...  then  n bytes of plaintext  then  trail bytes
//
// The zero value with lead and trail set is empty and holds no memory.
type batch struct {
	lead, trail int // what a sealed record has before and after its ciphertext
	padding     Padding

	store *buffer // owns buf's memory, unless the batch outgrew all pools
	buf   []byte
	open  int  // offset of the DATA record that can take more frames, -1 for none
	data  bool // there are frames in it
}

func (b *batch) empty() bool { return len(b.buf) == 0 }

// reset forgets the records and gives the memory back.
func (b *batch) reset() {
	b.store.release()
	b.store, b.buf, b.open, b.data = nil, nil, -1, false
}

// reserve makes room for n more bytes.
func (b *batch) reserve(n int) {
	need := len(b.buf) + n
	if need <= cap(b.buf) {
		return
	}
	old, store := b.buf, b.store
	if need <= bufferSizes[largestBuffer] {
		b.store = getBuffer(need)
		b.buf = b.store.b[:len(old)]
	} else {
		b.store = nil
		b.buf = make([]byte, len(old), max(need, 2*cap(old)))
	}
	copy(b.buf, old)
	store.release()
}

// start begins a slot of type t and returns its offset.
func (b *batch) start(t mechanism.Type, lead int) int {
	at := len(b.buf)
	b.reserve(lead)
	b.buf = b.buf[:at+lead]
	b.buf[at+2] = byte(t)
	return at
}

// finish ends the slot at the given offset.
func (b *batch) finish(at, lead, trail int) {
	n := len(b.buf) - at - lead
	binary.BigEndian.PutUint16(b.buf[at:], uint16(n))
	b.reserve(trail)
	b.buf = b.buf[:len(b.buf)+trail]
}

// control adds a record of its own with the given plaintext, which is sent as
// it is if t is Clear.
func (b *batch) control(t mechanism.Type, plaintext []byte) {
	lead, trail := b.lead, b.trail
	if t == mechanism.Clear {
		lead, trail = mechanism.HeaderSize, 0
	}
	b.closeData()
	at := b.start(t, lead)
	b.reserve(len(plaintext))
	b.buf = append(b.buf, plaintext...)
	b.finish(at, lead, trail)
}

// closeData ends the open DATA record, padding it if so configured.
func (b *batch) closeData() {
	if b.open < 0 {
		return
	}
	if b.padding != 0 {
		b.buf[b.open+2] = byte(mechanism.DataPadded)
		n := len(b.buf) - b.open - b.lead
		padded := b.padding.size(n)
		b.reserve(padded - n)
		b.buf = b.buf[:len(b.buf)+padded-n]
		pad := b.buf[len(b.buf)-(padded-n):]
		clear(pad)
		pad[0] = 0x80
	}
	b.finish(b.open, b.lead, b.trail)
	b.open = -1
}

// room returns how many more bytes the open DATA record can take.
func (b *batch) room() int {
	limit := mechanism.MaxPlaintext
	if b.padding != 0 {
		limit-- // the mandatory 0x80
	}
	return limit - (len(b.buf) - b.open - b.lead)
}

// message is one message on its way into frames.
type message struct {
	gather
	total   uint64
	atomic  bool // it will be sent whole, so its first frame may state the total
	started bool // its first frame is out
}

// appendFrame moves as much of m as fits into one record, and reports whether
// m is complete.
func (b *batch) appendFrame(m *message) (done bool) {
	// A record with little room left is not worth splitting a message for.
	const splitWorth = 1 << 10
	if b.open >= 0 {
		if room := b.room(); room < maxFrameHeader+m.left && room < splitWorth {
			b.closeData()
		}
	}
	if b.open < 0 {
		b.open = b.start(mechanism.Data, b.lead)
	}
	f := frame{size: m.left}
	if room := b.room(); m.left+maxFrameHeader > room {
		f.size = min(m.left, room-maxFrameHeader)
		f.more = f.size < m.left
	}
	if f.more && m.atomic && !m.started {
		f.hasTotal, f.total = true, m.total
	}
	m.started, b.data = true, true
	b.reserve(maxFrameHeader + f.size)
	b.buf = f.appendHeader(b.buf)
	b.buf = m.appendTo(b.buf, f.size)
	return m.left == 0
}

// appendMessage adds all of m.
func (b *batch) appendMessage(m *message) {
	if b.open >= 0 && maxFrameHeader+m.left <= b.room() && maxFrameHeader+m.left <= cap(b.buf)-len(b.buf) {
		b.buf = frame{size: m.left}.appendHeader(b.buf)
		b.buf = m.appendTo(b.buf, m.left)
		return
	}
	for !b.appendFrame(m) {
		b.closeData()
	}
}

// seal turns the slots from offset at on into records, in place, and returns
// how many there were. The batch has no open record afterwards, and buf is
// what to send.
func (b *batch) seal(session mechanism.Session, at int) (records int, err error) {
	b.closeData()
	for at < len(b.buf) {
		n := int(binary.BigEndian.Uint16(b.buf[at:]))
		t := mechanism.Type(b.buf[at+2])
		records++
		if t == mechanism.Clear {
			binary.BigEndian.PutUint16(b.buf[at:], uint16(1+n))
			at += mechanism.HeaderSize + n
			continue
		}
		sealed, err := session.Encode(b.buf[:at], t, b.buf[at+b.lead:at+b.lead+n])
		if err != nil {
			return records, err
		}
		at = len(sealed)
	}
	return records, nil
}
