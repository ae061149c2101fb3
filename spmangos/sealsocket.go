package spmangos

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.nanomsg.org/mangos/v3"

	"github.com/securesp/securesp/e2e"
)

// plain is what sealing leaves as it is in a mangos.Socket.
type plain interface {
	Info() mangos.ProtocolInfo
	Dial(string) error
	DialOptions(string, map[string]interface{}) error
	NewDialer(string, map[string]interface{}) (mangos.Dialer, error)
	Listen(string) error
	ListenOptions(string, map[string]interface{}) error
	NewListener(string, map[string]interface{}) (mangos.Listener, error)
	SetPipeEventHook(mangos.PipeEventHook) mangos.PipeEventHook
}

// sealedSocket is a mangos.Socket. What it has in common with contexts is a
// sealedEnd.
type sealedSocket struct {
	plain
	mangos.Context
	inner   mangos.Socket
	sealing *sealing
}

func (s *sealedSocket) OpenContext() (mangos.Context, error) {
	inner, err := s.inner.OpenContext()
	if err != nil {
		return nil, err
	}
	return s.sealing.newEnd(inner), nil
}

// sealing is what a sealed socket and its contexts share.
type sealing struct {
	config   SealConfig
	protocol uint16

	sealed, opened, dropped, retried atomic.Uint64

	mu   sync.Mutex
	subs map[*subPattern]struct{}
}

// check looks whether config has what the protocol needs.
func (s *sealing) check(protocol string) error {
	var lacks string
	switch c := &s.config; s.protocol {
	case mangos.ProtoReq, mangos.ProtoPush:
		if c.Client == nil {
			lacks = "a Client"
		}
	case mangos.ProtoRep, mangos.ProtoPull:
		if c.Worker == nil {
			lacks = "a Worker"
		}
	case mangos.ProtoPub, mangos.ProtoSub, mangos.ProtoBus, mangos.ProtoStar,
		mangos.ProtoSurveyor, mangos.ProtoRespondent:
		if c.Member == nil {
			lacks = "a Member"
		}
	case mangos.ProtoPair:
		if c.Pair == nil {
			lacks = "a Pair"
		}
	default:
		return fmt.Errorf("%w: it speaks %s", ErrCannotSeal, protocol)
	}
	if lacks != "" {
		return fmt.Errorf("%w: a sealed %s socket needs %s", e2e.ErrConfig, protocol, lacks)
	}
	return nil
}

// newPattern returns the state of one socket or context.
func (s *sealing) newPattern(inner mangos.Context) pattern {
	switch c := &s.config; s.protocol {
	case mangos.ProtoReq:
		return &reqPattern{client: c.Client}
	case mangos.ProtoRep:
		return &repPattern{worker: c.Worker}
	case mangos.ProtoPush:
		return pushPattern{c.Client}
	case mangos.ProtoPull:
		return pullPattern{c.Worker}
	case mangos.ProtoSurveyor:
		return &surveyorPattern{group: s.newGroupPattern()}
	case mangos.ProtoRespondent:
		return &respondentPattern{group: s.newGroupPattern()}
	case mangos.ProtoSub:
		p := &subPattern{groupPattern: s.newGroupPattern(), inner: inner}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.subs[p] = struct{}{}
		return p
	default:
		return s.newGroupPattern()
	}
}

func (s *sealing) stats() SealStats {
	return SealStats{s.sealed.Load(), s.opened.Load(), s.dropped.Load(), s.retried.Load()}
}

// hand gives a sealed message to the socket. It is counted before, since its
// answer may be received before SendMsg returns, and taken back if it fails.
func (s *sealing) hand(to mangos.Context, sealed *mangos.Message) error {
	s.sealed.Add(1)
	err := to.SendMsg(sealed)
	if err != nil {
		s.sealed.Add(^uint64(0))
	}
	return err
}

// drop counts a message that could not be opened.
func (s *sealing) drop(m *mangos.Message, err error) {
	s.dropped.Add(1)
	if s.config.OnDrop != nil {
		s.config.OnDrop(m, err)
	}
}

