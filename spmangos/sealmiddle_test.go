package spmangos_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pull"
	"go.nanomsg.org/mangos/v3/protocol/push"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	"go.nanomsg.org/mangos/v3/protocol/xpull"
	"go.nanomsg.org/mangos/v3/protocol/xpush"
	"go.nanomsg.org/mangos/v3/protocol/xrep"
	"go.nanomsg.org/mangos/v3/protocol/xreq"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

// crowd is many clients and some workers of one service.
type crowd struct {
	service *service
	clients []*keys.Private
	mu      sync.Mutex
	sent    map[string]keys.Public // whose each request is
	forged  []string               // what workers opened that nobody sent
	made    []*e2e.Client          // the clients', by run
	workers []*e2e.Worker

	onRequest func(n int64) // if not nil, called for each request that is opened
	requests  atomic.Int64

	rejected atomic.Int64 // replies that clients could not open
	retried  uint64       // requests sealed anew because of a hint
	dropped  uint64       // requests that workers could not open
}

func newCrowd(t testing.TB, clients int) *crowd {
	c := &crowd{service: newService(t), sent: make(map[string]keys.Public)}
	for range clients {
		c.clients = append(c.clients, identity(t))
	}
	return c
}

func (c *crowd) policy() trust.Policy {
	var all []keys.Public
	for _, k := range c.clients {
		all = append(all, k.Public())
	}
	return trust.Keys(all...)
}

// work answers requests, after it has checked that they are genuine.
func (c *crowd) work(s mangos.Context) {
	for {
		m, err := s.RecvMsg()
		if err != nil {
			return
		}
		body := string(m.Body)
		sender, _ := spmangos.Sender(m)
		c.mu.Lock()
		if owner, ok := c.sent[body]; !ok || owner != sender {
			c.forged = append(c.forged, body)
		}
		c.mu.Unlock()
		m.Free()
		if n := c.requests.Add(1); c.onRequest != nil {
			c.onRequest(n)
		}
		if err := s.Send([]byte("the answer to " + body)); err == mangos.ErrClosed {
			return
		}
	}
}

// addWorker connects one more worker to the device's back.
func (c *crowd) addWorker(t testing.TB, back mangos.Socket) mangos.Socket {
	worker := c.service.worker(c.policy(), flagDuplicates)
	c.workers = append(c.workers, worker)
	w := newSealed(t, rep.NewSocket, spmangos.SealConfig{Worker: worker})
	link(t, back, w)
	return w
}

// run has all clients ask, and returns when all have been answered. A client
// whose answer cannot be opened, or does not come, asks again.
func (c *crowd) run(t testing.TB, front mangos.Socket, questions int) {
	is := is.New(t)
	results := make(chan error, len(c.clients))
	var sockets []mangos.Socket
	for _, who := range c.clients {
		client := c.service.client(who)
		s := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: client})
		setOption(t, s, mangos.OptionRetryTime, 100*time.Millisecond)
		setOption(t, s, mangos.OptionRecvDeadline, patience)
		link(t, front, s)
		sockets, c.made = append(sockets, s), append(c.made, client)
	}
	for i, who := range c.clients {
		go func() { results <- c.askAll(sockets[i], who, i, questions) }()
	}
	for range c.clients {
		is.NoErr(await(t, results, "a client is stuck"))
	}
	for _, s := range sockets {
		c.retried += stats(t, s).Retried
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	is.Equal(c.forged, nil) // nobody opened what nobody sent
}

func (c *crowd) askAll(s mangos.Socket, who *keys.Private, i, questions int) error {
	for j := range questions {
		body := fmt.Sprintf("confidential question %d of client %d", j, i)
		c.mu.Lock()
		c.sent[body] = who.Public()
		c.mu.Unlock()
		for {
			reply, err := ask(s, body)
			if err == nil && reply != "the answer to "+body {
				return fmt.Errorf("%q was answered with %q", body, reply)
			}
			if err == nil {
				break
			}
			if !isRejection(err) {
				return err
			}
			c.rejected.Add(1)
		}
	}
	return nil
}

