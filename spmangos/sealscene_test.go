package spmangos_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	_ "go.nanomsg.org/mangos/v3/transport/inproc"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

// newSocket opens a socket that is closed with the test.
func newSocket(t testing.TB, open func() (mangos.Socket, error)) mangos.Socket {
	is := is.New(t)
	is.Helper()
	s, err := open()
	is.NoErr(err) // open a socket
	t.Cleanup(func() { s.Close() })
	return s
}

// newSealed opens a sealed socket that is closed with the test.
func newSealed(t testing.TB, open func() (mangos.Socket, error), config spmangos.SealConfig) mangos.Socket {
	is := is.New(t)
	is.Helper()
	s, err := spmangos.Seal(newSocket(t, open), config)
	is.NoErr(err) // seal a socket
	t.Cleanup(func() { s.Close() })
	return s
}

var links atomic.Uint32

// link connects two sockets and returns when both can use the connection.
func link(t testing.TB, listens, dials mangos.Socket) {
	is := is.New(t)
	is.Helper()
	url := fmt.Sprintf("inproc://link-%d", links.Add(1))
	attached := make(chan struct{}, 2)
	var before [2]mangos.PipeEventHook
	for i, s := range []mangos.Socket{listens, dials} {
		before[i] = s.SetPipeEventHook(func(event mangos.PipeEvent, p mangos.Pipe) {
			if event == mangos.PipeEventAttached && p.Address() == url {
				attached <- struct{}{}
			}
		})
	}
	is.NoErr(listens.Listen(url))
	is.NoErr(dials.Dial(url))
	for range 2 {
		await(t, attached, "no connection")
	}
	listens.SetPipeEventHook(before[0])
	dials.SetPipeEventHook(before[1])
}

// await receives from c, or fails the test.
func await[T any](t testing.TB, c <-chan T, otherwise string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal(otherwise)
	}
	return v
}

// service is a service key and what goes with it.
type service struct {
	t   testing.TB
	key *keys.ServicePrivate
}

func newService(t testing.TB) *service {
	is := is.New(t)
	is.Helper()
	key, err := keys.GenerateService()
	is.NoErr(err) // make a service key
	return &service{t, key}
}

// client returns a client of the service's.
func (s *service) client(who *keys.Private) *e2e.Client {
	is := is.New(s.t)
	is.Helper()
	c, err := e2e.NewClient(e2e.ClientConfig{
		Identity: who, Services: []*keys.ServicePublic{s.key.Public()}, AllowClear: true, MaxBody: 64 << 10,
	})
	is.NoErr(err) // make a client
	return c
}

// worker returns a worker of the service's that policy guards.
func (s *service) worker(policy trust.Policy, change func(*e2e.WorkerConfig)) *e2e.Worker {
	is := is.New(s.t)
	is.Helper()
	config := e2e.WorkerConfig{
		Keys:      []e2e.ServiceKey{{Key: s.key}},
		Authorize: spmangos.Authorize(policy),
		MaxBody:   64 << 10,
	}
	if change != nil {
		change(&config)
	}
	w, err := e2e.NewWorker(config)
	is.NoErr(err) // make a worker
	return w
}

func allowClear(c *e2e.WorkerConfig)     { c.AllowClear = true }
func flagDuplicates(c *e2e.WorkerConfig) { c.Duplicates = e2e.FlagDuplicates }

func setOption(t testing.TB, s mangos.Context, name string, value any) {
	is := is.New(t)
	is.Helper()
	is.NoErr(s.SetOption(name, value)) // set an option
}

func stats(t testing.TB, s mangos.Socket) spmangos.SealStats {
	is := is.New(t)
	is.Helper()
	value, err := s.GetOption(spmangos.OptionSealStats)
	is.NoErr(err) // statistics
	return value.(spmangos.SealStats)
}

// echo answers requests with their own body, the sender's name in front, until
// the socket is closed.
func echo(s mangos.Context) {
	for {
		m, err := s.RecvMsg()
		if err != nil {
			return
		}
		from, _ := spmangos.ProvenanceOf(m)
		reply := mangos.NewMessage(0)
		reply.Body = fmt.Appendf(reply.Body, "%v: %s", from.Sender, m.Body)
		m.Free()
		if s.SendMsg(reply) != nil {
			reply.Free()
		}
	}
}