// update gives an update to the member and has all contexts subscribe anew.
func (s *sealing) update(value interface{}) error {
	update, ok := value.([]byte)
	if !ok {
		return mangos.ErrBadValue
	}
	if s.config.Member == nil {
		return mangos.ErrBadOption
	}
	if len(update) > 0 {
		if err := s.config.Member.Update(update); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.subs {
		if err := p.refresh(); err != nil {
			return err
		}
	}
	return nil
}

// pattern is how one protocol seals and opens, with the state of one socket or
// context.
type pattern interface {
	// send seals m and sends it. If it succeeds, m is the pattern's.
	send(e *sealedEnd, m *mangos.Message) error

	// open opens what m carries, which stays the caller's, into a new
	// message. It returns nil if m was none for the application.
	open(e *sealedEnd, m *mangos.Message) (*mangos.Message, error)
}

// sealedEnd is a mangos.Context that seals: a sealed context, or what a sealed
// socket has in common with those.
type sealedEnd struct {
	inner   mangos.Context
	sealing *sealing
	pattern pattern

	recv gate // of receivers that have a deadline

	mu       sync.Mutex
	deadline time.Duration // OptionRecvDeadline as it was set
}

func (s *sealing) newEnd(inner mangos.Context) *sealedEnd {
	e := &sealedEnd{inner: inner, sealing: s, recv: newGate()}
	// PUSH and PUB, which do not receive, know no such option.
	if value, err := inner.GetOption(mangos.OptionRecvDeadline); err == nil {
		e.deadline, _ = value.(time.Duration)
	}
	e.pattern = s.newPattern(inner)
	return e
}

func (e *sealedEnd) Close() error {
	if p, ok := e.pattern.(*subPattern); ok {
		e.sealing.mu.Lock()
		delete(e.sealing.subs, p)
		e.sealing.mu.Unlock()
	}
	return e.inner.Close()
}

func (e *sealedEnd) GetOption(name string) (interface{}, error) {
	switch name {
	case OptionSealStats:
		return e.sealing.stats(), nil
	case mangos.OptionRecvDeadline:
		if _, err := e.inner.GetOption(name); err != nil {
			return nil, err
		}
		return e.recvDeadline(), nil
	case mangos.OptionSendDeadline:
		value, err := e.inner.GetOption(name)
		if value == forever {
			value = time.Duration(0)
		}
		return value, err
	}
	return e.inner.GetOption(name)
}

func (e *sealedEnd) SetOption(name string, value interface{}) error {
	switch name {
	case OptionGroupUpdate:
		return e.sealing.update(value)
	case mangos.OptionRecvDeadline:
		e.mu.Lock()
		defer e.mu.Unlock()
		if err := e.inner.SetOption(name, value); err != nil {
			return err
		}
		e.deadline = value.(time.Duration)
		return nil
	case mangos.OptionSubscribe, mangos.OptionUnsubscribe:
		if p, ok := e.pattern.(*subPattern); ok {
			return p.setOption(name, value)
		}
	}
	return e.inner.SetOption(name, value)
}

func (e *sealedEnd) recvDeadline() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.deadline
}

func (e *sealedEnd) Send(body []byte) error { return send(e, body) }

func (e *sealedEnd) Recv() ([]byte, error) { return recv(e) }

func (e *sealedEnd) SendMsg(m *mangos.Message) error { return e.pattern.send(e, m) }

// RecvMsg returns the next message that can be opened. Waiting for it ends at
// one deadline, whatever is dropped in the meantime.
func (e *sealedEnd) RecvMsg() (*mangos.Message, error) {
	var until time.Time
	if d := e.recvDeadline(); d > 0 {
		until = time.Now().Add(d)
	}
	for first := true; ; first = false {
		m, err := e.receive(until, first)
		if err != nil {
			return nil, err
		}
		opened, err := e.pattern.open(e, m)
		switch {
		case err != nil && e.sealing.protocol == mangos.ProtoReq:
			e.sealing.dropped.Add(1)
			m.Free()
			return nil, err
		case err != nil:
			e.sealing.drop(m, err) // before its sender can know
			e.answer(err, until)
		case opened != nil:
			e.sealing.opened.Add(1)
			m.Free()
			return opened, nil
		}
		m.Free()
	}
}

// receive returns the next message as it comes. The inner deadline, which is
// all receivers', is changed only behind the gate.
func (e *sealedEnd) receive(until time.Time, first bool) (*mangos.Message, error) {
	if until.IsZero() {
		return e.inner.RecvMsg()
	}
	waited, ok := e.recv.enter(until)
	if !ok {
		return nil, mangos.ErrRecvTimeout
	}
	defer e.recv.leave()
	if !first || waited {
		remaining := time.Until(until)
		if remaining <= 0 {
			return nil, mangos.ErrRecvTimeout
		}
		if err := e.inner.SetOption(mangos.OptionRecvDeadline, remaining); err != nil {
			return nil, err
		}
		defer e.restoreDeadline()
	}
	return e.inner.RecvMsg()
}

func (e *sealedEnd) restoreDeadline() {
	e.mu.Lock()
	defer e.mu.Unlock()
	// REP takes no deadline of zero, but it was not zero then.
	_ = e.inner.SetOption(mangos.OptionRecvDeadline, e.deadline)
}

// room is for what a message is longer by once sealed: all but those with an
// envelope fit into it.
const room = 256

// transmit sends what seal makes of m's body, and frees m if that succeeds.
func (e *sealedEnd) transmit(m *mangos.Message, seal func(dst, body []byte) ([]byte, error)) error {
	sealed := mangos.NewMessage(len(m.Body) + room)
	body, err := seal(sealed.Body, m.Body)
	if err == nil {
		sealed.Body = body
		err = e.sealing.hand(e.inner, sealed)
	}
	if err != nil {
		sealed.Free()
		return err
	}
	m.Free()
	return nil
}

// opened returns the message that the application gets for m.
func opened(m, out *mangos.Message, body []byte, p Provenance) *mangos.Message {
	out.Body = body
	out.Pipe = &openedPipe{m.Pipe, p}
	return out
}

// send is Send for whatever has SendMsg.
func send(c mangos.Context, body []byte) error {
	m := mangos.NewMessage(len(body))
	m.Body = append(m.Body, body...)
	err := c.SendMsg(m)
	if err != nil {
		m.Free()
	}
	return err
}

// recv is Recv for whatever has RecvMsg.
func recv(c mangos.Context) ([]byte, error) {
	m, err := c.RecvMsg()
	if err != nil {
		return nil, err
	}
	body := append(make([]byte, 0, len(m.Body)), m.Body...)
	m.Free()
	return body, nil
}

// gate lets one through at a time, and the others wait no longer than they
// wish.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

// enter reports whether it got in, and whether it had to wait. A zero until
// waits for ever.
func (g gate) enter(until time.Time) (waited, ok bool) {
	select {
	case g <- struct{}{}:
		return false, true
	default:
	}
	var expired <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case g <- struct{}{}:
		return true, true
	case <-expired:
		return true, false
	}
}

func (g gate) leave() { <-g }
