package e2e

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/securesp/securesp/keys"
)

// GroupConfig is what a [Group] is made with. It is not kept.
type GroupConfig struct {
	// Name tells the owner's groups apart; up to MaxGroupName bytes.
	// Required. Members are configured with the same name.
	Name string

	// Identity is the owner's key, by whose public half members know that
	// updates are genuine. Required.
	Identity *keys.Private

	// Now tells the time. Default time.Now. The owner's clock must not go
	// back, not even between two runs: members take no update that is
	// older than one they have.
	Now func() time.Time
}

// Group is a group as its owner keeps it: who is a member and which keys they
// use. The owner decides, hands out updates, and need not take part in the
// exchange of messages; if it does, it has a [Member] of its own like all
// others. It is safe for concurrent use.
//
// A Group lives in memory. After a restart the owner begins with a new one of
// the same name, and invites its members again.
type Group struct {
	config GroupConfig
	random randomness

	mu      sync.Mutex
	state   groupState // but for the senders
	members map[keys.Public]*Invitation
}

// Invitation says who is to become a member of a group, and as what.
type Invitation struct {
	// Member is the newcomer's proven identity, and Name what others shall call
	// it, up to MaxGroupName bytes, which may be empty.
	Member keys.Public
	Name   string

	// Card is the newcomer's. It must claim to be Member's.
	Card Card

	// Sends permits the newcomer to send. Others only open what is sent.
	Sends bool
}

// Update is a message for one member, sealed so that only that member can open
// it. Updates may be sent by any way, in any order, and more than once; a
// member takes those that are newer than what it has. A member that missed one
// can be given another by Group.Update.
type Update struct {
	Member  keys.Public
	Message []byte
}

// NewGroup returns a group without members. It returns an error that matches
// ErrConfig if something required is missing or too long.
func NewGroup(config GroupConfig) (*Group, error) {
	return newGroup(config, randomness{})
}

func newGroup(config GroupConfig, r randomness) (*Group, error) {
	if config.Identity == nil || config.Identity.ECDH() == nil {
		return nil, configError("a group needs its owner's identity")
	}
	if config.Name == "" || len(config.Name) > MaxGroupName {
		return nil, configError("the group's name is missing or too long")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	g := &Group{
		config:  config,
		random:  r,
		state:   groupState{name: config.Name},
		members: make(map[keys.Public]*Invitation),
	}
	g.random.read(g.state.id[:])
	g.random.read(g.state.key[:])
	g.random.read(g.state.topicKey[:])
	return g, nil
}

// Invite takes members in and returns the updates that this calls for: for the
// newcomers, for those who send, and, if a newcomer sends, for all. Newcomers
// cannot open what was sent before. Inviting somebody again with another card
// replaces the member. Errors match ErrNotAuthorized if a card is not that of
// Member, ErrConfig, or ErrExhausted, and change nothing.
func (g *Group) Invite(newcomers ...Invitation) ([]Update, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	replaced, err := g.checkLocked(newcomers)
	if err != nil {
		return nil, err
	}
	advance := g.stepLocked
	if replaced {
		advance = g.freshLocked
	}
	if err := advance(); err != nil {
		return nil, err
	}
	toAll := replaced || g.state.epoch.step() == 0
	fresh := make(map[keys.Public]bool)
	for _, n := range newcomers {
		g.members[n.Member] = &n
		fresh[n.Member] = true
		toAll = toAll || n.Sends
	}
	return g.updatesLocked(func(m *Invitation) bool {
		return toAll || m.Sends || fresh[m.Member]
	})
}

// checkLocked looks whether newcomers can be taken in, and whether one of them
// replaces a member.
func (g *Group) checkLocked(newcomers []Invitation) (replaced bool, err error) {
	total := len(g.members)
	ids := make(map[senderID]keys.Public)
	for _, m := range g.members {
		ids[g.senderID(m)] = m.Member
	}
	for _, n := range newcomers {
		if n.Card.service == nil || len(n.Name) > MaxGroupName {
			return false, configError("an invitation lacks a card or has too long a name")
		}
		if n.Member != n.Card.member {
			return false, errNotTheirCard
		}
		id := g.senderID(&n)
		if other, ok := ids[id]; ok && other != n.Member {
			return false, configError("two members have the same number")
		}
		ids[id] = n.Member
		if old, ok := g.members[n.Member]; !ok {
			total++
		} else if !slices.Equal(old.Card.Bytes(), n.Card.Bytes()) || old.Sends != n.Sends {
			replaced = true
		}
	}
	if total > MaxGroupMembers {
		return false, configError("the group is full")
	}
	return replaced, nil
}

var errNotTheirCard = &textError{"the card is somebody else's", []error{ErrNotAuthorized}}

func (g *Group) senderID(n *Invitation) senderID {
	return newSenderID(g.state.id, n.Member, n.Card.sign[:])
}

// Remove excludes members and returns updates, with a fresh key, for all who
// remain. Once those have taken their update, the removed can neither open
// what they send nor send anything that they accept. It returns an error that
// matches ErrUnknownKey, and changes nothing, if one is not a member, or
// ErrExhausted.
func (g *Group) Remove(members ...keys.Public) ([]Update, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range members {
		if g.members[m] == nil {
			return nil, errNotMember
		}
	}
	if err := g.freshLocked(); err != nil {
		return nil, err
	}
	for _, m := range members {
		delete(g.members, m)
	}
	return g.updatesLocked(func(*Invitation) bool { return true })
}

var errNotMember = &textError{"not a member of the group", []error{ErrUnknownKey}}

// Rollover returns updates with a fresh key for all members: whoever got hold
// of an earlier key, by whatever means, is out.
func (g *Group) Rollover() ([]Update, error) { return g.Remove() }

// Ratchet goes on to the next key of the same generation and returns updates
// for those who send; the others follow by themselves. Once they have, nobody
// who steals their keys can open earlier messages.
func (g *Group) Ratchet() ([]Update, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.stepLocked(); err != nil {
		return nil, err
	}
	toAll := g.state.epoch.step() == 0
	return g.updatesLocked(func(m *Invitation) bool { return toAll || m.Sends })
}

// Update returns the present state for one member, who may have missed it, or
// an error that matches ErrUnknownKey if there is no such member.
func (g *Group) Update(member keys.Public) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.members[member] == nil {
		return nil, errNotMember
	}
	updates, err := g.updatesLocked(func(m *Invitation) bool { return m.Member == member })
	if err != nil {
		return nil, err
	}
	return updates[0].Message, nil
}

