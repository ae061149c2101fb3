package e2e_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
)

// TestNewcomer: who joins late opens nothing that was sent before, whether the
// others have noticed or not; those catch up by themselves.
func TestNewcomer(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	before := c.seal(0, e2e.Topic{}, secret)
	m := c.enter(e2e.MemberConfig{})
	_, err := m.Seal(nil, e2e.Topic{}, nil, nil)
	matches(t, err, e2e.ErrUnknownKey) // no update yet
	_, err = m.Open(nil, before, nil)
	matches(t, err, e2e.ErrUnknownKey)
	_, err = m.Prefixes(e2e.Topic{})
	matches(t, err, e2e.ErrUnknownKey)

	updates := c.invite(2, false)
	is.Equal(len(updates), 3) // the newcomer and those who send
	c.deliver(updates, 0, 2)  // 1 hears nothing
	refused(t, c.opener(2), before, "a message from before")
	opened(t, c.opener(1), before)
	c.reaches(0, 1, 2) // 1 follows the step by itself
	c.reaches(1, 0, 2)

	_, err = m.Seal(nil, e2e.Topic{}, nil, nil)
	matches(t, err, e2e.ErrNotAuthorized) // who only listens

	// More who only listen: nobody but them and the senders hears of it.
	c.enter(e2e.MemberConfig{})
	updates = c.invite(3, false)
	is.Equal(len(updates), 3) // 0, 1 and the newcomer
	c.deliver(updates)
	c.reaches(0, 1, 2, 3)
	is.Equal(len(c.group.Members()), 4)

	// A sender joins, or a listener becomes one: now all must know.
	c.enter(e2e.MemberConfig{})
	updates = c.invite(4, true)
	is.Equal(len(updates), 5)
	c.deliver(updates)
	c.reaches(4, 0, 1, 2, 3)
	updates = c.invite(3, true)
	is.Equal(len(updates), 5)
	c.deliver(updates)
	c.reaches(3, 0, 1, 2, 4)
}

// TestRemoved: who is removed can open nothing new, and say nothing that those
// who heard of it accept, not even under the old key.
func TestRemoved(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 4)
	c.reaches(3, 0, 1, 2)
	onItsWay := c.seal(0, e2e.Topic{}, secret)
	updates := c.remove(3)
	is.Equal(len(updates), 3)
	is.True(!slices.ContainsFunc(updates, func(u e2e.Update) bool { return u.Member == c.identities[3].Public() }))
	for _, u := range updates {
		matches(t, c.members[3].Update(u.Message), e2e.ErrUnknownKey) // not for the removed
	}
	c.deliver(updates, 0, 1) // 2 has not heard of it yet
	after := c.seal(0, e2e.Topic{}, secret)
	_, err := c.members[3].Open(nil, after, nil)
	matches(t, err, e2e.ErrUnknownKey)
	_, err = c.members[2].Open(nil, after, nil)
	matches(t, err, e2e.ErrUnknownKey) // so 2 knows that it must ask
	opened(t, c.opener(1), after)
	opened(t, c.opener(1), onItsWay) // across the change
	fromRemoved := c.seal(3, e2e.Topic{}, secret)
	_, err = c.members[0].Open(nil, fromRemoved, nil)
	matches(t, err, e2e.ErrNotAuthorized)

	message, err := c.group.Update(c.identities[2].Public())
	is.NoErr(err) // 2 asks
	is.NoErr(c.members[2].Update(message))
	opened(t, c.opener(2), c.seal(0, e2e.Topic{}, secret))
	refused(t, c.opener(2), fromRemoved, "removed")
	_, err = c.group.Update(c.identities[3].Public())
	matches(t, err, e2e.ErrUnknownKey)
	_, err = c.group.Remove(c.identities[3].Public())
	matches(t, err, e2e.ErrUnknownKey)

	// Old keys end with the window.
	slow := c.seal(1, e2e.Topic{}, secret)
	c.deliver(c.remove(1), 0, 2)
	_ = slow
	c.add(time.Minute)
	_, err = c.members[0].Open(nil, onItsWay, nil)
	matches(t, err, e2e.ErrExpired)

	// Readmitted, with the same card.
	c.deliver(c.invite(3, true), 0, 2, 3)
	c.reaches(3, 0, 2)
	c.reaches(0, 2, 3)
}

// TestFreshKeys: what the removed know leads to nothing.
func TestFreshKeys(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	for name, change := range map[string]func() ([]e2e.Update, error){
		"remove":   func() ([]e2e.Update, error) { return c.group.Remove(c.identities[1].Public()) },
		"rollover": c.group.Rollover,
	} {
		key, topicKey := e2e.GroupKeys(c.group)
		_, err := change()
		is.NoErr(err) // begin a new generation
		fresh, freshTopic := e2e.GroupKeys(c.group)
		if topicKey == freshTopic {
			t.Errorf("%s: the topic key stays", name)
		}
		for step := range 4096 {
			if key == fresh {
				t.Errorf("%s: the key follows from the one before, in %d steps", name, step)
			}
			key = e2e.NextKey(key)
		}
	}
	key, topicKey := e2e.GroupKeys(c.group)
	c.ratchet()
	next, nextTopic := e2e.GroupKeys(c.group)
	is.Equal(next, e2e.NextKey(key)) // a step does follow
	is.Equal(nextTopic, topicKey)
}

