package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
)

// circle is a group with some members, all of whom may send.
type circle struct {
	*clock
	t          testing.TB
	owner      *keys.Private
	group      *e2e.Group
	identities []*keys.Private
	members    []*e2e.Member
}

func newCircle(t testing.TB, n int) *circle {
	is := is.New(t)
	is.Helper()
	c := &circle{clock: newClock(), t: t, owner: newIdentity(t)}
	var err error
	c.group, err = e2e.NewGroup(e2e.GroupConfig{Name: "circle", Identity: c.owner, Now: c.Now})
	is.NoErr(err) // make a group
	for range n {
		c.join(true)
	}
	return c
}

// newMember makes a member that the group knows nothing of.
func (c *circle) newMember(identity *keys.Private, config e2e.MemberConfig) *e2e.Member {
	is := is.New(c.t)
	is.Helper()
	config.Identity = identity.Public()
	if config.Key == nil {
		config.Key = newServiceKey(c.t)
	}
	if config.Owner.IsZero() {
		config.Owner = c.owner.Public()
	}
	if config.Group == "" {
		config.Group = "circle"
	}
	config.Now = c.Now
	m, err := e2e.NewMember(config)
	is.NoErr(err) // make a member
	return m
}

// join adds a new member and delivers all updates.
func (c *circle) join(sends bool) *e2e.Member {
	m := c.enter(e2e.MemberConfig{})
	c.deliver(c.invite(len(c.members)-1, sends))
	return m
}

// enter adds a new member that the group knows nothing of.
func (c *circle) enter(config e2e.MemberConfig) *e2e.Member {
	c.identities = append(c.identities, newIdentity(c.t))
	m := c.newMember(c.identities[len(c.identities)-1], config)
	c.members = append(c.members, m)
	return m
}

func (c *circle) invite(i int, sends bool) []e2e.Update {
	is := is.New(c.t)
	is.Helper()
	updates, err := c.group.Invite(e2e.Invitation{
		Member: c.identities[i].Public(), Name: fmt.Sprint("member ", i), Card: c.members[i].Card(), Sends: sends,
	})
	is.NoErr(err) // invite
	return updates
}

// deliver hands updates to members: to those with the given numbers, or to all.
func (c *circle) deliver(updates []e2e.Update, to ...int) {
	is := is.New(c.t)
	is.Helper()
	for _, u := range updates {
		i := c.index(u.Member)
		if len(to) == 0 || slices.Contains(to, i) {
			is.NoErr(c.members[i].Update(u.Message)) // take an update
		}
	}
}

func (c *circle) index(member keys.Public) int {
	return slices.IndexFunc(c.identities, func(k *keys.Private) bool { return k.Public() == member })
}

func (c *circle) ratchet() []e2e.Update {
	is := is.New(c.t)
	is.Helper()
	updates, err := c.group.Ratchet()
	is.NoErr(err) // next step
	return updates
}

func (c *circle) remove(i int) []e2e.Update {
	is := is.New(c.t)
	is.Helper()
	updates, err := c.group.Remove(c.identities[i].Public())
	is.NoErr(err) // remove
	return updates
}

func (c *circle) seal(from int, topic e2e.Topic, body string) []byte {
	is := is.New(c.t)
	is.Helper()
	message, err := c.members[from].Seal(nil, topic, []byte(body), nil)
	is.NoErr(err) // seal for the group
	return message
}

func (c *circle) opener(i int) func(dst, message []byte) ([]byte, error) {
	return func(dst, message []byte) ([]byte, error) {
		g, err := c.members[i].Open(dst, message, nil)
		if err != nil {
			return nil, err
		}
		return g.Body, nil
	}
}

// reaches checks that a message of one member is opened by the others listed.
func (c *circle) reaches(from int, to ...int) {
	c.t.Helper()
	message := c.seal(from, e2e.Topic{}, secret)
	for _, i := range to {
		g, err := c.members[i].Open(nil, message, nil)
		if err != nil || string(g.Body) != secret || g.Sender != c.identities[from].Public() {
			c.t.Errorf("message of %d at %d: %v", from, i, err)
		}
	}
}

