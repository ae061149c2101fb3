package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

func TestExchange(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 65_535, 65_536, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			is := is.New(t)
			s := newScene(t)
			s.add(123 * time.Millisecond)
			question, answer := bytes.Repeat([]byte("q"), size), bytes.Repeat([]byte("a"), size)
			for _, resumed := range []bool{false, true, true} {
				message, pending, err := s.client.Seal(prefixed(), question)
				is.NoErr(err) // seal the request
				message = cutPrefix(t, message)
				kept := bytes.Clone(message)

				r, err := s.worker.Open(prefixed(), message)
				is.NoErr(err) // open the request
				is.True(bytes.Equal(r.Body, question))
				is.True(bytes.Equal(message, kept)) // the message is left alone
				is.Equal(r.Sender, s.alice.Public())
				is.Equal(r.Name, nameOf(s.alice.Public()))
				is.True(r.Time.Equal(s.Now()))
				is.Equal(r.Resumed, resumed)
				is.True(!r.Duplicate && !r.Clear)

				message, err = r.Reply(prefixed(), answer)
				is.NoErr(err) // seal the reply
				got, err := pending.Open(prefixed(), cutPrefix(t, message))
				is.NoErr(err) // open the reply
				is.True(bytes.Equal(cutPrefix(t, got), answer))
				if size > 0 {
					is.True(!bytes.Contains(message, answer[:min(size, 8)]) || size < 8) // sealed
				}
			}
		})
	}
}

// TestOverhead holds the sizes that SPEC §7 gives.
func TestOverhead(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	message, pending := s.seal("12345")
	is.Equal(len(message)-5, 1247) // full request
	reply := s.reply(s.open(message), "12345")
	is.Equal(len(reply)-5, 260) // its reply, with a ticket
	_, err := pending.Open(nil, reply)
	is.NoErr(err) // open the reply

	message, _ = s.seal("12345")
	is.Equal(len(message)-5, 174)                          // ticket request
	is.Equal(len(s.reply(s.open(message), "12345"))-5, 44) // its reply

	message, err = s.client.SealOneWay(nil, []byte("12345"))
	is.NoErr(err) // seal one way
	is.Equal(len(message)-5, 1247)
}

// TestAnyWorker uses one ticket at all workers of a service, one of which
// issued it and is gone.
func TestAnyWorker(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	s.exchange()
	for range 3 {
		s.worker = s.newWorker(e2e.WorkerConfig{}) // knows nothing but the service key
		is.True(s.exchange().Resumed)
	}
}

func TestAuthorization(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	var denied sync.Map
	reason := errors.New("securesp: no longer welcome")
	s.worker = s.newWorker(e2e.WorkerConfig{Authorize: func(k keys.Public) (string, error) {
		if _, ok := denied.Load(k); ok {
			return "", reason
		}
		return nameOf(k), nil
	}})
	refused := func() {
		t.Helper()
		message, pending := s.seal("question")
		dst := make([]byte, 0, 100)
		_, err := s.worker.Open(dst, message)
		matches(t, err, e2e.ErrNotAuthorized, reason)
		is.True(!bytes.Contains(dst[:cap(dst)], []byte("question"))) // nothing left behind
		var e *e2e.RequestError
		is.True(errors.As(err, &e))
		is.Equal(e.Sender, s.alice.Public())
		is.True(len(e.Answer) < len(message)) // no amplification
		_, err = pending.Open(nil, e.Answer)
		matches(t, err, e2e.ErrNotAuthorized)
		is.True(!errors.Is(err, e2e.ErrRetry))
	}
	s.exchange()
	is.True(s.exchange().Resumed)
	denied.Store(s.alice.Public(), true)
	refused() // also with a ticket
	s.client = s.newClient(e2e.ClientConfig{})
	refused() // and without

	bob := newIdentity(t)
	s.client = s.newClient(e2e.ClientConfig{Identity: bob})
	is.Equal(s.exchange().Sender, bob.Public()) // others stay
	s.client = s.newClient(e2e.ClientConfig{})
	denied.Delete(s.alice.Public())
	s.exchange() // readmitted

	message, err := s.client.SealOneWay(nil, []byte("x"))
	is.NoErr(err) // seal one way
	denied.Store(s.alice.Public(), true)
	_, err = s.worker.OpenOneWay(nil, message)
	matches(t, err, e2e.ErrNotAuthorized)
	is.Equal(len(answerTo(t, err)), 0) // one way is one way
}