// TestUpdates: only the owner's, only for me, only newer ones, only of my group.
func TestUpdates(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	update := func() []byte {
		message, err := c.group.Update(c.identities[1].Public())
		is.NoErr(err) // seal an update
		return message
	}
	first, second := update(), update()
	is.NoErr(c.members[1].Update(second)) // the newer one
	matches(t, c.members[1].Update(second), e2e.ErrReplay)
	matches(t, c.members[1].Update(first), e2e.ErrReplay)
	matches(t, c.members[0].Update(update()), e2e.ErrUnknownKey)

	late := update()
	c.add(2 * time.Minute)
	matches(t, c.members[1].Update(late), e2e.ErrExpired)

	// Another owner, who knows the member's card.
	for name, config := range map[string]e2e.GroupConfig{
		"another owner": {Name: "circle", Identity: newIdentity(t), Now: c.Now},
		"another group": {Name: "square", Identity: c.owner, Now: c.Now},
	} {
		group, err := e2e.NewGroup(config)
		is.NoErr(err) // make a group
		updates, err := group.Invite(e2e.Invitation{Member: c.identities[1].Public(), Card: c.members[1].Card(), Sends: true})
		is.NoErr(err) // invite
		want := e2e.ErrNotAuthorized
		if name == "another group" {
			want = e2e.ErrUnknownKey
		}
		matches(t, c.members[1].Update(updates[0].Message), want)
	}
	c.reaches(0, 1) // all is as it was

	// An update makes nobody forget what was opened.
	message := c.seal(0, e2e.Topic{}, secret)
	opened(t, c.opener(1), message)
	is.NoErr(c.members[1].Update(update()))
	refused(t, c.opener(1), message, "replay after an update")
}

// TestOwnerRestarts: an owner that begins anew, with the same name, replaces
// everything.
func TestOwnerRestarts(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 3)
	before := c.seal(0, e2e.Topic{}, secret)
	c.add(time.Second)
	var err error
	c.group, err = e2e.NewGroup(e2e.GroupConfig{Name: "circle", Identity: c.owner, Now: c.Now})
	is.NoErr(err) // the owner starts again
	c.deliver(c.invite(0, true))
	c.deliver(c.invite(1, true))
	c.reaches(0, 1)
	c.reaches(1, 0)
	refused(t, c.opener(1), before, "of the group before")
	refused(t, c.opener(0), c.seal(2, e2e.Topic{}, secret), "who was not invited again")
}

// TestRejoin: a member that lost its key comes again with another card.
func TestRejoin(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 3)
	old := c.members[2]
	c.members[2] = c.newMember(c.identities[2], e2e.MemberConfig{})
	updates := c.invite(2, true)
	is.Equal(len(updates), 3) // all hear of it
	c.deliver(updates)
	c.reaches(2, 0, 1)
	c.reaches(0, 1, 2)
	_, err := old.Open(nil, c.seal(0, e2e.Topic{}, secret), nil)
	matches(t, err, e2e.ErrUnknownKey)
	message, err := old.Seal(nil, e2e.Topic{}, []byte(secret), nil)
	is.NoErr(err) // with the lost key
	refused(t, c.opener(0), message, "sealed with the lost key")
}

// TestSenderRestarts: a sender that starts again with the same key goes on
// above the numbers it used before.
func TestSenderRestarts(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 1)
	key := newServiceKey(t)
	c.enter(e2e.MemberConfig{Key: key})
	c.deliver(c.invite(1, true))
	for range 10 {
		c.reaches(1, 0)
	}
	for range 3 {
		c.add(time.Millisecond)
		c.members[1] = c.newMember(c.identities[1], e2e.MemberConfig{Key: key})
		update, err := c.group.Update(c.identities[1].Public())
		is.NoErr(err) // the state again
		is.NoErr(c.members[1].Update(update))
		c.reaches(1, 0)
		c.reaches(0, 1)
	}
}

// TestEpochsEnd takes a group to the end of a generation, and of all.
func TestEpochsEnd(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 3)
	e2e.SetEpoch(c.group, 7, 4095)
	for i := range 3 {
		update, err := c.group.Update(c.identities[i].Public())
		is.NoErr(err) // the last step
		is.NoErr(c.members[i].Update(update))
	}
	updates := c.ratchet()
	is.Equal(len(updates), 3) // a fresh key, which all need
	c.deliver(updates, 0)
	_, err := c.members[1].Open(nil, c.seal(0, e2e.Topic{}, secret), nil)
	matches(t, err, e2e.ErrUnknownKey) // it does not follow from the one before
	c.deliver(updates, 1, 2)
	c.reaches(0, 1, 2)

	e2e.SetEpoch(c.group, 1<<20-1, 4095)
	for name, change := range map[string]func() ([]e2e.Update, error){
		"ratchet":  c.group.Ratchet,
		"rollover": c.group.Rollover,
		"remove":   func() ([]e2e.Update, error) { return c.group.Remove(c.identities[0].Public()) },
		"invite": func() ([]e2e.Update, error) {
			return c.group.Invite(e2e.Invitation{Member: c.identities[0].Public(), Card: c.members[0].Card()})
		},
	} {
		_, err := change()
		matches(t, err, e2e.ErrExhausted)
		if len(c.group.Members()) != 3 {
			t.Errorf("%s changed the members", name)
		}
	}
}

