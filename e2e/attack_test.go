package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

// secret is in every body: it must not show anywhere else.
const secret = "the quick brown secret"

// form is one form of message: make makes one, and a function that opens it.
type form struct {
	name string
	make func(t testing.TB) (message []byte, open func(dst, message []byte) ([]byte, error))
}

// forms are all forms of sealed messages. Hints and clear messages are not:
// nothing protects them.
var forms = []form{
	{name: "request", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		s := newScene(t)
		message, _ := s.seal(secret)
		return message, s.openBody
	}},
	{name: "reply", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		s := newScene(t)
		message, pending := s.seal("question")
		return s.reply(s.open(message), secret), pending.Open
	}},
	{name: "ticket request", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		s := newScene(t)
		s.exchange()
		message, _ := s.seal(secret)
		return message, s.openBody
	}},
	{name: "ticket reply", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		s := newScene(t)
		s.exchange()
		message, pending := s.seal("question")
		return s.reply(s.open(message), secret), pending.Open
	}},
	{name: "one way", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		s := newScene(t)
		message, err := s.client.SealOneWay(nil, []byte(secret))
		is.New(t).NoErr(err) // seal one way
		return message, func(dst, message []byte) ([]byte, error) {
			r, err := s.worker.OpenOneWay(dst, message)
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		}
	}},
	{name: "group message", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		c := newCircle(t, 2)
		return c.seal(0, e2e.Topic{Name: []byte("topic")}, secret), c.opener(1)
	}},
	{name: "blind group message", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		c := newCircle(t, 2)
		return c.seal(0, e2e.Topic{Mode: e2e.TopicBlind, Name: []byte("topic")}, secret), c.opener(1)
	}},
	{name: "group message of the next step", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		c := newCircle(t, 2)
		c.deliver(c.ratchet(), 0)
		return c.seal(0, e2e.Topic{Mode: e2e.TopicHidden, Name: []byte("topic")}, secret), c.opener(1)
	}},
	{name: "group update", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		c := newCircle(t, 1)
		update, err := c.group.Update(c.identities[0].Public())
		is.New(t).NoErr(err) // seal an update
		return update, func(_, message []byte) ([]byte, error) {
			return nil, c.members[0].Update(message)
		}
	}},
	{name: "pair handshake 1", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		p := newPair(t, mechanism.IKhfsChaChaPoly)
		return p.start(), p.receiver(p.responder)
	}},
	{name: "pair handshake 2", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		p := newPair(t, mechanism.XXhfsChaChaPoly)
		return p.receive(p.responder, p.start()).Answer, p.receiver(p.initiator)
	}},
	{name: "pair handshake 3", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		p := newPair(t, mechanism.XXhfsChaChaPoly)
		second := p.receive(p.responder, p.start()).Answer
		return p.receive(p.initiator, second).Answer, p.receiver(p.responder)
	}},
	{name: "pair confirmation", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		p := newPair(t, mechanism.IKhfsChaChaPoly)
		second := p.receive(p.responder, p.start()).Answer
		return p.receive(p.initiator, second).Answer, p.receiver(p.responder)
	}},
	{name: "pair data", make: func(t testing.TB) ([]byte, func(dst, message []byte) ([]byte, error)) {
		p := newPair(t, mechanism.IKhfsChaChaPoly)
		p.establish()
		message, err := p.initiator.Seal(nil, []byte(secret))
		is.New(t).NoErr(err) // seal data
		return message, p.receiver(p.responder)
	}},
}

func (s *scene) openBody(dst, message []byte) ([]byte, error) {
	r, err := s.worker.Open(dst, message)
	if err != nil {
		return nil, err
	}
	return r.Body, nil
}

