package mechtest_test

import (
	"testing"

	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/mechtest"
	"github.com/securesp/securesp/mechanism/noise"
)

// A mechanism's own test is this one call.
func ExampleRun() {
	_ = func(t *testing.T) { // TestConformance of the mechanism's package
		m, _ := noise.Mechanism(mechanism.IKAESGCM)
		mechtest.Run(t, mechtest.Options{Mechanism: m, MessageSizes: []int{96, 48}})
	}
}
