package e2e

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/securesp/securesp/keys"
)

// TopicMode says what others than members can see of a message's topic.
type TopicMode uint8

const (
	// TopicClear puts the topic in front of the message as it is, so that
	// anybody can filter by it, and read it.
	TopicClear TopicMode = iota

	// TopicBlind puts 16 bytes in its place that only members can compute.
	// Others see which messages have the same topic.
	TopicBlind

	// TopicHidden puts nothing there: subscribe to everything and filter
	// what was opened.
	TopicHidden
)

// MaxTopic is the size in bytes of the longest topic.
const MaxTopic = math.MaxUint16

// Topic is what a message is about. The zero value is the empty topic.
type Topic struct {
	Mode TopicMode
	Name []byte
}

func (t Topic) valid() bool { return t.Mode <= TopicHidden && len(t.Name) <= MaxTopic }

// prefix returns what stands in front of messages under a key.
func (t Topic) prefix(k *heldKey) []byte {
	switch t.Mode {
	case TopicClear:
		return slices.Clone(t.Name)
	case TopicBlind:
		return blindTopic(&k.topicKey, t.Name)
	default:
		return []byte{}
	}
}

// MessageID identifies a message of a group: no sender uses one twice.
type MessageID [senderIDSize + 4 + 8]byte

// GroupMessage is a message that a [Member] opened.
type GroupMessage struct {
	// Body is what was sealed: the bytes behind the dst of the call that
	// opened it.
	Body []byte

	// Topic is the message's, whatever its mode.
	Topic Topic

	// Sender is the proven identity of who sealed the message, and Name
	// what the owner calls it.
	Sender keys.Public
	Name   string

	// Time is when the message was sealed, by its sender's clock.
	Time time.Time

	// ID identifies the message, as IDOf does for who sealed it.
	ID MessageID
}

// A message of a group (SPEC §7) is
//
//	prefix | nonce:24 | XChaCha20-Poly1305 of (body ‖ topic ‖ tail) |
//	sender:8 | epoch:u32 | seq:u64 | prefix length:u16 | signature:64 | E6
//
// where the topic is empty in clear mode and the tail is
//
//	topic length:u16 | mode:u8 | unix-ms:u64
const (
	groupHeadSize    = senderIDSize + 4 + 8 + 2
	groupTrailerSize = groupHeadSize + ed25519.SignatureSize + 1
	groupTailSize    = 2 + 1 + 8

	// groupOverhead is by how much a message is longer than its prefix,
	// topic and body.
	groupOverhead = xNonceLen + groupTailSize + tagSize + groupTrailerSize
)

// groupHead is the trailer before the signature.
type groupHead struct {
	sender senderID
	epoch  epoch
	seq    uint64
	prefix int // its length
}

func (h groupHead) append(b []byte) []byte {
	b = append(b, h.sender[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(h.epoch))
	b = binary.BigEndian.AppendUint64(b, h.seq)
	return binary.BigEndian.AppendUint16(b, uint16(h.prefix))
}

func (h groupHead) id() MessageID { return MessageID(h.append(nil)) }

// parseGroupMessage splits a message into what stands before the signature
// and the signature.
func parseGroupMessage(message []byte) (h groupHead, signed, signature []byte, err error) {
	if len(message) < groupOverhead || message[len(message)-1] != formGroup {
		return h, nil, nil, ErrMalformed
	}
	at := len(message) - 1 - ed25519.SignatureSize
	signed, signature = message[:at], message[at:at+ed25519.SignatureSize]
	r := reader{rest: signed[at-groupHeadSize:]}
	h.sender = senderID(r.next(senderIDSize))
	h.epoch, h.seq, h.prefix = epoch(r.uint32()), r.uint64(), int(r.uint16())
	if h.prefix > len(message)-groupOverhead || h.seq == math.MaxUint64 {
		return h, nil, nil, ErrMalformed
	}
	return h, signed, signature, nil
}

// IDOf returns the id of a sealed message, for its sender to know it by. It
// proves nothing. Its errors match ErrMalformed.
func IDOf(message []byte) (MessageID, error) {
	h, _, _, err := parseGroupMessage(message)
	return h.id(), err
}

// associated returns the associated data of a message.
func (h groupHead) associated(id groupID, prefix, context []byte) []byte {
	b := make([]byte, 0, groupHeadSize+len(id)+len(prefix)+len(context))
	b = h.append(b)
	b = append(b, id[:]...)
	b = append(b, prefix...)
	return append(b, context...)
}

const labelSignature = protocolLabel + " group signature"

// digest is what is signed: everything before the signature, the form, and
// what both sides must agree on.
func digest(id groupID, context, signed []byte) []byte {
	h := sha256.New()
	h.Write([]byte(labelSignature))
	h.Write(id[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(context))))
	h.Write(context)
	h.Write(signed)
	h.Write([]byte{formGroup})
	return h.Sum(nil)
}

