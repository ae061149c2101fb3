package spmangos

import (
	"testing"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

// TestBatching: messages that follow each other closely share records.
func TestBatching(t *testing.T) {
	is := is.New(t)
	key, err := keys.Generate()
	is.NoErr(err)
	config := &securesp.Config{Identity: key, Trust: trust.Keys(key.Public())}
	sock, err := pair.NewSocket()
	is.NoErr(err)
	defer sock.Close()
	l, err := TCP.NewListener("securesp+tcp://127.0.0.1:0", sock)
	is.NoErr(err)
	is.NoErr(l.SetOption(OptionConfig, config))
	is.NoErr(l.Listen())
	defer l.Close()
	d, err := TCP.NewDialer(l.Address(), sock)
	is.NoErr(err)
	is.NoErr(d.SetOption(OptionConfig, config))
	client, err := d.Dial()
	is.NoErr(err)
	server, err := l.Accept()
	is.NoErr(err)
	const count = 20_000
	sent := make(chan error, 1)
	go func() {
		for range count {
			m := mangos.NewMessage(4)
			m.Body = append(m.Body, "tick"...)
			if err := client.Send(m); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for range count {
		m, err := server.Recv()
		is.NoErr(err)
		m.Free()
	}
	is.NoErr(<-sent)
	stats := client.(*pipe).conn.Stats()
	t.Logf("%d messages in %d records", stats.MessagesSent, stats.RecordsSent)
	is.Equal(int(stats.MessagesSent), count)
	is.True(stats.RecordsSent < count/4)
	closed := make(chan error)
	go func() { closed <- client.Close() }()
	is.NoErr(server.Close())
	is.NoErr(<-closed)
}
