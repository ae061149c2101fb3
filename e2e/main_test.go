package e2e_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
)

func TestMain(m *testing.M) { leak.Main(m) }

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newIdentity(t testing.TB) *keys.Private {
	is := is.New(t)
	is.Helper()
	k, err := keys.Generate()
	is.NoErr(err) // generate an identity
	return k
}

func newServiceKey(t testing.TB) *keys.ServicePrivate {
	is := is.New(t)
	is.Helper()
	k, err := keys.GenerateService()
	is.NoErr(err) // generate a service key
	return k
}

// anyone admits all, under a name that shows that it was asked.
func anyone(k keys.Public) (string, error) { return nameOf(k), nil }

func nameOf(k keys.Public) string { return "name of " + k.String() }

// scene is a service with one worker and one client, which share a clock.
type scene struct {
	*clock
	t       testing.TB
	service *keys.ServicePrivate
	alice   *keys.Private
	client  *e2e.Client
	worker  *e2e.Worker
}

func newScene(t testing.TB) *scene {
	s := &scene{clock: newClock(), t: t, service: newServiceKey(t), alice: newIdentity(t)}
	s.client = s.newClient(e2e.ClientConfig{})
	s.worker = s.newWorker(e2e.WorkerConfig{})
	return s
}

// newClient returns a client of the scene's service, as config says.
func (s *scene) newClient(config e2e.ClientConfig) *e2e.Client {
	is := is.New(s.t)
	is.Helper()
	if config.Identity == nil {
		config.Identity = s.alice
	}
	if config.Services == nil {
		config.Services = []*keys.ServicePublic{s.service.Public()}
	}
	if config.Now == nil {
		config.Now = s.Now
	}
	c, err := e2e.NewClient(config)
	is.NoErr(err) // make a client
	return c
}

// newWorker returns a worker of the scene's service, as config says.
func (s *scene) newWorker(config e2e.WorkerConfig) *e2e.Worker {
	is := is.New(s.t)
	is.Helper()
	if config.Keys == nil {
		config.Keys = []e2e.ServiceKey{{Key: s.service}}
	}
	if config.Authorize == nil {
		config.Authorize = anyone
	}
	if config.Now == nil {
		config.Now = s.Now
	}
	w, err := e2e.NewWorker(config)
	is.NoErr(err) // make a worker
	return w
}

// seal seals a request of the scene's client.
func (s *scene) seal(body string) ([]byte, *e2e.Pending) {
	is := is.New(s.t)
	is.Helper()
	message, pending, err := s.client.Seal(nil, []byte(body))
	is.NoErr(err) // seal a request
	return message, pending
}

// open has the scene's worker open a request.
func (s *scene) open(message []byte) *e2e.Request {
	is := is.New(s.t)
	is.Helper()
	r, err := s.worker.Open(nil, message)
	is.NoErr(err) // open a request
	return r
}

// reply seals a reply.
func (s *scene) reply(r *e2e.Request, body string) []byte {
	is := is.New(s.t)
	is.Helper()
	message, err := r.Reply(nil, []byte(body))
	is.NoErr(err) // seal a reply
	return message
}

// exchange does a whole exchange and returns the request as it was opened.
func (s *scene) exchange() *e2e.Request {
	is := is.New(s.t)
	is.Helper()
	message, pending := s.seal("question")
	r := s.open(message)
	got, err := pending.Open(nil, s.reply(r, "answer"))
	is.NoErr(err) // open the reply
	is.Equal(string(got), "answer")
	return r
}

// matches fails unless err matches all of the targets, and says it properly.
func matches(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("got error %v, want one that matches %v", err, target)
		}
	}
	if text := err.Error(); !strings.HasPrefix(text, "securesp: ") || strings.Count(text, "securesp:") != 1 {
		t.Errorf("error text %q", text)
	}
}

// answerTo returns the Answer of a *RequestError.
func answerTo(t testing.TB, err error) []byte {
	t.Helper()
	var e *e2e.RequestError
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *RequestError", err)
	}
	return e.Answer
}

// prefixed is a destination that already holds something.
func prefixed() []byte { return append(make([]byte, 0, 64), "before:"...) }

// cutPrefix checks that what prefixed had is still there.
func cutPrefix(t testing.TB, b []byte) []byte {
	t.Helper()
	rest, ok := bytes.CutPrefix(b, []byte("before:"))
	if !ok {
		t.Fatalf("the destination's content is gone from %.20q", b)
	}
	return rest
}