func TestRefuse(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	for _, resumed := range []bool{false, true} {
		message, pending := s.seal("question")
		r := s.open(message)
		is.Equal(r.Resumed, resumed)
		refusal, err := r.Refuse(nil)
		is.NoErr(err) // refuse
		_, err = pending.Open(nil, refusal)
		matches(t, err, e2e.ErrNotAuthorized)
		_, err = pending.Open(nil, refusal)
		matches(t, err, e2e.ErrReplay)
		s.exchange()
	}
}

// TestRepliesMany answers one request many times, at once: every reply opens,
// each looks different, and the client takes one.
func TestRepliesMany(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	for range 2 { // full, then with a ticket
		message, pending := s.seal("question")
		r := s.open(message)
		replies := make([][]byte, 8)
		var wg sync.WaitGroup
		for i := range replies {
			wg.Go(func() { replies[i], _ = r.Reply(nil, []byte("answer")) })
		}
		wg.Wait()
		for i, reply := range replies {
			for _, other := range replies[:i] {
				is.True(!bytes.Equal(reply[:25], other[:25]))                       // fresh ephemeral or nonce
				is.True(!bytes.Equal(reply[len(reply)-22:], other[len(other)-22:])) // and key stream
			}
		}
		got, err := pending.Open(nil, replies[5])
		is.NoErr(err) // open one
		is.Equal(string(got), "answer")
		for _, reply := range replies {
			_, err = pending.Open(nil, reply)
			matches(t, err, e2e.ErrReplay)
		}
	}

	// Each of them would have done.
	s.client = s.newClient(e2e.ClientConfig{NoTickets: true})
	for i := range 4 {
		message, pending := s.seal("question")
		r := s.open(message)
		for range i {
			s.reply(r, "lost on the way")
		}
		_, err := pending.Open(nil, s.reply(r, "answer"))
		is.NoErr(err) // open the last one
	}
}

func TestMaxBody(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	s.client = s.newClient(e2e.ClientConfig{MaxBody: 100, AllowClear: true})
	s.worker = s.newWorker(e2e.WorkerConfig{MaxBody: 50, AllowClear: true})
	large := make([]byte, 101)
	for range 2 {
		_, _, err := s.client.Seal(nil, large)
		matches(t, err, e2e.ErrTooLarge)
		message, _ := s.seal(string(large[:51]))
		_, err = s.worker.Open(nil, message)
		matches(t, err, e2e.ErrTooLarge)
		message, pending := s.seal(string(large[:50]))
		r := s.open(message)
		_, err = r.Reply(nil, large[:51])
		matches(t, err, e2e.ErrTooLarge)
		_, err = pending.Open(nil, s.reply(r, string(large[:50])))
		is.NoErr(err) // what fits
	}
	_, err := s.client.SealOneWay(nil, large)
	matches(t, err, e2e.ErrTooLarge)
	message, err := s.client.SealOneWay(nil, large[:51])
	is.NoErr(err) // seal what the worker does not take
	_, err = s.worker.OpenOneWay(nil, message)
	matches(t, err, e2e.ErrTooLarge)
	_, _, err = s.client.SealClear(nil, large)
	matches(t, err, e2e.ErrTooLarge)
	message, _, err = s.client.SealClear(nil, large[:51])
	is.NoErr(err) // make what the worker does not take
	_, err = s.worker.Open(nil, message)
	matches(t, err, e2e.ErrTooLarge)

	// A worker with a larger limit than its client.
	s.worker = s.newWorker(e2e.WorkerConfig{})
	for _, size := range []int{101, 100 << 10} {
		for range 2 {
			message, pending := s.seal("question")
			r := s.open(message)
			_, err = pending.Open(nil, s.reply(r, string(make([]byte, size))))
			matches(t, err, e2e.ErrTooLarge)
			_, err = pending.Open(nil, s.reply(r, "shorter"))
			is.NoErr(err) // what fits is still taken
		}
	}
}