// isRejection reports whether an error is one that a middleman can bring about.
func isRejection(err error) bool {
	for _, kind := range []error{
		e2e.ErrAuthentication, e2e.ErrMalformed, e2e.ErrUnknownKey, e2e.ErrExpired, e2e.ErrTooLarge,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// TestSealDevice puts mangos' own device between.
func TestSealDevice(t *testing.T) {
	is := is.New(t)
	c := newCrowd(t, 50)
	front, back := newSocket(t, xrep.NewSocket), newSocket(t, xreq.NewSocket)
	is.NoErr(mangos.Device(front, back))
	workers := c.addWorkers(t, back)
	c.run(t, front, 4)
	for _, w := range workers {
		is.True(stats(t, w).Opened > 0) // each had its share
	}
}

// addWorkers connects three workers, and has them work until the test is over.
func (c *crowd) addWorkers(t testing.TB, back mangos.Socket) (workers []mangos.Socket) {
	for range 3 {
		w := c.addWorker(t, back)
		inBackground(t, func() { c.work(w) })
		t.Cleanup(func() { w.Close() })
		workers = append(workers, w)
	}
	return workers
}

// TestSealMiddle has a middleman do all the harm it can, to every second
// message in either direction.
func TestSealMiddle(t *testing.T) {
	is := is.New(t)
	c := newCrowd(t, 50)
	front, back := newSocket(t, xrep.NewSocket), newSocket(t, xreq.NewSocket)
	spy := new(spy)
	there := &middleman{to: back, spy: spy}
	andBack := &middleman{to: front, spy: spy, skip: 4}
	forward(t, front, there.meddle)
	forward(t, back, andBack.meddle)
	workers := c.addWorkers(t, back)
	c.run(t, front, 3)
	for kind := range there.harm {
		is.True(there.harm[kind].Load() > 0)   // each kind of harm was done to requests
		is.True(andBack.harm[kind].Load() > 0) // and to replies
	}
	for _, w := range workers {
		c.dropped += stats(t, w).Dropped
	}
	is.True(c.dropped > 0)         // workers met it
	is.True(c.rejected.Load() > 0) // and so did clients
	is.True(c.retried > 0)         // some of whom did what hints ask for, once
	for _, who := range c.clients {
		key := who.Public().Bytes()
		is.True(!spy.saw(string(key[:]))) // nor who asks
	}
	for _, secret := range []string{"confidential", "answer", "question"} {
		is.True(!spy.saw(secret)) // nothing readable passed
	}
}

// middleman is one direction of a malicious device.
type middleman struct {
	to      mangos.Socket
	spy     *spy
	skip    int // how much in front is mangos' own: the request's number
	count   int
	flipAt  int
	held    *mangos.Message   // a message that is late
	earlier []*mangos.Message // some that have passed
	harm    [10]atomic.Int64  // done, by kind
}

func (w *middleman) meddle(m *mangos.Message) error {
	w.spy.look(m)
	if len(w.earlier) < 64 {
		w.earlier = append(w.earlier, m.Dup())
	}
	w.count++
	if w.count%2 == 0 {
		return w.to.SendMsg(m)
	}
	before := w.earlier[w.count%len(w.earlier)]
	body := bytes.Clone(m.Body[w.skip:])
	kind := w.count / 2 % len(w.harm)
	w.harm[kind].Add(1)
	switch kind {
	case 0: // twice
		if err := w.to.SendMsg(m.Dup()); err != nil {
			return err
		}
	case 1: // truncated
		body = body[:w.count%(len(body)+1)]
	case 2: // one bit, every time another
		if len(body) > 0 {
			body[w.flipAt%len(body)] ^= 1 << (w.flipAt % 8)
			w.flipAt += 7
		}
	case 3: // another message in its place: a swap
		body = bytes.Clone(before.Body[w.skip:])
	case 4: // an earlier one once more
		if err := w.to.SendMsg(before.Dup()); err != nil {
			return err
		}
	case 5: // late, and out of order
		m, w.held = w.held, m
		if m == nil {
			return nil
		}
		return w.to.SendMsg(m)
	case 6: // a hint that the key is unknown
		body = []byte{0xEF, 1}
	case 7: // a hint that the ticket is no good
		body = []byte{0xEF, 2}
	case 8: // something made up
		body = append([]byte{0xE0}, "the answer to everything"...)
	case 9: // longer
		body = append(body, body...)
	}
	m.Body = append(bytes.Clone(m.Body[:w.skip]), body...)
	return w.to.SendMsg(m)
}

// TestSealRotation changes the service's key while fifty clients ask: first all
// workers have both keys, then the clients get the new one, then the old one
// ends. Every request is answered.
func TestSealRotation(t *testing.T) {
	is := is.New(t)
	c, next := newCrowd(t, 50), newService(t)
	front, back := newSocket(t, xrep.NewSocket), newSocket(t, xreq.NewSocket)
	is.NoErr(mangos.Device(front, back))
	setKeys := func(set ...e2e.ServiceKey) error {
		var errs []error
		for _, w := range c.workers {
			errs = append(errs, w.SetKeys(set))
		}
		return errors.Join(errs...)
	}
	rotated := make(chan error, 3)
	c.onRequest = func(n int64) {
		switch n {
		case 50:
			rotated <- setKeys(e2e.ServiceKey{Key: next.key}, e2e.ServiceKey{Key: c.service.key})
		case 100:
			var errs []error
			for _, client := range c.made {
				errs = append(errs, client.SetServices([]*keys.ServicePublic{next.key.Public()}))
			}
			rotated <- errors.Join(errs...)
		case 150:
			rotated <- setKeys(e2e.ServiceKey{Key: next.key})
		}
	}
	c.addWorkers(t, back)
	c.run(t, front, 4)
	for range 3 {
		is.NoErr(await(t, rotated, "the keys were not changed"))
	}

	late := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: c.service.client(c.clients[0])})
	setOption(t, late, mangos.OptionRecvDeadline, patience)
	link(t, front, late)
	_, err := ask(late, "under the old key")
	is.True(errors.Is(err, e2e.ErrUnknownKey)) // it is gone
}

