package e2e_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

func TestNoTickets(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	s.client = s.newClient(e2e.ClientConfig{NoTickets: true})
	for range 2 {
		is.True(!s.exchange().Resumed) // a client that wants none
	}

	s.client = s.newClient(e2e.ClientConfig{})
	s.exchange()
	s.worker = s.newWorker(e2e.WorkerConfig{TicketLifetime: -1})
	message, pending := s.seal("question")
	_, err := s.worker.Open(nil, message)
	matches(t, err, e2e.ErrExpired) // a worker that takes none
	_, err = pending.Open(nil, answerTo(t, err))
	matches(t, err, e2e.ErrRetry, e2e.ErrExpired)
	message, err = pending.Retry(nil, []byte("question"))
	is.NoErr(err) // seal anew
	_, err = pending.Open(nil, s.reply(s.open(message), "answer"))
	is.NoErr(err)                  // open the reply
	is.True(!s.exchange().Resumed) // and that one issued none
}

func TestTicketExpires(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	slow := s.newWorker(e2e.WorkerConfig{Now: func() time.Time { return s.Now().Add(-50 * time.Second) }})
	s.exchange()
	s.add(time.Hour - time.Second)
	is.True(s.exchange().Resumed)

	// It ends while a request is on its way.
	message, pending := s.seal("question")
	s.add(time.Second)
	_, err := s.worker.Open(nil, message)
	matches(t, err, e2e.ErrExpired)
	_, err = slow.Open(nil, message)
	is.NoErr(err) // a worker whose clock is behind still takes it
	_, err = pending.Open(nil, answerTo(t, newError(s.worker.Open(nil, message))))
	matches(t, err, e2e.ErrRetry, e2e.ErrExpired)
	message, err = pending.Retry(nil, []byte("question"))
	is.NoErr(err) // seal anew
	is.True(!s.open(message).Resumed)

	// A client that knows does not try.
	is.True(!s.exchange().Resumed)
	is.True(s.exchange().Resumed)
}

func newError(_ *e2e.Request, err error) error { return err }

// TestTicketsThroughMidnight issues tickets around a change of day, whose keys
// differ.
func TestTicketsThroughMidnight(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	s.worker = s.newWorker(e2e.WorkerConfig{TicketLifetime: e2e.MaxTicketLifetime})
	ahead := s.newWorker(e2e.WorkerConfig{Now: func() time.Time { return s.Now().Add(30 * time.Second) }})
	behind := s.newWorker(e2e.WorkerConfig{Now: func() time.Time { return s.Now().Add(-30 * time.Second) }})
	s.add(11*time.Hour + 59*time.Minute + 50*time.Second) // 23:59:50
	for _, issuer := range []*e2e.Worker{s.worker, ahead, behind} {
		for _, wait := range []time.Duration{0, 5 * time.Second, 20 * time.Second} {
			for _, user := range []*e2e.Worker{s.worker, ahead, behind} {
				s.client = s.newClient(e2e.ClientConfig{})
				s.worker = issuer
				s.exchange()
				s.add(wait)
				s.worker = user
				is.True(s.exchange().Resumed)
				s.add(-wait)
			}
		}
	}
	s.client = s.newClient(e2e.ClientConfig{})
	s.worker = s.newWorker(e2e.WorkerConfig{TicketLifetime: e2e.MaxTicketLifetime})
	s.exchange()
	s.add(24*time.Hour - time.Second)
	is.True(s.exchange().Resumed) // a whole day later
	s.add(time.Second)
	is.True(!s.exchange().Resumed)
}

// TestKeyRotation takes a service through a rotation: old key, both, new key.
func TestKeyRotation(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	next := newServiceKey(t)
	s.exchange()

	retired := s.Now().Add(10 * time.Minute)
	is.NoErr(s.worker.SetKeys([]e2e.ServiceKey{{Key: next}, {Key: s.service, Until: retired}})) // both
	is.True(s.exchange().Resumed)                                                               // old tickets
	newcomer := s.newClient(e2e.ClientConfig{Services: []*keys.ServicePublic{next.Public()}})
	old := s.newClient(e2e.ClientConfig{})
	for _, s.client = range []*e2e.Client{newcomer, old} {
		is.True(!s.exchange().Resumed)
		is.True(s.exchange().Resumed)
	}

	// The old key ends, and its tickets with it, although they are young.
	s.add(10 * time.Minute)
	s.client = old
	message, pending := s.seal("question")
	is.Equal(message[0], byte(0xE1)) // the client was told when its ticket ends
	_, err := s.worker.Open(nil, message)
	matches(t, err, e2e.ErrUnknownKey)
	_, err = pending.Open(nil, answerTo(t, err))
	matches(t, err, e2e.ErrRetry, e2e.ErrUnknownKey)
	message, err = pending.Retry(nil, []byte("question"))
	is.NoErr(err) // seal anew, to the only key there is
	_, err = s.worker.Open(nil, message)
	matches(t, err, e2e.ErrUnknownKey)
	_, err = pending.Open(nil, answerTo(t, err))
	matches(t, err, e2e.ErrUnknownKey)
	is.True(!errors.Is(err, e2e.ErrRetry)) // once is enough

	is.NoErr(old.SetServices([]*keys.ServicePublic{next.Public()})) // the client gets the new key
	is.True(!s.exchange().Resumed)
	s.client = newcomer
	is.True(s.exchange().Resumed) // who had it notices nothing
}

