package e2e

import (
	"crypto/cipher"
	"slices"
	"time"
)

// heldKey is an epoch's key as a member has it. What is used while no lock is
// held never changes.
type heldKey struct {
	epoch    epoch
	topicKey [keySize]byte
	aead     cipher.AEAD // of messages

	key   epochKey  // cleared once forgotten
	until time.Time // zero: it is the current one
}

func newHeldKey(e epoch, key epochKey, topicKey [keySize]byte) *heldKey {
	secret := expand(key[:], labelMessage)
	defer clear(secret)
	return &heldKey{epoch: e, key: key, topicKey: topicKey, aead: manyTimes(secret)}
}

const (
	// maxHeld bounds how many replaced keys are kept for messages that
	// were on their way.
	maxHeld = 64

	// maxAhead bounds how many steps a message may be ahead of its
	// receiver, for each costs a hash before anything is authenticated.
	maxAhead = 256
)

// epochs holds the current key of a group and those that it replaced not long
// ago. The zero value is empty.
type epochs struct {
	held []*heldKey // rising; the last is the current one
}

// current returns the newest key, or nil.
func (e *epochs) current() *heldKey {
	if len(e.held) == 0 {
		return nil
	}
	return e.held[len(e.held)-1]
}

// find returns the key for an epoch that a message claims. It may be one that
// is yet to come: commit makes it current once the message is authentic.
func (e *epochs) find(at epoch, now time.Time) (*heldKey, error) {
	e.expire(now)
	current := e.current()
	if current == nil {
		return nil, errNoUpdate
	}
	// Later steps follow from an earlier one that is still there.
	for _, k := range slices.Backward(e.held) {
		switch {
		case k.epoch > at:
		case k.epoch == at:
			return k, nil
		case k.epoch.generation() == at.generation() && at-k.epoch <= maxAhead:
			return newHeldKey(at, k.key.ahead(uint32(at-k.epoch)), k.topicKey), nil
		}
	}
	if at > current.epoch {
		return nil, ErrUnknownKey
	}
	return nil, ErrExpired
}

// commit makes a key that find returned the current one, if it is newer.
func (e *epochs) commit(k *heldKey, now time.Time, grace time.Duration) {
	current := e.current()
	if current != nil && k.epoch <= current.epoch {
		return
	}
	if current != nil {
		current.until = now.Add(grace)
	}
	e.held = append(e.held, k)
	if len(e.held) > maxHeld+1 {
		e.forget(1)
	}
}

// advance makes the key of an update the current one, if it is newer.
func (e *epochs) advance(at epoch, key epochKey, topicKey [keySize]byte, now time.Time, grace time.Duration) {
	e.expire(now)
	e.commit(newHeldKey(at, key, topicKey), now, grace)
}

// expire forgets the keys whose time is over.
func (e *epochs) expire(now time.Time) {
	n := 0
	for n < len(e.held)-1 && !now.Before(e.held[n].until) {
		n++
	}
	e.forget(n)
}

// forget forgets the n oldest keys.
func (e *epochs) forget(n int) {
	for _, k := range e.held[:n] {
		clear(k.key[:])
	}
	e.held = append(e.held[:0:0], e.held[n:]...)
}
