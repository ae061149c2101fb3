package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func TestMain(m *testing.M) { leak.Main(m) }

func generate(t *testing.T) *keys.Private {
	is := is.New(t)
	is.Helper()
	key, err := keys.Generate()
	is.NoErr(err)
	return key
}

func TestAsk(t *testing.T) {
	is := is.New(t)
	bob, alice, mallory := generate(t), generate(t), generate(t)
	path := filepath.Join(t.TempDir(), "bob.trust")
	is.NoErr(os.WriteFile(path, []byte(alice.Public().String()+" alice\n"), 0o600))
	policy, err := trust.File(path)
	is.NoErr(err) // read the trust file
	sock, url, err := listen("securesp+tcp://127.0.0.1:0", &securesp.Config{Identity: bob, Trust: policy})
	is.NoErr(err) // listen
	served := make(chan error, 1)
	go func() { served <- serve(sock) }()

	knowsBob := trust.Keys(bob.Public())
	answer, err := ask(url, &securesp.Config{Identity: alice, Trust: knowsBob}, "who am I?")
	is.NoErr(err) // ask
	is.Equal(answer, "alice, you have asked: who am I?")
	_, err = ask(url, &securesp.Config{Identity: mallory, Trust: knowsBob}, "and I?")
	is.True(errors.Is(err, securesp.ErrRefused)) // a stranger gets no answer, but a reason
	is.NoErr(sock.Close())
	is.True(errors.Is(<-served, mangos.ErrClosed))
}