// TestSealWorkerDies kills a worker that has a request in its hands: another
// one answers.
func TestSealWorkerDies(t *testing.T) {
	is := is.New(t)
	c := newCrowd(t, 1)
	front, back := newSocket(t, xrep.NewSocket), newSocket(t, xreq.NewSocket)
	is.NoErr(mangos.Device(front, back))
	client := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: c.service.client(c.clients[0])})
	setOption(t, client, mangos.OptionRetryTime, 50*time.Millisecond)
	setOption(t, client, mangos.OptionRecvDeadline, patience)
	link(t, front, client)
	for _, body := range []string{"with a full request", "with a ticket"} {
		c.sent[body] = c.clients[0].Public()
		victim := c.addWorker(t, back)
		is.NoErr(client.Send([]byte(body)))
		m, err := victim.RecvMsg()
		is.NoErr(err) // it is at work
		is.Equal(string(m.Body), body)
		is.NoErr(victim.Close())
		heir := c.addWorker(t, back)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.work(heir)
		}()
		reply, err := client.Recv()
		is.NoErr(err) // somebody else answers
		is.Equal(string(reply), "the answer to "+body)
		is.NoErr(heir.Close())
		<-done
	}
}

// TestSealEarlierDuplicate delays the answer to a request until the REQ has
// repeated it, to another worker even: it is still good.
func TestSealEarlierDuplicate(t *testing.T) {
	is := is.New(t)
	c := newCrowd(t, 1)
	middle := newSocket(t, xrep.NewSocket)
	client := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: c.service.client(c.clients[0])})
	setOption(t, client, mangos.OptionRetryTime, 10*time.Millisecond)
	link(t, middle, client)
	one, other := c.service.worker(c.policy(), nil), c.service.worker(c.policy(), nil)
	var before []byte
	for _, body := range []string{"with a full request", "with a ticket"} {
		is.NoErr(client.Send([]byte(body)))
		first, err := middle.RecvMsg()
		for err == nil && bytes.Equal(first.Body, before) { // repeated once too often
			first, err = middle.RecvMsg()
		}
		is.NoErr(err) // the request
		before = bytes.Clone(first.Body)
		second, err := middle.RecvMsg()
		is.NoErr(err)                                     // once more
		is.True(bytes.Equal(first.Body, second.Body))     // the same bytes
		is.True(bytes.Equal(first.Header, second.Header)) // to mangos the same request
		early, err := one.Open(nil, first.Body)
		is.NoErr(err) // one worker opens it
		late, err := other.Open(nil, second.Body)
		is.NoErr(err) // and another
		_, err = late.Reply(nil, []byte("the other's"))
		is.NoErr(err) // whose answer is lost
		first.Body, err = early.Reply(nil, []byte("the first one's"))
		is.NoErr(err) // answer
		is.NoErr(middle.SendMsg(first))
		reply, err := client.Recv()
		is.NoErr(err) // open
		is.Equal(string(reply), "the first one's")
	}
}