func TestCards(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 1)
	b := c.members[0].Card().Bytes()
	is.Equal(len(b), e2e.CardSize)
	card, err := e2e.ParseCard(b)
	is.NoErr(err) // parse a card
	is.True(bytes.Equal(card.Bytes(), b))

	lowOrder := bytes.Clone(b)
	clear(lowOrder[:32])
	lowOrder[0] = 1
	zero := bytes.Clone(b)
	clear(zero[:32])
	noKEM := bytes.Clone(b)
	for i := range 3 {
		noKEM[32+i] = 0xFF
	}
	for _, bad := range [][]byte{nil, b[1:], append(b, 0), lowOrder, zero, noKEM} {
		_, err := e2e.ParseCard(bad)
		matches(t, err, e2e.ErrMalformed)
	}
	is.Equal(card.Member(), c.identities[0].Public())
	for i := range b {
		altered := bytes.Clone(b)
		altered[i] ^= 1
		_, err := e2e.ParseCard(altered)
		is.True(err != nil) // every byte counts
	}
}

// TestStolenCard: nobody gets into a group with another's card or signing key,
// and so nobody can take the credit, or the blame, for what another sends.
func TestStolenCard(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	mallory := newIdentity(t)
	_, err := c.group.Invite(e2e.Invitation{Member: mallory.Public(), Card: c.members[0].Card(), Sends: true})
	matches(t, err, e2e.ErrNotAuthorized)

	const signAt, memberAt = 1216, 1216 + 32
	own := c.newMember(mallory, e2e.MemberConfig{}).Card().Bytes()
	alices := c.members[0].Card().Bytes()
	for _, forged := range [][]byte{
		slices.Concat(own[:signAt], alices[signAt:memberAt], own[memberAt:]),
		slices.Concat(alices[:memberAt], own[memberAt:memberAt+32], alices[memberAt+32:]),
		slices.Concat(alices[:memberAt], own[memberAt:]),
		slices.Concat(own[:signAt], alices[signAt:]),
	} {
		_, err = e2e.ParseCard(forged)
		matches(t, err, e2e.ErrAuthentication)
	}
	is.Equal(len(c.group.Members()), 2)
	c.reaches(0, 1)
}

func TestInvitationsRefused(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	newcomer := newIdentity(t)
	good := e2e.Invitation{Member: newcomer.Public(), Card: c.newMember(newcomer, e2e.MemberConfig{}).Card()}
	noCard, longName := good, good
	noCard.Card = e2e.Card{}
	longName.Name = string(make([]byte, 256))
	for _, bad := range []e2e.Invitation{noCard, longName} {
		_, err := c.group.Invite(good, bad)
		matches(t, err, e2e.ErrConfig)
		is.Equal(len(c.group.Members()), 2) // not even the good one
	}
	many := make([]e2e.Invitation, e2e.MaxGroupMembers-1)
	key := newServiceKey(t)
	for i := range many {
		member, err := keys.NewPublic(append([]byte{1, byte(i), byte(i >> 8)}, make([]byte, 29)...))
		is.NoErr(err) // any key
		m, err := e2e.NewMember(e2e.MemberConfig{Key: key, Identity: member, Owner: member, Group: "x"})
		is.NoErr(err) // make a member
		many[i] = e2e.Invitation{Member: member, Card: m.Card()}
	}
	_, err := c.group.Invite(many...)
	matches(t, err, e2e.ErrConfig) // full

	for _, config := range []e2e.GroupConfig{
		{Identity: c.owner}, {Name: "x"}, {Name: string(make([]byte, 256)), Identity: c.owner}, {Name: "x", Identity: &keys.Private{}},
	} {
		_, err := e2e.NewGroup(config)
		matches(t, err, e2e.ErrConfig)
	}
	id := newcomer.Public()
	for _, config := range []e2e.MemberConfig{
		{Identity: id, Owner: id, Group: "x"},
		{Key: key, Owner: id, Group: "x"},
		{Key: key, Identity: id, Group: "x"},
		{Key: key, Identity: id, Owner: id},
		{Key: &keys.ServicePrivate{}, Identity: id, Owner: id, Group: "x"},
		{Key: key, Identity: id, Owner: id, Group: "x", MaxBody: -1},
		{Key: key, Identity: id, Owner: id, Group: "x", Window: -1},
	} {
		_, err := e2e.NewMember(config)
		matches(t, err, e2e.ErrConfig)
	}
}
