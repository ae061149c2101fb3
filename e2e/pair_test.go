package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

// pair is two ends.
type pair struct {
	t                    testing.TB
	alice, bob           *keys.Private // initiator and responder
	initiator, responder *e2e.Pair
}

func newPair(t testing.TB, suite mechanism.Suite) *pair {
	is := is.New(t)
	is.Helper()
	p := &pair{t: t, alice: newIdentity(t), bob: newIdentity(t)}
	config := e2e.PairConfig{
		Role: mechanism.Initiator, Identity: p.alice, Peer: p.bob.Public(),
		Suites: []mechanism.Suite{suite}, Authorize: anyone,
	}
	var err error
	p.initiator, err = e2e.NewPair(config)
	is.NoErr(err) // make the initiator
	p.responder, err = e2e.NewPair(e2e.PairConfig{Role: mechanism.Responder, Identity: p.bob, Authorize: anyone})
	is.NoErr(err) // make the responder
	return p
}

func (p *pair) start() []byte {
	is := is.New(p.t)
	is.Helper()
	message, err := p.initiator.Start(nil)
	is.NoErr(err) // start
	return message
}

func (p *pair) receive(at *e2e.Pair, message []byte) e2e.PairEvent {
	is := is.New(p.t)
	is.Helper()
	event, err := at.Receive(nil, message)
	is.NoErr(err) // receive
	return event
}

func (p *pair) receiver(at *e2e.Pair) func(dst, message []byte) ([]byte, error) {
	return func(dst, message []byte) ([]byte, error) {
		event, err := at.Receive(dst, message)
		return event.Body, err
	}
}

// establish does a handshake.
func (p *pair) establish() {
	p.t.Helper()
	at, other := p.responder, p.initiator
	for message := p.start(); message != nil; at, other = other, at {
		message = p.receive(at, message).Answer
	}
}

// talks checks that data passes both ways.
func (p *pair) talks() {
	is := is.New(p.t)
	is.Helper()
	for range 2 {
		for _, way := range []struct {
			from, to *e2e.Pair
			sender   *keys.Private
		}{{p.initiator, p.responder, p.alice}, {p.responder, p.initiator, p.bob}} {
			message, err := way.from.Seal(prefixed(), []byte(secret))
			is.NoErr(err) // seal data
			event, err := way.to.Receive(prefixed(), cutPrefix(p.t, message))
			is.NoErr(err) // receive data
			is.True(event.Data && event.Answer == nil)
			is.Equal(string(event.Body), secret)
			is.Equal(event.Sender, way.sender.Public())
			is.Equal(event.Name, nameOf(way.sender.Public()))
		}
	}
}

var pairSuites = []mechanism.Suite{
	mechanism.XXhfsChaChaPoly, mechanism.IKhfsChaChaPoly, mechanism.XXhfsAESGCM, mechanism.IKhfsAESGCM,
}

func TestPair(t *testing.T) {
	for _, suite := range pairSuites {
		t.Run(suite.String(), func(t *testing.T) {
			is := is.New(t)
			p := newPair(t, suite)
			for _, end := range []*e2e.Pair{p.initiator, p.responder} {
				_, ok := end.Peer()
				is.True(!ok)
				_, err := end.Seal(nil, nil)
				matches(t, err, e2e.ErrUnknownKey) // no session yet
			}
			p.establish()
			peer, ok := p.initiator.Peer()
			is.True(ok && peer == p.bob.Public())
			peer, ok = p.responder.Peer()
			is.True(ok && peer == p.alice.Public())
			p.talks()

			for _, size := range []int{0, 65_535, 1 << 20} {
				body := bytes.Repeat([]byte("b"), size)
				message, err := p.initiator.Seal(nil, body)
				is.NoErr(err) // seal data
				is.Equal(len(message)-size, 78)
				event := p.receive(p.responder, message)
				is.True(event.Data && bytes.Equal(event.Body, body))
			}

			p.establish() // again, over the old session
			p.talks()
			p.initiator.Close()
			_, ok = p.initiator.Peer()
			is.True(!ok)
			p.establish()
			p.talks()
		})
	}
}

