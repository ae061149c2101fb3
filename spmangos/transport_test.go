package spmangos_test

import (
	"path/filepath"
	"testing"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
	"go.nanomsg.org/mangos/v3/test"
)

func TestMain(m *testing.M) { leak.Main(m) }

// config returns a config that trusts itself.
func config(t testing.TB) *securesp.Config {
	t.Helper()
	k, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return &securesp.Config{Identity: k, Trust: trust.Keys(k.Public())}
}

func TestTransportSuite(t *testing.T) {
	spmangos.SetDefault(config(t))
	t.Cleanup(func() { spmangos.SetDefault(nil) })
	t.Run("tcp", func(t *testing.T) {
		test.NewTranTest(spmangos.TCP, "securesp+tcp://127.0.0.1:39001").TestAll(t)
	})
	t.Run("ipc", func(t *testing.T) {
		test.NewTranTest(spmangos.IPC, "securesp+ipc://"+filepath.Join(t.TempDir(), "s")).TestAll(t)
	})
}
