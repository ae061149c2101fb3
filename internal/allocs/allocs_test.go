package allocs

import (
	"testing"

	"github.com/matryer/is"
)

var sink []byte

func TestPerRun(t *testing.T) {
	is := is.New(t)
	is.True(PerRun(1000, func() {}) <= Few)
	n := 0
	half := PerRun(1000, func() {
		if n++; n%2 == 0 {
			sink = make([]byte, 100)
		}
	})
	if raceEnabled {
		is.Equal(half, 0.0)
		return
	}
	is.True(half >= .5 && half < .5+Few) // not rounded down
}
