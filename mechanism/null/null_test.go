package null_test

import (
	"testing"

	"github.com/securesp/securesp/mechanism/mechtest"
	"github.com/securesp/securesp/mechanism/null"
)

func TestConformance(t *testing.T) {
	mechtest.Run(t, mechtest.Options{Mechanism: null.Mechanism(), MessageSizes: []int{0, 0}})
}