// Seal seals and signs a message on a topic and appends it to dst, which body
// must not overlap.
//
// context is something that whoever opens the message must know already and
// give to Open; it is not sent. An answer to a survey takes the survey's ID as
// context, so that nobody can pass it off as the answer to another. It may be
// nil.
//
// Errors match ErrUnknownKey before the first update, ErrNotAuthorized if this
// member may not send, ErrTooLarge, or ErrExhausted. A topic that is too long
// or has no such mode is ErrConfig.
func (m *Member) Seal(dst []byte, topic Topic, body, context []byte) ([]byte, error) {
	if !topic.valid() {
		return nil, configError("a topic is too long or of an unknown mode")
	}
	if len(body) > m.config.MaxBody {
		return nil, ErrTooLarge
	}
	head, k, id, err := m.nextHead()
	if err != nil {
		return nil, err
	}
	prefix := topic.prefix(k)
	head.prefix = len(prefix)
	inner := topic.Name
	if topic.Mode == TopicClear {
		inner = nil
	}
	dst = grow(dst, len(prefix)+len(body)+len(inner)+groupOverhead, body)
	start := len(dst)
	dst = append(dst, prefix...)
	nonce := dst[len(dst) : len(dst)+xNonceLen]
	m.random.read(nonce)
	dst = dst[:len(dst)+xNonceLen]

	at := len(dst)
	dst = append(dst, body...)
	dst = append(dst, inner...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(inner)))
	dst = append(dst, byte(topic.Mode))
	var ms [8]byte
	putMillis(ms[:], m.config.Now())
	dst = append(dst, ms[:]...)
	dst = k.aead.Seal(dst[:at], nonce, dst[at:], head.associated(id, prefix, context))

	dst = head.append(dst)
	dst = append(dst, ed25519.Sign(m.sign, digest(id, context, dst[start:]))...)
	return append(dst, formGroup), nil
}

// nextHead takes the next sequence number, and returns what to seal with.
func (m *Member) nextHead() (groupHead, *heldKey, groupID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.epochs.current()
	switch {
	case k == nil:
		return groupHead{}, nil, groupID{}, errNoUpdate
	case !m.sends:
		return groupHead{}, nil, groupID{}, ErrNotAuthorized
	case m.seq == math.MaxUint64:
		return groupHead{}, nil, groupID{}, ErrExhausted
	}
	h := groupHead{sender: m.self, epoch: k.epoch, seq: m.seq}
	m.seq++
	return h, k, m.id, nil
}

// Open opens a message and appends its body to dst, which must not overlap
// message. The message is neither changed nor kept. context is what Seal was
// given.
//
// Errors match ErrUnknownKey if the message is sealed under a key that this
// member does not have (ask the owner for an update), ErrExpired if the key
// was replaced too long ago or the message is outside the time window,
// ErrNotAuthorized if its sender may not send, ErrReplay if it was opened
// before, is too far out of order, or is this member's own, ErrAuthentication,
// ErrMalformed or ErrTooLarge.
func (m *Member) Open(dst, message, context []byte) (*GroupMessage, error) {
	return m.open(dst, message, context, nil)
}

