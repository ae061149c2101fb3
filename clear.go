package securesp

import (
	"sync"

	"github.com/securesp/securesp/mechanism"
)

// maxClearQueue bounds, in bytes, the unencrypted payloads kept until
// ReadClear asks for them: nobody authenticated them, so they must not cost
// more.
const maxClearQueue = 64 << 10

// clearQueue holds CLEAR payloads that came in while somebody read sealed data.
type clearQueue struct {
	mu     sync.Mutex
	items  [][]byte
	size   int
	notify chan struct{} // capacity 1: the queue or the receiver's lock may have changed
}

func (q *clearQueue) signal() {
	select {
	case q.notify <- struct{}{}:
	default:
	}
}

// push keeps a copy of payload, or drops it if the queue is full.
func (q *clearQueue) push(payload []byte) {
	q.mu.Lock()
	if cost := len(payload) + 64; q.size+cost <= maxClearQueue {
		q.items = append(q.items, append([]byte(nil), payload...))
		q.size += cost
	}
	q.mu.Unlock()
	q.signal()
}

func (q *clearQueue) pop() ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil, false
	}
	item := q.items[0]
	q.items = q.items[1:]
	q.size -= len(item) + 64
	if len(q.items) > 0 {
		q.signal() // for whoever else waits
	}
	return item, true
}

// WriteClear sends p, at most 16,384 bytes, unencrypted and unauthenticated:
// anybody on the way can read, change, drop or invent it. It exists for what
// must be readable by third parties, and works only if both sides set
// Config.AllowClear; ErrClearNotPermitted otherwise. What it sends never comes
// out of the peer's Read. (SPEC §4)
func (c *Conn) WriteClear(p []byte) error {
	if err := c.await(&c.deadlines.write); err != nil {
		return c.opError("write", err)
	}
	switch {
	case !c.clearPermitted:
		return ErrClearNotPermitted
	case len(p) > mechanism.MaxPlaintext:
		return ErrMessageTooLarge
	}
	return c.opError("write", c.sender.clear(p))
}

// ReadClear appends the next payload that the peer sent with WriteClear to
// dst. Its content proves nothing. Payloads wait in a queue of bounded size;
// those that do not fit are dropped. If sealed data comes first, ReadClear
// returns ErrDataPending, unless another goroutine is reading that.
// ReadClear obeys the read deadline. (SPEC §4)
func (c *Conn) ReadClear(dst []byte) ([]byte, error) {
	if err := c.await(&c.deadlines.read); err != nil {
		return dst, c.opError("read", err)
	}
	if !c.clearPermitted {
		return dst, ErrClearNotPermitted
	}
	r := &c.receiver
	for {
		if item, ok := r.clear.pop(); ok {
			return append(dst, item...), nil
		}
		if r.mu.TryLock() {
			if err := r.pumpClear(); err != nil {
				if item, ok := r.clear.pop(); ok {
					return append(dst, item...), nil
				}
				return dst, c.opError("read", err)
			}
			continue
		}
		if err := c.waitClear(); err != nil {
			return dst, c.opError("read", err)
		}
	}
}

// pumpClear, with mu taken, reads until something was put into the queue, and
// releases mu.
func (r *receiver) pumpClear() error {
	if err := r.begin(); err != nil {
		return err
	}
	defer r.unlock()
	for {
		r.clear.mu.Lock()
		ready := len(r.clear.items) > 0
		r.clear.mu.Unlock()
		switch {
		case ready:
			return nil
		case len(r.record) > 0 || len(r.kept) > 0 || r.inside:
			return ErrDataPending
		}
		if err := r.step(true); err != nil {
			return err
		}
	}
}

// waitClear waits while another goroutine reads.
func (c *Conn) waitClear() error {
	if err := c.deadlines.await(&c.deadlines.read, c.receiver.clear.notify, c.closing); err != nil {
		return err
	}
	return c.closeErr()
}
