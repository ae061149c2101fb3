package e2e_test

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

// The keys of the examples.
var (
	service, _ = keys.GenerateService()
	alice, _   = keys.Generate()
	bob, _     = keys.Generate()
)

// authorize is what a worker's trust comes down to.
func authorize(sender keys.Public) (name string, err error) {
	if sender == alice.Public() {
		return "alice", nil
	}
	return "", errors.New("unknown key")
}

// A client asks, a worker answers. What carries the messages is not shown: any
// number of devices may stand between the two.
func Example() {
	client, err := e2e.NewClient(e2e.ClientConfig{
		Identity: alice,
		Services: []*keys.ServicePublic{service.Public()},
	})
	if err != nil {
		log.Fatal(err)
	}
	worker, err := e2e.NewWorker(e2e.WorkerConfig{
		Keys:      []e2e.ServiceKey{{Key: service}},
		Authorize: authorize,
	})
	if err != nil {
		log.Fatal(err)
	}

	for range 2 {
		message, pending, err := client.Seal(nil, []byte("How is the weather?"))
		if err != nil {
			log.Fatal(err)
		}

		// At the worker:
		request, err := worker.Open(nil, message)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s asks: %s (with a ticket: %v)\n", request.Name, request.Body, request.Resumed)
		reply, err := request.Reply(nil, []byte("Fine."))
		if err != nil {
			log.Fatal(err)
		}

		// Back at the client:
		body, err := pending.Open(nil, reply)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("the answer is: %s\n", body)
	}
	// Output:
	// alice asks: How is the weather? (with a ticket: false)
	// the answer is: Fine.
	// alice asks: How is the weather? (with a ticket: true)
	// the answer is: Fine.
}

// A worker's loop drops what it cannot open, and sends back what helps the
// client on.
func ExampleWorker_Open() {
	worker, err := e2e.NewWorker(e2e.WorkerConfig{
		Keys:      []e2e.ServiceKey{{Key: service}},
		Authorize: authorize,
	})
	if err != nil {
		log.Fatal(err)
	}
	stranger, err := e2e.NewClient(e2e.ClientConfig{
		Identity: bob,
		Services: []*keys.ServicePublic{service.Public()},
	})
	if err != nil {
		log.Fatal(err)
	}
	message, pending, err := stranger.Seal(nil, []byte("Let me in!"))
	if err != nil {
		log.Fatal(err)
	}

	for _, message := range [][]byte{[]byte("garbage"), message} {
		_, err := worker.Open(nil, message)
		fmt.Println("worker:", err)
		var refused *e2e.RequestError
		if errors.As(err, &refused) && refused.Answer != nil {
			_, err = pending.Open(nil, refused.Answer) // send the answer back
			fmt.Println("client:", err)
		}
	}
	// Output:
	// worker: securesp: malformed message
	// worker: securesp: not authorised: unknown key
	// client: securesp: not authorised
}

