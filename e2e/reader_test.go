package e2e_test

import (
	"errors"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
)

// TestReaders makes sure that each reader opens a message once, whoever else
// has opened it, and that none outlives its sender's membership.
func TestReaders(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	alice, bob := c.members[0], c.members[1]
	readers := []interface {
		Open(dst, message, context []byte) (*e2e.GroupMessage, error)
	}{bob, bob.NewReader(), bob.NewReader()}
	message, err := alice.Seal(nil, e2e.Topic{}, []byte("once each"), []byte("context"))
	is.NoErr(err) // seal
	for _, r := range readers {
		_, err := r.Open(nil, message, nil)
		is.True(errors.Is(err, e2e.ErrAuthentication)) // the context is missing
		g, err := r.Open(nil, message, []byte("context"))
		is.NoErr(err) // open
		is.Equal(string(g.Body), "once each")
		is.Equal(g.Sender, c.identities[0].Public())
		_, err = r.Open(nil, message, []byte("context"))
		is.True(errors.Is(err, e2e.ErrReplay)) // open again
	}

	updates, err := c.group.Remove(c.identities[0].Public())
	is.NoErr(err) // remove the sender
	c.deliver(updates)
	message, err = alice.Seal(nil, e2e.Topic{}, []byte("from outside"), nil)
	is.NoErr(err) // the removed one does not know yet
	for _, r := range readers {
		_, err := r.Open(nil, message, nil)
		is.True(errors.Is(err, e2e.ErrNotAuthorized))
	}
}

// TestRejoinedReplay removes a sender and takes it back with the same card,
// while the key of its earlier messages is still held: what was opened once is
// not opened again, by the member or by readers, even if those opened others'
// messages in between.
func TestRejoinedReplay(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 3)
	alice := c.members[0]
	openers := []func(dst, message, context []byte) (*e2e.GroupMessage, error){alice.Open, alice.NewReader().Open}
	before, onItsWay := c.seal(1, e2e.Topic{}, secret), c.seal(1, e2e.Topic{}, "late")
	for _, open := range openers {
		_, err := open(nil, before, nil)
		is.NoErr(err) // open a message
	}
	c.deliver(c.remove(1))
	newcomer := c.join(true)
	between, err := newcomer.Seal(nil, e2e.Topic{}, nil, nil)
	is.NoErr(err) // a sender whom the readers have no window for
	for _, open := range openers {
		_, err := open(nil, between, nil)
		is.NoErr(err) // open the newcomer's message
	}
	c.deliver(c.invite(1, true))
	for _, open := range openers {
		_, err := open(nil, before, nil)
		matches(t, err, e2e.ErrReplay)
		g, err := open(nil, onItsWay, nil)
		is.NoErr(err) // one that was never opened
		is.Equal(string(g.Body), "late")
	}
	c.add(time.Minute)
	for _, open := range openers {
		_, err := open(nil, before, nil)
		is.True(err != nil) // its key is gone
	}
}

// TestGoneAreForgotten: who has left is remembered for as long as a key of
// that time, and no more than so many are: then keys go early.
func TestGoneAreForgotten(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	alice := c.members[0]
	c.deliver(c.remove(1))
	is.Equal(e2e.Gone(alice), 1)
	c.add(time.Minute)
	c.deliver(c.ratchet())
	is.Equal(e2e.Gone(alice), 0)

	c.deliver(c.invite(1, true))
	before := c.seal(1, e2e.Topic{}, secret)
	opened(t, c.opener(0), before)
	c.deliver(c.remove(1))
	e2e.Crowd(alice)
	c.deliver(c.ratchet())
	is.Equal(e2e.Gone(alice), 0) // the keys of all of them are gone
	c.deliver(c.invite(1, true))
	refused(t, c.opener(0), before, "under a key that was dropped early")
	c.reaches(1, 0)
}