// Members returns the identities of all members, in no particular order.
func (g *Group) Members() []keys.Public {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]keys.Public, 0, len(g.members))
	for m := range g.members {
		all = append(all, m)
	}
	return all
}

// stepLocked goes to the next step or, after the last one, to a fresh
// generation.
func (g *Group) stepLocked() error {
	e := g.state.epoch
	if e.step() == maxStep {
		return g.freshLocked()
	}
	g.state.epoch = newEpoch(e.generation(), e.step()+1)
	g.state.key = g.state.key.next()
	return nil
}

// freshLocked begins a new generation.
func (g *Group) freshLocked() error {
	e := g.state.epoch
	if e.generation() == maxGeneration {
		return ErrExhausted
	}
	g.state.epoch = newEpoch(e.generation()+1, 0)
	g.random.read(g.state.key[:])
	g.random.read(g.state.topicKey[:])
	return nil
}

// updatesLocked seals the present state for those members that want selects.
func (g *Group) updatesLocked(want func(*Invitation) bool) ([]Update, error) {
	now := g.config.Now()
	g.state.serial = max(g.state.serial+1, uint64(max(now.UnixNano(), 0)))
	state := g.state
	state.senders = g.sendersLocked()
	body := state.append(nil)
	defer clear(body)

	var updates []Update
	for _, m := range g.sortedLocked() {
		if !want(m) {
			continue
		}
		tail := requestTail{time: now}
		message, _, err := sealEnvelope(nil, formGroupUpdate, g.config.Identity, m.Card.service, g.random, body, tail)
		if err != nil {
			return nil, err
		}
		updates = append(updates, Update{m.Member, message})
	}
	return updates, nil
}

func (g *Group) sendersLocked() []groupSender {
	var senders []groupSender
	for _, m := range g.sortedLocked() {
		if m.Sends {
			senders = append(senders, groupSender{m.Member, m.Name, m.Card.sign})
		}
	}
	return senders
}

// sortedLocked returns the members in an order that does not depend on the
// map's.
func (g *Group) sortedLocked() []*Invitation {
	all := make([]*Invitation, 0, len(g.members))
	for _, m := range g.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Invitation) int {
		return slices.Compare(a.Member.Bytes(), b.Member.Bytes())
	})
	return all
}

// Format prints what it is: no verb shows a secret.
func (g *Group) Format(f fmt.State, _ rune) { io.WriteString(f, "e2e group") }