// TestPairOutOfOrder loses, reorders and repeats messages.
func TestPairOutOfOrder(t *testing.T) {
	is := is.New(t)
	p := newPair(t, mechanism.IKhfsChaChaPoly)
	p.establish()
	var messages [][]byte
	for i := range 20 {
		message, err := p.responder.Seal(nil, fmt.Append(nil, i))
		is.NoErr(err) // seal data
		messages = append(messages, message)
	}
	for _, i := range []int{19, 3, 0, 18, 7, 1} {
		event := p.receive(p.initiator, messages[i])
		is.Equal(string(event.Body), fmt.Sprint(i))
		_, err := p.initiator.Receive(nil, messages[i])
		matches(t, err, e2e.ErrReplay)
	}
	_, err := p.responder.Receive(nil, messages[5])
	matches(t, err, e2e.ErrUnknownKey) // reflected
}

// TestPairRestarts: after either end has lost its session, the two find
// together again.
func TestPairRestarts(t *testing.T) {
	for _, suite := range pairSuites[:2] {
		is := is.New(t)
		p := newPair(t, suite)
		p.establish()
		p.responder.Close()
		message, err := p.initiator.Seal(nil, []byte("lost"))
		is.NoErr(err) // seal into the void
		event, err := p.responder.Receive(nil, message)
		matches(t, err, e2e.ErrUnknownKey)
		_, err = p.initiator.Receive(nil, event.Answer)
		matches(t, err, e2e.ErrUnknownKey) // so the initiator starts again
		p.establish()
		p.talks()

		p.initiator.Close()
		message, err = p.responder.Seal(nil, []byte("lost"))
		is.NoErr(err) // seal into the void
		event, err = p.initiator.Receive(nil, message)
		matches(t, err, e2e.ErrUnknownKey)
		is.Equal(len(event.Answer), 0) // it is the initiator's to act
		p.establish()
		p.talks()
	}
}

// TestPairLostMessages loses each message of a handshake in turn. Starting
// again helps, and an old session stays in use meanwhile.
func TestPairLostMessages(t *testing.T) {
	for _, suite := range pairSuites[:2] {
		for lost := range 3 {
			is := is.New(t)
			p := newPair(t, suite)
			p.establish()
			at, other := p.responder, p.initiator
			message := p.start()
			for range lost {
				message = p.receive(at, message).Answer
				at, other = other, at
			}
			if lost < 2 { // nobody uses the new session yet
				p.talks()
			} else {
				_, err := p.responder.Receive(nil, must(p.initiator.Seal(nil, nil)))
				is.True(err == nil || errors.Is(err, e2e.ErrUnknownKey))
			}
			p.establish()
			p.talks()
		}
	}
}