func TestOneWay(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	body := bytes.Repeat([]byte("news"), 30_000)
	message, err := s.client.SealOneWay(prefixed(), body)
	is.NoErr(err) // seal one way
	message = cutPrefix(t, message)
	r, err := s.worker.OpenOneWay(prefixed(), message)
	is.NoErr(err) // open one way
	is.True(bytes.Equal(r.Body, body))
	is.Equal(r.Sender, s.alice.Public())
	is.Equal(r.Name, nameOf(s.alice.Public()))
	is.True(r.Time.Equal(s.Now()))
	is.True(!r.Duplicate && !r.Clear)

	_, err = s.worker.OpenOneWay(nil, message)
	matches(t, err, e2e.ErrReplay)
	s.add(61 * time.Second)
	_, err = s.worker.OpenOneWay(nil, message)
	matches(t, err, e2e.ErrExpired)
}

func TestClear(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	_, _, err := s.client.SealClear(nil, []byte("x"))
	matches(t, err, e2e.ErrConfig) // the client did not opt in
	open := s.newClient(e2e.ClientConfig{AllowClear: true})
	message, pending, err := open.SealClear(prefixed(), []byte("question"))
	is.NoErr(err) // make a clear request
	message = cutPrefix(t, message)
	_, err = s.worker.Open(nil, message)
	matches(t, err, e2e.ErrAuthentication) // the worker did not opt in
	_, err = s.worker.OpenOneWay(nil, message)
	matches(t, err, e2e.ErrAuthentication)

	asked := false
	s.worker = s.newWorker(e2e.WorkerConfig{AllowClear: true, Authorize: func(keys.Public) (string, error) {
		asked = true
		return "", nil
	}})
	r, err := s.worker.Open(prefixed(), message)
	is.NoErr(err) // open a clear request
	is.Equal(string(r.Body), "question")
	is.True(r.Clear && r.Sender.IsZero() && r.Name == "" && r.Time.IsZero() && !asked)
	_, err = r.Refuse(nil)
	is.True(errors.Is(err, mechanism.ErrUnsupported))
	reply, err := r.Reply(prefixed(), []byte("answer"))
	is.NoErr(err) // reply in the clear
	reply = cutPrefix(t, reply)
	for _, form := range []byte{0xE2, 0xE4, 0xEF} {
		_, err = pending.Open(nil, append([]byte{form}, reply[1:]...))
		matches(t, err, e2e.ErrMalformed)
	}
	got, err := pending.Open(prefixed(), reply)
	is.NoErr(err) // open the clear reply
	is.Equal(string(cutPrefix(t, got)), "answer")

	// Who allows clear messages still gets sealed ones only as sealed.
	sealed, pending, err := open.Seal(nil, []byte("question"))
	is.NoErr(err) // seal a request
	is.True(!s.open(sealed).Clear)
	_, err = pending.Open(nil, reply)
	matches(t, err, e2e.ErrAuthentication)

	one, err := s.worker.OpenOneWay(nil, message)
	is.NoErr(err) // one way, in the clear
	is.True(one.Clear)

	only, err := e2e.NewClient(e2e.ClientConfig{Identity: s.alice, AllowClear: true})
	is.NoErr(err) // a client for clear messages alone
	_, _, err = only.Seal(nil, nil)
	matches(t, err, e2e.ErrConfig)
	_, err = only.SealOneWay(nil, nil)
	matches(t, err, e2e.ErrConfig)
}

