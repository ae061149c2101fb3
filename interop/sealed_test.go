package interop

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	_ "go.nanomsg.org/mangos/v3/transport/tcp"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

// patience bounds how long a test waits for what must come.
const patience = 30 * time.Second

// newSealed opens a sealed socket that connects to url and is closed with the
// test.
func newSealed(t *testing.T, open func() (mangos.Socket, error), config spmangos.SealConfig, url string) mangos.Socket {
	t.Helper()
	is := is.New(t)
	plain, err := open()
	is.NoErr(err) // open a socket
	s, err := spmangos.Seal(plain, config)
	is.NoErr(err) // seal it
	t.Cleanup(func() { s.Close() })
	if _, err := s.GetOption(mangos.OptionRecvDeadline); err == nil {
		is.NoErr(s.SetOption(mangos.OptionRecvDeadline, patience))
	}
	is.NoErr(s.Dial(url)) // connect
	return s
}

func generate(t *testing.T) *keys.Private {
	t.Helper()
	is := is.New(t)
	k, err := keys.Generate()
	is.NoErr(err) // make a key
	return k
}

// crowd is many clients of one service and its workers.
type crowd struct {
	t       *testing.T
	service *keys.ServicePrivate
	clients []*keys.Private
	middle  *middle
	altered bool // messages are
	working sync.WaitGroup

	mu     sync.Mutex
	sent   map[string]keys.Public // whose each request is
	served map[string]int         // by each worker
	forged []string               // what workers opened that nobody sent
}

func newCrowd(t *testing.T, m *middle, clients int) *crowd {
	t.Helper()
	is := is.New(t)
	service, err := keys.GenerateService()
	is.NoErr(err) // make a service key
	c := &crowd{t: t, service: service, middle: m, sent: make(map[string]keys.Public), served: make(map[string]int)}
	for range clients {
		c.clients = append(c.clients, generate(t))
	}
	t.Cleanup(c.working.Wait)
	return c
}

// worker connects a worker behind the device.
func (c *crowd) worker() mangos.Socket {
	c.t.Helper()
	is := is.New(c.t)
	var all []keys.Public
	for _, k := range c.clients {
		all = append(all, k.Public())
	}
	w, err := e2e.NewWorker(e2e.WorkerConfig{
		Keys:       []e2e.ServiceKey{{Key: c.service}},
		Authorize:  spmangos.Authorize(trust.Keys(all...)),
		Duplicates: e2e.FlagDuplicates,
	})
	is.NoErr(err) // make a worker
	return newSealed(c.t, rep.NewSocket, spmangos.SealConfig{Worker: w}, c.middle.back.url)
}

// work has a worker answer until its socket is closed.
func (c *crowd) work(s mangos.Socket, name string) {
	c.working.Go(func() {
		for {
			m, err := s.RecvMsg()
			if err != nil {
				return
			}
			body := string(m.Body)
			sender, _ := spmangos.Sender(m)
			c.mu.Lock()
			c.served[name]++
			if owner, ok := c.sent[body]; !ok || owner != sender {
				c.forged = append(c.forged, body)
			}
			c.mu.Unlock()
			m.Free()
			if s.Send([]byte("the answer to "+body)) == mangos.ErrClosed {
				return
			}
		}
	})
}

