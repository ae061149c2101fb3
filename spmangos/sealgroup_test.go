package spmangos_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/bus"
	"go.nanomsg.org/mangos/v3/protocol/pub"
	"go.nanomsg.org/mangos/v3/protocol/respondent"
	"go.nanomsg.org/mangos/v3/protocol/star"
	"go.nanomsg.org/mangos/v3/protocol/sub"
	"go.nanomsg.org/mangos/v3/protocol/surveyor"
	"go.nanomsg.org/mangos/v3/protocol/xbus"
	"go.nanomsg.org/mangos/v3/protocol/xpub"
	"go.nanomsg.org/mangos/v3/protocol/xrespondent"
	"go.nanomsg.org/mangos/v3/protocol/xstar"
	"go.nanomsg.org/mangos/v3/protocol/xsub"
	"go.nanomsg.org/mangos/v3/protocol/xsurveyor"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/spmangos"
)

// topics returns a Topic function: what stands before the bar is the topic.
func topics(mode e2e.TopicMode) func([]byte) e2e.Topic {
	return func(body []byte) e2e.Topic {
		name, _, _ := bytes.Cut(body, []byte("|"))
		return e2e.Topic{Mode: mode, Name: name}
	}
}

var topicModes = map[string]e2e.TopicMode{
	"clear": e2e.TopicClear, "blind": e2e.TopicBlind, "hidden": e2e.TopicHidden,
}

// TestSealTopics subscribes through a device in all modes.
func TestSealTopics(t *testing.T) {
	for name, mode := range topicModes {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := newCircle(t, 2)
			publisher := c.seal(0, pub.NewSocket, topics(mode))
			subscriber := c.seal(1, sub.NewSocket, nil)
			front, back, spy := device(t, xsub.NewSocket, xpub.NewSocket)
			link(t, front, publisher)
			link(t, back, subscriber)

			berlin := e2e.Topic{Mode: mode, Name: []byte("berlin")}
			setOption(t, subscriber, mangos.OptionSubscribe, berlin)
			is.NoErr(publisher.Send([]byte("paris|rain")))
			is.NoErr(publisher.Send([]byte("berlin|sunshine")))
			from := expectFrom(t, subscriber, "berlin|sunshine", c.identities[0])
			is.Equal(string(from.Topic.Name), "berlin")
			is.Equal(from.Topic.Mode, mode)
			is.True(!spy.saw("sunshine") && !spy.saw("rain")) // nothing readable passed
			is.Equal(spy.saw("berlin"), mode == e2e.TopicClear)

			// With a fresh key blind topics get other names.
			updates, err := c.group.Rollover()
			is.NoErr(err) // a fresh key
			sorted := c.sort(updates)
			is.NoErr(c.members[0].Update(sorted[0]))
			setOption(t, subscriber, spmangos.OptionGroupUpdate, sorted[1])
			is.True(errors.Is(subscriber.SetOption(spmangos.OptionGroupUpdate, sorted[1]), e2e.ErrReplay))
			setOption(t, subscriber, spmangos.OptionGroupUpdate, []byte{})
			is.NoErr(publisher.Send([]byte("paris|snow")))
			is.NoErr(publisher.Send([]byte("berlin|fog")))
			expectFrom(t, subscriber, "berlin|fog", c.identities[0])

			setOption(t, subscriber, mangos.OptionSubscribe, "") // everything
			setOption(t, subscriber, mangos.OptionUnsubscribe, berlin)
			is.Equal(subscriber.SetOption(mangos.OptionUnsubscribe, berlin), mangos.ErrBadValue)
			is.NoErr(publisher.Send([]byte("paris|heat")))
			expectFrom(t, subscriber, "paris|heat", c.identities[0])
			is.Equal(stats(t, subscriber).Dropped, uint64(0))
		})
	}
}

// TestSealSubContexts has contexts with subscriptions of their own: each gets
// its copy of a message that all have subscribed to.
func TestSealSubContexts(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	publisher := c.seal(0, pub.NewSocket, topics(e2e.TopicBlind))
	subscriber := c.seal(1, sub.NewSocket, nil)
	var contexts []mangos.Context
	for i := range 3 {
		x, err := subscriber.OpenContext()
		is.NoErr(err) // open a context
		setOption(t, x, mangos.OptionSubscribe, e2e.Topic{Mode: e2e.TopicBlind, Name: []byte("all")})
		setOption(t, x, mangos.OptionSubscribe, e2e.Topic{Mode: e2e.TopicBlind, Name: fmt.Append(nil, i)})
		contexts = append(contexts, x)
	}
	link(t, publisher, subscriber)
	for _, body := range []string{"0|zero", "1|one", "2|two", "all|end"} {
		is.NoErr(publisher.Send([]byte(body)))
	}
	for i, x := range contexts {
		expectFrom(t, x, []string{"0|zero", "1|one", "2|two"}[i], c.identities[0])
		expectFrom(t, x, "all|end", c.identities[0])
		is.NoErr(x.Close())
	}
	is.Equal(stats(t, subscriber), spmangos.SealStats{Opened: 6})
}