// TestSeveralServiceKeys: a client that holds the next key already finds to it
// by itself, and stays with it once the service has proved to have it.
func TestSeveralServiceKeys(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	next := newServiceKey(t)
	s.client = s.newClient(e2e.ClientConfig{
		Services:  []*keys.ServicePublic{s.service.Public(), next.Public()},
		NoTickets: true,
	})
	s.exchange()
	is.NoErr(s.worker.SetKeys([]e2e.ServiceKey{{Key: next}})) // the old key is gone
	message, pending := s.seal("question")
	_, err := s.worker.Open(nil, message)
	_, err = pending.Open(nil, answerTo(t, err))
	matches(t, err, e2e.ErrRetry, e2e.ErrUnknownKey)
	message, err = pending.Retry(nil, []byte("question"))
	is.NoErr(err) // seal to the next key

	other, _ := s.seal("question")
	is.True(!bytes.Equal(other[2:6], message[2:6])) // the hint alone changes nothing for others

	_, err = pending.Open(nil, s.reply(s.open(message), "answer"))
	is.NoErr(err) // open the reply
	s.exchange()  // now at once
}

// TestKeyWithdrawn withdraws a key at once, as after a theft. Clients that hold
// the next one, whatever else they hold, and tickets of the old one, find to it.
func TestKeyWithdrawn(t *testing.T) {
	for _, others := range []int{0, 3} {
		is := is.New(t)
		s := newScene(t)
		next := newServiceKey(t)
		services := []*keys.ServicePublic{s.service.Public()}
		for range others {
			services = append(services, newServiceKey(t).Public())
		}
		services = append(services, next.Public())
		s.client = s.newClient(e2e.ClientConfig{Services: services})
		s.exchange()
		is.True(s.exchange().Resumed)
		is.NoErr(s.worker.SetKeys([]e2e.ServiceKey{{Key: next}}))
		is.NoErr(askAround(s.client, []*e2e.Worker{s.worker}, 0))
		is.True(s.exchange().Resumed) // from now on at once
	}
}

// TestForgedHintsAreBounded forges hints for as long as the client takes them:
// it makes one full request to each of its keys, and the genuine reply to the
// last is taken.
func TestForgedHintsAreBounded(t *testing.T) {
	for _, resumed := range []bool{false, true} {
		is := is.New(t)
		s := newScene(t)
		before, after := newServiceKey(t), newServiceKey(t)
		services := []*keys.ServicePublic{before.Public(), s.service.Public(), after.Public()}
		s.client = s.newClient(e2e.ClientConfig{Services: services})
		if resumed {
			is.NoErr(askAround(s.client, []*e2e.Worker{s.worker}, 0))
		}
		message, pending := s.seal("question")
		var asked [][4]byte
		for {
			if message[0] == 0xE1 {
				asked = append(asked, [4]byte(message[2:6]))
			}
			var err error
			for range 3 { // the same hint again is about the same request
				_, err = pending.Open(nil, []byte{0xEF, 1})
			}
			if !errors.Is(err, e2e.ErrRetry) {
				matches(t, err, e2e.ErrUnknownKey)
				break
			}
			message, err = pending.Retry(nil, []byte("question"))
			is.NoErr(err) // seal anew
		}
		_, err := pending.Retry(nil, []byte("question"))
		is.True(errors.Is(err, mechanism.ErrOrder))
		is.NoErr(s.worker.SetKeys([]e2e.ServiceKey{{Key: before}, {Key: s.service}, {Key: after}}))
		_, err = pending.Open(nil, s.reply(s.open(message), "answer"))
		is.NoErr(err) // the genuine reply
		is.Equal(len(asked), 3)
		if !resumed { // else the first hint is about the ticket's key
			is.Equal(asked, [][4]byte{services[0].ID(), services[1].ID(), services[2].ID()})
		}
	}
}

