package interop

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/bus"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	"go.nanomsg.org/mangos/v3/protocol/pub"
	"go.nanomsg.org/mangos/v3/protocol/pull"
	"go.nanomsg.org/mangos/v3/protocol/push"
	"go.nanomsg.org/mangos/v3/protocol/respondent"
	"go.nanomsg.org/mangos/v3/protocol/sub"
	"go.nanomsg.org/mangos/v3/protocol/surveyor"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

// eachDevice runs a test with each device in between, and makes sure that
// messages passed, but nothing confidential.
func eachDevice(t *testing.T, pattern string, test func(t *testing.T, m *middle)) {
	for _, library := range deviceLibraries {
		t.Run(library, func(t *testing.T) {
			m := startMiddle(t, buildDevice(t, library), pattern)
			test(t, m)
			is := is.New(t)
			for _, p := range []*tap{m.front, m.back} {
				p.mu.Lock()
				seen := p.seen
				p.mu.Unlock()
				is.True(len(seen) > 0)                                 // messages passed
				is.True(!bytes.Contains(seen, []byte("confidential"))) // nothing readable passed
			}
		})
	}
}

// expect receives a message and compares its body and its proven sender.
func expect(t *testing.T, s mangos.Socket, body string, sender *keys.Private) {
	t.Helper()
	is := is.New(t)
	m, err := s.RecvMsg()
	is.NoErr(err) // receive
	defer m.Free()
	is.Equal(string(m.Body), body)
	who, ok := spmangos.Sender(m)
	is.True(ok) // somebody has proved to have sent it
	is.Equal(who, sender.Public())
}

// again sends a message over and over until the test ends: where a pattern
// loses messages for which nobody is there yet, only some will arrive.
func again(t *testing.T, s mangos.Socket, body string) {
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		often := time.NewTicker(20 * time.Millisecond)
		defer often.Stop()
		for {
			if err := s.Send([]byte(body)); err != nil {
				t.Errorf("sending: %v", err)
				return
			}
			select {
			case <-often.C:
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		sending.Wait()
	})
}

func TestSealedPipeline(t *testing.T) {
	eachDevice(t, "pipeline", func(t *testing.T, m *middle) {
		is := is.New(t)
		service, err := keys.GenerateService()
		is.NoErr(err)
		alice := generate(t)
		client, err := e2e.NewClient(e2e.ClientConfig{Identity: alice, Services: []*keys.ServicePublic{service.Public()}})
		is.NoErr(err)
		worker, err := e2e.NewWorker(e2e.WorkerConfig{
			Keys: []e2e.ServiceKey{{Key: service}}, Authorize: spmangos.Authorize(trust.Keys(alice.Public())),
		})
		is.NoErr(err)
		pulls := newSealed(t, pull.NewSocket, spmangos.SealConfig{Worker: worker}, m.back.url)
		pushes := newSealed(t, push.NewSocket, spmangos.SealConfig{Client: client}, m.front.url)
		for i := range 20 {
			job := fmt.Sprint("confidential job ", i)
			is.NoErr(pushes.Send([]byte(job)))
			expect(t, pulls, job, alice)
		}
	})
}

// newMembers returns the two members of a group, and their keys.
func newMembers(t *testing.T) (members [2]*e2e.Member, identities [2]*keys.Private) {
	t.Helper()
	is := is.New(t)
	owner := generate(t)
	group, err := e2e.NewGroup(e2e.GroupConfig{Name: "circle", Identity: owner})
	is.NoErr(err) // make a group
	var invitations []e2e.Invitation
	for i := range members {
		identities[i] = generate(t)
		key, err := keys.GenerateService()
		is.NoErr(err)
		members[i], err = e2e.NewMember(e2e.MemberConfig{
			Key: key, Identity: identities[i].Public(), Owner: owner.Public(), Group: "circle",
		})
		is.NoErr(err) // make a member
		invitations = append(invitations, e2e.Invitation{
			Member: identities[i].Public(), Card: members[i].Card(), Sends: true,
		})
	}
	updates, err := group.Invite(invitations...)
	is.NoErr(err) // invite
	for _, u := range updates {
		for i, who := range identities {
			if who.Public() == u.Member {
				is.NoErr(members[i].Update(u.Message)) // take the group's key
			}
		}
	}
	return members, identities
}

