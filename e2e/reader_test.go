package e2e_test

import (
	"errors"
	"testing"

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