// TestPairInFlight has messages of the responder on their way while new
// sessions take the place of the one that they are sealed under.
func TestPairInFlight(t *testing.T) {
	for _, suite := range pairSuites[:2] {
		is := is.New(t)
		p := newPair(t, suite)
		var messages [][]byte
		for range 7 {
			p.establish()
			messages = append(messages,
				must(p.responder.Seal(nil, []byte("one"))), must(p.responder.Seal(nil, []byte("two"))))
		}
		opens := func(session int, want string) {
			is.Helper()
			message := messages[2*session]
			if want == "two" {
				message = messages[2*session+1]
			}
			is.Equal(string(p.receive(p.initiator, message).Body), want)
			_, err := p.initiator.Receive(nil, message)
			matches(t, err, e2e.ErrReplay)
		}
		isGone := func(session int) {
			is.Helper()
			_, err := p.initiator.Receive(nil, messages[2*session+1])
			matches(t, err, e2e.ErrUnknownKey)
		}
		isGone(1) // a bounded number is kept
		opens(2, "one")
		opens(4, "one")
		isGone(3) // older than what the responder has come to
		altered := bytes.Clone(messages[12])
		altered[len(altered)-1] ^= 1
		_, err := p.initiator.Receive(nil, altered)
		matches(t, err, e2e.ErrAuthentication)
		opens(4, "two") // proves nothing
		opens(6, "one") // the responder has come to the newest
		isGone(5)
		opens(6, "two")
		p.talks()

		last := must(p.responder.Seal(nil, nil))
		p.establish()
		p.initiator.Close()
		_, err = p.initiator.Receive(nil, last)
		matches(t, err, e2e.ErrUnknownKey)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestPairReplayedHandshake replays an initiator's first messages: the
// responder answers, but nothing comes of it, and its session stays.
func TestPairReplayedHandshake(t *testing.T) {
	for _, suite := range pairSuites[:2] {
		is := is.New(t)
		p := newPair(t, suite)
		first := p.start()
		second := p.receive(p.responder, first).Answer
		third := p.receive(p.initiator, second).Answer

		other, err := e2e.NewPair(e2e.PairConfig{Role: mechanism.Responder, Identity: p.bob, Authorize: anyone})
		is.NoErr(err) // the responder after a restart
		event := p.receive(other, first)
		is.True(!event.Data && event.Answer != nil)
		_, ok := other.Peer()
		is.True(!ok) // a replay establishes nothing
		_, err = other.Seal(nil, nil)
		matches(t, err, e2e.ErrUnknownKey)
		_, err = other.Receive(nil, third)
		is.True(err != nil) // nor with what came later

		p.receive(p.responder, third)
		p.talks()
		p.receive(p.responder, first)
		p.talks() // the session is still there
		_, err = p.initiator.Receive(nil, second)
		matches(t, err, e2e.ErrAuthentication) // of no handshake that is under way
		p.talks()
	}
}

// TestPairHandshakesInTheWay repeats and makes up first messages before the
// genuine handshake is concluded, which that survives.
func TestPairHandshakesInTheWay(t *testing.T) {
	for _, suite := range pairSuites[:2] {
		is := is.New(t)
		p := newPair(t, suite)
		older := p.start()
		first := p.start()
		second := p.receive(p.responder, first).Answer
		p.receive(p.responder, older)
		madeUp := bytes.Clone(first)
		madeUp[len(madeUp)-1] ^= 1
		p.responder.Receive(nil, madeUp)                                   // XX takes it for a first message, as nothing in it is proved
		is.True(bytes.Equal(p.receive(p.responder, first).Answer, second)) // the same answer
		third := p.receive(p.initiator, second).Answer
		p.receive(p.responder, third)
		p.talks()

		// Only a bounded number is kept.
		first = p.start()
		second = p.receive(p.responder, first).Answer
		for range 4 {
			another := newPair(t, suite)
			another.initiator, _ = e2e.NewPair(e2e.PairConfig{
				Role: mechanism.Initiator, Identity: p.alice, Peer: p.bob.Public(), Suites: []mechanism.Suite{suite},
			})
			p.receive(p.responder, another.start())
		}
		is.True(!bytes.Equal(p.receive(p.responder, first).Answer, second)) // forgotten
		p.establish()
		p.talks()
	}
}

// TestPairAlteredCopyFirst delivers copies with another body before the genuine
// message, which they take nothing from.
func TestPairAlteredCopyFirst(t *testing.T) {
	is := is.New(t)
	p := newPair(t, mechanism.XXhfsChaChaPoly)
	p.establish()
	genuine := must(p.initiator.Seal(nil, []byte("the body")))
	for i := range genuine {
		altered := bytes.Clone(genuine)
		altered[i] ^= 1
		_, err := p.responder.Receive(nil, altered)
		is.True(err != nil) // byte i is altered
	}
	is.Equal(string(p.receive(p.responder, genuine).Body), "the body")
	_, err := p.responder.Receive(nil, genuine)
	matches(t, err, e2e.ErrReplay)
}

func TestPairAuthorization(t *testing.T) {
	for _, suite := range pairSuites[:2] {
		is := is.New(t)
		p := newPair(t, suite)
		reason := errors.New("securesp: not today")
		welcome := false
		gate := func(keys.Public) (string, error) {
			if !welcome {
				return "", reason
			}
			return "alice", nil
		}
		var err error
		p.responder, err = e2e.NewPair(e2e.PairConfig{Role: mechanism.Responder, Identity: p.bob, Authorize: gate})
		is.NoErr(err) // make a responder
		message, at, other := p.start(), p.responder, p.initiator
		for err == nil {
			var event e2e.PairEvent
			event, err = at.Receive(nil, message)
			message, at, other = event.Answer, other, at
		}
		matches(t, err, e2e.ErrNotAuthorized, reason)
		is.Equal(len(message), 0)
		_, ok := p.responder.Peer()
		is.True(!ok)

		welcome = true
		p.establish()
		message, err = p.initiator.Seal(nil, []byte(secret))
		is.NoErr(err) // seal data
		welcome = false
		refused(t, p.receiver(p.responder), message, "no longer welcome")
		_, err = p.responder.Seal(nil, []byte(secret))
		matches(t, err, e2e.ErrNotAuthorized, reason) // nor is anything sent
		welcome = true
		opened(t, p.receiver(p.responder), message)
	}
}

// TestPairWrongPeer: an end that expects one peer takes no other.
func TestPairWrongPeer(t *testing.T) {
	for _, suite := range pairSuites[:2] {
		p := newPair(t, suite)
		mallory := newIdentity(t)
		var err error
		p.responder, err = e2e.NewPair(e2e.PairConfig{Role: mechanism.Responder, Identity: mallory, Authorize: anyone})
		is.New(t).NoErr(err) // make another responder
		event, err := p.responder.Receive(nil, p.start())
		if suite == mechanism.XXhfsChaChaPoly {
			_, err = p.initiator.Receive(nil, event.Answer)
			matches(t, err, e2e.ErrNotAuthorized)
		} else {
			matches(t, err, e2e.ErrAuthentication)
		}
		_, ok := p.initiator.Peer()
		is.New(t).True(!ok)

		p = newPair(t, suite)
		p.responder, err = e2e.NewPair(e2e.PairConfig{Role: mechanism.Responder, Identity: p.bob, Peer: mallory.Public()})
		is.New(t).NoErr(err) // make a responder that expects another
		message, at, other := p.start(), p.responder, p.initiator
		for err == nil {
			event, err = at.Receive(nil, message)
			message, at, other = event.Answer, other, at
		}
		matches(t, err, e2e.ErrNotAuthorized)
	}
}

func TestPairRefuses(t *testing.T) {
	is := is.New(t)
	p := newPair(t, mechanism.IKhfsChaChaPoly)
	_, err := p.responder.Start(nil)
	is.True(errors.Is(err, mechanism.ErrOrder))
	_, err = p.responder.Receive(nil, []byte{0xEF, 3})
	matches(t, err, e2e.ErrMalformed) // hints are for initiators
	_, err = p.initiator.Receive(nil, []byte{0xEF, 1})
	matches(t, err, e2e.ErrMalformed)
	first := p.start()
	_, err = p.initiator.Receive(nil, first)
	matches(t, err, e2e.ErrMalformed) // reflected
	_, err = p.responder.Receive(nil, append(first, make([]byte, 4096)...))
	matches(t, err, e2e.ErrMalformed) // too long to be looked at
	p.establish()
	small, err := e2e.NewPair(e2e.PairConfig{Role: mechanism.Responder, Identity: p.bob, Authorize: anyone, MaxBody: 10})
	is.NoErr(err) // an end with a small maximum
	p.responder = small
	p.establish()
	_, err = small.Seal(nil, make([]byte, 11))
	matches(t, err, e2e.ErrTooLarge)
	_, err = small.Receive(nil, must(p.initiator.Seal(nil, make([]byte, 11))))
	matches(t, err, e2e.ErrTooLarge)
	p.receive(small, must(p.initiator.Seal(nil, make([]byte, 10))))

	for name, config := range map[string]e2e.PairConfig{
		"no identity":     {Authorize: anyone},
		"no policy":       {Identity: p.bob},
		"NULL":            {Identity: p.bob, Authorize: anyone, Suites: []mechanism.Suite{mechanism.Null}},
		"CURVE":           {Identity: p.bob, Authorize: anyone, Suites: []mechanism.Suite{mechanism.Curve}},
		"anonymous":       {Identity: p.bob, Authorize: anyone, Suites: []mechanism.Suite{mechanism.NKhfsAESGCM}},
		"pre-shared":      {Identity: p.bob, Authorize: anyone, Suites: []mechanism.Suite{mechanism.XXhfsPSK3AESGCM}},
		"IK without peer": {Identity: p.bob, Authorize: anyone, Suites: []mechanism.Suite{mechanism.IKhfsAESGCM}},
		"negative":        {Identity: p.bob, Authorize: anyone, MaxBody: -1},
	} {
		_, err := e2e.NewPair(config)
		matches(t, err, e2e.ErrConfig)
		t.Log(name, err)
	}
	unlisted, err := e2e.NewPair(e2e.PairConfig{Role: mechanism.Responder, Identity: p.bob, Authorize: anyone,
		Suites: []mechanism.Suite{mechanism.XXhfsChaChaPoly}})
	is.NoErr(err) // an end that takes one suite
	_, err = unlisted.Receive(nil, first)
	matches(t, err, e2e.ErrMalformed)
}

func TestPairConcurrently(t *testing.T) {
	p := newPair(t, mechanism.IKhfsChaChaPoly)
	p.establish()
	failures := make(chan error, 1000)
	var wg sync.WaitGroup
	for _, way := range [][2]*e2e.Pair{{p.initiator, p.responder}, {p.responder, p.initiator}} {
		for range 3 {
			wg.Go(func() {
				for range 50 {
					message, err := way[0].Seal(nil, []byte(secret))
					if err == nil {
						_, err = way[1].Receive(nil, message)
					}
					if err != nil {
						failures <- err
					}
				}
			})
		}
	}
	wg.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
}