// TestSetServicesDropsTickets: a ticket under a key that is no longer listed is
// not used, although it would still be good.
func TestSetServicesDropsTickets(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	next := newServiceKey(t)
	is.NoErr(s.worker.SetKeys([]e2e.ServiceKey{{Key: s.service}, {Key: next}})) // both
	s.exchange()
	late, pending := s.seal("question")
	is.NoErr(s.client.SetServices([]*keys.ServicePublic{next.Public(), s.service.Public()})) // the old one is listed
	is.True(s.exchange().Resumed)
	is.NoErr(s.client.SetServices([]*keys.ServicePublic{next.Public()})) // no longer
	message, _ := s.seal("question")
	id := next.Public().ID()
	is.True(message[0] == 0xE1 && bytes.Equal(message[2:6], id[:]))
	_, err := pending.Open(nil, s.reply(s.open(late), "answer"))
	is.NoErr(err) // what was under way goes on

	// Nor is a ticket kept that arrives after its key was taken off.
	s.client = s.newClient(e2e.ClientConfig{})
	message, pending = s.seal("question")
	is.NoErr(s.client.SetServices([]*keys.ServicePublic{next.Public()})) // taken off
	_, err = pending.Open(nil, s.reply(s.open(message), "answer"))
	is.NoErr(err) // the reply opens
	is.True(!s.exchange().Resumed)
}

func TestRetryIsOnlyForWhatCallsForIt(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	message, pending := s.seal("question")
	_, err := pending.Retry(nil, []byte("question"))
	is.True(errors.Is(err, mechanism.ErrOrder)) // nothing was wrong
	_, err = pending.Open(nil, []byte{0xEF, 9})
	matches(t, err, e2e.ErrMalformed) // no such hint
	_, err = pending.Retry(nil, []byte("question"))
	is.True(errors.Is(err, mechanism.ErrOrder))

	// A forged hint does not keep the genuine reply out.
	_, err = pending.Open(nil, []byte{0xEF, 1})
	matches(t, err, e2e.ErrRetry)
	_, err = pending.Open(nil, s.reply(s.open(message), "answer"))
	is.NoErr(err) // open the reply
	_, err = pending.Retry(nil, []byte("question"))
	is.True(errors.Is(err, mechanism.ErrOrder)) // all is said

	// After Retry only the new request's reply counts.
	message, pending = s.seal("question")
	_, err = pending.Open(nil, []byte{0xEF, 2})
	matches(t, err, e2e.ErrRetry)
	again, err := pending.Retry(nil, []byte("question"))
	is.NoErr(err) // seal anew
	is.Equal(again[0], byte(0xE1))
	_, err = pending.Open(nil, s.reply(s.open(message), "answer"))
	is.True(err != nil) // the reply to the first
	_, err = pending.Open(nil, s.reply(s.open(again), "answer"))
	is.NoErr(err) // the reply to the second
}

// TestHintNeverWeakens: whatever hints arrive, what the client sends is a full
// request to a key that it was configured with, in the place of the one that
// the hint is about. All other requests go on as they were.
func TestHintNeverWeakens(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	s.client = s.newClient(e2e.ClientConfig{AllowClear: true})
	s.exchange()
	for code := range 256 {
		message, pending := s.seal("question")
		is.Equal(message[0], byte(0xE3)) // with a ticket
		_, err := pending.Open(nil, []byte{0xEF, byte(code)})
		is.True(err != nil)                                        // a hint is no reply
		is.True(s.open(first(s.seal("another question"))).Resumed) // the ticket stays in use
		if errors.Is(err, e2e.ErrRetry) {
			message, err = pending.Retry(nil, []byte("question"))
			is.NoErr(err) // seal anew
			is.Equal(message[0], byte(0xE1))
			id := s.service.Public().ID()
			is.True(bytes.Equal(message[2:6], id[:]))
			is.True(s.open(first(s.seal("another question"))).Resumed) // still
		}
		_, err = pending.Open(nil, []byte("\xE0clear"))
		matches(t, err, e2e.ErrAuthentication)
		_, err = pending.Open(nil, s.reply(s.open(message), "answer"))
		is.NoErr(err) // the genuine reply
	}
}

// TestUselessTicket: a ticket that a hint was about is dropped once the service
// has answered the full request, also if it gives no new one.
func TestUselessTicket(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	s.exchange()
	message, pending := s.seal("question")
	is.Equal(message[0], byte(0xE3)) // with a ticket
	_, err := pending.Open(nil, []byte{0xEF, 2})
	matches(t, err, e2e.ErrRetry)
	message, err = pending.Retry(nil, []byte("question"))
	is.NoErr(err) // seal anew
	s.worker = s.newWorker(e2e.WorkerConfig{TicketLifetime: -1})
	reply := s.reply(s.open(message), "answer")
	is.Equal(first(s.seal("another"))[0], byte(0xE3)) // not dropped yet
	_, err = pending.Open(nil, reply)
	is.NoErr(err) // the answer, without a ticket
	is.Equal(first(s.seal("another"))[0], byte(0xE1))
}

func first(message []byte, _ *e2e.Pending) []byte { return message }