func TestSealBus(t *testing.T) {
	for name, open := range map[string]func() (mangos.Socket, error){"bus": bus.NewSocket, "star": star.NewSocket} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := newCircle(t, 3)
			var all []mangos.Socket
			for i := range 3 {
				all = append(all, c.seal(i, open, nil))
			}
			link(t, all[0], all[1])
			link(t, all[0], all[2])
			is.NoErr(all[0].Send([]byte("hello")))
			expectFrom(t, all[1], "hello", c.identities[0])
			expectFrom(t, all[2], "hello", c.identities[0])
			is.NoErr(all[1].Send([]byte("hello, you")))
			expectFrom(t, all[0], "hello, you", c.identities[1])
		})
	}
}

// TestSealBusDevice joins two buses, and an outsider makes noise on one.
func TestSealBusDevice(t *testing.T) {
	is := is.New(t)
	c := newCircle(t, 2)
	dropped := make(chan error, 16)
	one := c.seal(0, bus.NewSocket, nil)
	other := newSealed(t, bus.NewSocket, spmangos.SealConfig{Member: c.members[1], OnDrop: func(_ *mangos.Message, err error) {
		select {
		case dropped <- err:
		default:
		}
	}})
	front, back, spy := device(t, xbus.NewSocket, xbus.NewSocket)
	link(t, front, one)
	link(t, back, other)
	outsider := newSocket(t, bus.NewSocket)
	link(t, front, outsider)
	link(t, back, outsider) // what comes in here goes out there
	setOption(t, outsider, mangos.OptionRecvDeadline, patience)
	is.NoErr(outsider.Send([]byte("believe me")))
	is.NoErr(one.Send([]byte("only for members")))
	expectFrom(t, other, "only for members", c.identities[0])
	var sealed []byte
	for err := e2e.ErrMalformed; err != nil; { // it hears itself, too
		var failed error
		sealed, failed = outsider.Recv()
		is.NoErr(failed) // the outsider is on the bus
		_, err = e2e.IDOf(sealed)
	}
	is.NoErr(outsider.Send(sealed))        // a replay
	is.NoErr(outsider.Send(sealed[1:]))    // a damaged one
	is.NoErr(one.Send([]byte("the next"))) // takes the same way
	expectFrom(t, other, "the next", c.identities[0])
	is.True(!spy.saw("only for members"))
	inBackground(t, func() { other.RecvMsg() }) // noise may take its time
	t.Cleanup(func() { other.Close() })
	await(t, dropped, "no noise was dropped")
	is.True(stats(t, other).Dropped >= 1)
}

