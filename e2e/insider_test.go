package e2e_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/mechanism"
)

// TestMalformedReplies are replies of a worker that does not keep to the rules,
// with one fault each.
func TestMalformedReplies(t *testing.T) {
	ticketTLV := func(n int) []byte {
		return append([]byte{1, byte(n >> 8), byte(n)}, make([]byte, n)...)
	}
	tail := func(tlvs []byte, status byte) []byte {
		return append(append([]byte("body"), tlvs...), byte(len(tlvs)>>8), byte(len(tlvs)), status)
	}
	for name, c := range map[string]struct {
		content []byte
		want    error
	}{
		"good":                    {tail(nil, 0), nil},
		"unknown TLV":             {tail([]byte{9, 0, 2, 'x', 'y'}, 0), nil},
		"a ticket, unasked":       {tail(ticketTLV(157), 0), nil},
		"no tail":                 {nil, e2e.ErrMalformed},
		"half a tail":             {[]byte{0, 0}, e2e.ErrMalformed},
		"TLVs longer than all":    {[]byte{0, 1, 0}, e2e.ErrMalformed},
		"half a TLV":              {tail([]byte{9, 0}, 0), e2e.ErrMalformed},
		"TLV longer than TLVs":    {tail([]byte{9, 0, 2, 'x'}, 0), e2e.ErrMalformed},
		"two tickets":             {tail(append(ticketTLV(157), ticketTLV(157)...), 0), e2e.ErrMalformed},
		"ticket without a ticket": {tail(ticketTLV(36), 0), e2e.ErrMalformed},
		"huge ticket":             {tail(ticketTLV(36+1025), 0), e2e.ErrMalformed},
		"not authorised":          {tail(nil, 1), e2e.ErrNotAuthorized},
		"expired":                 {tail(nil, 2), e2e.ErrExpired},
		"unknown status":          {tail(nil, 3), e2e.ErrMalformed},
		"impossible status":       {tail(nil, 255), e2e.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s := newScene(t)
			s.exchange()
			message, pending := s.seal("question")
			dst := make([]byte, 0, 4096)
			body, err := pending.Open(dst, e2e.SealReply(s.open(message), c.content))
			if c.want != nil {
				matches(t, err, c.want)
				is.True(!bytes.Contains(dst[:cap(dst)], []byte("body"))) // nothing released
				return
			}
			is.NoErr(err) // open the reply
			is.Equal(string(body), "body")
			is.True(s.exchange().Resumed) // an unasked ticket replaces none
		})
	}
}