// refused checks that open refuses message properly, and releases nothing.
func refused(t *testing.T, open func(dst, message []byte) ([]byte, error), message []byte, what string) {
	t.Helper()
	dst := make([]byte, 0, 4096)
	kept := bytes.Clone(message)
	body, err := open(dst, message)
	if err == nil {
		t.Fatalf("%s: opened to %q", what, body)
	}
	known := false
	for _, target := range []error{
		e2e.ErrMalformed, e2e.ErrAuthentication, e2e.ErrReplay, e2e.ErrExpired,
		e2e.ErrUnknownKey, e2e.ErrNotAuthorized, e2e.ErrTooLarge,
	} {
		known = known || errors.Is(err, target)
	}
	if !known {
		t.Errorf("%s: unknown kind of error %v", what, err)
	}
	matches(t, err)
	if body != nil || bytes.Contains(dst[:cap(dst)], []byte(secret[4:])) {
		t.Errorf("%s: plaintext released", what)
	}
	if !bytes.Equal(message, kept) {
		t.Errorf("%s: the message was changed", what)
	}
}

// opened checks that the genuine message opens.
func opened(t *testing.T, open func(dst, message []byte) ([]byte, error), message []byte) {
	t.Helper()
	body, err := open(nil, message)
	if err != nil {
		t.Fatalf("genuine message: %v", err)
	}
	if len(body) > 0 && string(body) != secret {
		t.Fatalf("genuine message opened to %q", body)
	}
}

func TestSealed(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			message, open := f.make(t)
			if bytes.Contains(message, []byte("secret")) {
				t.Error("the body shows")
			}
			opened(t, open, message)
		})
	}
}

// TestEveryByteFlipped alters every byte of every form of message in two ways:
// the top bit too, because X25519 ignores that of a public key.
func TestEveryByteFlipped(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			message, open := f.make(t)
			for i := range message {
				for _, mask := range []byte{0x01, 0x80} {
					altered := bytes.Clone(message)
					altered[i] ^= mask
					refused(t, open, altered, fmt.Sprintf("byte %d ^ %02x", i, mask))
				}
			}
			opened(t, open, message) // the forgeries cost nothing
		})
	}
}

func TestTruncated(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			message, open := f.make(t)
			for n := range len(message) {
				refused(t, open, message[:n:n], fmt.Sprintf("%d bytes", n))
				refused(t, open, message[n+1:], fmt.Sprintf("last %d bytes", len(message)-n-1))
			}
			refused(t, open, append(bytes.Clone(message), 0), "a byte more")
			refused(t, open, append(bytes.Clone(message), message[len(message)-1]), "the last byte twice")
			refused(t, open, append([]byte{message[0]}, message...), "the first byte twice")
			refused(t, open, append(bytes.Clone(message), message...), "twice")
			opened(t, open, message)
		})
	}
}

func TestReplayed(t *testing.T) {
	for _, f := range forms {
		if f.name == "pair handshake 1" {
			continue // answered again, which TestPairReplayedHandshake looks at
		}
		t.Run(f.name, func(t *testing.T) {
			message, open := f.make(t)
			opened(t, open, message)
			refused(t, open, message, "replay")
			refused(t, open, message, "another replay")
		})
	}
}

// TestFormsAreApart gives every form of message to the opener of every other
// one, as it is and with the form that it expects.
func TestFormsAreApart(t *testing.T) {
	for i, f := range forms {
		_, open := f.make(t)
		for j, other := range forms {
			if i == j {
				continue
			}
			foreign, _ := other.make(t)
			refused(t, open, foreign, other.name+" as "+f.name)
			own, _ := f.make(t)
			disguised := bytes.Clone(foreign)
			disguised[0] = own[0]
			refused(t, open, disguised, other.name+" disguised as "+f.name)
			disguised = bytes.Clone(foreign)
			disguised[len(disguised)-1] = own[len(own)-1]
			refused(t, open, disguised, other.name+" disguised at its end as "+f.name)
		}
	}
}

