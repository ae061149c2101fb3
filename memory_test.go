package securesp_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/allocs"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
)

// idlePairs is how many connections are held idle at once.
func idlePairs() int {
	if raceEnabled {
		return 200
	}
	return 5000
}

// traffic sends bulk, messages and a timeout's leftovers both ways.
func traffic(t *testing.T, a, b *securesp.Conn) {
	t.Helper()
	big := make([]byte, 40000)
	buf := make([]byte, len(big))
	for _, dir := range [][2]*securesp.Conn{{a, b}, {b, a}} {
		w, r := dir[0], dir[1]
		var errs []error
		for range 3 {
			errs = append(errs, w.WriteMessage(big[:1000]))
		}
		_, err := w.Write(big)
		errs = append(errs, err, w.Flush())
		for range 3 {
			m, err := r.ReadMessage(buf[:0])
			errs = append(errs, err)
			if len(m) != 1000 {
				errs = append(errs, errors.New("wrong message"))
			}
		}
		_, err = io.ReadFull(r, buf)
		errs = append(errs, err)
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIdleMemory holds 5,000 connections after traffic, each end waiting in
// nothing, and measures what one end costs beyond its carrier. That is about
// 4.3 KB.
func TestIdleMemory(t *testing.T) {
	is := is.New(t)
	const limit = 6 << 10
	n := idlePairs()
	carriers := make([]*testnet.Conn, 0, 2*n)
	before := heap()
	for range n {
		near, far := testnet.Pipe(1 << 20)
		carriers = append(carriers, near, far)
	}
	perCarrier := (heap() - before) / int64(2*n)

	initiator, responder := configs(t, mechanism.IKAESGCM)
	conns := make([]*securesp.Conn, 0, 2*n)
	before = heap()
	for i := range n {
		o := meet(carriers[2*i], carriers[2*i+1], initiator, responder)
		is.NoErr(errors.Join(o.aErr, o.bErr))
		traffic(t, o.a, o.b)
		carriers[2*i].Compact()
		carriers[2*i+1].Compact()
		conns = append(conns, o.a, o.b)
	}
	each := (heap() - before) / int64(2*n)
	t.Logf("%d pairs: %d bytes a Conn, %d more in its carrier", n, each, perCarrier)
	if !raceEnabled && each > limit {
		t.Errorf("an idle Conn holds %d bytes, more than %d", each, limit)
	}
	for i := 0; i < len(conns); i += 2 {
		closeBoth(conns[i], conns[i+1])
	}
}

// TestInterruptedMessageIsForgotten: what ReadMessage kept of a message over a
// timeout does not stay once the message is complete.
func TestInterruptedMessageIsForgotten(t *testing.T) {
	is := is.New(t)
	w := wireSuite(t, mechanism.XXAESGCM)
	defer w.close()
	const size = 3 << 20
	p := make([]byte, size)
	var held []byte
	w.near.Tap(func(b []byte) ([]byte, bool) {
		held = append(held, b...)
		return nil, false
	})
	is.NoErr(w.a.WriteMessage(p))
	is.NoErr(w.a.Flush())
	w.near.Tap(nil)
	before := heap()
	start := w.b.Stats().CarrierReceived
	w.near.Inject(held[:len(held)-10])
	for w.b.Stats().CarrierReceived-start < uint64(len(held)-10) {
		is.NoErr(w.b.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
		_, err := w.b.ReadMessage(nil)
		isTimeoutError(t, err)
	}
	is.NoErr(w.b.SetReadDeadline(time.Time{}))
	w.near.Inject(held[len(held)-10:])
	m, err := w.b.ReadMessage(nil)
	is.NoErr(err)
	is.Equal(len(m), size)
	w.far.Compact()
	w.b.Stats() // the message itself is garbage by now
	grown := heap() - before
	if grown > size/4 {
		t.Errorf("%d bytes remain", grown)
	}
}

// steady asserts that f allocates nothing once it has run for a while.
func steady(t *testing.T, name string, f func()) {
	t.Helper()
	if raceEnabled { // with which sync.Pool drops buffers at random
		f()
		return
	}
	if each := allocs.PerRun(500, f); each > allocs.Few {
		t.Errorf("%s: %v allocations", name, each)
	}
}

// TestNoAllocations moves data of each size in each way, over kernels' sockets
// and over memory, with each kind of cipher and each knob.
func TestNoAllocations(t *testing.T) {
	for _, tc := range []struct {
		transport string
		suite     mechanism.Suite
		knob      string
		set       func(*securesp.Config)
	}{
		{"tcp", mechanism.XXAESGCM, "", nil},
		{"unix", mechanism.XXAESGCM, "", nil},
		{"memory", mechanism.XXAESGCM, "", nil},
		{"unix", mechanism.XXChaChaPoly, "", nil},
		{"memory", mechanism.XXChaChaPoly, "", nil},
		{"unix", mechanism.Curve, "", nil},
		{"memory", mechanism.Curve, "", nil},
		{"tcp", mechanism.XXAESGCM, "Padding", func(c *securesp.Config) { c.Padding = securesp.PadPowerOfTwo }},
		{"tcp", mechanism.XXAESGCM, "NoCoalescing", func(c *securesp.Config) { c.NoCoalescing = true }},
		{"tcp", mechanism.XXAESGCM, "BusyPoll", func(c *securesp.Config) { c.BusyPoll = 100 * time.Microsecond }},
	} {
		t.Run(tc.transport+"/"+tc.suite.String()+"/"+tc.knob, func(t *testing.T) {
			initiator, responder := configs(t, tc.suite)
			if tc.set != nil {
				tc.set(initiator)
				tc.set(responder)
			}
			if tc.transport != "memory" {
				a, b := connect(t, tc.transport, initiator, responder)
				testNoAllocations(t, a, b)
				return
			}
			near, far := testnet.Pipe(1 << 20)
			o := meet(near, far, initiator, responder)
			defer o.close()
			testNoAllocations(t, o.a, o.b)
		})
	}
}

func testNoAllocations(t *testing.T, a, b *securesp.Conn) {
	fail := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 64<<10)
	p := make([]byte, 64<<10)
	head := make([]byte, 10)
	for _, size := range []int{64, 1 << 10, 20 << 10, 64 << 10} {
		steady(t, fmt.Sprint("Write and Read ", size), func() {
			_, err := a.Write(p[:size])
			fail(err)
			_, err = io.ReadFull(b, buf[:size])
			fail(err)
		})
		steady(t, fmt.Sprint("WriteMessage and ReadMessage ", size), func() {
			fail(a.WriteMessage(p[:size-10], head))
			m, err := b.ReadMessage(buf[:0])
			fail(err)
			if len(m) != size {
				t.Fatal("wrong size")
			}
		})
	}
	steady(t, "there and back", func() {
		fail(a.WriteMessage(p[:100]))
		_, err := b.ReadMessage(buf[:0])
		fail(err)
		fail(b.WriteMessage(p[:100]))
		_, err = a.ReadMessage(buf[:0])
		fail(err)
	})
}
