package e2e

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/securesp/securesp/keys"
)

// Bounds of groups.
const (
	// MaxGroupName is the size in bytes of the longest name of a group or
	// of a member.
	MaxGroupName = 255

	// MaxGroupMembers is how many members a group can have.
	MaxGroupMembers = 4096
)

// CardSize is the size in bytes of a [Card].
const CardSize = keys.ServicePublicSize + ed25519.PublicKeySize + keys.Size + ed25519.SignatureSize

// Card is what a group's owner must know to take somebody in: the key that
// updates are sealed to, the key that messages are signed with, and whose they
// claim to be, all signed with the latter so that nobody can make a card with
// another's signing key. It is no secret. That the claim is true is not proved
// by the card: it has to reach the owner in a way that does, such as the body
// of a request.
type Card struct {
	service   *keys.ServicePublic
	sign      [ed25519.PublicKeySize]byte
	member    keys.Public
	signature [ed25519.SignatureSize]byte
}

const labelCard = protocolLabel + " group card"

func newCard(k *keys.ServicePrivate, sign ed25519.PrivateKey, member keys.Public) Card {
	c := Card{service: k.Public(), member: member}
	copy(c.sign[:], sign.Public().(ed25519.PublicKey))
	copy(c.signature[:], ed25519.Sign(sign, c.signed()))
	return c
}

// signed returns what the card's signature is of.
func (c Card) signed() []byte { return append([]byte(labelCard), c.claims()...) }

func (c Card) claims() []byte {
	return slices.Concat(c.service.Bytes(), c.sign[:], c.member.Bytes())
}

// ParseCard returns the card that Bytes made. Its errors match ErrMalformed, or
// ErrAuthentication if the card's signature is wrong.
func ParseCard(b []byte) (Card, error) {
	if len(b) != CardSize {
		return Card{}, ErrMalformed
	}
	r := reader{rest: b}
	service, err := keys.NewServicePublic(r.next(keys.ServicePublicSize))
	if err != nil || lowOrder(service.Identity()) {
		return Card{}, ErrMalformed
	}
	c := Card{service: service}
	copy(c.sign[:], r.next(len(c.sign)))
	if c.member, err = keys.NewPublic(r.next(keys.Size)); err != nil {
		return Card{}, ErrMalformed
	}
	copy(c.signature[:], r.rest)
	if !ed25519.Verify(c.sign[:], c.signed(), c.signature[:]) {
		return Card{}, ErrAuthentication
	}
	return c, nil
}

// Bytes returns the card's CardSize bytes (SPEC §7).
func (c Card) Bytes() []byte { return append(c.claims(), c.signature[:]...) }

// Member returns whose card it claims to be.
func (c Card) Member() keys.Public { return c.member }

// labelSigning derives a member's signing key from its secret (SPEC §7).
const labelSigning = protocolLabel + " group signing"

func signingKey(k *keys.ServicePrivate) ed25519.PrivateKey {
	seed := k.Derive(labelSigning)
	defer clear(seed)
	return ed25519.NewKeyFromSeed(seed)
}

// groupID tells groups apart. It is random, and new whenever an owner begins
// anew.
type groupID [16]byte

const senderIDSize = 8

// senderID names a sender in the trailers of messages.
type senderID [senderIDSize]byte

const labelSender = protocolLabel + " group sender"

func newSenderID(id groupID, member keys.Public, sign []byte) senderID {
	h := sha256.New()
	h.Write([]byte(labelSender))
	h.Write(id[:])
	h.Write(member.Bytes())
	h.Write(sign)
	return senderID(h.Sum(nil))
}

// epoch numbers a group's keys: generation:20 | step:12. A new generation has
// a fresh key; within one, each step's key follows from the one before.
type epoch uint32

const (
	stepBits      = 12
	maxStep       = 1<<stepBits - 1
	maxGeneration = 1<<(32-stepBits) - 1
)