// ask has all clients ask at the same time, and returns when all have been
// answered.
func (c *crowd) ask(questions int) {
	c.t.Helper()
	is := is.New(c.t)
	results := make(chan error, len(c.clients))
	for i, who := range c.clients {
		client, err := e2e.NewClient(e2e.ClientConfig{Identity: who, Services: []*keys.ServicePublic{c.service.Public()}})
		is.NoErr(err) // make a client
		s := newSealed(c.t, req.NewSocket, spmangos.SealConfig{Client: client}, c.middle.front.url)
		is.NoErr(s.SetOption(mangos.OptionRetryTime, 200*time.Millisecond))
		go func() {
			for j := range questions {
				if err := c.askOne(s, who, fmt.Sprintf("confidential question %d of client %d", j, i)); err != nil {
					results <- err
					return
				}
			}
			results <- nil
		}()
	}
	for range c.clients {
		is.NoErr(<-results) // within patience
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	is.Equal(len(c.forged), 0) // nobody opened what nobody sent
}

// askOne asks until there is an answer that can be opened.
func (c *crowd) askOne(s mangos.Socket, who *keys.Private, body string) error {
	c.mu.Lock()
	c.sent[body] = who.Public()
	c.mu.Unlock()
	for {
		if err := s.Send([]byte(body)); err != nil {
			return err
		}
		reply, err := s.Recv()
		switch {
		case err == nil && string(reply) == "the answer to "+body:
			return nil
		case err == nil:
			return fmt.Errorf("%q was answered with %q", body, reply)
		case !c.blamesMiddle(err):
			return err
		}
	}
}

// blamesMiddle reports whether an error is one that a middleman who alters
// messages can bring about. Where nobody does, there is none.
func (c *crowd) blamesMiddle(err error) bool {
	return c.altered && (errors.Is(err, e2e.ErrAuthentication) || errors.Is(err, e2e.ErrMalformed) ||
		errors.Is(err, e2e.ErrUnknownKey) || errors.Is(err, e2e.ErrExpired) || errors.Is(err, e2e.ErrTooLarge))
}

// seenNothing makes sure that the taps recorded messages, but neither the given
// words nor any client's key.
func (c *crowd) seenNothing(words ...string) {
	c.t.Helper()
	is := is.New(c.t)
	for _, k := range c.clients {
		words = append(words, string(k.Public().Bytes()))
	}
	for _, p := range []*tap{c.middle.front, c.middle.back} {
		p.mu.Lock()
		seen := p.seen
		p.mu.Unlock()
		is.True(len(seen) > 0) // messages were recorded
		for _, word := range words {
			is.True(!bytes.Contains(seen, []byte(word))) // nothing readable passes
		}
	}
}

// TestSealedThroughDevices has clients ask workers behind a device in C that
// spreads the load, and kills one more worker with a request in its hands.
func TestSealedThroughDevices(t *testing.T) {
	for _, library := range deviceLibraries {
		t.Run(library, func(t *testing.T) {
			is := is.New(t)
			c := newCrowd(t, startMiddle(t, buildDevice(t, library), "reqrep"), 50)
			victim := c.worker()
			killed := make(chan error, 1)
			go func() {
				_, err := victim.RecvMsg()
				killed <- errors.Join(err, victim.Close())
			}()
			names := []string{"one", "two", "three"}
			for _, name := range names {
				c.work(c.worker(), name)
			}
			c.ask(8)
			is.NoErr(<-killed) // it had a request
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, name := range names {
				is.True(c.served[name] > 0) // a worker got its share
			}
			c.seenNothing("confidential", "question", "answer")
		})
	}
}

// TestSealedUnderAttack alters every second message on either side of the
// device, in both directions.
func TestSealedUnderAttack(t *testing.T) {
	for _, library := range deviceLibraries {
		t.Run(library, func(t *testing.T) {
			is := is.New(t)
			m := startMiddle(t, buildDevice(t, library), "reqrep")
			var attacks [4]attacker
			m.front.alter(attacks[0].meddle, attacks[1].meddle)
			m.back.alter(attacks[2].meddle, attacks[3].meddle)
			c := newCrowd(t, m, 20)
			c.altered = true
			for _, name := range []string{"one", "two", "three"} {
				c.work(c.worker(), name)
			}
			c.ask(3)
			c.seenNothing("confidential", "question", "answer")
			for i := range attacks {
				attacks[i].mu.Lock()
				is.True(attacks[i].count >= 8) // each kind of attack was tried
				attacks[i].mu.Unlock()
			}
		})
	}
}

// attacker is one direction of a malicious tap. It keeps the SP header in
// order, so that the device goes on forwarding.
type attacker struct {
	mu      sync.Mutex
	count   int
	earlier [][]byte // bodies that have passed
}

func (a *attacker) meddle(message []byte) [][]byte {
	header, body, err := splitHeader(message)
	if err != nil || len(body) == 0 {
		return [][]byte{message}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.count / 2
	before := body
	if len(a.earlier) > 0 {
		before = a.earlier[n%len(a.earlier)]
	}
	if len(a.earlier) < 64 {
		a.earlier = append(a.earlier, body)
	}
	a.count++
	if a.count%2 == 0 {
		return [][]byte{message}
	}
	switch n % 4 {
	case 0: // one bit
		altered := bytes.Clone(body)
		altered[n*7%len(body)] ^= 1 << (n % 8)
		return [][]byte{append(header, altered...)}
	case 1: // truncated
		return [][]byte{append(header, body[:n*11%len(body)]...)}
	case 2: // twice
		return [][]byte{message, message}
	default: // an earlier one in its place
		return [][]byte{append(header, before...)}
	}
}
