package e2e_test

import (
	"fmt"
	"testing"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

var benchSizes = []int{64, 4 << 10, 1 << 20}

// BenchmarkFullExchange is all four steps of an exchange without a ticket: the
// CPU time of client and worker together.
func BenchmarkFullExchange(b *testing.B) {
	benchExchange(b, e2e.ClientConfig{NoTickets: true})
}

// BenchmarkTicketExchange is the same with a ticket.
func BenchmarkTicketExchange(b *testing.B) { benchExchange(b, e2e.ClientConfig{}) }

func everyone(keys.Public) (string, error) { return "somebody", nil }

func benchExchange(b *testing.B, config e2e.ClientConfig) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := newScene(b)
			s.worker = s.newWorker(e2e.WorkerConfig{Seen: brokenCache{}, Authorize: everyone}) // remembers nothing
			s.client = s.newClient(config)
			s.exchange()
			body := make([]byte, size)
			var buf [4][]byte
			b.SetBytes(int64(2 * size))
			b.ReportAllocs()
			for b.Loop() {
				message, pending, err := s.client.Seal(buf[0][:0], body)
				if err != nil {
					b.Fatal(err)
				}
				r, err := s.worker.Open(buf[1][:0], message)
				if err != nil {
					b.Fatal(err)
				}
				reply, err := r.Reply(buf[2][:0], r.Body)
				if err != nil {
					b.Fatal(err)
				}
				got, err := pending.Open(buf[3][:0], reply)
				if err != nil {
					b.Fatal(err)
				}
				buf = [4][]byte{message, r.Body, reply, got}
			}
		})
	}
}

func BenchmarkOneWay(b *testing.B) {
	s := newScene(b)
	s.worker = s.newWorker(e2e.WorkerConfig{Seen: brokenCache{}, Authorize: everyone})
	body := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		message, err := s.client.SealOneWay(nil, body)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.worker.OpenOneWay(nil, message); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGroup is one message sealed and opened once.
func BenchmarkGroup(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := newCircle(b, 2)
			body := make([]byte, size)
			var message []byte
			var err error
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if message, err = c.members[0].Seal(message[:0], e2e.Topic{}, body, nil); err != nil {
					b.Fatal(err)
				}
				g, err := c.members[1].Open(nil, message, nil)
				if err != nil {
					b.Fatal(err)
				}
				_ = g
			}
		})
	}
}

func BenchmarkPair(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := newPair(b, mechanism.IKhfsChaChaPoly)
			p.establish()
			body := make([]byte, size)
			var message, got []byte
			var err error
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if message, err = p.initiator.Seal(message[:0], body); err != nil {
					b.Fatal(err)
				}
				event, err := p.responder.Receive(got[:0], message)
				if err != nil {
					b.Fatal(err)
				}
				got = event.Body
			}
		})
	}
}

// BenchmarkUpdate is what a change costs a group's owner for each member.
func BenchmarkUpdate(b *testing.B) {
	c := newCircle(b, 2)
	for b.Loop() {
		if _, err := c.group.Update(c.identities[0].Public()); err != nil {
			b.Fatal(err)
		}
	}
}