func TestGroup(t *testing.T) {
	for _, mode := range []e2e.TopicMode{e2e.TopicClear, e2e.TopicBlind, e2e.TopicHidden} {
		for _, size := range []int{0, 1, 1 << 20} {
			t.Run(fmt.Sprint(mode, " ", size), func(t *testing.T) {
				is := is.New(t)
				c := newCircle(t, 3)
				c.add(time.Millisecond)
				topic := e2e.Topic{Mode: mode, Name: []byte("weather.berlin")}
				body := bytes.Repeat([]byte("b"), size)
				message, err := c.members[0].Seal(prefixed(), topic, body, nil)
				is.NoErr(err) // seal
				message = cutPrefix(t, message)
				kept := bytes.Clone(message)
				is.Equal(bytes.Contains(message, topic.Name), mode == e2e.TopicClear)

				for _, m := range c.members[1:] {
					prefixes, err := m.Prefixes(topic)
					is.NoErr(err) // what to subscribe to
					is.Equal(len(prefixes), 1)
					is.True(bytes.HasPrefix(message, prefixes[0]))
					is.Equal(len(prefixes[0]), map[e2e.TopicMode]int{e2e.TopicClear: 14, e2e.TopicBlind: 16}[mode])

					g, err := m.Open(prefixed(), message, nil)
					is.NoErr(err) // open
					is.True(bytes.Equal(g.Body, body))
					is.Equal(g.Sender, c.identities[0].Public())
					is.Equal(g.Name, "member 0")
					is.Equal(g.Topic.Mode, mode)
					is.Equal(string(g.Topic.Name), "weather.berlin")
					is.True(g.Time.Equal(c.Now()))
					id, err := e2e.IDOf(message)
					is.NoErr(err) // the sender's view
					is.Equal(g.ID, id)
				}
				is.True(bytes.Equal(message, kept)) // the message is left alone
				_, err = c.members[0].Open(nil, message, nil)
				matches(t, err, e2e.ErrReplay) // one's own message, reflected
			})
		}
	}
}

func TestBlindTopics(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	topic := e2e.Topic{Mode: e2e.TopicBlind, Name: []byte("a")}
	old, err := c.members[1].Prefixes(topic)
	is.NoErr(err) // what to subscribe to
	other, err := c.members[1].Prefixes(e2e.Topic{Mode: e2e.TopicBlind, Name: []byte("b")})
	is.NoErr(err) // another topic
	is.True(!bytes.Equal(old[0], other[0]))

	c.deliver(c.ratchet(), 0, 1)
	same, err := c.members[1].Prefixes(topic)
	is.NoErr(err) // a step changes no prefix
	is.Equal(same, old)

	late := c.seal(0, topic, secret)
	updates, err := c.group.Rollover()
	is.NoErr(err) // a new generation
	c.deliver(updates)
	both, err := c.members[1].Prefixes(topic)
	is.NoErr(err) // for a while there are two
	is.Equal(len(both), 2)
	is.True(bytes.HasPrefix(c.seal(0, topic, "x"), both[0]))
	is.True(bytes.HasPrefix(late, both[1]))
	_, err = c.members[1].Open(nil, late, nil)
	is.NoErr(err) // what was on its way
	c.add(time.Minute)
	one, err := c.members[1].Prefixes(topic)
	is.NoErr(err) // then one
	is.Equal(one, both[:1])
}

// TestOutOfOrder delivers messages in a strange order, around changes of step
// and generation.
func TestOutOfOrder(t *testing.T) {
	c := newCircle(t, 2)
	var messages [][]byte
	for i := range 30 {
		switch i % 10 {
		case 5:
			c.deliver(c.ratchet(), 0)
		case 9:
			updates, err := c.group.Rollover()
			is.New(t).NoErr(err) // a new generation
			c.deliver(updates)
		}
		messages = append(messages, c.seal(0, e2e.Topic{}, secret))
	}
	for _, i := range []int{29, 3, 0, 28, 12, 4, 17, 1, 2, 5, 11, 15, 9, 8, 7, 6, 10, 13, 14, 16, 27, 26, 18, 19, 20, 21, 25, 24, 23, 22} {
		opened(t, c.opener(1), messages[i])
		refused(t, c.opener(1), messages[i], "replay")
	}
}

