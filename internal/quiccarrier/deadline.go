package quiccarrier

import (
	"context"
	"net"
	"os"
	"sync"
	"time"
)

// deadline is one direction's deadline: the stream's, while there is one to
// apply it to, and that of whoever waits for something else. The zero value is
// no deadline.
type deadline struct {
	mu      sync.Mutex
	at      time.Time
	apply   func(time.Time) error
	timer   *time.Timer
	expired chan struct{} // closed when the deadline is over; nil until needed
	over    bool          // expired is closed
	final   bool          // the Conn is closed
}

// set moves the deadline.
func (d *deadline) set(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.final {
		return net.ErrClosed
	}
	d.at = t
	d.resetLocked()
	if d.apply != nil {
		return d.apply(t)
	}
	return nil
}

// finish makes the deadline be over for good.
func (d *deadline) finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.final = longAgo, true
	d.resetLocked()
	if d.apply != nil {
		_ = d.apply(longAgo) // never fails
	}
}

var longAgo = time.Unix(1, 0)

// attach has the deadline applied from now on.
func (d *deadline) attach(apply func(time.Time) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.apply = apply
	if !d.at.IsZero() {
		_ = apply(d.at)
	}
}

// detach ends what attach began and applies t for good.
func (d *deadline) detach(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.apply(t)
	d.apply = nil
}

// wait waits for done or for the end of the deadline, which comes first.
func (d *deadline) wait(done <-chan struct{}) error {
	d.mu.Lock()
	if !d.at.IsZero() && time.Until(d.at) <= 0 {
		d.mu.Unlock()
		return os.ErrDeadlineExceeded
	}
	select {
	case <-done: // nearly always
		d.mu.Unlock()
		return nil
	default:
	}
	expired := d.expiredLocked()
	d.mu.Unlock()
	select {
	case <-expired:
		return os.ErrDeadlineExceeded
	case <-done:
		return nil
	}
}

// context returns a context that ends with the deadline, wherever that is
// moved meanwhile.
func (d *deadline) context() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	return expiry{context.Background(), d.expiredLocked()}
}

// expiredLocked returns the channel that is closed when the deadline is over.
// One that is not closed stays when the deadline moves.
func (d *deadline) expiredLocked() <-chan struct{} {
	if d.expired == nil {
		d.expired = make(chan struct{})
		d.over = false
		d.resetLocked()
	}
	return d.expired
}

// resetLocked brings timer and channel in line with the deadline.
func (d *deadline) resetLocked() {
	if d.timer != nil {
		d.timer.Stop()
	}
	if d.expired == nil {
		return
	}
	left := time.Until(d.at)
	switch {
	case d.over && (d.at.IsZero() || left > 0):
		d.expired, d.over = nil, false // who waits next makes another
	case d.over || d.at.IsZero():
	case left <= 0:
		close(d.expired)
		d.over = true
	default:
		d.timer = time.AfterFunc(left, d.check)
	}
}

// check runs when the timer fires, which may be for a deadline that has been
// moved since.
func (d *deadline) check() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resetLocked()
}

// expiry is a context that ends when its channel is closed.
type expiry struct {
	context.Context
	expired <-chan struct{}
}

func (e expiry) Done() <-chan struct{} { return e.expired }

func (e expiry) Err() error {
	select {
	case <-e.expired:
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}
