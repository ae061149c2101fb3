package securesp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/securesp/securesp/mechanism"
)

const (
	// bulkSize is the size from which a Write seals and sends its own data
	// instead of leaving it to share a batch with others.
	bulkSize = 96 << 10

	// highWater is how much accepted but unsent plaintext makes a small
	// Write wait. With one more such Write a batch still fits the largest
	// buffer.
	highWater = 384 << 10

	// quietTime is how long nothing must have been sent for a small Write
	// to be sent at once. Writes in quicker succession share a batch.
	quietTime = 50 * time.Microsecond
)

// sender is the sending half of a Conn.
//
// Records must be written in the order in which they were sealed, so at any
// time at most one goroutine owns the carrier's sending side, the session's
// sending state and the batch out. The owner is either a caller's Write, which
// is bound by the write deadline, or the flusher, which is not: like a
// kernel's, it goes on with what has been accepted. The flusher exists only
// while there is something to send.
//
// Lock order: msg, mu.
type sender struct {
	conn    *Conn
	session mechanism.Session

	// msg is held by a Write that takes its time: one that sends bulk, or
	// waits. Any other is over before mu is unlocked, so messages never
	// interleave.
	msg sync.Mutex

	mu          sync.Mutex
	cond        sync.Cond // on mu: something below changed
	queue       batch     // accepted, not yet sealed
	writing     bool      // a bulk Write is under way
	bytes       uint64
	messages    uint64
	owned       bool
	inline      bool      // the owner is a caller's Write
	deadline    time.Time // the user's
	onCarrier   time.Time // the write deadline the carrier has
	lingerUntil time.Time // set by Close: all ends here
	timer       *time.Timer
	lastFlush   time.Duration // since epoch
	midMessage  bool          // a Write timed out before its message was complete
	refusal     error         // what a new Write gets
	err         error         // why the carrier no longer takes anything
	lost        error         // why something that a Write had accepted was dropped

	out  batch // the owner's: sealed, being written
	sent int   // how much of out.buf is written

	readSince atomic.Bool // a Read has returned since the last Write
	flushFunc func()      // flush, bound once: starting it allocates nothing
}

// epoch is what monotonic times are counted from.
var epoch = time.Now()

func (s *sender) init(c *Conn, session mechanism.Session) {
	s.conn, s.session = c, session
	lead := session.Lead()
	blank := batch{lead: lead, trail: session.Overhead() - lead, padding: c.config.Padding, open: -1}
	s.queue, s.out = blank, blank
	s.flushFunc = s.flush
}

// write sends one message, or, if it is not atomic, as much of it as the
// deadline permits.
func (s *sender) write(m *message) (int, error) {
	if m.left >= bulkSize || s.conn.config.NoCoalescing {
		s.msg.Lock()
		defer s.msg.Unlock()
		return s.writeBulk(m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing || len(s.queue.buf) >= highWater {
		// Wait in line, so that those who wait get their turn.
		s.mu.Unlock()
		s.msg.Lock()
		defer s.msg.Unlock()
		s.mu.Lock()
	}
	for {
		if err := s.checkLocked(); err != nil {
			return 0, err
		}
		if len(s.queue.buf) < highWater {
			break
		}
		s.waitLocked()
	}
	n := m.left
	s.endPartialLocked(&s.queue, m)
	s.queue.appendMessage(m)
	s.midMessage = false
	s.countLocked(n, true)
	if s.owned {
		return n, nil
	}
	if s.readSince.Load() || time.Since(epoch)-s.lastFlush > quietTime {
		return n, s.sendNowLocked()
	}
	s.startFlusherLocked()
	return n, nil
}

// sendNowLocked writes the queue in the caller's own time. The bytes are
// accepted whatever becomes of them: a timeout leaves them to the flusher.
func (s *sender) sendNowLocked() error {
	s.readSince.Store(false)
	s.ownLocked()
	s.mu.Unlock()
	err := s.sealOut(0)
	if err == nil {
		err = s.flushOut()
	}
	s.mu.Lock()
	s.disownLocked(err)
	return s.err
}

// noteRead is told that a Read has returned: the next Write is likely its
// answer, for which somebody waits.
func (s *sender) noteRead() {
	if !s.readSince.Load() {
		s.readSince.Store(true)
	}
}

// countLocked counts what a Write has sent.
func (s *sender) countLocked(n int, complete bool) {
	s.bytes += uint64(n)
	if complete {
		s.messages++
	}
}

// writeBulk seals m record by record into large batches and writes them
// itself.
func (s *sender) writeBulk(m *message) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.checkLocked(); err != nil {
			return 0, err
		}
		if !s.owned {
			break
		}
		s.waitLocked()
	}
	s.writing = true
	s.ownLocked()
	s.endPartialLocked(&s.out, m)
	s.readSince.Store(false)
	s.mu.Unlock()

	size := m.left
	err := s.sealOut(0)
	s.out.reserve(min(m.left+m.left/64+len(s.out.buf), bufferSizes[largestBuffer]-len(s.out.buf)))
	done := false
	for err == nil && !done {
		for err == nil && !done && len(s.out.buf)+s.out.lead+mechanism.MaxPlaintext+s.out.trail <= bufferSizes[largestBuffer] {
			at := len(s.out.buf)
			done = s.out.appendFrame(m)
			err = s.sealOut(at)
		}
		if err == nil {
			err = s.flushOut()
		}
	}

	s.mu.Lock()
	s.writing = false
	cut := isTimeout(err) && !done
	if cut && m.atomic && s.lingerUntil.IsZero() {
		s.queue.appendMessage(m) // never half a message: the flusher sends the rest
		cut = false
	}
	s.midMessage = cut && !m.atomic
	s.disownLocked(err)
	s.countLocked(size-m.left, s.err == nil && !cut)
	switch {
	case s.err != nil:
		return size - m.left, s.err
	case cut && m.atomic:
		return size - m.left, s.refusal // Close was quicker
	case s.midMessage:
		if err := s.checkLocked(); err != nil {
			return size - m.left, err
		}
		return size - m.left, os.ErrDeadlineExceeded
	}
	return size, nil
}