// TestSealEveryByte alters every byte of a request, and every byte of a reply,
// with and without a ticket.
func TestSealEveryByte(t *testing.T) {
	is := is.New(t)
	sv, alice := newService(t), identity(t)
	middle, back := newSocket(t, xrep.NewSocket), newSocket(t, xreq.NewSocket)
	client := newSealed(t, req.NewSocket, spmangos.SealConfig{Client: sv.client(alice)})
	setOption(t, client, mangos.OptionRecvDeadline, patience)
	server := newSealed(t, rep.NewSocket, spmangos.SealConfig{Worker: sv.worker(trust.Keys(alice.Public()), flagDuplicates)})
	link(t, middle, client)
	link(t, back, server)
	worker := sv.worker(trust.Keys(alice.Public()), flagDuplicates)
	forward(t, back, func(*mangos.Message) error { return nil }) // hints

	for _, form := range []byte{0xE1, 0xE3} {
		is.NoErr(client.Send([]byte("a request")))
		request, err := middle.RecvMsg()
		is.NoErr(err) // the request
		is.Equal(request.Body[0], form)
		before := stats(t, server).Dropped
		sent := make(chan error, 1)
		go func() {
			for i := range request.Body {
				m := request.Dup()
				m.Body[i] ^= 0x10
				if err := back.SendMsg(m); err != nil {
					sent <- err
					return
				}
			}
			sent <- back.SendMsg(request.Dup())
		}()
		expectFrom(t, server, "a request", alice) // only the one that nobody has touched
		is.NoErr(<-sent)
		is.NoErr(server.Send(nil))
		is.Equal(stats(t, server).Dropped-before, uint64(len(request.Body)))

		opened, err := worker.Open(nil, request.Body)
		is.NoErr(err)
		size := 0
		for i := 0; i == 0 || i < size; i++ {
			if i > 0 {
				is.NoErr(client.Send([]byte("a request")))
				request, err = middle.RecvMsg()
				is.NoErr(err)
				opened, err = worker.Open(nil, request.Body)
				is.NoErr(err)
			}
			reply, err := opened.Reply(nil, []byte("a reply"))
			is.NoErr(err)
			size = len(reply)
			reply[i] ^= 0x10
			request.Body = reply
			is.NoErr(middle.SendMsg(request))
			got, err := client.Recv()
			is.True(err != nil && got == nil) // an altered reply
			is.True(isRejection(err))
		}
		// The next round has a ticket.
		is.NoErr(client.Send([]byte("a request")))
		request, err = middle.RecvMsg()
		is.NoErr(err)
		opened, err = worker.Open(nil, request.Body)
		is.NoErr(err)
		request.Body, err = opened.Reply(nil, []byte("a reply"))
		is.NoErr(err)
		is.NoErr(middle.SendMsg(request))
		_, err = client.Recv()
		is.NoErr(err)
	}
}

// TestSealPipeline has many push to some through a device that also replays,
// damages and makes things up: each job is done once.
func TestSealPipeline(t *testing.T) {
	is := is.New(t)
	const jobs = 200
	sv, alice := newService(t), identity(t)
	front, back := newSocket(t, xpull.NewSocket), newSocket(t, xpush.NewSocket)
	spy := new(spy)
	forward(t, front, func(m *mangos.Message) error {
		spy.look(m)
		replay, damaged, madeUp := m.Dup(), m.Dup(), mangos.NewMessage(0)
		damaged.Body[len(damaged.Body)/2]++
		madeUp.Body = append(madeUp.Body, 0xE0, 'x')
		for _, one := range []*mangos.Message{madeUp, damaged, m, replay} {
			if err := back.SendMsg(one); err != nil {
				return err
			}
		}
		return nil
	})
	pushes := newSealed(t, push.NewSocket, spmangos.SealConfig{Client: sv.client(alice)})
	link(t, front, pushes)
	done := make(chan string, 4*jobs)
	worker := sv.worker(trust.Keys(alice.Public()), nil) // they share what they have seen
	var dropped atomic.Int32
	allDropped := make(chan struct{})
	for range 3 {
		pulls := newSealed(t, pull.NewSocket, spmangos.SealConfig{
			Worker: worker,
			OnDrop: func(*mangos.Message, error) {
				if dropped.Add(1) == 3*jobs {
					close(allDropped)
				}
			},
		})
		link(t, back, pulls)
		inBackground(t, func() {
			for {
				job, err := pulls.Recv()
				if err != nil {
					return
				}
				done <- string(job)
			}
		})
		t.Cleanup(func() { pulls.Close() })
	}
	for i := range jobs {
		is.NoErr(pushes.Send(fmt.Append(nil, "job number ", i)))
	}
	got := make(map[string]int)
	for range jobs {
		got[await(t, done, "a job is missing")]++
	}
	await(t, allDropped, "something was not dropped")
	is.Equal(len(done), 0)
	for i := range jobs {
		is.Equal(got[fmt.Sprint("job number ", i)], 1)
	}
	is.True(!spy.saw("job number"))
}
