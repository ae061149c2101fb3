package e2e_test

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
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

// Who may ask what is for the handler to say. The client learns no more than
// that it was refused, and by whom.
func ExampleRequest_Refuse() {
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
	message, pending, err := client.Seal(nil, []byte("delete everything"))
	if err != nil {
		log.Fatal(err)
	}
	request, err := worker.Open(nil, message)
	if err != nil {
		log.Fatal(err)
	}
	reply, err := request.Refuse(nil)
	if err != nil {
		log.Fatal(err)
	}
	_, err = pending.Open(nil, reply)
	fmt.Println(err, pending.Service().Equal(service.Public()))
	// Output: securesp: not authorised true
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
	if err != nil {
		log.Fatal(err)
	}
	client, err := e2e.NewClient(e2e.ClientConfig{
		Identity: alice,
		Services: []*keys.ServicePublic{service.Public()},
	})
	if err != nil {
		log.Fatal(err)
	}
	err = client.SetServices([]*keys.ServicePublic{next.Public()})
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
	fmt.Println(seen.Len(), "message remembered")
	// Output:
	// <nil>
	// securesp: replayed message
	// 1 message remembered
}