// endPartialLocked ends a message that a timed-out Write left unfinished, if m
// is not its continuation.
func (s *sender) endPartialLocked(b *batch, m *message) {
	if s.midMessage && m.atomic {
		b.appendMessage(&message{})
		s.midMessage = false
	}
}

// ownLocked makes the caller's Write the owner and hands it the queue in out.
func (s *sender) ownLocked() {
	s.owned, s.inline = true, true
	s.out, s.queue = s.queue, s.out
	s.applyDeadlineLocked()
}

// disownLocked ends the ownership that ownLocked began. What is left is the
// flusher's.
func (s *sender) disownLocked(err error) {
	s.inline = false
	s.lastFlush = time.Since(epoch)
	if err != nil && !isTimeout(err) {
		s.failLocked(err)
	}
	if s.err == nil && !(s.out.empty() && s.queue.empty()) {
		go s.flushFunc()
		return
	}
	s.owned = false
	s.cond.Broadcast()
}

func (s *sender) startFlusherLocked() {
	if !s.owned {
		s.owned = true
		go s.flushFunc()
	}
}

// flush is the flusher: it sends until nothing is left.
func (s *sender) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && !(s.out.empty() && s.queue.empty()) {
		fresh := s.out.empty()
		if fresh {
			s.out, s.queue = s.queue, s.out
			s.cond.Broadcast()
		}
		s.applyDeadlineLocked()
		s.mu.Unlock()
		var err error
		if fresh {
			err = s.sealOut(0)
		}
		if err == nil {
			err = s.flushOut()
		}
		s.mu.Lock()
		if isTimeout(err) && s.lingerUntil.IsZero() {
			err = fmt.Errorf("securesp: the carrier gave up: %w", err) // there was no deadline
		}
		if err != nil {
			s.failLocked(err)
		}
	}
	s.lastFlush = time.Since(epoch)
	s.owned = false
	s.cond.Broadcast()
	if !s.lingerUntil.IsZero() {
		s.conn.interruptRead()
	}
}

// sealOut seals what was added to out from offset at on. Owner only.
func (s *sender) sealOut(at int) error {
	n, err := s.out.seal(s.session, at)
	s.conn.stats.recordsSent.Add(uint64(n))
	return err
}

// flushOut writes what is left of out. Owner only.
func (s *sender) flushOut() error {
	n, err := s.conn.carrier.Write(s.out.buf[s.sent:])
	s.sent += n
	s.conn.stats.wireSent.Add(uint64(n))
	s.conn.lastSent.Store(int64(time.Since(epoch)))
	if s.sent == len(s.out.buf) {
		s.sent = 0
		s.out.reset()
		return nil
	}
	if err == nil {
		err = errShortWrite
	}
	return err
}

var (
	errShortWrite  = errors.New("securesp: the carrier wrote less than it was given, without an error")
	errWriteClosed = fmt.Errorf("securesp: write after CloseWrite: %w", net.ErrClosed)
)

