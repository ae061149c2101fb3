package main

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestPublish(t *testing.T) {
	is := is.New(t)
	bob, err := keys.Generate()
	is.NoErr(err)
	alice, err := keys.Generate()
	is.NoErr(err)
	feed, url, err := publisher("securesp+tcp://127.0.0.1:0", &securesp.Config{Identity: bob, Trust: trust.Keys(alice.Public())})
	is.NoErr(err) // listen
	attached := make(chan bool, 1)
	feed.SetPipeEventHook(func(kind mangos.PipeEvent, _ mangos.Pipe) {
		if kind == mangos.PipeEventAttached {
			attached <- true
		}
	})
	reader, err := subscribe(url, &securesp.Config{Identity: alice, Trust: trust.Keys(bob.Public())}, "weather")
	is.NoErr(err) // subscribe
	<-attached    // what is published before that, nobody hears

	out, in := io.Pipe()
	shown := make(chan error, 1)
	go func() { shown <- show(in, reader) }()
	is.NoErr(publish(feed, strings.NewReader("sports 2:1\nweather rain\nstocks up\nweather sun\n")))
	lines := bufio.NewScanner(out)
	for _, want := range []string{"weather rain", "weather sun"} {
		is.True(lines.Scan())
		is.Equal(lines.Text(), want) // its own topic, and nothing else
	}
	is.NoErr(reader.Close())
	is.True(errors.Is(<-shown, mangos.ErrClosed))
	is.NoErr(feed.Close())
}