func newEpoch(generation, step uint32) epoch { return epoch(generation<<stepBits | step) }
func (e epoch) generation() uint32           { return uint32(e) >> stepBits }
func (e epoch) step() uint32                 { return uint32(e) & maxStep }

// Labels of what is derived from an epoch's key (SPEC §7).
const (
	labelStep    = protocolLabel + " group step"
	labelMessage = protocolLabel + " group message"
)

// epochKey is the key of an epoch: a PRK of HKDF.
type epochKey [keySize]byte

// next returns the key of the next step, from which this one cannot be found.
func (k *epochKey) next() epochKey {
	out := expand(k[:], labelStep)
	defer clear(out)
	return epochKey(out)
}

// ahead returns the key n steps on.
func (k *epochKey) ahead(n uint32) epochKey {
	at := *k
	for range n {
		at = at.next()
	}
	return at
}

// groupSender is a member that may send, as all members know it.
type groupSender struct {
	identity keys.Public
	name     string
	sign     [ed25519.PublicKeySize]byte
}

// groupState is what an update tells a member (SPEC §7):
//
//	name length:u8 | group name | group id:16 | serial:u64 | epoch:u32 |
//	epoch key:32 | topic key:32 | senders:u16 |
//	senders × (identity:32 | signing key:32 | name length:u8 | name)
type groupState struct {
	name     string
	id       groupID
	serial   uint64
	epoch    epoch
	key      epochKey
	topicKey [keySize]byte
	senders  []groupSender
}

func (s *groupState) append(b []byte) []byte {
	b = append(b, byte(len(s.name)))
	b = append(b, s.name...)
	b = append(b, s.id[:]...)
	b = binary.BigEndian.AppendUint64(b, s.serial)
	b = binary.BigEndian.AppendUint32(b, uint32(s.epoch))
	b = append(b, s.key[:]...)
	b = append(b, s.topicKey[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.senders)))
	for _, m := range s.senders {
		b = append(b, m.identity.Bytes()...)
		b = append(b, m.sign[:]...)
		b = append(b, byte(len(m.name)))
		b = append(b, m.name...)
	}
	return b
}

// parseGroupState is the inverse of append. It keeps no part of b.
func parseGroupState(b []byte) (*groupState, error) {
	s, r := &groupState{}, reader{rest: b}
	s.name = string(r.next(int(r.uint8())))
	copy(s.id[:], r.next(len(s.id)))
	s.serial = r.uint64()
	s.epoch = epoch(r.uint32())
	copy(s.key[:], r.next(keySize))
	copy(s.topicKey[:], r.next(keySize))
	n := int(r.uint16())
	if n > MaxGroupMembers {
		return nil, ErrMalformed
	}
	for range n {
		var m groupSender
		identity := r.next(keys.Size)
		copy(m.sign[:], r.next(len(m.sign)))
		m.name = string(r.next(int(r.uint8())))
		if r.failed {
			return nil, ErrMalformed
		}
		var err error
		if m.identity, err = keys.NewPublic(identity); err != nil {
			return nil, ErrMalformed
		}
		s.senders = append(s.senders, m)
	}
	if r.failed || len(r.rest) > 0 {
		return nil, ErrMalformed
	}
	return s, nil
}

// reader takes fields off the front of a message. Once one is missing, it
// returns zeros and has failed.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) next(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	field := r.rest[:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) uint(size int) (v uint64) {
	for _, b := range r.next(size) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (r *reader) uint8() uint8   { return uint8(r.uint(1)) }
func (r *reader) uint16() uint16 { return uint16(r.uint(2)) }
func (r *reader) uint32() uint32 { return uint32(r.uint(4)) }
func (r *reader) uint64() uint64 { return r.uint(8) }

// blindTopicSize is the size of the prefix that stands for a topic in blind
// mode.
const blindTopicSize = 16

// blindTopic is that prefix: HMAC-SHA256(topic key, topic)[:16] (SPEC §7).
func blindTopic(key *[keySize]byte, topic []byte) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write(topic)
	return h.Sum(nil)[:blindTopicSize]
}