// inBackground runs f until the test is over.
func inBackground(t testing.TB, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	t.Cleanup(func() { <-done })
}

// ask sends a request and returns the reply.
func ask(s mangos.Context, body string) (string, error) {
	if err := s.Send([]byte(body)); err != nil {
		return "", err
	}
	reply, err := s.Recv()
	return string(reply), err
}

// expectFrom receives a message and compares its body and its sender.
func expectFrom(t testing.TB, s mangos.Context, body string, sender *keys.Private) spmangos.Provenance {
	is := is.New(t)
	is.Helper()
	m, err := s.RecvMsg()
	is.NoErr(err) // receive
	is.Equal(string(m.Body), body)
	who, ok := spmangos.Sender(m)
	is.True(ok) // the sender is known
	is.Equal(who, sender.Public())
	from, _ := spmangos.ProvenanceOf(m)
	_, err = m.Pipe.GetOption(mangos.OptionRemoteAddr) // options of the connection are still there
	is.NoErr(err)
	m.Free()
	return from
}

// circle is a group all of whose members may send.
type circle struct {
	t          testing.TB
	group      *e2e.Group
	identities []*keys.Private
	members    []*e2e.Member
}

func newCircle(t testing.TB, n int) *circle {
	is := is.New(t)
	is.Helper()
	owner := identity(t)
	c := &circle{t: t}
	var err error
	c.group, err = e2e.NewGroup(e2e.GroupConfig{Name: "circle", Identity: owner})
	is.NoErr(err) // make a group
	var invitations []e2e.Invitation
	for range n {
		who := identity(t)
		m, err := e2e.NewMember(e2e.MemberConfig{
			Key: newService(t).key, Identity: who.Public(), Owner: owner.Public(), Group: "circle",
		})
		is.NoErr(err) // make a member
		c.identities, c.members = append(c.identities, who), append(c.members, m)
		invitations = append(invitations, e2e.Invitation{Member: who.Public(), Card: m.Card(), Sends: true})
	}
	updates, err := c.group.Invite(invitations...)
	is.NoErr(err) // invite
	for i, u := range c.sort(updates) {
		is.NoErr(c.members[i].Update(u)) // take the first update
	}
	return c
}

// sort returns the messages of updates in the members' order.
func (c *circle) sort(updates []e2e.Update) [][]byte {
	sorted := make([][]byte, len(c.members))
	for _, u := range updates {
		for i, who := range c.identities {
			if who.Public() == u.Member {
				sorted[i] = u.Message
			}
		}
	}
	return sorted
}

// seal returns a sealed socket of a member's.
func (c *circle) seal(i int, open func() (mangos.Socket, error), topic func([]byte) e2e.Topic) mangos.Socket {
	return newSealed(c.t, open, spmangos.SealConfig{Member: c.members[i], Topic: topic})
}

// spy is what a device has seen.
type spy struct {
	mu   sync.Mutex
	seen []byte
}

func (s *spy) look(m *mangos.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(append(s.seen, m.Header...), m.Body...)
}

// saw reports whether something readable passed.
func (s *spy) saw(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Contains(s.seen, []byte(text))
}

// forward hands what comes in on a raw socket to meddle, which sends what it
// likes, until a socket is closed.
func forward(t testing.TB, from mangos.Socket, meddle func(*mangos.Message) error) {
	inBackground(t, func() {
		for {
			m, err := from.RecvMsg()
			if err != nil {
				return
			}
			if meddle(m) != nil {
				return
			}
		}
	})
	t.Cleanup(func() { from.Close() })
}

// device stands between others, forwards faithfully, and reads what it can.
func device(t testing.TB, openFront, openBack func() (mangos.Socket, error)) (front, back mangos.Socket, s *spy) {
	s = new(spy)
	front, back = newSocket(t, openFront), newSocket(t, openBack)
	between := func(to mangos.Socket) func(*mangos.Message) error {
		return func(m *mangos.Message) error {
			s.look(m)
			return to.SendMsg(m)
		}
	}
	forward(t, front, between(back))
	forward(t, back, between(front))
	return front, back, s
}