// TestMalformedGroupMessages are a member's, signed and sealed as they should
// be, with one fault each.
func TestMalformedGroupMessages(t *testing.T) {
	content := func(c *circle, body, topic string, n int, mode byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte(body+topic), uint16(n))
		return binary.BigEndian.AppendUint64(append(b, mode), uint64(c.Now().UnixMilli()))
	}
	blind := func(c *circle, topic string) []byte {
		prefixes, err := c.members[0].Prefixes(e2e.Topic{Mode: e2e.TopicBlind, Name: []byte(topic)})
		is.New(t).NoErr(err) // the right prefix
		return prefixes[0]
	}
	for name, c := range map[string]struct {
		make func(*circle) (prefix, content []byte)
		ok   bool
	}{
		"good":                 {func(c *circle) ([]byte, []byte) { return []byte("p"), content(c, "body", "", 0, 0) }, true},
		"good blind":           {func(c *circle) ([]byte, []byte) { return blind(c, "t"), content(c, "body", "t", 1, 1) }, true},
		"good hidden":          {func(c *circle) ([]byte, []byte) { return nil, content(c, "body", "t", 1, 2) }, true},
		"no content":           {func(c *circle) ([]byte, []byte) { return nil, nil }, false},
		"half a tail":          {func(c *circle) ([]byte, []byte) { return nil, content(c, "", "", 0, 0)[1:] }, false},
		"topic beyond all":     {func(c *circle) ([]byte, []byte) { return nil, content(c, "body", "", 5, 2) }, false},
		"clear and inside":     {func(c *circle) ([]byte, []byte) { return []byte("t"), content(c, "body", "t", 1, 0) }, false},
		"other blind topic":    {func(c *circle) ([]byte, []byte) { return blind(c, "u"), content(c, "body", "t", 1, 1) }, false},
		"blind without":        {func(c *circle) ([]byte, []byte) { return nil, content(c, "body", "t", 1, 1) }, false},
		"hidden with a prefix": {func(c *circle) ([]byte, []byte) { return []byte("t"), content(c, "body", "t", 1, 2) }, false},
		"unknown mode":         {func(c *circle) ([]byte, []byte) { return nil, content(c, "body", "t", 1, 3) }, false},
		"impossible time": {func(c *circle) ([]byte, []byte) {
			b := content(c, "body", "", 0, 0)
			return nil, append(b[:len(b)-8], bytes.Repeat([]byte{0xFF}, 8)...)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			circle := newCircle(t, 2)
			prefix, content := c.make(circle)
			message := e2e.SealContent(circle.members[0], prefix, content)
			dst := make([]byte, 0, 4096)
			g, err := circle.members[1].Open(dst, message, nil)
			if c.ok {
				is.New(t).NoErr(err) // open
				is.New(t).Equal(string(g.Body), "body")
				return
			}
			if bytes.Contains(dst[:cap(dst)], []byte("body")) {
				t.Error("plaintext released")
			}
			if content == nil {
				matches(t, err, e2e.ErrMalformed) // too short to be one
			} else if !errors.Is(err, e2e.ErrMalformed) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestMalformedPairMessages(t *testing.T) {
	is := is.New(t)
	p := newPair(t, mechanism.IKhfsChaChaPoly)
	_, err := p.responder.Receive(nil, e2e.StartWith(p.initiator, []byte("early data")))
	matches(t, err, e2e.ErrMalformed) // handshakes carry nothing
	p.establish()
	for kind, bodies := range map[byte][]string{1: {"body"}, 2: {"", "body"}, 255: {"body"}} {
		for _, body := range bodies {
			message, err := e2e.SealKind(p.initiator, kind, []byte(body))
			is.NoErr(err) // seal an odd message
			refused(t, p.receiver(p.responder), message, "odd kind")
		}
	}
	p.talks()
}

// TestMalformedStates have one fault each.
func TestMalformedStates(t *testing.T) {
	is := is.New(t)
	head := append([]byte("\x06circle"), make([]byte, 16+8+4+64)...)
	sender := append(bytes.Repeat([]byte{7}, 64), "\x05alice"...)
	good := slices.Concat(head, []byte{0, 1}, sender)
	again, err := e2e.GroupState(good)
	is.NoErr(err) // parse a state
	is.True(bytes.Equal(again, good))
	nobody := slices.Concat(head, []byte{0, 1}, make([]byte, 32), sender[32:])
	for _, bad := range [][]byte{
		slices.Concat(head, []byte{0, 2}, sender),       // a sender missing
		slices.Concat(head, []byte{0, 0}, sender),       // a sender too many
		append(bytes.Clone(good), 0),                    // a byte too many
		slices.Concat(head, []byte{0x10, 0x01}, sender), // more than can be
		nobody,                           // no key
		append([]byte{255}, good[1:]...), // a name too long
		slices.Concat(head, []byte{0, 1}, sender[:64], []byte{6}, sender[65:]), // another one
	} {
		_, err := e2e.GroupState(bad)
		matches(t, err, e2e.ErrMalformed)
	}
	for n := range good {
		_, err := e2e.GroupState(good[:n])
		matches(t, err, e2e.ErrMalformed)
	}
}

// TestOnce opens one message many times at the same moment.
func TestOnce(t *testing.T) {
	s := newScene(t)
	full, _ := s.seal(secret)
	s.exchange()
	resumed, pending := s.seal(secret)
	reply := s.reply(s.open(resumed), secret)
	resumed, _ = s.seal(secret)
	oneWay := must(s.client.SealOneWay(nil, []byte(secret)))
	c := newCircle(t, 2)
	// Large, so that several are at it before the first one is through.
	group := c.seal(0, e2e.Topic{}, string(make([]byte, 1<<20)))
	update := must(c.group.Update(c.identities[1].Public()))
	p := newPair(t, mechanism.IKhfsChaChaPoly)
	p.establish()
	packet := must(p.initiator.Seal(nil, []byte(secret)))

	for name, open := range map[string]func() error{
		"request":        func() error { _, err := s.worker.Open(nil, full); return err },
		"ticket request": func() error { _, err := s.worker.Open(nil, resumed); return err },
		"reply":          func() error { _, err := pending.Open(nil, reply); return err },
		"one way":        func() error { _, err := s.worker.OpenOneWay(nil, oneWay); return err },
		"group message":  func() error { _, err := c.members[1].Open(nil, group, nil); return err },
		"group update":   func() error { return c.members[1].Update(update) },
		"pair":           func() error { _, err := p.responder.Receive(nil, packet); return err },
	} {
		t.Run(name, func(t *testing.T) {
			var opened, replayed atomic.Int32
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					switch err := open(); {
					case err == nil:
						opened.Add(1)
					case errors.Is(err, e2e.ErrReplay):
						replayed.Add(1)
					}
				})
			}
			wg.Wait()
			is := is.New(t)
			is.Equal(opened.Load(), int32(1))
			is.Equal(replayed.Load(), int32(15))
		})
	}
}
