package securesp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/securesp/securesp/mechanism"
)

// receiver is the receiving half of a Conn. Everything in it is guarded by mu,
// which is held over a whole Read, except where noted.
type receiver struct {
	conn    *Conn
	session mechanism.Session
	carrierReader

	mu              sync.Mutex
	record          []byte // what is left of the opened DATA record: whole frames, after the current one
	frame                  // the current frame; size is what is left of it, at the front of record
	inside          bool   // the current frame is not consumed yet
	open            bool   // the last frame parsed had more set
	claim           uint64 // the length that the message's first frame stated,
	stated          bool   // if it did
	got             uint64 // bytes of the message in frames parsed so far
	kept            []byte // what an interrupted ReadMessage had got of its message
	bytes, messages uint64 // parsed and not counted yet
	err             error  // final

	silence int64        // how long Reads have waited, in all, since the last record
	waiting atomic.Int64 // when the Read that waits began, less silence; 0 if none waits
	clear   *clearQueue  // has a lock of its own; nil unless CLEAR is permitted
}

var errWouldBlock = errors.New("securesp: no whole record at hand")

func (r *receiver) init(c *Conn, session mechanism.Session, leftover []byte) {
	r.conn, r.session = c, session
	r.busyPoll = min(c.config.BusyPoll, time.Millisecond)
	r.carrierReader.init(c.carrier, session.Overhead(), leftover)
	if c.clearPermitted {
		r.clear = &clearQueue{notify: make(chan struct{}, 1)}
	}
}

// lock begins a Read.
func (r *receiver) lock() error {
	r.mu.Lock()
	return r.begin()
}

// begin begins the Read that has taken mu, unless the connection is closed:
// from then on the receiver is Close's, which does not hold mu while it takes
// its time.
func (r *receiver) begin() error {
	err := r.conn.closeErr()
	if err != nil {
		r.mu.Unlock()
	}
	return err
}

// unlock ends a Read.
func (r *receiver) unlock() {
	if len(r.record) == 0 {
		r.releaseIfEmpty()
	}
	if len(r.kept) == 0 {
		r.kept = nil // not to hold on to the memory of what was taken
	}
	r.mu.Unlock()
	if r.clear != nil {
		r.clear.signal() // whoever waits in ReadClear may have to read on
	}
}

// read fills p from as many records as are at hand, and waits only for the
// first byte.
func (r *receiver) read(p []byte) (n int, err error) {
	if err := r.lock(); err != nil {
		return 0, err
	}
	defer r.unlock()
	if len(r.kept) > 0 {
		n = copy(p, r.kept)
		r.kept = r.kept[n:]
		return n, nil
	}
	for n < len(p) {
		if !r.inside {
			if err := r.nextFrame(n == 0); err != nil {
				if n > 0 {
					break // a final error stays for the next call
				}
				return 0, err
			}
		}
		n += r.consume(copy(p[n:], r.record[:r.size]))
	}
	return n, nil
}

// consume takes n bytes off the current frame and returns n.
func (r *receiver) consume(n int) int {
	r.record = r.record[n:]
	r.size -= n
	r.inside = r.size > 0
	return n
}

// readMessage appends the next message to dst, or what earlier reads left of
// the current one. If get is not nil, it takes the place of dst as soon as there
// is something to append.
func (r *receiver) readMessage(dst []byte, get func(size int) []byte) ([]byte, error) {
	if err := r.lock(); err != nil {
		return dst, err
	}
	defer r.unlock()
	start, limit := len(dst), r.conn.config.maxMessageSize()
	if len(r.kept) > 0 {
		if get != nil {
			dst, get = get(len(r.kept))[:0], nil
		}
		dst = append(dst, r.kept...)
		r.kept = nil
	}
	for {
		if !r.inside {
			if err := r.nextFrame(true); err != nil {
				return dst[:start], r.interrupted(dst[start:], err)
			}
		}
		if r.size > limit-(len(dst)-start) || r.stated && r.claim > uint64(limit) {
			return dst[:start], r.fail(ErrMessageTooLarge, CloseTooLarge)
		}
		if get != nil {
			size := r.size
			if r.more && r.stated {
				size = int(r.claim) // not above limit
			}
			dst, get = get(size)[:0], nil
		}
		dst = append(dst, r.record[:r.size]...)
		r.consume(r.size)
		if !r.more {
			return dst, nil
		}
	}
}

