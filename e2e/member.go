package e2e

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/securesp/securesp/internal/replay"
	"github.com/securesp/securesp/keys"
)

// MemberConfig is what a [Member] is made with. It is not kept.
type MemberConfig struct {
	// Key is the member's own: updates are sealed to it and the signing
	// key is derived from it. It should serve nothing else, and may be
	// generated anew for each Member. Required.
	Key *keys.ServicePrivate

	// Identity is the key by which the owner and the other members know
	// this one. Required.
	Identity keys.Public

	// Owner is the identity of the group's owner, and Group the group's
	// name. Required.
	Owner keys.Public
	Group string

	// Window is how far a message's or an update's time may be from Now,
	// either way, and for how long a replaced key still opens messages
	// that were on their way. Default DefaultWindow, at most MaxWindow.
	Window time.Duration

	// MaxBody is the size in bytes of the largest body that is sealed or
	// opened. Default DefaultMaxBody.
	MaxBody int

	// Now tells the time. Default time.Now. Where the same Key is used
	// again after a restart, the clock must not have gone back: others
	// would take this member's messages for replays until it has caught up.
	Now func() time.Time
}

// Member is one member of a group, which seals, signs and opens messages. It
// is safe for concurrent use.
type Member struct {
	config MemberConfig
	random randomness
	sign   ed25519.PrivateKey
	card   Card

	mu      sync.Mutex
	serial  uint64 // of the newest update
	id      groupID
	self    senderID
	sends   bool
	seq     uint64 // of the next message
	epochs  epochs
	senders map[senderID]*memberSender
	gone    map[senderID]*memberSender // their messages would open, if they came back
}

// memberSender is somebody whose messages a member accepts.
type memberSender struct {
	groupSender
	window replay.Window
	last   epoch // of those who are gone: the newest they can have sealed for
}

// maxGone bounds how many of those who are gone are remembered.
const maxGone = MaxGroupMembers

// NewMember returns a member that waits for its first update. It returns an
// error that matches ErrConfig if something required is missing or a value is
// out of bounds.
func NewMember(config MemberConfig) (*Member, error) {
	return newMember(config, randomness{})
}

func newMember(config MemberConfig, r randomness) (*Member, error) {
	if config.Key.Public() == nil || config.Identity.IsZero() || config.Owner.IsZero() {
		return nil, configError("a member needs its own key, its identity and the owner's")
	}
	if config.Group == "" || len(config.Group) > MaxGroupName {
		return nil, configError("the group's name is missing or too long")
	}
	if err := setCommon(&config.Window, &config.MaxBody, &config.Now); err != nil {
		return nil, err
	}
	m := &Member{config: config, random: r, sign: signingKey(config.Key)}
	m.card = newCard(config.Key, m.sign, config.Identity)
	m.seq = uint64(max(config.Now().UnixNano(), 0))
	return m, nil
}

// Card returns what the owner needs to invite the member.
func (m *Member) Card() Card { return m.card }

// maxUpdateBody is the size of the largest state of a group.
const maxUpdateBody = 1 + MaxGroupName + 16 + 8 + 4 + 2*keySize + 2 +
	MaxGroupMembers*(keys.Size+ed25519.PublicKeySize+1+MaxGroupName)

// Update takes an update from the group's owner. The message is neither
// changed nor kept. Errors match ErrUnknownKey if the update is for another
// member or group, ErrReplay if the member has this or a newer one, ErrExpired
// if it is outside the time window, ErrNotAuthorized if it is not the owner's,
// ErrAuthentication, ErrMalformed or ErrTooLarge. They change nothing.
func (m *Member) Update(message []byte) error {
	state, err := m.openUpdate(message)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if state.serial <= m.serial {
		return ErrReplay
	}
	m.serial = state.serial
	if state.id != m.id {
		m.id, m.epochs, m.senders, m.gone = state.id, epochs{}, nil, nil
	}
	var last epoch
	if k := m.epochs.current(); k != nil {
		last = k.epoch
	}
	m.epochs.advance(state.epoch, state.key, state.topicKey, m.config.Now(), m.config.Window)
	m.takeSendersLocked(state.senders, last)
	m.forgetGoneLocked()
	return nil
}