func TestConfigurations(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	b := s.service.Public().Bytes()
	clear(b[:32])
	b[0] = 1
	lowOrder, err := keys.NewServicePublic(b)
	is.NoErr(err) // a key that nothing can be sealed to
	ids := []*keys.ServicePublic{s.service.Public()}
	for name, config := range map[string]e2e.ClientConfig{
		"no identity":      {Services: ids},
		"empty identity":   {Services: ids, Identity: &keys.Private{}},
		"no service":       {Identity: s.alice},
		"empty service":    {Identity: s.alice, Services: []*keys.ServicePublic{{}}},
		"low order":        {Identity: s.alice, Services: []*keys.ServicePublic{lowOrder}},
		"nil service":      {Identity: s.alice, Services: []*keys.ServicePublic{nil}},
		"negative maximum": {Identity: s.alice, Services: ids, MaxBody: -1},
	} {
		_, err := e2e.NewClient(config)
		is.True(errors.Is(err, e2e.ErrConfig)) // refused
		t.Log(name, err)
	}
	mine := []e2e.ServiceKey{{Key: s.service}}
	for name, config := range map[string]e2e.WorkerConfig{
		"no keys":          {Authorize: anyone},
		"no policy":        {Keys: mine},
		"same key twice":   {Authorize: anyone, Keys: slices.Concat(mine, mine)},
		"empty key":        {Authorize: anyone, Keys: []e2e.ServiceKey{{}}},
		"negative window":  {Authorize: anyone, Keys: mine, Window: -1},
		"huge window":      {Authorize: anyone, Keys: mine, Window: e2e.MaxWindow + 1},
		"eternal tickets":  {Authorize: anyone, Keys: mine, TicketLifetime: e2e.MaxTicketLifetime + 1},
		"negative maximum": {Authorize: anyone, Keys: mine, MaxBody: -1},
	} {
		_, err := e2e.NewWorker(config)
		is.True(errors.Is(err, e2e.ErrConfig)) // refused
		t.Log(name, err)
	}
	is.True(errors.Is(s.worker.SetKeys(nil), e2e.ErrConfig))
	is.True(errors.Is(s.client.SetServices(nil), e2e.ErrConfig))
	s.exchange() // and nothing changed
}

// TestConcurrently has many clients ask many workers at once, some of which
// come and go, while the service's key is rotated.
func TestConcurrently(t *testing.T) {
	s := newScene(t)
	next := newServiceKey(t)
	cache := e2e.NewMemoryCache(10_000)
	workers := make([]*e2e.Worker, 3)
	for i := range workers {
		workers[i] = s.newWorker(e2e.WorkerConfig{Seen: cache})
	}
	both := []*keys.ServicePublic{s.service.Public(), next.Public()}
	failures := make(chan error, 100)
	var wg sync.WaitGroup
	for range 10 {
		client := s.newClient(e2e.ClientConfig{Identity: newIdentity(t), Services: both})
		for g := range 2 {
			wg.Go(func() {
				for i := range 10 {
					if err := askAround(client, workers, g+i); err != nil {
						failures <- err
						return
					}
				}
			})
		}
	}
	wg.Go(func() {
		for i := range 20 {
			list := []e2e.ServiceKey{{Key: next}}
			if i%2 == 0 {
				list = append(list, e2e.ServiceKey{Key: s.service})
			}
			if err := workers[i%3].SetKeys(list); err != nil {
				failures <- err
			}
		}
	})
	wg.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
}

// askAround makes one exchange, with one retry, each with another worker.
func askAround(client *e2e.Client, workers []*e2e.Worker, n int) error {
	body := fmt.Appendf(nil, "question %d", n)
	message, pending, err := client.Seal(nil, body)
	for try := 0; err == nil; try++ {
		var answer, got []byte
		r, openErr := workers[(n+try)%len(workers)].Open(nil, message)
		if openErr == nil {
			answer, err = r.Reply(nil, r.Body)
		} else {
			answer = openErr.(*e2e.RequestError).Answer
		}
		if err != nil {
			return err
		}
		got, err = pending.Open(nil, answer)
		if err == nil && !bytes.Equal(got, body) {
			return errors.New("another request's reply")
		}
		if err == nil || !errors.Is(err, e2e.ErrRetry) {
			return err
		}
		message, err = pending.Retry(nil, body)
	}
	return err
}
