package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func TestMain(m *testing.M) { leak.Main(m) }

// serve starts a server that trusts alice, and returns its URL and key.
func serve(t *testing.T, alice keys.Public) (url string, server keys.Public) {
	is := is.New(t)
	is.Helper()
	identity, err := keys.Generate()
	is.NoErr(err)
	path := filepath.Join(t.TempDir(), "trust")
	is.NoErr(os.WriteFile(path, fmt.Appendf(nil, "%v alice\n", alice), 0o600))
	policy, err := trust.File(path)
	is.NoErr(err) // read the trust file
	l, err := securesp.Listen("tcp", "127.0.0.1:0", &securesp.Config{
		Identity: identity, Trust: policy, Protocol: "http/1.1",
	})
	is.NoErr(err) // listen
	s, done := newServer(), make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String() + "/", identity.Public()
}

func TestGreeting(t *testing.T) {
	is := is.New(t)
	alice, err := keys.Generate()
	is.NoErr(err)
	url, server := serve(t, alice.Public())
	client := newClient(&securesp.Config{Identity: alice, Trust: trust.Keys(server), Protocol: "http/1.1"})
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	errs := make(chan error, 20)
	for range cap(errs) {
		all.Go(func() {
			response, err := client.Get(url)
			if err != nil {
				errs <- err
				return
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if want := fmt.Sprintf("Hello, alice, known by %v.\n", alice.Public()); err == nil && string(body) != want {
				err = fmt.Errorf("got %q", body)
			}
			errs <- err
		})
	}
	all.Wait()
	for range cap(errs) {
		is.NoErr(<-errs) // many requests at once
	}
}

func TestStranger(t *testing.T) {
	is := is.New(t)
	alice, err := keys.Generate()
	is.NoErr(err)
	mallory, err := keys.Generate()
	is.NoErr(err)
	url, server := serve(t, alice.Public())
	client := newClient(&securesp.Config{Identity: mallory, Trust: trust.Keys(server), Protocol: "http/1.1"})
	_, err = client.Get(url)
	is.True(errors.Is(err, securesp.ErrRefused)) // the reason comes through http
}