// TestTooFarOutOfOrder: a message that is overtaken by more than the window is
// refused, as nobody can tell whether it is new.
func TestTooFarOutOfOrder(t *testing.T) {
	c := newCircle(t, 2)
	first, second := c.seal(0, e2e.Topic{}, secret), c.seal(0, e2e.Topic{}, secret)
	var last []byte
	for range 8191 {
		last = c.seal(0, e2e.Topic{}, secret)
	}
	opened(t, c.opener(1), last)
	opened(t, c.opener(1), second)
	_, err := c.members[1].Open(nil, first, nil)
	matches(t, err, e2e.ErrReplay)
}

// TestAhead: a member follows so many steps by itself, and no more.
func TestAhead(t *testing.T) {
	c := newCircle(t, 2)
	for range 256 {
		c.deliver(c.ratchet(), 0)
	}
	far := c.seal(0, e2e.Topic{}, secret)
	c.deliver(c.ratchet(), 0)
	farther := c.seal(0, e2e.Topic{}, secret)
	_, err := c.members[1].Open(nil, farther, nil)
	matches(t, err, e2e.ErrUnknownKey)
	opened(t, c.opener(1), far)
	opened(t, c.opener(1), farther)
}

func TestGroupFreshness(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	message := c.seal(0, e2e.Topic{}, secret)
	c.add(time.Minute + time.Millisecond)
	_, err := c.members[1].Open(nil, message, nil)
	matches(t, err, e2e.ErrExpired)
	c.add(-2*time.Minute - 2*time.Millisecond)
	_, err = c.members[1].Open(nil, message, nil)
	matches(t, err, e2e.ErrExpired)
	c.add(time.Minute)
	opened(t, c.opener(1), message)

	// A member that restarts with its own key and takes up the state again
	// does not take what is too old to be new.
	c.add(30 * time.Second)
	old := c.seal(0, e2e.Topic{}, secret)
	c.add(time.Minute + time.Millisecond)
	update, err := c.group.Update(c.identities[1].Public())
	is.NoErr(err) // the state again
	is.NoErr(c.members[1].Update(update))
	refused(t, c.opener(1), old, "old")
}

// TestInsider: a member cannot speak for another one, although it has the
// group's key.
func TestInsider(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 3)
	alices := c.seal(0, e2e.Topic{}, secret)
	mallorys := c.seal(1, e2e.Topic{}, "forged")

	// Mallory's message under Alice's number: not even its encryption holds
	// for it, and Mallory, who could encrypt it anew, cannot sign it.
	const trailer = 8 + 4 + 8 + 2 + 64 + 1
	forged := bytes.Clone(mallorys)
	copy(forged[len(forged)-trailer:], alices[len(alices)-trailer:][:8])
	refused(t, c.opener(2), forged, "another's number")
	resigned := e2e.Forge(t, c.members[1], c.members[0], []byte("forged"))
	_, err := c.members[2].Open(nil, resigned, nil)
	matches(t, err, e2e.ErrAuthentication)
	is.True(c.wasDecrypted(2, resigned)) // it was the signature that failed

	opened(t, c.opener(2), alices) // Alice's own
}

// wasDecrypted reports whether a message is encrypted as it should be.
func (c *circle) wasDecrypted(i int, message []byte) bool {
	return e2e.Decrypts(c.members[i], message)
}