// TestSealSurvey makes sure that an answer counts for its own survey only, and
// the answers of all come with their senders.
func TestSealSurvey(t *testing.T) {
	is := is.New(t)
	const n = 3
	c := newCircle(t, n+1)
	asks := c.seal(n, surveyor.NewSocket, nil)
	setOption(t, asks, mangos.OptionSurveyTime, patience)
	front, back := newSocket(t, xrespondent.NewSocket), newSocket(t, xsurveyor.NewSocket)
	spy := new(spy)
	forward(t, front, func(m *mangos.Message) error {
		spy.look(m)
		return back.SendMsg(m)
	})
	// The device gives the answers to the first survey for those to the
	// second one too.
	var first [][]byte
	forward(t, back, func(m *mangos.Message) error {
		spy.look(m)
		if len(first) < n {
			first = append(first, bytes.Clone(m.Body[4:])) // behind the survey's number
		} else {
			fake := m.Dup()
			fake.Body = append(fake.Body[:4], first[0]...)
			first = append(first[1:], first[0])
			if err := front.SendMsg(fake); err != nil {
				return err
			}
		}
		return front.SendMsg(m)
	})
	link(t, front, asks)
	for i := range n {
		answers := c.seal(i, respondent.NewSocket, nil)
		link(t, back, answers)
		is.Equal(answers.Send(nil), mangos.ErrProtoState) // nothing was asked
		inBackground(t, func() {
			for {
				m, err := answers.RecvMsg()
				if err != nil {
					return
				}
				body := fmt.Sprintf("member %d on %s", i, m.Body)
				m.Free()
				if answers.Send([]byte(body)) != nil {
					return
				}
			}
		})
		t.Cleanup(func() { answers.Close() })
	}
	for _, survey := range []string{"the weather", "the climate"} {
		is.NoErr(asks.Send([]byte(survey)))
		got := make(map[string]bool)
		for len(got) < n {
			m, err := asks.RecvMsg()
			is.NoErr(err) // receive an answer
			for i := range n {
				sender, ok := spmangos.Sender(m)
				if string(m.Body) == fmt.Sprintf("member %d on %s", i, survey) {
					is.True(ok && sender == c.identities[i].Public())
					got[string(m.Body)] = true
				}
			}
			m.Free()
		}
	}
	is.Equal(stats(t, asks).Opened, uint64(2*n))
	is.True(stats(t, asks).Dropped > 0) // the fakes
	is.True(!spy.saw("weather") && !spy.saw("member"))

	// A survey that nobody answers ends as ever, and contexts ask on their own.
	x, err := asks.OpenContext()
	is.NoErr(err) // open a context
	setOption(t, x, mangos.OptionSurveyTime, 50*time.Millisecond)
	is.NoErr(back.Close())
	is.NoErr(x.Send([]byte("is anybody there?")))
	_, err = x.Recv()
	is.Equal(err, mangos.ErrProtoState)
	is.NoErr(x.Close())
}

// TestSealPatternsApart has a device bring the messages of each pattern of a
// group to the receivers of every pattern: only its own opens them.
func TestSealPatternsApart(t *testing.T) {
	// The receiver's peer is a raw socket, which sends what it is given.
	// Senders' peers are raw, too.
	senders := []struct {
		pattern    string
		open, peer func() (mangos.Socket, error)
	}{
		{"pubsub", pub.NewSocket, xsub.NewSocket},
		{"bus", bus.NewSocket, xbus.NewSocket},
		{"star", star.NewSocket, xstar.NewSocket},
		{"survey", surveyor.NewSocket, xrespondent.NewSocket},
	}
	receivers := []struct {
		pattern    string
		open, peer func() (mangos.Socket, error)
		header     []byte
	}{
		{"pubsub", sub.NewSocket, xpub.NewSocket, nil},
		{"bus", bus.NewSocket, xbus.NewSocket, nil},
		{"star", star.NewSocket, xstar.NewSocket, []byte{0, 0, 0, 0}},
		{"survey", respondent.NewSocket, xsurveyor.NewSocket, []byte{0x80, 0, 0, 1}},
	}
	for _, from := range senders {
		for _, to := range receivers {
			t.Run(from.pattern+" to "+to.pattern, func(t *testing.T) {
				is := is.New(t)
				c := newCircle(t, 2)
				sender, taken := c.seal(0, from.open, nil), newSocket(t, from.peer)
				link(t, taken, sender)
				is.NoErr(sender.Send([]byte("hello")))
				m, err := taken.RecvMsg()
				is.NoErr(err) // the device has it
				sealed := bytes.Clone(m.Body)
				_, err = e2e.IDOf(sealed)
				is.NoErr(err) // whole, without what is mangos' own

				dropped := make(chan error, 1)
				receiver := newSealed(t, to.open, spmangos.SealConfig{
					Member: c.members[1],
					OnDrop: func(_ *mangos.Message, err error) { dropped <- err },
				})
				if to.pattern == "pubsub" {
					setOption(t, receiver, mangos.OptionSubscribe, "")
				}
				given := newSocket(t, to.peer)
				link(t, given, receiver)
				m = mangos.NewMessage(0)
				m.Header, m.Body = append(m.Header, to.header...), append(m.Body, sealed...)
				is.NoErr(given.SendMsg(m))
				if from.pattern == to.pattern {
					expectFrom(t, receiver, "hello", c.identities[0])
					return
				}
				inBackground(t, func() {
					if body, err := receiver.Recv(); err == nil {
						t.Errorf("opened %q", body)
						dropped <- nil
					}
				})
				t.Cleanup(func() { receiver.Close() })
				is.True(errors.Is(await(t, dropped, "not received"), e2e.ErrAuthentication))
			})
		}
	}
}