// When the service's key or a ticket is no longer good, the client learns it
// from the answer and seals the request anew, once.
func ExamplePending_Retry() {
	next, err := keys.GenerateService()
	if err != nil {
		log.Fatal(err)
	}
	client, err := e2e.NewClient(e2e.ClientConfig{
		Identity: alice,
		Services: []*keys.ServicePublic{service.Public(), next.Public()},
	})
	if err != nil {
		log.Fatal(err)
	}
	worker, err := e2e.NewWorker(e2e.WorkerConfig{
		Keys:      []e2e.ServiceKey{{Key: next}}, // the old key is gone
		Authorize: authorize,
	})
	if err != nil {
		log.Fatal(err)
	}

	// transport stands for sending a request and waiting for the reply.
	transport := func(message []byte) []byte {
		request, err := worker.Open(nil, message)
		var refused *e2e.RequestError
		if errors.As(err, &refused) {
			return refused.Answer
		}
		reply, err := request.Reply(nil, request.Body)
		if err != nil {
			log.Fatal(err)
		}
		return reply
	}

	message, pending, err := client.Seal(nil, []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	body, err := pending.Open(nil, transport(message))
	if errors.Is(err, e2e.ErrRetry) {
		fmt.Println(err)
		if message, err = pending.Retry(nil, []byte("hello")); err != nil {
			log.Fatal(err)
		}
		body, err = pending.Open(nil, transport(message))
	}
	fmt.Printf("%s %v\n", body, err)
	// Output:
	// securesp: message sealed under an unknown key; the request must be sealed anew
	// hello <nil>
}

// A service changes its key while it works.
func ExampleWorker_SetKeys() {
	worker, err := e2e.NewWorker(e2e.WorkerConfig{
		Keys:      []e2e.ServiceKey{{Key: service}},
		Authorize: authorize,
	})
	if err != nil {
		log.Fatal(err)
	}

	// First all workers get the new key beside the old one, then clients
	// are told of the new one, and then the old one ends.
	next, err := keys.GenerateService()
	if err != nil {
		log.Fatal(err)
	}
	err = worker.SetKeys([]e2e.ServiceKey{
		{Key: next},
		{Key: service, Until: time.Now().Add(7 * 24 * time.Hour)},
	})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleClient_SealOneWay() {
	client, err := e2e.NewClient(e2e.ClientConfig{
		Identity: alice,
		Services: []*keys.ServicePublic{service.Public()},
	})
	if err != nil {
		log.Fatal(err)
	}
	worker, err := e2e.NewWorker(e2e.WorkerConfig{
		Keys:      []e2e.ServiceKey{{Key: service}},
		Authorize: authorize,
	})
	if err != nil {
		log.Fatal(err)
	}

	message, err := client.SealOneWay(nil, []byte("job 17"))
	if err != nil {
		log.Fatal(err)
	}
	job, err := worker.OpenOneWay(nil, message)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s from %s\n", job.Body, job.Name)

	_, err = worker.OpenOneWay(nil, message) // a device delivers it twice
	fmt.Println(err)
	// Output:
	// job 17 from alice
	// securesp: replayed message
}

// Clear messages need the consent of both ends, and are marked.
func ExampleClient_SealClear() {
	client, err := e2e.NewClient(e2e.ClientConfig{Identity: alice, AllowClear: true})
	if err != nil {
		log.Fatal(err)
	}
	worker, err := e2e.NewWorker(e2e.WorkerConfig{
		Keys:       []e2e.ServiceKey{{Key: service}},
		Authorize:  authorize,
		AllowClear: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	message, _, err := client.SealClear(nil, []byte("anybody can read this"))
	if err != nil {
		log.Fatal(err)
	}
	request, err := worker.Open(nil, message)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s (clear: %v, from: %v)\n", request.Body, request.Clear, request.Sender)
	// Output: anybody can read this (clear: true, from: no key)
}

// Two workers in one program open each request once between them. Workers on
// several machines do the same with a SeenCache that asks a database.
func ExampleMemoryCache() {
	client, err := e2e.NewClient(e2e.ClientConfig{
		Identity: alice,
		Services: []*keys.ServicePublic{service.Public()},
	})
	if err != nil {
		log.Fatal(err)
	}
	seen := e2e.NewMemoryCache(100_000)
	message, _, err := client.Seal(nil, []byte("transfer 100"))
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		worker, err := e2e.NewWorker(e2e.WorkerConfig{
			Keys:      []e2e.ServiceKey{{Key: service}},
			Authorize: authorize,
			Seen:      seen,
		})
		if err != nil {
			log.Fatal(err)
		}
		_, err = worker.Open(nil, message)
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// securesp: replayed message
}

// The owner of a group takes members in and hands out keys; a publisher seals
// for all, under a topic that only members can recognise.
func ExampleGroup() {
	owner, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	group, err := e2e.NewGroup(e2e.GroupConfig{Name: "weather", Identity: owner})
	if err != nil {
		log.Fatal(err)
	}

	// Each member makes a key for the group and gives the owner its card,
	// for example in a request, which proves whose card it is.
	members := make(map[keys.Public]*e2e.Member)
	for _, identity := range []*keys.Private{alice, bob} {
		key, err := keys.GenerateService()
		if err != nil {
			log.Fatal(err)
		}
		members[identity.Public()], err = e2e.NewMember(e2e.MemberConfig{
			Key: key, Identity: identity.Public(), Owner: owner.Public(), Group: "weather",
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	publisher, subscriber := members[alice.Public()], members[bob.Public()]
	updates, err := group.Invite(
		e2e.Invitation{Member: alice.Public(), Name: "alice", Card: publisher.Card(), Sends: true},
		e2e.Invitation{Member: bob.Public(), Name: "bob", Card: subscriber.Card()},
	)
	if err != nil {
		log.Fatal(err)
	}
	for _, u := range updates {
		if err := members[u.Member].Update(u.Message); err != nil {
			log.Fatal(err)
		}
	}

	topic := e2e.Topic{Mode: e2e.TopicBlind, Name: []byte("berlin")}
	prefixes, err := subscriber.Prefixes(topic) // subscribe to these
	if err != nil {
		log.Fatal(err)
	}
	message, err := publisher.Seal(nil, topic, []byte("sunny"), nil)
	if err != nil {
		log.Fatal(err)
	}
	news, err := subscriber.Open(nil, message, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(prefixes), string(message[:16]) == string(prefixes[0]))
	fmt.Printf("%s: %s, says %s\n", news.Topic.Name, news.Body, news.Name)

	// Bob leaves: those who remain get a fresh key.
	if updates, err = group.Remove(bob.Public()); err != nil {
		log.Fatal(err)
	}
	if err := publisher.Update(updates[0].Message); err != nil {
		log.Fatal(err)
	}
	if message, err = publisher.Seal(nil, topic, []byte("rain"), nil); err != nil {
		log.Fatal(err)
	}
	_, err = subscriber.Open(nil, message, nil)
	fmt.Println(errors.Is(err, e2e.ErrUnknownKey))
	// Output:
	// 1 true
	// berlin: sunny, says alice
	// true
}

// An answer to a survey is tied to it by the survey's id.
func ExampleMember_Seal() {
	surveyor, respondent := exampleMembers()
	survey, err := surveyor.Seal(nil, e2e.Topic{}, []byte("Who is there?"), nil)
	if err != nil {
		log.Fatal(err)
	}
	id, err := e2e.IDOf(survey)
	if err != nil {
		log.Fatal(err)
	}

	// At the respondent:
	question, err := respondent.Open(nil, survey, nil)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := respondent.Seal(nil, e2e.Topic{}, []byte("It is me."), question.ID[:])
	if err != nil {
		log.Fatal(err)
	}

	// Back at the surveyor:
	_, err = surveyor.Open(nil, answer, []byte("another survey"))
	fmt.Println(err)
	got, err := surveyor.Open(nil, answer, id[:])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", got.Name, got.Body)
	// Output:
	// securesp: message authentication failed
	// bob: It is me.
}

// exampleMembers returns two members of a group.
func exampleMembers() (first, second *e2e.Member) {
	owner, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	group, err := e2e.NewGroup(e2e.GroupConfig{Name: "example", Identity: owner})
	if err != nil {
		log.Fatal(err)
	}
	members := make(map[keys.Public]*e2e.Member)
	var invitations []e2e.Invitation
	for name, identity := range map[string]*keys.Private{"alice": alice, "bob": bob} {
		key, err := keys.GenerateService()
		if err != nil {
			log.Fatal(err)
		}
		m, err := e2e.NewMember(e2e.MemberConfig{
			Key: key, Identity: identity.Public(), Owner: owner.Public(), Group: "example",
		})
		if err != nil {
			log.Fatal(err)
		}
		members[identity.Public()] = m
		invitations = append(invitations, e2e.Invitation{
			Member: identity.Public(), Name: name, Card: m.Card(), Sends: true,
		})
	}
	updates, err := group.Invite(invitations...)
	if err != nil {
		log.Fatal(err)
	}
	for _, u := range updates {
		if err := members[u.Member].Update(u.Message); err != nil {
			log.Fatal(err)
		}
	}
	return members[alice.Public()], members[bob.Public()]
}

// Two ends do a handshake by passing messages, and then talk.
func ExamplePair() {
	here, err := e2e.NewPair(e2e.PairConfig{
		Role: mechanism.Initiator, Identity: alice, Peer: bob.Public(),
	})
	if err != nil {
		log.Fatal(err)
	}
	there, err := e2e.NewPair(e2e.PairConfig{
		Role: mechanism.Responder, Identity: bob, Authorize: authorize,
	})
	if err != nil {
		log.Fatal(err)
	}

	message, err := here.Start(nil)
	if err != nil {
		log.Fatal(err)
	}
	for from, to := here, there; message != nil; from, to = to, from {
		event, err := to.Receive(nil, message)
		if err != nil {
			log.Fatal(err)
		}
		message = event.Answer
	}

	if message, err = here.Seal(nil, []byte("Hello, Bob.")); err != nil {
		log.Fatal(err)
	}
	event, err := there.Receive(nil, message)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", event.Name, event.Body)
	// Output: alice: Hello, Bob.
}
