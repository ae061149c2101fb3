package e2e_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
)

// TestFreshness moves the clocks apart.
func TestFreshness(t *testing.T) {
	for _, c := range []struct {
		late time.Duration
		ok   bool
	}{
		{0, true}, {time.Minute, true}, {-time.Minute, true},
		{time.Minute + time.Millisecond, false}, {-time.Minute - time.Millisecond, false},
		{24 * time.Hour, false}, {-24 * time.Hour, false},
	} {
		t.Run(fmt.Sprint(c.late), func(t *testing.T) {
			is := is.New(t)
			s := newScene(t)
			late := s.newWorker(e2e.WorkerConfig{Now: func() time.Time { return s.Now().Add(c.late) }})
			for _, resumed := range []bool{false, true} {
				if resumed && (c.late > time.Hour || c.late < -time.Hour) {
					break // the ticket is no good either
				}
				message, pending := s.seal("question")
				r, err := late.Open(nil, message)
				if c.ok {
					is.NoErr(err) // open in time
					is.Equal(r.Resumed, resumed)
					_, err = pending.Open(nil, s.reply(r, "answer"))
					is.NoErr(err) // open the reply
					continue
				}
				matches(t, err, e2e.ErrExpired)
				refusal := answerTo(t, err)
				_, err = pending.Open(nil, refusal)
				matches(t, err, e2e.ErrRetry, e2e.ErrExpired)
				again, err := pending.Retry(nil, []byte("question"))
				is.NoErr(err) // seal anew
				_, err = late.Open(nil, again)
				matches(t, err, e2e.ErrExpired)
				_, err = pending.Open(nil, answerTo(t, err))
				matches(t, err, e2e.ErrExpired)
				is.True(!errors.Is(err, e2e.ErrRetry)) // it will not get better
				_, err = pending.Open(nil, refusal)
				is.True(err != nil) // the first refusal is no longer of interest
				s.exchange()
			}
		})
	}
}

// TestLateRequestIsSealedAnew: a request that lay too long is refused under
// seal, and the fresh one that the client then makes is taken.
func TestLateRequestIsSealedAnew(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	message, pending := s.seal("question")
	s.add(2 * time.Minute)
	_, err := s.worker.Open(nil, message)
	matches(t, err, e2e.ErrExpired)
	_, err = pending.Open(nil, answerTo(t, err))
	matches(t, err, e2e.ErrRetry, e2e.ErrExpired)
	_, err = pending.Open(nil, answerTo(t, newError(s.worker.Open(nil, message))))
	matches(t, err, e2e.ErrReplay) // one verdict is enough
	message, err = pending.Retry(nil, []byte("question"))
	is.NoErr(err) // seal anew
	_, err = pending.Open(nil, s.reply(s.open(message), "answer"))
	is.NoErr(err) // open the reply
}

// TestDuplicates sends one request several times to one worker, as REQ does.
func TestDuplicates(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	flagging := s.newWorker(e2e.WorkerConfig{Duplicates: e2e.FlagDuplicates})
	for range 2 { // full, then with a ticket
		message, pending := s.seal("question")
		is.True(!s.open(message).Duplicate)
		for range 2 {
			_, err := s.worker.Open(nil, message)
			matches(t, err, e2e.ErrReplay)
			is.Equal(len(answerTo(t, err)), 0) // the first one is being answered
		}
		r, err := flagging.Open(nil, message)
		is.NoErr(err) // another worker knows nothing of it
		is.True(!r.Duplicate)
		for range 2 {
			r, err = flagging.Open(nil, message)
			is.NoErr(err) // open it again
			is.True(r.Duplicate)
		}
		_, err = pending.Open(nil, s.reply(r, "answer"))
		is.NoErr(err) // the reply to a duplicate
		_, err = s.worker.Open(nil, message)
		matches(t, err, e2e.ErrReplay)
	}
}

// TestSharedCache: workers that share a cache open each message once.
func TestSharedCache(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	cache := e2e.NewMemoryCache(100)
	other := s.newWorker(e2e.WorkerConfig{Seen: cache})
	s.worker = s.newWorker(e2e.WorkerConfig{Seen: cache})
	for range 2 {
		message, pending := s.seal("question")
		r := s.open(message)
		_, err := other.Open(nil, message)
		matches(t, err, e2e.ErrReplay)
		_, err = pending.Open(nil, s.reply(r, "answer"))
		is.NoErr(err) // open the reply
	}
	is.Equal(cache.Len(), 2)
}

type brokenCache struct{ err error }

func (c brokenCache) Add(e2e.SeenID, time.Time, time.Time) (bool, error) { return false, c.err }

// TestBrokenCache: a cache that cannot tell keeps messages out.
func TestBrokenCache(t *testing.T) {
	s := newScene(t)
	down := errors.New("securesp: the shared cache is down")
	for _, policy := range []e2e.Duplicates{e2e.DropDuplicates, e2e.FlagDuplicates} {
		s.worker = s.newWorker(e2e.WorkerConfig{Seen: brokenCache{down}, Duplicates: policy})
		message, _ := s.seal(secret)
		_, err := s.worker.Open(nil, message)
		matches(t, err, down)
	}
}

// TestForgeriesTouchNoCache: only authentic messages of admitted senders are
// remembered, so that nobody else can fill the cache.
func TestForgeriesTouchNoCache(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	cache := e2e.NewMemoryCache(100)
	s.worker = s.newWorker(e2e.WorkerConfig{Seen: cache, Authorize: func(k keys.Public) (string, error) {
		if k != s.alice.Public() {
			return "", errors.New("who?")
		}
		return "alice", nil
	}})
	stranger := s.newClient(e2e.ClientConfig{Identity: newIdentity(t)})
	message, _, err := stranger.Seal(nil, []byte(secret))
	is.NoErr(err) // a stranger's request
	_, err = s.worker.Open(nil, message)
	matches(t, err, e2e.ErrNotAuthorized)
	for range 2 {
		message, _ = s.seal(secret)
		message[len(message)-1] ^= 1
		refused(t, s.openBody, message, "forged")
		is.Equal(cache.Len(), 0)
	}
}
