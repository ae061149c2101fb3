package spmangos_test

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

// TestRotationUnderLoad has one client change its key while others keep the
// server busy: both of its keys are trusted for a while, then the old one is
// taken out of the file. The old key's connection ends and it does not get in
// again; nobody else notices anything.
func TestRotationUnderLoad(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		const others = 4
		is := is.New(t)
		path := filepath.Join(t.TempDir(), "trusted")
		write := func(trusted ...keys.Public) {
			var lines []string
			for _, key := range trusted {
				lines = append(lines, key.String())
			}
			rewrite(t, path, lines...)
		}
		oldKey, newKey := identity(t), identity(t)
		var bystanders []*keys.Private
		var trusted []keys.Public
		for range others {
			bystanders = append(bystanders, identity(t))
			trusted = append(trusted, bystanders[len(bystanders)-1].Public())
		}
		trusted = append(trusted, oldKey.Public())
		write(trusted...)
		policy, err := trust.File(path)
		is.NoErr(err)

		// The server tells everybody who they are.
		server := &securesp.Config{Identity: identity(t), Trust: policy}
		a := open(t, rep.NewSocket)
		url := a.listen(s.url(t), options(server))
		serving := make(chan struct{})
		go func() {
			defer close(serving)
			for {
				m, err := a.RecvMsg()
				if err != nil {
					return
				}
				key, _ := spmangos.PeerKey(m.Pipe)
				m.Body = append(m.Body[:0], key.String()...)
				if a.SendMsg(m) != nil {
					m.Free()
				}
			}
		}()
		client := func(id *keys.Private) *socket {
			c := open(t, req.NewSocket)
			c.dial(url, options(&securesp.Config{Identity: id, Trust: trust.Keys(server.Identity.Public())},
				spmangos.OptionStopOnAuthError, true))
			return c
		}
		asks := func(c *socket, id *keys.Private) error {
			reply, err := ask(c, "who am I?")
			if err == nil && reply != id.Public().String() {
				err = errors.New("taken for somebody else")
			}
			return err
		}

		var stop atomic.Bool
		results := make(chan error, others)
		progress := make(chan struct{}, others)
		for _, id := range bystanders {
			c := client(id)
			go func() {
				var err error
				for n := 0; err == nil && !stop.Load(); n++ {
					if err = asks(c, id); n == 10 {
						progress <- struct{}{}
					}
				}
				results <- err
			}()
		}
		for range others {
			await(t, progress, "nobody is served")
		}

		before := client(oldKey)
		is.NoErr(asks(before, oldKey))
		write(append(trusted, newKey.Public())...)
		after := client(newKey)
		is.NoErr(asks(after, newKey))  // in
		is.NoErr(asks(before, oldKey)) // and not yet out
		write(append(trusted[:others:others], newKey.Public())...)
		p := before.await(mangos.PipeEventDetached)
		reason, err := p.GetOption(spmangos.OptionCloseError)
		is.NoErr(err)
		var closed *securesp.CloseError
		is.True(errors.As(reason.(error), &closed))
		is.Equal(closed.Code, securesp.CloseRevoked)
		is.NoErr(asks(after, newKey))
		again, err := req.NewSocket()
		is.NoErr(err)
		err = again.DialOptions(url, options(&securesp.Config{Identity: oldKey, Trust: trust.Keys(server.Identity.Public())}))
		is.True(errors.Is(err, securesp.ErrRefused))
		is.NoErr(again.Close())

		stop.Store(true)
		for range others {
			is.NoErr(await(t, results, "a bystander is stuck"))
		}
		is.NoErr(a.Close())
		<-serving
	})
}
