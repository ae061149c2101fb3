package spmangos_test

import (
	"fmt"
	"testing"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pull"
	"go.nanomsg.org/mangos/v3/protocol/push"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
)

// benchmarkSockets runs a benchmark over our TCP transport and mangos' own. For
// figures to quote see the module bench, which has two processes.
func benchmarkSockets(b *testing.B, listens, dials opener, run func(b *testing.B, server, client *socket, size int)) {
	for _, scheme := range []string{"securesp+tcp", "tcp"} {
		for _, size := range []int{64, 1024, 64 << 10} {
			b.Run(fmt.Sprint(scheme, "/", size), func(b *testing.B) {
				server, client := open(b, listens), open(b, dials)
				sc, cc := configs(b)
				lo, do := options(sc), options(cc)
				if scheme == "tcp" {
					lo, do = nil, nil
				}
				client.dial(server.listen(scheme+"://127.0.0.1:0", lo), do)
				client.await(mangos.PipeEventAttached)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				run(b, server, client, size)
			})
		}
	}
}

func BenchmarkPushPull(b *testing.B) {
	benchmarkSockets(b, pull.NewSocket, push.NewSocket, func(b *testing.B, server, client *socket, size int) {
		failed := make(chan error, 1)
		n := b.N
		go func() {
			for range n {
				m := mangos.NewMessage(size)
				m.Body = m.Body[:size]
				if err := client.SendMsg(m); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
		for range n {
			m, err := server.RecvMsg()
			if err != nil {
				b.Fatal(err)
			}
			m.Free()
		}
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkReqRep(b *testing.B) {
	benchmarkSockets(b, rep.NewSocket, req.NewSocket, func(b *testing.B, server, client *socket, size int) {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				m, err := server.RecvMsg()
				if err != nil || server.SendMsg(m) != nil {
					return
				}
			}
		}()
		for range b.N {
			m := mangos.NewMessage(size)
			m.Body = m.Body[:size]
			if err := client.SendMsg(m); err != nil {
				b.Fatal(err)
			}
			m, err := client.RecvMsg()
			if err != nil {
				b.Fatal(err)
			}
			m.Free()
		}
		server.Close()
		<-ended
	})
}
