package e2e_test

import (
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
)

func seenID(n int) (id e2e.SeenID) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

func TestMemoryCache(t *testing.T) {
	is := is.New(t)
	c := newClock()
	cache := e2e.NewMemoryCache(1000)
	add := func(n int, life time.Duration) (bool, error) {
		return cache.Add(seenID(n), c.Now(), c.Now().Add(life))
	}
	for _, want := range []bool{false, true, true} {
		seen, err := add(1, time.Minute)
		is.NoErr(err) // add
		is.Equal(seen, want)
	}
	seen, err := add(2, time.Minute)
	is.NoErr(err) // add another
	is.True(!seen)
	is.Equal(cache.Len(), 2)

	// It remembers at least as long as asked, and no longer than needed.
	expires := c.Now().Add(time.Minute)
	c.add(time.Minute)
	seen, err = cache.Add(seenID(1), c.Now(), expires)
	is.NoErr(err) // at the end of its time
	is.True(seen)
	c.add(8 * time.Second)
	_, err = cache.Add(seenID(1), c.Now(), expires)
	matches(t, err, e2e.ErrExpired) // it does not say that it is new
	is.Equal(cache.Len(), 0)

	// Nor when the clock goes back.
	c.add(-time.Hour)
	_, err = cache.Add(seenID(1), c.Now(), expires)
	matches(t, err, e2e.ErrExpired)
}

// TestMemoryCacheFull: what was evicted is refused, never taken for new.
func TestMemoryCacheFull(t *testing.T) {
	is := is.New(t)
	const capacity = 100
	c := newClock()
	cache := e2e.NewMemoryCache(capacity)
	start := c.Now().Add(time.Minute)
	taken := make(map[int]bool)
	for n := range 10 * capacity {
		seen, err := cache.Add(seenID(n), c.Now(), start.Add(time.Duration(n)*100*time.Millisecond))
		is.True(!seen) // not one of them was there
		taken[n] = err == nil
		is.True(cache.Len() <= capacity)
	}
	for n := range 10 * capacity {
		seen, err := cache.Add(seenID(n), c.Now(), start.Add(time.Duration(n)*100*time.Millisecond))
		if err == nil && !seen && taken[n] {
			t.Fatalf("message %d was opened twice", n)
		}
	}
	seen, err := cache.Add(seenID(-1), c.Now(), start.Add(time.Hour))
	is.NoErr(err) // newer ones are still taken
	is.True(!seen)

	// All at the same moment: those beyond the capacity are refused.
	cache = e2e.NewMemoryCache(capacity)
	for n := range 2 * capacity {
		seen, err := cache.Add(seenID(n), c.Now(), start)
		is.True(!seen)
		is.Equal(err == nil, n < capacity)
	}
	is.True(panics(func() { e2e.NewMemoryCache(0) }))
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// TestMemoryCacheOnce: of many who add the same at once, one is first.
func TestMemoryCacheOnce(t *testing.T) {
	is := is.New(t)
	c := newClock()
	cache := e2e.NewMemoryCache(1000)
	var first atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := range 500 {
				if seen, err := cache.Add(seenID(n), c.Now(), c.Now().Add(time.Minute)); err == nil && !seen {
					first.Add(1)
				}
			}
		})
	}
	wg.Wait()
	is.Equal(first.Load(), int32(500))
}

// TestFlood measures the memory that a flood can take.
func TestFlood(t *testing.T) {
	is := is.New(t)
	const bound = 40 << 20 // what DefaultSeenCapacity promises
	c := newClock()
	before := heap()
	cache := e2e.NewMemoryCache(e2e.DefaultSeenCapacity)
	most := int64(0)
	for n := range 2 * e2e.DefaultSeenCapacity {
		if n%1000 == 0 { // 20,000 a second, all over the window
			c.add(50 * time.Millisecond)
		}
		spread := time.Duration(n%120) * time.Second
		_, _ = cache.Add(seenID(n), c.Now(), c.Now().Add(spread))
		if n%(e2e.DefaultSeenCapacity/4) == 0 {
			most = max(most, heap()-before)
		}
	}
	most = max(most, heap()-before)
	is.True(cache.Len() <= e2e.DefaultSeenCapacity)
	t.Logf("%d messages remembered, %d MB at most", cache.Len(), most>>20)
	is.True(most < bound)
	runtime.KeepAlive(cache)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestWorkerSurvivesFlood: an admitted client that floods a small cache can
// narrow the window for others, and nothing else.
func TestWorkerSurvivesFlood(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	s.worker = s.newWorker(e2e.WorkerConfig{Seen: e2e.NewMemoryCache(20)})
	s.exchange()
	var all [][]byte
	opened := make(map[int]bool)
	for i := range 200 {
		s.add(500 * time.Millisecond)
		message, _ := s.seal("flood")
		all = append(all, message)
		_, err := s.worker.Open(nil, message)
		opened[i] = err == nil
	}
	is.True(opened[199]) // the newest are taken all along
	for i, message := range all {
		if _, err := s.worker.Open(nil, message); err == nil && opened[i] {
			t.Fatalf("message %d was opened twice", i)
		}
	}
}