// TestCrossProtocol feeds a scene's own messages, made with the right keys, to
// where they do not belong.
func TestCrossProtocol(t *testing.T) {
	s := newScene(t)
	full, pendingFull := s.seal(secret)
	fullReply := s.reply(s.open(full), secret)
	s.exchange()
	ticket, pendingTicket := s.seal(secret)
	ticketReply := s.reply(s.open(ticket), secret)
	oneWay, err := s.client.SealOneWay(nil, []byte(secret))
	is.New(t).NoErr(err) // seal one way
	openOneWay := func(dst, message []byte) ([]byte, error) {
		r, err := s.worker.OpenOneWay(dst, message)
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	}
	for name, c := range map[string]struct {
		open    func(dst, message []byte) ([]byte, error)
		foreign [][]byte
	}{
		"request": {s.openBody, [][]byte{fullReply, ticketReply, oneWay}},
		"one way": {openOneWay, [][]byte{full, fullReply, ticket, ticketReply}},
		"reply":   {pendingFull.Open, [][]byte{full, ticket, ticketReply, oneWay}},
		"ticket":  {pendingTicket.Open, [][]byte{full, fullReply, ticket, oneWay}},
	} {
		for _, foreign := range c.foreign {
			for _, form := range []byte{foreign[0], 0xE1, 0xE2, 0xE3, 0xE4, 0xE5} {
				if own := map[string]byte{"request": 0xE1, "one way": 0xE5}[name]; foreign[0] == own {
					continue
				}
				refused(t, c.open, append([]byte{form}, foreign[1:]...), fmt.Sprintf("%02x as %s in %02x", foreign[0], name, form))
			}
		}
	}
	opened(t, pendingFull.Open, fullReply)
	opened(t, pendingTicket.Open, ticketReply)
	opened(t, openOneWay, oneWay)
}

// TestSwappedReplies exchanges the replies to two requests, of one client and
// of two, to one worker and to two.
func TestSwappedReplies(t *testing.T) {
	for _, tickets := range []bool{false, true} {
		for _, clients := range []int{1, 2} {
			t.Run(fmt.Sprintf("tickets=%v clients=%d", tickets, clients), func(t *testing.T) {
				is := is.New(t)
				s := newScene(t)
				other := s.client
				if clients == 2 {
					other = s.newClient(e2e.ClientConfig{Identity: newIdentity(t)})
				}
				first := s.client
				for _, s.client = range []*e2e.Client{first, other} {
					if tickets {
						s.exchange()
					}
				}
				s.client = first
				message1, pending1 := s.seal("same")
				s.client = other
				message2, pending2 := s.seal("same")
				reply1 := s.reply(s.open(message1), secret)
				s.worker = s.newWorker(e2e.WorkerConfig{})
				reply2 := s.reply(s.open(message2), secret)
				is.Equal(reply1[0] == 0xE4, tickets)

				refused(t, pending1.Open, reply2, "swapped")
				refused(t, pending2.Open, reply1, "swapped")
				opened(t, pending1.Open, reply1)
				opened(t, pending2.Open, reply2)
			})
		}
	}
}

// TestGraftedReply puts the sealed part of one worker's reply behind the Noise
// message of another's: neither genuine reply is spoiled by it.
func TestGraftedReply(t *testing.T) {
	for genuine := range 2 {
		s := newScene(t)
		message, pending := s.seal("question")
		var replies [2][]byte
		for i := range replies {
			s.worker = s.newWorker(e2e.WorkerConfig{})
			replies[i] = s.reply(s.open(message), secret)
		}
		const sealedAt = 1 + 80
		for i := range replies {
			grafted := append(bytes.Clone(replies[i][:sealedAt]), replies[1-i][sealedAt:]...)
			refused(t, pending.Open, grafted, "another reply's sealed part")
			altered := bytes.Clone(replies[i])
			altered[len(altered)-1] ^= 1
			refused(t, pending.Open, altered, "altered at the end")
		}
		opened(t, pending.Open, replies[genuine])
	}
}