// TestContext: an answer to one survey is none to another.
func TestContext(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	first, err := e2e.IDOf(c.seal(0, e2e.Topic{}, "question"))
	is.NoErr(err) // one survey
	second, err := e2e.IDOf(c.seal(0, e2e.Topic{}, "question"))
	is.NoErr(err) // another
	answer, err := c.members[1].Seal(nil, e2e.Topic{}, []byte(secret), first[:])
	is.NoErr(err) // answer the first
	for _, context := range [][]byte{nil, {}, second[:], first[:19], append(first[:], 0)} {
		_, err = c.members[0].Open(nil, answer, context)
		matches(t, err, e2e.ErrAuthentication)
	}
	g, err := c.members[0].Open(nil, answer, first[:])
	is.NoErr(err) // as the answer it is
	is.Equal(string(g.Body), secret)
}

func TestGroupLimits(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	long := e2e.Topic{Name: make([]byte, e2e.MaxTopic)}
	for _, long.Mode = range []e2e.TopicMode{e2e.TopicClear, e2e.TopicBlind, e2e.TopicHidden} {
		g, err := c.members[1].Open(nil, c.seal(0, long, secret), nil)
		is.NoErr(err) // the longest topic
		is.Equal(len(g.Topic.Name), e2e.MaxTopic)
	}
	_, err := c.members[0].Seal(nil, e2e.Topic{Name: make([]byte, e2e.MaxTopic+1)}, nil, nil)
	matches(t, err, e2e.ErrConfig)
	_, err = c.members[0].Seal(nil, e2e.Topic{Mode: 3}, nil, nil)
	matches(t, err, e2e.ErrConfig)

	small := c.enter(e2e.MemberConfig{MaxBody: 10})
	c.deliver(c.invite(2, true))
	_, err = small.Seal(nil, e2e.Topic{}, make([]byte, 11), nil)
	matches(t, err, e2e.ErrTooLarge)
	for _, size := range []int{11, 100 << 10} {
		_, err = small.Open(nil, c.seal(0, e2e.Topic{}, string(make([]byte, size))), nil)
		matches(t, err, e2e.ErrTooLarge)
	}
	_, err = small.Open(nil, c.seal(0, e2e.Topic{Name: []byte("not counted")}, "0123456789"), nil)
	is.NoErr(err) // what fits

	e2e.SetSeq(c.members[0], ^uint64(0)-1)
	last := c.seal(0, e2e.Topic{}, secret)
	_, err = c.members[0].Seal(nil, e2e.Topic{}, nil, nil)
	matches(t, err, e2e.ErrExhausted)
	opened(t, c.opener(1), last)
	refused(t, c.opener(1), last, "replay at the end of all numbers")
}

// TestGroupConcurrently has members send, receive, join and leave at once.
func TestGroupConcurrently(t *testing.T) {
	c := newCircle(t, 3)
	var received atomic.Int32
	failures := make(chan error, 1000)
	updates := make(chan []e2e.Update, 100)
	var wg sync.WaitGroup
	for from := range 3 {
		wg.Go(func() {
			for range 40 {
				message, err := c.members[from].Seal(nil, e2e.Topic{Mode: e2e.TopicBlind, Name: []byte("t")}, []byte(secret), nil)
				if err != nil {
					failures <- err
					continue
				}
				for to := range 3 {
					if to == from {
						continue
					}
					g, err := c.members[to].Open(nil, message, nil)
					switch {
					case err == nil && string(g.Body) == secret:
						received.Add(1)
					case errors.Is(err, e2e.ErrUnknownKey): // has not heard of the new key yet
					default:
						failures <- err
					}
				}
			}
		})
	}
	wg.Go(func() {
		defer close(updates)
		for i := range 10 {
			change := c.group.Ratchet
			if i%3 == 2 {
				change = c.group.Rollover
			}
			list, err := change()
			if err != nil {
				failures <- err
			}
			updates <- list
		}
	})
	wg.Go(func() {
		for list := range updates {
			for _, u := range list {
				if err := c.members[c.index(u.Member)].Update(u.Message); err != nil {
					failures <- err
				}
			}
		}
	})
	wg.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	if received.Load() == 0 {
		t.Error("nothing was received")
	}
}
