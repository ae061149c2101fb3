package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/mlkem"
	"encoding/binary"
	"io"
	"testing"
)

// Randomness is what tests of fixed vectors put in the place of crypto/rand.
type Randomness struct {
	Source      io.Reader
	Encapsulate func(*mlkem.EncapsulationKey768) (secret, ciphertext []byte)
}

func (r Randomness) inner() randomness { return randomness{r.Source, r.Encapsulate} }

// SetRandomness gives a Client, Worker, Member or Pair its randomness.
func SetRandomness(v any, r Randomness) {
	switch v := v.(type) {
	case *Client:
		v.random = r.inner()
	case *Worker:
		v.random = r.inner()
	case *Member:
		v.random = r.inner()
	case *Pair:
		v.random = r.inner()
	default:
		panic("no randomness here")
	}
}

// NewGroupWith is NewGroup with its randomness.
func NewGroupWith(config GroupConfig, r Randomness) (*Group, error) {
	return newGroup(config, r.inner())
}

// SetSeq sets the sequence number of a member's next message.
func SetSeq(m *Member, seq uint64) { m.seq = seq }

// Gone returns how many of those who have left a member remembers.
func Gone(m *Member) int { return len(m.gone) }

// Crowd fills what a member remembers of those who have left.
func Crowd(m *Member) {
	for i := range maxGone {
		m.gone[senderID{0xFF, byte(i >> 8), byte(i)}] = &memberSender{last: m.epochs.held[len(m.epochs.held)-2].epoch}
	}
}

// SetEpoch moves a group to an epoch.
func SetEpoch(g *Group, generation, step uint32) { g.state.epoch = newEpoch(generation, step) }

// Forge makes a message in the name of another member, as somebody can who has
// the group's keys: all is right but the signature.
func Forge(t testing.TB, by, as *Member, body []byte) []byte {
	message, err := as.Seal(nil, Topic{}, body, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, signed, _, err := parseGroupMessage(message)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(signed)
	forged = append(forged, ed25519.Sign(by.sign, digest(by.id, nil, forged))...)
	return append(forged, formGroup)
}

// Decrypts reports whether the encryption of a message is right, whatever its
// signature.
func Decrypts(m *Member, message []byte) bool {
	h, signed, _, err := parseGroupMessage(message)
	if err != nil {
		return false
	}
	prefix, sealed := signed[:h.prefix], signed[h.prefix:len(signed)-groupHeadSize]
	aead := m.epochs.current().aead
	_, err = aead.Open(nil, sealed[:xNonceLen], sealed[xNonceLen:], h.associated(m.id, prefix, nil))
	return err == nil
}

// The parsers, for fuzzing.

// RequestTail parses the tail of a request and makes it again.
func RequestTail(b []byte) (body, again []byte, err error) {
	body, tail, err := cutRequestTail(bytes.Clone(b), 0)
	if err != nil {
		return nil, nil, err
	}
	t := tail.bytes()
	return body, append(bytes.Clone(body), t[:]...), nil
}

// ReplyTail parses the tail of a reply.
func ReplyTail(b []byte) (body, ticket []byte, status byte, err error) {
	body, tail, err := cutReplyTail(b, 0)
	return body, tail.ticket, byte(tail.status), err
}

// GroupState parses a group's state and makes it again.
func GroupState(b []byte) ([]byte, error) {
	s, err := parseGroupState(b)
	if err != nil {
		return nil, err
	}
	return s.append(nil), nil
}

// GroupTrailer parses the trailer of a group's message and makes it again.
func GroupTrailer(b []byte) (prefix int, again []byte, err error) {
	h, signed, signature, err := parseGroupMessage(b)
	if err != nil {
		return 0, nil, err
	}
	again = bytes.Clone(signed[:len(signed)-groupHeadSize])
	again = append(h.append(again), signature...)
	return h.prefix, append(again, formGroup), nil
}

// TicketRequest splits a ticket request and puts it together again.
func TicketRequest(b []byte, maxBody int) ([]byte, error) {
	ticket, at, err := splitTicketRequest(b, maxBody)
	if err != nil {
		return nil, err
	}
	again := binary.BigEndian.AppendUint16([]byte{formTicketRequest, suiteOne}, uint16(len(ticket)))
	again = append(again, ticket...)
	return append(again, b[at-xNonceLen:]...), nil
}

// Digest returns what the signature of a member's message is of.
func Digest(m *Member, message, context []byte) []byte {
	return digest(m.id, context, message[:len(message)-1-ed25519.SignatureSize])
}

// SealContent makes a message of a member with any prefix and content, as a
// member can that does not keep to the rules.
func SealContent(m *Member, prefix, content []byte) []byte {
	head, k, id, err := m.nextHead()
	if err != nil {
		panic(err)
	}
	head.prefix = len(prefix)
	nonce := make([]byte, xNonceLen)
	m.random.read(nonce)
	message := append(bytes.Clone(prefix), nonce...)
	message = k.aead.Seal(message, nonce, content, head.associated(id, prefix, nil))
	message = head.append(message)
	message = append(message, ed25519.Sign(m.sign, digest(id, nil, message))...)
	return append(message, formGroup)
}

// SealKind makes a message of a pair's session of any kind.
func SealKind(p *Pair, kind byte, body []byte) ([]byte, error) {
	return p.currentLocked().seal(nil, kind, body, p.random)
}

// StartWith begins a pair's handshake with a payload.
func StartWith(p *Pair, payload []byte) []byte {
	h, err := p.newHandshake(p.config.Suites[0])
	if err != nil {
		panic(err)
	}
	message, err := h.AppendMessage(appendPairHead(nil, 1, h.suite), payload)
	if err != nil {
		panic(err)
	}
	return message
}

// SealReply makes a reply with any content, as a worker can that does not keep
// to the rules.
func SealReply(r *Request, content []byte) []byte {
	replier, ok := r.replier.(*ticketReplier)
	if !ok {
		panic("not a ticket exchange")
	}
	nonce := make([]byte, xNonceLen)
	replier.random.read(nonce)
	front := append([]byte{formTicketReply}, nonce...)
	return replier.exchange.aead.Seal(front, nonce, content, replier.exchange.replyData(front))
}

// GroupKeys returns a group's present keys.
func GroupKeys(g *Group) (key, topicKey [keySize]byte) { return g.state.key, g.state.topicKey }

// NextKey returns the key of the step after that of key.
func NextKey(key [keySize]byte) [keySize]byte { return (*epochKey)(&key).next() }