// TestCrossService gives one service's messages to another service, also with
// the other's key id.
func TestCrossService(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	foreign := newScene(t)
	for range 2 { // full, then with a ticket
		message, pending := s.seal(secret)
		_, err := foreign.worker.Open(nil, message)
		matches(t, err, e2e.ErrUnknownKey)
		id := foreign.service.Public().ID()
		redirected := bytes.Clone(message)
		copy(redirected[map[byte]int{0xE1: 2, 0xE3: 4}[message[0]]:], id[:])
		refused(t, foreign.openBody, redirected, "redirected")

		ours, _ := foreign.seal("question")
		reply := foreign.reply(foreign.open(ours), "other service's")
		refused(t, pending.Open, reply, "another service's reply")
		opened(t, pending.Open, s.reply(s.open(message), secret))
		foreign.exchange()
		s.exchange()
	}
	one, err := s.client.SealOneWay(nil, []byte(secret))
	is.NoErr(err) // seal one way
	_, err = foreign.worker.OpenOneWay(nil, one)
	matches(t, err, e2e.ErrUnknownKey)
}

// TestHalfServiceKey: who has one half of the service's key has nothing. That
// is the point of a hybrid.
func TestHalfServiceKey(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	message, _ := s.seal(secret)
	real := s.service.Reveal()
	for name, seed := range map[string][]byte{
		"X25519 alone": append(s.service.Identity().ECDH().Bytes(), make32(1)...),
		"other X25519": append(make32(2)[:32], make32(1)...),
	} {
		half, err := keys.NewServicePrivate(seed)
		is.NoErr(err) // half a key
		is.True(half.Reveal() != real)
		thief := s.newWorker(e2e.WorkerConfig{Keys: []e2e.ServiceKey{{Key: half}}})
		id := half.Public().ID()
		altered := bytes.Clone(message)
		copy(altered[2:], id[:])
		refused(t, func(dst, m []byte) ([]byte, error) {
			r, err := thief.Open(dst, m)
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		}, altered, name)
	}
}

// make32 returns 64 bytes of one value.
func make32(b byte) []byte { return bytes.Repeat([]byte{b}, 64) }

// TestStolenIdentity is key-compromise impersonation: with the client's own
// key, an attacker can pass for the client, but not, to the client, for the
// service.
func TestStolenIdentity(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	message, pending := s.seal("question")

	// The attacker knows the client's identity and the service's public
	// key. A service key that it made itself is the best it can use.
	fake, err := keys.NewServicePrivate(append(s.alice.ECDH().Bytes(), make32(3)...))
	is.NoErr(err) // a service key whose identity is the client's
	attacker := newScene(t)
	attacker.service = fake
	attacker.worker = attacker.newWorker(e2e.WorkerConfig{})
	attacker.client = attacker.newClient(e2e.ClientConfig{Identity: s.alice})
	forged, _ := attacker.seal("question")
	reply := attacker.reply(attacker.open(forged), "forged")
	refused(t, pending.Open, reply, "forged with the client's key")
	opened(t, pending.Open, s.reply(s.open(message), secret))
}

// TestTicketIsBoundToItsClient: a ticket seen on the wire serves nobody else,
// and nobody can burn the nonces of another client's requests.
func TestTicketIsBoundToItsClient(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	mallory := s.newClient(e2e.ClientConfig{Identity: newIdentity(t)})
	s.exchange()
	alices, _ := s.seal(secret)
	alice := s.client
	s.client = mallory
	s.exchange()
	mallorys, _ := s.seal("forged")
	s.client = alice

	const nonceAt = 4 + 121
	mixed := bytes.Clone(mallorys)
	copy(mixed[4:nonceAt], alices[4:nonceAt])
	refused(t, s.openBody, mixed, "another client's ticket")
	mixed = bytes.Clone(mallorys)
	copy(mixed[nonceAt:], alices[nonceAt:nonceAt+24])
	refused(t, s.openBody, mixed, "another client's nonce")
	is.Equal(s.open(mallorys).Sender != s.alice.Public(), true)

	// Mallory is faster, with the nonce of Alice's request and a ticket of
	// its own.
	e2e.SetRandomness(mallory, e2e.Randomness{Source: bytes.NewReader(alices[nonceAt : nonceAt+24])})
	burning, _, err := mallory.Seal(nil, []byte(secret))
	is.NoErr(err) // seal with Alice's nonce
	is.True(bytes.Equal(burning[nonceAt:nonceAt+24], alices[nonceAt:nonceAt+24]))
	opened(t, s.openBody, burning)
	opened(t, s.openBody, alices)
}