// open is Open with the replay windows of r or, if that is nil, the member's.
func (m *Member) open(dst, message, context []byte, r *Reader) (*GroupMessage, error) {
	h, signed, signature, err := parseGroupMessage(message)
	if err != nil {
		return nil, err
	}
	if len(message)-groupOverhead-MaxTopic-h.prefix > m.config.MaxBody {
		return nil, ErrTooLarge
	}
	now := m.config.Now()
	k, sender, id, err := m.lookUp(h, now, r)
	if err != nil {
		return nil, err
	}
	// The symmetric check comes first: it is cheap, and keeps everybody
	// out who is not in the group. The signature tells members apart.
	prefix, sealed := message[:h.prefix], signed[h.prefix:len(signed)-groupHeadSize]
	dst = grow(dst, len(sealed), message)
	opened, err := k.aead.Open(dst, sealed[:xNonceLen], sealed[xNonceLen:], h.associated(id, prefix, context))
	if err != nil {
		return nil, ErrAuthentication
	}
	g := &GroupMessage{Sender: sender.identity, Name: sender.name, ID: h.id()}
	if !ed25519.Verify(sender.sign[:], digest(id, context, signed), signature) {
		err = ErrAuthentication
	} else if err = g.parse(opened, len(dst), prefix, k); err == nil {
		err = m.admit(g, h, k, id, now, r)
	}
	if err != nil {
		clear(opened[len(dst):])
		return nil, err
	}
	return g, nil
}

// lookUp finds what opens a message that claims to have the head h.
func (m *Member) lookUp(h groupHead, now time.Time, r *Reader) (*heldKey, groupSender, groupID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, err := m.epochs.find(h.epoch, now)
	if err != nil {
		return nil, groupSender{}, groupID{}, err
	}
	if m.sends && h.sender == m.self {
		return nil, groupSender{}, groupID{}, ErrReplay
	}
	sender := m.senders[h.sender]
	if sender == nil {
		return nil, groupSender{}, groupID{}, ErrNotAuthorized
	}
	if !sender.windowLocked(m, h.sender, r).Fresh(h.seq) {
		return nil, groupSender{}, groupID{}, ErrReplay
	}
	return k, sender.groupSender, m.id, nil
}

// parse takes apart what was opened, which starts at index start.
func (g *GroupMessage) parse(opened []byte, start int, prefix []byte, k *heldKey) error {
	end := len(opened) - groupTailSize
	if end < start {
		return ErrMalformed
	}
	r := reader{rest: opened[end:]}
	n := int(r.uint16())
	g.Topic.Mode = TopicMode(r.uint8())
	var ok bool
	if g.Time, ok = millis(r.rest); !ok || n > end-start {
		return ErrMalformed
	}
	g.Body = opened[start : end-n : end-n]
	g.Topic.Name = slices.Clone(opened[end-n : end])
	if g.Topic.Mode == TopicClear && n == 0 {
		g.Topic.Name = slices.Clone(prefix)
		return nil
	}
	if g.Topic.Mode == TopicClear || g.Topic.Mode > TopicHidden || !hmac.Equal(prefix, g.Topic.prefix(k)) {
		return ErrMalformed
	}
	return nil
}

// admit decides about an authentic message.
func (m *Member) admit(g *GroupMessage, h groupHead, k *heldKey, id groupID, now time.Time, r *Reader) error {
	if len(g.Body) > m.config.MaxBody {
		return ErrTooLarge
	}
	if !within(g.Time, now, m.config.Window) {
		return ErrExpired
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sender := m.senders[h.sender]
	if id != m.id || sender == nil {
		return ErrNotAuthorized // an update came in between
	}
	if !sender.windowLocked(m, h.sender, r).Accept(h.seq) {
		return ErrReplay
	}
	m.epochs.commit(k, now, m.config.Window)
	return nil
}
