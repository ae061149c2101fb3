package leak

import (
	"net"
	"testing"
	"time"

	"github.com/matryer/is"
)

// witness is a test that only remembers.
type witness struct {
	testing.TB
	cleanups []func()
	failed   bool
}

func (w *witness) Helper()               {}
func (w *witness) Cleanup(f func())      { w.cleanups = append(w.cleanups, f) }
func (w *witness) Errorf(string, ...any) { w.failed = true }

func (w *witness) finish() bool {
	for _, f := range w.cleanups {
		f()
	}
	return w.failed
}

func TestCheck(t *testing.T) {
	is := is.New(t)
	defer func(was time.Duration) { grace = was }(grace)
	grace = 0

	w := &witness{TB: t}
	Check(w)
	is.True(!w.finish()) // nothing happened

	w = &witness{TB: t}
	Check(w)
	release := make(chan struct{})
	forget(release)
	is.True(w.finish()) // a goroutine is left
	close(release)

	if descriptors() == nil {
		return
	}
	w = &witness{TB: t}
	Check(w)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)       // listen
	is.True(w.finish()) // a socket is left
	is.NoErr(l.Close())
}
