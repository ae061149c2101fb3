package e2e

import (
	"crypto/sha256"
	"hash/maphash"
	"sync"
	"time"

	"github.com/securesp/securesp/keys"
)

// SeenID identifies a message: a hash of its sender's key and of what makes
// the message unique.
type SeenID [sha256.Size]byte

// SeenCache remembers which messages were opened. A [Worker] uses one of its
// own unless configured otherwise; workers that share one open each message
// once between them. It must be safe for concurrent use. It is only asked
// about messages that are authentic and whose sender is admitted.
type SeenCache interface {
	// Add records id until expires, and reports whether it was recorded
	// already. The two must be one step: of two concurrent calls with the
	// same id exactly one gets false. now is the worker's time. An error
	// means that the cache cannot tell, and makes the worker refuse the
	// message; it should match ErrExpired if the message could be accepted
	// when sealed anew.
	Add(id SeenID, now, expires time.Time) (seen bool, err error)
}

// DefaultSeenCapacity is how many messages a Worker's own cache remembers. It
// bounds the memory to some 40 MB, which only a flood by admitted senders
// reaches: 1,048,576 messages in two minutes.
const DefaultSeenCapacity = 1 << 20

// MemoryCache is a [SeenCache] in memory, of bounded size. When it is full, it
// forgets what expires first, and from then on refuses, with an error that
// matches ErrExpired, everything that would have expired as early: it never
// takes a message for new that it cannot vouch for. So a flood by admitted
// senders narrows the time window, and opens no way for replays. The same goes
// for a clock that is put back: until it has caught up, messages are refused.
// For the whole window at a given rate, the capacity must be that rate times
// twice the window.
//
// It keeps 64 bits of a keyed hash for each message, so that it takes a new
// message for a known one with a probability of capacity / 2^64.
type MemoryCache struct {
	capacity int
	seed     maphash.Seed

	mu      sync.Mutex
	buckets map[int64]map[uint64]struct{} // by time of expiry
	count   int
	floor   int64 // buckets before this one are forgotten
}

// NewMemoryCache returns a cache that remembers up to capacity messages.
// It panics if capacity is not positive.
func NewMemoryCache(capacity int) *MemoryCache {
	if capacity <= 0 {
		panic("securesp: capacity of a seen-cache must be positive")
	}
	return &MemoryCache{
		capacity: capacity,
		seed:     maphash.MakeSeed(),
		buckets:  make(map[int64]map[uint64]struct{}),
	}
}

// bucketWidth is how much time of expiry one bucket covers: a whole bucket is
// forgotten at once.
const bucketWidth = 4 * time.Second

// Add implements [SeenCache].
func (c *MemoryCache) Add(id SeenID, now, expires time.Time) (seen bool, err error) {
	hash := maphash.Bytes(c.seed, id[:])
	bucket := bucketOf(expires)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetUntil(bucketOf(now))
	if bucket < c.floor {
		return false, ErrExpired
	}
	ids := c.buckets[bucket]
	if ids == nil {
		ids = make(map[uint64]struct{})
		c.buckets[bucket] = ids
	}
	before := len(ids)
	ids[hash] = struct{}{}
	if len(ids) == before {
		return true, nil
	}
	c.count++
	for c.count > c.capacity {
		oldest := c.oldest()
		c.forgetUntil(oldest + 1)
		if bucket <= oldest {
			return false, ErrExpired
		}
	}
	return false, nil
}

// forgetUntil forgets the buckets before the given one. A floor once raised
// stays, also if the clock goes back.
func (c *MemoryCache) forgetUntil(bucket int64) {
	if bucket <= c.floor {
		return
	}
	c.floor = bucket
	for b, ids := range c.buckets {
		if b < bucket {
			c.count -= len(ids)
			delete(c.buckets, b)
		}
	}
}

// oldest returns the first bucket of a cache that is not empty.
func (c *MemoryCache) oldest() int64 {
	first := int64(1<<63 - 1)
	for b := range c.buckets {
		first = min(first, b)
	}
	return first
}

func bucketOf(t time.Time) int64 { return t.Unix() / int64(bucketWidth/time.Second) }

// Len returns how many messages the cache remembers now.
func (c *MemoryCache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// seenID names a message of a form by its sender and what makes it unique
// among the sender's: nobody can use up another's.
func seenID(form byte, sender keys.Public, unique []byte) SeenID {
	var b [len(protocolLabel) + 5 + 1 + 2*keys.Size]byte
	input := append(b[:0], protocolLabel+" seen"...)
	input = append(input, form)
	input = append(input, sender.Bytes()...)
	input = append(input, unique...)
	return sha256.Sum256(input)
}