// TestSealedPubSub subscribes to a topic that the device can read, too.
func TestSealedPubSub(t *testing.T) {
	eachDevice(t, "pubsub", func(t *testing.T, m *middle) {
		is := is.New(t)
		members, identities := newMembers(t)
		topic := func(body []byte) e2e.Topic {
			name, _, _ := bytes.Cut(body, []byte("|"))
			return e2e.Topic{Mode: e2e.TopicClear, Name: name}
		}
		subscribes := newSealed(t, sub.NewSocket, spmangos.SealConfig{Member: members[1]}, m.back.url)
		is.NoErr(subscribes.SetOption(mangos.OptionSubscribe, "berlin"))
		publishes := newSealed(t, pub.NewSocket, spmangos.SealConfig{Member: members[0], Topic: topic}, m.front.url)
		again(t, publishes, "paris|confidential rain")
		again(t, publishes, "berlin|confidential sunshine")
		for range 5 {
			expect(t, subscribes, "berlin|confidential sunshine", identities[0])
		}
		m.back.mu.Lock()
		defer m.back.mu.Unlock()
		is.True(bytes.Contains(m.back.seen, []byte("berlin"))) // as clear topics are
	})
}

func TestSealedSurvey(t *testing.T) {
	eachDevice(t, "survey", func(t *testing.T, m *middle) {
		is := is.New(t)
		members, identities := newMembers(t)
		answers := newSealed(t, respondent.NewSocket, spmangos.SealConfig{Member: members[1]}, m.back.url)
		var answering sync.WaitGroup
		answering.Go(func() {
			for {
				m, err := answers.RecvMsg()
				if err != nil {
					return
				}
				answer := "confidential answer to " + string(m.Body)
				m.Free()
				if answers.Send([]byte(answer)) == mangos.ErrClosed {
					return
				}
			}
		})
		defer answering.Wait()
		defer answers.Close()
		asks := newSealed(t, surveyor.NewSocket, spmangos.SealConfig{Member: members[0]}, m.front.url)
		is.NoErr(asks.SetOption(mangos.OptionSurveyTime, 200*time.Millisecond))
		var got *mangos.Message
		for began := time.Now(); got == nil && time.Since(began) < patience; {
			// Who is not there yet misses a survey.
			is.NoErr(asks.Send([]byte("a confidential survey")))
			got, _ = asks.RecvMsg()
		}
		is.True(got != nil) // an answer
		defer got.Free()
		is.Equal(string(got.Body), "confidential answer to a confidential survey")
		who, _ := spmangos.Sender(got)
		is.Equal(who, identities[1].Public())
	})
}

func TestSealedPair(t *testing.T) {
	eachDevice(t, "pair", func(t *testing.T, m *middle) {
		is := is.New(t)
		alice, bob := generate(t), generate(t)
		end := func(role mechanism.Role, who, peer *keys.Private, url string) mangos.Socket {
			p, err := e2e.NewPair(e2e.PairConfig{Role: role, Identity: who, Peer: peer.Public()})
			is.NoErr(err) // make one end
			return newSealed(t, pair.NewSocket, spmangos.SealConfig{Pair: p, HandshakeRetry: 100 * time.Millisecond}, url)
		}
		there := end(mechanism.Responder, bob, alice, m.back.url)
		here := end(mechanism.Initiator, alice, bob, m.front.url)
		is.NoErr(here.SetOption(mangos.OptionSendDeadline, patience))
		for i := range 20 {
			body := fmt.Sprint("confidential ", i)
			is.NoErr(here.Send([]byte(body)))
			expect(t, there, body, alice)
			is.NoErr(there.Send([]byte(body)))
			expect(t, here, body, bob)
		}
	})
}

func TestSealedBus(t *testing.T) {
	eachDevice(t, "bus", func(t *testing.T, m *middle) {
		members, identities := newMembers(t)
		here := newSealed(t, bus.NewSocket, spmangos.SealConfig{Member: members[0]}, m.front.url)
		there := newSealed(t, bus.NewSocket, spmangos.SealConfig{Member: members[1]}, m.back.url)
		again(t, here, "confidential from here")
		again(t, there, "confidential from there")
		for range 5 {
			expect(t, there, "confidential from here", identities[0])
			expect(t, here, "confidential from there", identities[1])
		}
	})
}
