package replay_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/replay"
)

func TestEdges(t *testing.T) {
	const size = replay.WindowSize
	type step struct {
		n    uint64
		want bool
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"zero once", []step{{0, true}, {0, false}}},
		{"zero after one", []step{{1, true}, {0, true}, {1, false}, {0, false}}},
		{"first is far", []step{{1 << 40, true}, {1<<40 - 1, true}, {1 << 40, false}}},
		{"oldest in window", []step{{size - 1, true}, {0, true}, {0, false}}},
		{"just too old", []step{{size, true}, {0, false}, {1, true}}},
		{"window moves by one", []step{{0, true}, {size - 1, true}, {size, true}, {0, false}, {1, true}}},
		{"word boundary", []step{{63, true}, {64, true}, {63, false}, {64, false}, {62, true}, {65, true}}},
		{"ring wraps exactly", []step{{0, true}, {size + 64, true}, {size, true}, {65, true}, {64, false}}},
		{"jump of many rings", []step{{5, true}, {5 + 1000*(size+64), true}, {4 + 1000*(size+64), true}, {5, false}}},
		{"highest counter", []step{{math.MaxUint64 - 1, true}, {math.MaxUint64 - 1, false}, {math.MaxUint64 - 2, true}, {0, false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			var w replay.Window
			for i, s := range tt.steps {
				if w.Fresh(s.n) != s.want || w.Accept(s.n) != s.want {
					t.Errorf("step %d: counter %d: want accepted = %v", i, s.n, s.want)
				}
				is.True(!w.Fresh(s.n)) // a counter is never fresh twice
			}
		})
	}
}

// TestAgainstModel compares with the definition: a set of accepted counters and
// a lower limit.
func TestAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, spread := range []int64{10, 100, 3000, 20000, 1 << 30} {
		var w replay.Window
		accepted := make(map[uint64]bool)
		highest := int64(-1)
		for range 50_000 {
			n := max(0, highest+random.Int64N(2*spread)-spread)
			want := n > highest-replay.WindowSize && !accepted[uint64(n)]
			if got := w.Accept(uint64(n)); got != want {
				t.Fatalf("spread %d: counter %d at highest %d: accepted = %v, want %v", spread, n, highest, got, want)
			}
			accepted[uint64(n)] = true
			highest = max(highest, n)
		}
	}
}

func BenchmarkAccept(b *testing.B) {
	var w replay.Window
	for n := uint64(0); b.Loop(); n++ {
		if !w.Accept(n) {
			b.Fatal("refused")
		}
	}
}