func (m *Member) openUpdate(message []byte) (*groupState, error) {
	id, err := checkEnvelope(message, formGroupUpdate, maxUpdateBody)
	if err != nil {
		return nil, err
	}
	if id != m.card.service.ID() {
		return nil, ErrUnknownKey
	}
	e, err := openEnvelope(message, m.config.Key, m.random)
	if err != nil {
		return nil, err
	}
	body, tail, err := e.openBody(nil, message)
	if err != nil {
		return nil, err
	}
	defer clear(body)
	if e.sender != m.config.Owner {
		return nil, ErrNotAuthorized
	}
	if !within(tail.time, m.config.Now(), m.config.Window) {
		return nil, ErrExpired
	}
	state, err := parseGroupState(body)
	if err != nil {
		return nil, err
	}
	if state.name != m.config.Group {
		return nil, ErrUnknownKey
	}
	return state, nil
}

// takeSendersLocked replaces the list of senders. Those who stay keep their
// replay windows, and so do those who leave, as they may come back while a key
// of their time still opens what they sent; last is the newest of those keys.
func (m *Member) takeSendersLocked(list []groupSender, last epoch) {
	old := m.senders
	m.senders, m.sends = make(map[senderID]*memberSender, len(list)), false
	for _, s := range list {
		id := newSenderID(m.id, s.identity, s.sign[:])
		if s.identity == m.card.member && s.sign == m.card.sign {
			m.self, m.sends = id, true
			continue
		}
		sender := &memberSender{groupSender: s}
		if before := old[id]; before != nil {
			sender.window = before.window
		} else if before := m.gone[id]; before != nil {
			sender.window = before.window
			delete(m.gone, id)
		}
		m.senders[id] = sender
	}
	for id, s := range old {
		if m.senders[id] == nil {
			if m.gone == nil {
				m.gone = make(map[senderID]*memberSender)
			}
			s.last = last
			m.gone[id] = s
		}
	}
}

// forgetGoneLocked forgets those who are gone once no key is left that opens
// what they sent. If they are too many, old keys go before their time.
func (m *Member) forgetGoneLocked() {
	for {
		oldest := m.epochs.held[0].epoch
		maps.DeleteFunc(m.gone, func(_ senderID, s *memberSender) bool { return s.last < oldest })
		if len(m.gone) <= maxGone {
			return
		}
		if len(m.epochs.held) == 1 {
			clear(m.gone) // the owner sends no fresh key when somebody leaves, and so does not mind
			return
		}
		m.epochs.forget(1)
	}
}

// Prefixes returns what to subscribe to for messages on a topic: in clear mode
// the topic, in hidden mode the empty prefix, in blind mode one prefix, or
// several around a change of generation. Subscribe anew after each Update in
// blind mode. It returns an error that matches ErrUnknownKey before the first
// update.
func (m *Member) Prefixes(topic Topic) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.epochs.current() == nil {
		return nil, errNoUpdate
	}
	if topic.Mode != TopicBlind {
		return [][]byte{topic.prefix(nil)}, nil
	}
	m.epochs.expire(m.config.Now())
	var prefixes [][]byte
	generation := ^uint32(0)
	for i := len(m.epochs.held) - 1; i >= 0; i-- {
		if k := m.epochs.held[i]; k.epoch.generation() != generation {
			generation = k.epoch.generation()
			prefixes = append(prefixes, topic.prefix(k))
		}
	}
	return prefixes, nil
}

var errNoUpdate = &textError{"the group's owner has sent no update yet", []error{ErrUnknownKey}}

// Format prints what it is: no verb shows a secret.
func (m *Member) Format(f fmt.State, _ rune) { io.WriteString(f, "e2e group member") }