// checkLocked returns why nothing more can be written now.
func (s *sender) checkLocked() error {
	switch {
	case s.refusal != nil:
		return s.refusal
	case s.err != nil:
		return s.err
	case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// waitLocked waits until something changed or the deadline is over.
func (s *sender) waitLocked() {
	if !s.deadline.IsZero() {
		d := time.Until(s.deadline)
		if s.timer == nil {
			s.timer = time.AfterFunc(d, s.wake)
		} else {
			s.timer.Reset(d)
		}
		// It is not stopped: others may be waiting for it as well.
	}
	s.cond.Wait()
}

func (s *sender) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cond.Broadcast()
}

// applyDeadlineLocked gives the carrier the deadline that suits the owner.
func (s *sender) applyDeadlineLocked() {
	var d time.Time
	switch {
	case s.inline && !s.lingerUntil.IsZero():
		d = longAgo // a Write in progress ends when Close is called
	case s.inline:
		d = s.deadline
	default:
		d = s.lingerUntil
	}
	if !d.Equal(s.onCarrier) {
		s.onCarrier = d
		s.conn.carrier.SetWriteDeadline(d)
	}
}

func (s *sender) setDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	if s.owned {
		s.applyDeadlineLocked()
	}
	s.cond.Broadcast()
}

// control queues a record of its own and has it sent soon. It is dropped if
// the peer takes nothing anyway; memory stays bounded.
func (s *sender) control(t mechanism.Type, plaintext []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.refusal != nil && s.refusal != errWriteClosed || len(s.queue.buf) > 2*highWater {
		return
	}
	s.queue.control(t, plaintext)
	s.startFlusherLocked()
}

// clear sends payload unencrypted.
func (s *sender) clear(payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.checkLocked(); err != nil {
			return err
		}
		if len(s.queue.buf) < highWater {
			break
		}
		s.waitLocked()
	}
	s.queue.control(mechanism.Clear, payload)
	s.startFlusherLocked()
	return nil
}

// drain waits until everything accepted is written, or the deadline is over.
func (s *sender) drain() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.owned && s.err == nil {
		if !s.deadline.IsZero() && !time.Now().Before(s.deadline) {
			return os.ErrDeadlineExceeded
		}
		s.waitLocked()
	}
	if s.err != nil && !s.lingerUntil.IsZero() {
		return s.refusal // Close has given up, for which its own timeout is no reason to show
	}
	return s.err
}

// finish sends FIN: this direction ends.
func (s *sender) finish() error {
	s.msg.Lock() // not in the midst of a message
	defer s.msg.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal == errWriteClosed {
		return nil
	}
	if err := s.checkLocked(); err != nil && !isTimeout(err) {
		return err
	}
	s.queue.control(mechanism.Fin, nil)
	s.refusal = errWriteClosed
	s.startFlusherLocked()
	s.cond.Broadcast()
	return nil
}

// refuse makes every later Write fail with err. What was accepted before is
// still sent if keep is true.
func (s *sender) refuse(err error, keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal == nil || s.refusal == errWriteClosed {
		s.refusal = err
	}
	if !keep {
		s.dropLocked(&s.queue, err)
	}
	s.cond.Broadcast()
}

// shutdown sends CLOSE after whatever was accepted, refuses everything else
// with refusal, and sees to it that the sending half is at rest when until has
// come.
func (s *sender) shutdown(code CloseCode, refusal error, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var byPeer *CloseError
	told := errors.As(s.refusal, &byPeer)
	s.refusal = refusal
	s.lingerUntil = until
	if s.err == nil && !told {
		s.queue.control(mechanism.Close, appendClose(nil, code, ""))
	}
	s.startFlusherLocked()
	s.applyDeadlineLocked()
	s.cond.Broadcast()
}

// rest waits until the sending half is at rest and returns why data was
// dropped, if so.
func (s *sender) rest() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.owned {
		s.cond.Wait()
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	return s.lost
}

// failLocked records that the carrier takes nothing any more.
func (s *sender) failLocked(err error) {
	if s.err == nil {
		s.err = err
	}
	s.dropLocked(&s.out, err)
	s.dropLocked(&s.queue, err)
	s.sent = 0
	s.cond.Broadcast()
}

func (s *sender) dropLocked(b *batch, err error) {
	if b.data && s.lost == nil {
		s.lost = err
	}
	b.reset()
}

var longAgo = time.Unix(1, 0)

func isTimeout(err error) bool {
	if err == nil {
		return false
	}
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