// interrupted keeps what a failed readMessage had got, for the next try, and
// returns the error to report.
func (r *receiver) interrupted(got []byte, err error) error {
	if isTimeout(err) {
		r.kept = append([]byte(nil), got...)
		return err
	}
	if err == io.EOF && (r.open || len(got) > 0) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// writeTo writes everything that arrives to w.
func (r *receiver) writeTo(w io.Writer) (written int64, err error) {
	if err := r.lock(); err != nil {
		return 0, err
	}
	defer r.unlock()
	if len(r.kept) > 0 {
		n, err := w.Write(r.kept)
		written, r.kept = int64(n), r.kept[n:]
		if err != nil {
			return written, err
		}
	}
	for {
		if !r.inside {
			if err := r.nextFrame(true); err != nil {
				if err == io.EOF {
					err = nil
				}
				return written, err
			}
		}
		// What else is at hand moves down over headers and tags already
		// done with, to be written at once.
		chunk := r.record[:r.size]
		r.consume(r.size)
		for r.nextFrame(false) == nil {
			chunk = append(chunk, r.record[:r.size]...)
			r.consume(r.size)
		}
		n, err := w.Write(chunk)
		written += int64(n)
		if err != nil {
			return written, err
		}
		if n < len(chunk) {
			return written, io.ErrShortWrite
		}
		if len(r.record) == 0 {
			r.releaseIfEmpty()
		}
	}
}

// nextFrame parses the next frame, of the opened record or of the next one.
// Unless block is set it returns errWouldBlock rather than wait.
func (r *receiver) nextFrame(block bool) error {
	for len(r.record) == 0 {
		if err := r.step(block); err != nil {
			return err
		}
	}
	f, rest, err := parseFrame(r.record)
	if err != nil {
		return r.fail(err, CloseProtocolError)
	}
	if !r.open {
		r.got, r.claim, r.stated = 0, f.total, f.hasTotal
	}
	r.got += uint64(f.size)
	if r.open && f.hasTotal || r.stated && (r.got > r.claim || !f.more && r.got != r.claim) {
		return r.fail(errFrame, CloseProtocolError)
	}
	r.frame, r.record, r.inside, r.open = f, rest, true, f.more
	r.bytes += uint64(f.size)
	if !f.more {
		r.messages++
	}
	if len(rest) == f.size { // once a record: counting together is dear
		r.conn.stats.received.Add(r.bytes)
		r.conn.stats.messagesReceived.Add(r.messages)
		r.bytes, r.messages = 0, 0
	}
	return nil
}

// step handles the next record. If none is at hand, it waits for bytes, or
// returns errWouldBlock unless block is set.
func (r *receiver) step(block bool) error {
	if r.err != nil {
		return r.err
	}
	if err := r.conn.closeErr(); err != nil {
		return err
	}
	record, err := r.nextRecord()
	switch {
	case err != nil:
		return r.fail(err, CloseProtocolError)
	case record != nil:
		return r.handle(record)
	case block:
		return r.wait()
	}
	return errWouldBlock
}

// wait waits for bytes from the carrier.
func (r *receiver) wait() error {
	since := int64(time.Since(epoch)) - r.silence
	r.waiting.Store(since)
	n, err := r.fill()
	r.waiting.Store(0)
	now := int64(time.Since(epoch))
	r.silence = now - since
	r.conn.stats.wireReceived.Add(uint64(n))
	r.conn.lastReceived.Store(now)
	if err == nil {
		return nil
	}
	if closed := r.conn.closeErr(); closed != nil {
		return closed
	}
	if isTimeout(err) {
		return err
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // nobody authenticated that end
	}
	r.err = err
	return err
}

// handle opens one record and acts on it.
func (r *receiver) handle(record []byte) error {
	if mechanism.Type(record[2]) == mechanism.Clear {
		if !r.conn.clearPermitted {
			return r.fail(fmt.Errorf("%w: clear record", ErrProtocol), CloseProtocolError)
		}
		r.clear.push(record[mechanism.HeaderSize:])
		return nil
	}
	lead := r.session.Lead()
	t, plaintext, err := r.session.Decode(record[lead:lead], record)
	if err != nil {
		return r.fail(err, CloseProtocolError)
	}
	r.silence = 0 // bytes that do not authenticate prove nobody alive
	r.conn.stats.recordsReceived.Add(1)
	switch t {
	case mechanism.Data:
		r.record = plaintext
	case mechanism.DataPadded:
		if plaintext, err = unpad(plaintext); err != nil {
			return r.fail(err, CloseProtocolError)
		}
		r.record = plaintext
	case mechanism.Pad, mechanism.Pong:
	case mechanism.Ping:
		r.conn.sender.control(mechanism.Pong, nil)
	case mechanism.Fin:
		r.err = io.EOF
		return r.err
	case mechanism.Close:
		return r.closedByPeer(plaintext)
	default:
		return r.fail(fmt.Errorf("%w: unexpected record type", ErrProtocol), CloseProtocolError)
	}
	return nil
}

// closedByPeer handles CLOSE: nothing more comes, and nothing more is wanted.
func (r *receiver) closedByPeer(body []byte) error {
	c, err := parseClose(body)
	if err != nil {
		return r.fail(err, CloseProtocolError)
	}
	r.err = io.EOF
	if c.Code != CloseNormal {
		r.err = c
	}
	r.conn.sender.refuse(c, false)
	return r.err
}

// forget drops what a closed connection still holds.
func (r *receiver) forget() {
	r.record, r.inside, r.kept, r.buf = nil, false, nil, nil
	r.releaseIfEmpty()
	r.conn.retire()
}

// discard drops all input until the read deadline or the end, and reports
// whether there was any.
func (r *receiver) discard() (any bool) {
	any = len(r.buf) > 0 || len(r.record) > 0
	for {
		r.record, r.buf = nil, nil
		n, err := r.fill()
		any = any || n > 0
		if err != nil {
			return any
		}
	}
}

// discardAfterRead discards input for Close once the Read in progress has
// ended: a peer that waits until somebody takes what it writes may not take
// what we have written.
func (r *receiver) discardAfterRead(until time.Time) {
	r.mu.Lock()
	r.conn.carrier.SetReadDeadline(until)
	r.mu.Unlock()
	r.discard()
	r.forget()
}

// fail ends the connection for good because of what was received, and tells
// the peer.
func (r *receiver) fail(err error, code CloseCode) error {
	r.err = err
	r.record, r.inside = nil, false
	r.conn.sender.control(mechanism.Close, appendClose(nil, code, ""))
	r.conn.sender.refuse(err, true)
	return err
}

// appendClose appends the body of a CLOSE record (SPEC §4).
func appendClose(dst []byte, code CloseCode, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(code)), reason...)
}

