package securesp_test

import (
	"testing"

	"github.com/securesp/securesp/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
