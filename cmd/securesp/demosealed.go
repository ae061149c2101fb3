package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	"go.nanomsg.org/mangos/v3/protocol/xrep"
	"go.nanomsg.org/mangos/v3/protocol/xreq"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

// sealedRequests is how many requests alice sends through the device.
const sealedRequests = 200

// sealed has alice ask two workers of a service through a device that has no
// keys and looks at all that it forwards.
func (d *demonstration) sealed(ctx context.Context) (err error) {
	fmt.Fprintf(d.out, "\nalice asks a service, through a device that nobody trusts\n")
	s := scene{answered: make(map[string]int)}
	defer s.end()
	defer context.AfterFunc(ctx, s.close)()
	defer func() {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
	}()
	service, err := keys.GenerateService()
	if err != nil {
		return err
	}
	front, back, err := s.device()
	if err != nil {
		return err
	}
	for _, name := range []string{"one", "two"} {
		if err := s.worker(name, service, trust.Keys(d.alice.Public()), back); err != nil {
			return err
		}
	}
	client, err := e2e.NewClient(e2e.ClientConfig{Identity: d.alice, Services: []*keys.ServicePublic{service.Public()}})
	if err != nil {
		return err
	}
	sock, err := s.connect(req.NewSocket, spmangos.SealConfig{Client: client}, front)
	if err != nil {
		return err
	}
	start := time.Now()
	for i := range sealedRequests {
		answer, err := request(sock, fmt.Sprint("question ", i))
		if err != nil {
			return err
		}
		if want := fmt.Sprintf("answer to question %d of %v", i, d.alice.Public()); answer != want {
			return fmt.Errorf("alice was answered %q", answer)
		}
	}
	elapsed := time.Since(start)
	seen, readable := s.look("question", "answer", d.alice.Public().String())
	if readable {
		return fmt.Errorf("the device can read what it forwards")
	}
	row(d.out, "requests", "%d in %s; worker one answered %d, worker two %d", sealedRequests, formatTime(elapsed), s.count("one"), s.count("two"))
	row(d.out, "device", "forwarded %s; could read none of it", formatSize(float64(seen)))
	return nil
}

// request sends a request and returns its answer.
func request(sock mangos.Socket, question string) (string, error) {
	if err := sock.Send([]byte(question)); err != nil {
		return "", err
	}
	answer, err := sock.Recv()
	return string(answer), err
}

// scene is the sockets of a service, and what its device has seen.
type scene struct {
	running sync.WaitGroup

	mu       sync.Mutex
	sockets  []mangos.Socket
	closed   bool
	seen     []byte
	answered map[string]int // by worker
}

// open opens a socket that end closes.
func (s *scene) open(open func() (mangos.Socket, error)) (mangos.Socket, error) {
	sock, err := open()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets = append(s.sockets, sock)
	if s.closed {
		sock.Close()
	}
	return sock, nil
}

// close closes all sockets.
func (s *scene) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, sock := range s.sockets {
		sock.Close()
	}
}

func (s *scene) end() {
	s.close()
	s.running.Wait()
}

// device forwards between two raw sockets, and returns where they listen.
func (s *scene) device() (front, back string, err error) {
	var sockets [2]mangos.Socket
	var addresses [2]string
	for i, open := range []func() (mangos.Socket, error){xrep.NewSocket, xreq.NewSocket} {
		if sockets[i], err = s.open(open); err != nil {
			return "", "", err
		}
		l, err := sockets[i].NewListener("tcp://127.0.0.1:0", nil)
		if err == nil {
			err = l.Listen()
		}
		if err != nil {
			return "", "", err
		}
		addresses[i] = l.Address()
	}
	for i := range sockets {
		s.running.Go(func() { s.forward(sockets[i], sockets[1-i]) })
	}
	return addresses[0], addresses[1], nil
}

func (s *scene) forward(from, to mangos.Socket) {
	for {
		m, err := from.RecvMsg()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.seen = append(s.seen, m.Body...)
		s.mu.Unlock()
		if to.SendMsg(m) != nil {
			return
		}
	}
}

// look returns how much the device has seen, and whether any of texts was in
// it.
func (s *scene) look(texts ...string) (seen int, readable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range texts {
		readable = readable || bytes.Contains(s.seen, []byte(text))
	}
	return len(s.seen), readable
}

func (s *scene) count(worker string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answered[worker]
}

// connect opens a sealed socket and dials url.
func (s *scene) connect(open func() (mangos.Socket, error), config spmangos.SealConfig, url string) (mangos.Socket, error) {
	return s.open(func() (mangos.Socket, error) {
		plain, err := open()
		if err != nil {
			return nil, err
		}
		sock, err := spmangos.Seal(plain, config)
		if err == nil {
			err = sock.Dial(url)
		}
		if err != nil {
			plain.Close()
			return nil, err
		}
		return sock, nil
	})
}

// worker answers requests under the service's key.
func (s *scene) worker(name string, key *keys.ServicePrivate, policy trust.Policy, url string) error {
	worker, err := e2e.NewWorker(e2e.WorkerConfig{
		Keys:       []e2e.ServiceKey{{Key: key}},
		Authorize:  spmangos.Authorize(policy),
		Duplicates: e2e.FlagDuplicates,
	})
	if err != nil {
		return err
	}
	sock, err := s.connect(rep.NewSocket, spmangos.SealConfig{Worker: worker}, url)
	if err != nil {
		return err
	}
	s.running.Go(func() {
		for {
			m, err := sock.RecvMsg()
			if err != nil {
				return
			}
			who, _ := spmangos.Sender(m)
			answer := fmt.Sprintf("answer to %s of %v", m.Body, who)
			m.Free()
			s.mu.Lock()
			s.answered[name]++
			s.mu.Unlock()
			if err := sock.Send([]byte(answer)); err != nil {
				return
			}
		}
	})
	return nil
}
