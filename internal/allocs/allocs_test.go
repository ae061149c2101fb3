package allocs_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/allocs"
)

var sink []byte

func TestPerRun(t *testing.T) {
	is := is.New(t)
	is.True(allocs.PerRun(1000, func() {}) <= allocs.Few)
	n := 0
	half := allocs.PerRun(1000, func() {
		if n++; n%2 == 0 {
			sink = make([]byte, 100)
		}
	})
	is.True(half >= .5 && half < .5+allocs.Few) // not rounded down
}