func parseClose(body []byte) (*CloseError, error) {
	if len(body) < 2 || len(body) > 2+255 {
		return nil, fmt.Errorf("%w: malformed close", ErrProtocol)
	}
	return &CloseError{Code: CloseCode(binary.BigEndian.Uint16(body)), Reason: string(body[2:])}, nil
}

// carrierReader gets records off the carrier. While it waits it holds no more
// memory than what an incomplete record needs.
type carrierReader struct {
	carrier  io.Reader
	raw      syscall.RawConn // nil unless the carrier can be read without blocking
	overhead int

	store    *buffer // holds buf, nil while there is nothing to hold
	buf      []byte  // received and not yet opened
	hint     int     // how large a buffer the next read deserves
	busyPoll time.Duration
	probe    [64]byte

	readFunc func(fd uintptr) bool // readNonblocking, bound once; n and rerr are its results
	n        int
	rerr     error
}

func (r *carrierReader) init(carrier io.Reader, overhead int, leftover []byte) {
	r.carrier, r.overhead = carrier, overhead
	if raw := rawConn(carrier); raw != nil {
		r.raw, r.readFunc = raw, r.readNonblocking
	}
	if len(leftover) > 0 {
		r.store = getBuffer(len(leftover))
		r.buf = r.store.b[:copy(r.store.b, leftover)]
	}
}

// nextRecord returns the next whole record, which stays valid until fill or
// releaseIfEmpty, or nil if there is none.
func (r *carrierReader) nextRecord() ([]byte, error) {
	_, size, err := parseRecord(r.buf, r.overhead)
	if err != nil || size == 0 || size > len(r.buf) {
		return nil, err
	}
	record := r.buf[:size] // not capped: writeTo moves what follows down into it
	r.buf = r.buf[size:]
	return record, nil
}

// fill waits for more bytes and returns how many came.
func (r *carrierReader) fill() (int, error) {
	if r.raw != nil {
		if err := r.raw.Read(r.readFunc); err != nil {
			return 0, err
		}
		return r.n, r.rerr
	}
	if len(r.buf) == 0 {
		r.releaseIfEmpty()
		n, err := r.carrier.Read(r.probe[:])
		if n > 0 {
			r.grow()
			r.buf = append(r.buf, r.probe[:n]...)
			return n, nil
		}
		return 0, err
	}
	r.grow()
	n, err := r.carrier.Read(r.store.b[len(r.buf):])
	r.took(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// took accounts for n bytes read behind buf, and from it guesses how much will
// come next time.
func (r *carrierReader) took(n int) {
	room := len(r.store.b) - len(r.buf)
	r.buf = r.store.b[:len(r.buf)+n]
	switch {
	case n == room:
		r.hint = bufferSizes[largestBuffer]
	case n < bufferSizes[0]/2:
		r.hint = 0
	}
}

// grow moves buf to the front of a buffer with room for the rest of its record
// and for as much again as the last reads suggest.
func (r *carrierReader) grow() {
	_, want, _ := parseRecord(r.buf, r.overhead) // nextRecord has reported the error
	want = max(want, r.hint, len(r.buf)+1)
	if r.store == nil || len(r.store.b) < want && r.store.class < largestBuffer {
		r.moveTo(getBuffer(want))
	} else {
		r.buf = r.store.b[:copy(r.store.b, r.buf)]
	}
}

func (r *carrierReader) moveTo(b *buffer) {
	old := r.store
	r.buf = b.b[:copy(b.b, r.buf)]
	r.store = b
	old.release()
}

// shrink prepares for a long wait.
func (r *carrierReader) shrink() {
	if len(r.buf) == 0 {
		r.releaseIfEmpty()
	} else if small := getBuffer(len(r.buf)); small.class < r.store.class {
		r.moveTo(small)
	} else {
		small.release()
	}
}

func (r *carrierReader) releaseIfEmpty() {
	if len(r.buf) == 0 {
		r.store.release()
		r.store, r.buf = nil, nil
	}
}
