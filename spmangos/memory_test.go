package spmangos_test

import (
	"runtime"
	"testing"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3/transport"

	"github.com/securesp/securesp/internal/leak"
)

// heap returns what is reachable.
func heap() int64 {
	runtime.GC()
	runtime.GC() // the first one only moves what is pooled to a victim cache
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestIdlePipes: a pipe that waits for its next message holds no memory for
// it, however large the last one was.
func TestIdlePipes(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget, and so their use look cheap")
	}
	const count = 400 // so many that a few pooled buffers in use do not matter
	is := is.New(t)
	leak.Check(t)
	sc, cc := configs(t)
	var senders []transport.Pipe
	received := make(chan int)
	for range count {
		server, client := pipes(t, schemes[1], options(sc), options(cc))
		senders = append(senders, client)
		go func() {
			for {
				m, err := server.Recv()
				if err != nil {
					return
				}
				n := len(m.Body)
				m.Free()
				received <- n
			}
		}()
	}
	round := func(n int) {
		for _, p := range senders {
			is.NoErr(p.Send(message(nil, pattern(n))))
			is.Equal(<-received, n)
		}
	}
	round(10)
	before := heap()
	// Who receives waits again by the time that the others have had theirs.
	round(60_000)
	afterLarge := heap()
	round(10)
	afterSmall := heap()
	for _, grown := range []int64{afterLarge - before, afterSmall - before} {
		if grown > count*(8<<10) {
			t.Errorf("%d bytes more for each idle pipe", grown/count)
		}
	}
}
