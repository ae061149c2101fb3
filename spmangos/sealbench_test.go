//go:build unix

package spmangos_test

import (
	"fmt"
	"syscall"
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

// forgetful remembers nothing, so that a long benchmark measures no full cache.
type forgetful struct{}

func (forgetful) Add(e2e.SeenID, time.Time, time.Time) (bool, error) { return false, nil }

// BenchmarkSeal is one request and its reply over TCP: plain, with every hop
// secure, sealed with a ticket, and sealed without. cpu-µs/op is the CPU time
// of both ends together.
func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{64, 4 << 10} {
		for _, kind := range []string{"plain", "hop", "ticket", "full"} {
			b.Run(fmt.Sprint(kind, "/", size), func(b *testing.B) { benchSeal(b, kind, size) })
		}
	}
}

func benchSeal(b *testing.B, kind string, size int) {
	is := is.New(b)
	server, client := newSocket(b, rep.NewSocket), newSocket(b, req.NewSocket)
	scheme, listen, dial := "tcp", map[string]any(nil), map[string]any(nil)
	if kind == "hop" {
		s, c := configs(b)
		scheme, listen, dial = "securesp+tcp", spmangos.Options(s), spmangos.Options(c)
	}
	if kind == "ticket" || kind == "full" {
		sv, alice := newService(b), identity(b)
		c, err := e2e.NewClient(e2e.ClientConfig{
			Identity: alice, Services: []*keys.ServicePublic{sv.key.Public()}, NoTickets: kind == "full",
		})
		is.NoErr(err)
		w := sv.worker(trust.Keys(alice.Public()), func(c *e2e.WorkerConfig) { c.Seen = forgetful{} })
		server, err = spmangos.Seal(server, spmangos.SealConfig{Worker: w})
		is.NoErr(err)
		client, err = spmangos.Seal(client, spmangos.SealConfig{Client: c})
		is.NoErr(err)
	}
	l, err := server.NewListener(scheme+"://127.0.0.1:0", listen)
	is.NoErr(err)
	is.NoErr(l.Listen())
	is.NoErr(client.DialOptions(l.Address(), dial))
	inBackground(b, func() {
		for {
			m, err := server.RecvMsg()
			if err != nil || server.SendMsg(m) != nil {
				return
			}
		}
	})
	b.Cleanup(func() { server.Close() })

	body := make([]byte, size)
	exchange := func() {
		m := mangos.NewMessage(size)
		m.Body = append(m.Body, body...)
		if err := client.SendMsg(m); err != nil {
			b.Fatal(err)
		}
		if m, err = client.RecvMsg(); err != nil {
			b.Fatal(err)
		}
		m.Free()
	}
	exchange()
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		exchange()
	}
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
}

// cpuTime returns the CPU time that the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
