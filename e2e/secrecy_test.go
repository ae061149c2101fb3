package e2e_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/mechanism"
)

// TestNonceUniqueness seals the same body many times at the same moment, and
// finds no nonce, ephemeral key or sealed part twice.
func TestNonceUniqueness(t *testing.T) {
	const rounds = 64
	is := is.New(t)
	s := newScene(t)
	full := s.newClient(e2e.ClientConfig{NoTickets: true})
	s.exchange()
	c := newCircle(t, 1)
	p := newPair(t, mechanism.IKhfsChaChaPoly)
	p.establish()
	same, _ := s.seal(secret)
	resumed := s.open(same)
	request, _, err := full.Seal(nil, []byte(secret))
	is.NoErr(err) // seal a request
	fresh := s.open(request)

	for name, f := range map[string]struct {
		seal     func() ([]byte, error)
		from, to int // of the nonce or ephemeral key
	}{
		"request":        {func() ([]byte, error) { m, _, err := full.Seal(nil, []byte(secret)); return m, err }, 1094, 1126},
		"KEM":            {func() ([]byte, error) { m, _, err := full.Seal(nil, []byte(secret)); return m, err }, 6, 1094},
		"ticket request": {func() ([]byte, error) { m, _, err := s.client.Seal(nil, []byte(secret)); return m, err }, 125, 149},
		"reply":          {func() ([]byte, error) { return fresh.Reply(nil, []byte(secret)) }, 1, 33},
		"ticket reply":   {func() ([]byte, error) { return resumed.Reply(nil, []byte(secret)) }, 1, 25},
		"one way":        {func() ([]byte, error) { return full.SealOneWay(nil, []byte(secret)) }, 1094, 1126},
		"group":          {func() ([]byte, error) { return c.members[0].Seal(nil, e2e.Topic{}, []byte(secret), nil) }, 0, 24},
		"pair":           {func() ([]byte, error) { return p.initiator.Seal(nil, []byte(secret)) }, 5, 13},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			nonces, parts := make(map[string]bool), make(map[string]bool)
			for range rounds {
				message, err := f.seal()
				is.NoErr(err) // seal
				nonces[string(message[f.from:f.to])] = true
				end := len(message)
				if name == "group" {
					end -= 87
				}
				parts[string(message[end-16-len(secret)-9:end-16])] = true
			}
			is.Equal(len(nonces), rounds)
			is.Equal(len(parts), rounds)
		})
	}
}

// TestRepeatedRandomness: even if the system's randomness repeats itself, as in
// a cloned machine, the counter of a pair's session goes on.
func TestRepeatedRandomness(t *testing.T) {
	is := is.New(t)
	p := newPair(t, mechanism.IKChaChaPoly)
	p.responder = must(e2e.NewPair(e2e.PairConfig{
		Role: mechanism.Responder, Identity: p.bob, Authorize: anyone, Suites: []mechanism.Suite{mechanism.IKChaChaPoly},
	}))
	p.establish()
	e2e.SetRandomness(p.initiator, vectorRandomness("again"))
	first := must(p.initiator.Seal(nil, []byte(secret)))
	e2e.SetRandomness(p.initiator, vectorRandomness("again"))
	second := must(p.initiator.Seal(nil, []byte(secret)))
	is.True(!bytes.Equal(first[1:17], second[1:17]))
}

// TestNothingPrints prints everything that holds secrets.
func TestNothingPrints(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	s.exchange()
	message, pending := s.seal(secret)
	request := s.open(message)
	c := newCircle(t, 1)
	p := newPair(t, mechanism.IKhfsChaChaPoly)
	p.establish()
	for _, v := range []any{s.client, s.worker, pending, request, c.group, c.members[0], p.initiator, p.responder} {
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("text", "v", v)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&b, "\n"+verb, v)
			fmt.Fprintf(&b, "\n"+verb, struct{ V any }{v})
			fmt.Fprintf(&b, "\n"+verb, []any{v})
		}
		// Structures in full would be much longer.
		is.True(b.Len() < 22*150)
		for _, trace := range []string{secret, fmt.Sprint([]byte(secret)[:4]), fmt.Sprintf("%x", secret[:4])} {
			is.True(!bytes.Contains(b.Bytes(), []byte(trace)))
		}
	}
}

// TestBuffers: overlapping buffers are a mistake of the caller's that would
// destroy messages, so they panic; destinations with room are used.
func TestBuffers(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	buf := make([]byte, 8192)
	message, _ := s.seal(secret)
	n := copy(buf, message)
	is.True(panics(func() { _, _ = s.worker.Open(buf[:0], buf[:n]) }))
	is.True(panics(func() { _, _, _ = s.client.Seal(buf[:0], buf[:100]) }))
	is.True(panics(func() { _, _ = s.client.SealOneWay(buf[:0], buf[1000:1100]) }))

	is.True(!panics(func() { _, _, _ = s.client.Seal(buf[:0], buf[4000:4100]) })) // beyond what is needed
	sealed, _, err := s.client.Seal(buf[:0], []byte(secret))
	is.NoErr(err) // seal into the buffer
	is.True(&sealed[0] == &buf[0])
	r, err := s.worker.Open(buf[4000:4000], sealed)
	is.NoErr(err) // open into it
	is.True(&r.Body[0] == &buf[4000])
}

// TestTicketExchangeAllocates few times: it is the path of most messages.
func TestTicketExchangeAllocates(t *testing.T) {
	if raceEnabled {
		return // the race detector allocates too
	}
	is := is.New(t)
	s := newScene(t)
	s.worker = s.newWorker(e2e.WorkerConfig{Seen: brokenCache{}, Authorize: everyone})
	s.exchange()
	body := []byte(secret)
	var buf [4][]byte
	allocs := testing.AllocsPerRun(100, func() {
		message, pending, _ := s.client.Seal(buf[0][:0], body)
		r, _ := s.worker.Open(buf[1][:0], message)
		reply, _ := r.Reply(buf[2][:0], r.Body)
		got, err := pending.Open(buf[3][:0], reply)
		if err != nil {
			panic(err)
		}
		buf = [4][]byte{message, r.Body, reply, got}
	})
	is.True(allocs <= 12)
}

// TestTimesAtTheEdges: no time that a peer claims upsets anything.
func TestTimesAtTheEdges(t *testing.T) {
	is := is.New(t)
	s := newScene(t)
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Unix(1<<40, 0), time.UnixMilli(1<<63 - 1)} {
		odd := s.newClient(e2e.ClientConfig{NoTickets: true, Now: func() time.Time { return at }})
		message, _, err := odd.Seal(nil, []byte(secret))
		is.NoErr(err) // seal at an odd time
		refused(t, s.openBody, message, at.String())
	}
	old := newScene(t)
	old.now = time.Unix(0, 0) // a machine whose clock was never set
	old.exchange()
	is.True(old.exchange().Resumed)
}
