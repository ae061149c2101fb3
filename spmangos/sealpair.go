package spmangos

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.nanomsg.org/mangos/v3"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/mechanism"
)

// pairEnd is a sealed PAIR. One goroutine takes what comes in, whether or not
// the application receives, since the handshake needs it; another sends the
// pair's answers, since whoever receives must not wait for room to send: two
// ends that both did would wait for each other. The initiator has a third that
// begins handshakes.
type pairEnd struct {
	inner   mangos.Socket
	sealing *sealing
	pair    *e2e.Pair

	received chan *mangos.Message // for the application
	ready    chan struct{}        // closed once there is a session
	isReady  sync.Once
	closed   chan struct{}
	workers  sync.WaitGroup

	// wire is held by whoever sends. Its holder sends the answer first, so
	// that messages of a session stay behind the message of the handshake
	// that concludes it. Lock order: wire, turn.
	wire gate

	turn     sync.Mutex    // makes a step of the handshake and its answer one
	answer   []byte        // to be sent, or nil; of several the last counts
	answered chan struct{} // capacity 1: there may be an answer

	mu       sync.Mutex
	deadline time.Duration // OptionRecvDeadline
	hook     mangos.PipeEventHook

	// For the initiator: why to begin a handshake, and whether one waits
	// for its answer.
	connected, wanted chan struct{}
	waiting           atomic.Bool
}

// pairSocket is a sealed PAIR socket.
type pairSocket struct {
	plain
	mangos.Context
	end *pairEnd
}

func (s *pairSocket) OpenContext() (mangos.Context, error) { return s.end.inner.OpenContext() }

func (s *pairSocket) SetPipeEventHook(hook mangos.PipeEventHook) mangos.PipeEventHook {
	s.end.mu.Lock()
	defer s.end.mu.Unlock()
	hook, s.end.hook = s.end.hook, hook
	return hook
}

// pairQueue is how many opened messages wait for the application, as many as
// mangos keeps.
const pairQueue = 128

func newPairSocket(sock mangos.Socket, s *sealing) mangos.Socket {
	p := &pairEnd{
		inner:     sock,
		sealing:   s,
		pair:      s.config.Pair,
		received:  make(chan *mangos.Message, pairQueue),
		ready:     make(chan struct{}),
		closed:    make(chan struct{}),
		wire:      newGate(),
		answered:  make(chan struct{}, 1),
		connected: make(chan struct{}, 1),
		wanted:    make(chan struct{}, 1),
	}
	if value, err := sock.GetOption(mangos.OptionRecvDeadline); err == nil {
		p.deadline, _ = value.(time.Duration)
		_ = sock.SetOption(mangos.OptionRecvDeadline, time.Duration(0)) // is kept here
	}
	p.hook = sock.SetPipeEventHook(p.onPipe)
	if _, err := p.pair.Start(nil); !errors.Is(err, mechanism.ErrOrder) {
		p.workers.Go(p.initiate)
	}
	p.workers.Go(p.pump)
	p.workers.Go(p.sendAnswers)
	return &pairSocket{plain: sock, Context: p, end: p}
}

func (p *pairEnd) onPipe(event mangos.PipeEvent, pipe mangos.Pipe) {
	p.mu.Lock()
	hook := p.hook
	p.mu.Unlock()
	if hook != nil {
		hook(event, pipe)
	}
	if event == mangos.PipeEventAttached {
		signal(p.connected)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// maxHandshakeRetry is the longest pause between attempts to shake hands.
const maxHandshakeRetry = 30 * time.Second

// initiate begins handshakes: at once for each new connection, which may have
// lost what was under way; else, as everybody on the way can ask for one, not
// before the last one had its time.
func (p *pairEnd) initiate() {
	pause := p.sealing.config.HandshakeRetry
	timer := time.NewTimer(pause)
	timer.Stop()
	defer timer.Stop()
	resting, wanted := false, false
	for {
		select {
		case <-p.closed:
			return
		case <-p.connected:
			pause = p.sealing.config.HandshakeRetry
		case <-p.wanted:
			if wanted = true; resting {
				continue
			}
		case <-timer.C:
			resting = false
			switch {
			case p.waiting.Load():
				pause = min(2*pause, maxHandshakeRetry)
			case wanted:
				pause = p.sealing.config.HandshakeRetry
			default:
				continue
			}
		}
		if !p.start() {
			return
		}
		resting, wanted = true, false
		timer.Reset(pause)
	}
}

// start sends the first message of a handshake. It is false once the socket is
// closed.
func (p *pairEnd) start() bool {
	message, err := p.pair.Start(nil)
	if err != nil {
		return false
	}
	p.waiting.Store(true)
	return p.transmit(message) != mangos.ErrClosed
}

// transmit sends what is ready to be sent.
func (p *pairEnd) transmit(message []byte) error {
	m := mangos.NewMessage(0)
	m.Body = message
	err := p.inner.SendMsg(m)
	if err != nil {
		m.Free()
	}
	return err
}

// pump takes what comes in until the socket is closed.
func (p *pairEnd) pump() {
	for {
		m, err := p.inner.RecvMsg()
		if err != nil {
			return
		}
		p.take(m)
		m.Free()
	}
}

// take deals with one message, which stays the caller's.
func (p *pairEnd) take(m *mangos.Message) {
	out := mangos.NewMessage(len(m.Body))
	event, err := p.receive(out.Body, m.Body)
	if err != nil {
		if errors.Is(err, e2e.ErrUnknownKey) {
			signal(p.wanted)
		}
		p.sealing.drop(m, err)
	}
	if _, ok := p.pair.Peer(); ok {
		p.isReady.Do(func() { close(p.ready) })
	}
	if err != nil || !event.Data {
		out.Free()
		return
	}
	from := Provenance{Sender: event.Sender, Name: event.Name}
	select {
	case p.received <- opened(m, out, event.Body, from):
	case <-p.closed:
		out.Free()
	}
}

// receive gives a message to the pair and sees to it that its answer is sent.
func (p *pairEnd) receive(dst, message []byte) (e2e.PairEvent, error) {
	shaking := len(message) > 0 && message[0] == pairHandshakeForm
	if shaking {
		p.turn.Lock()
		defer p.turn.Unlock()
	}
	event, err := p.pair.Receive(dst, message)
	if shaking && err == nil {
		p.waiting.Store(false)
	}
	if event.Answer != nil {
		if !shaking {
			p.turn.Lock()
			defer p.turn.Unlock()
		}
		if shaking || p.answer == nil { // a hint is worth less than what it asks for
			p.answer = event.Answer
			signal(p.answered)
		}
	}
	return event, err
}

// sendAnswers sends answers that no message of the application's takes along.
func (p *pairEnd) sendAnswers() {
	for {
		select {
		case <-p.closed:
			return
		case <-p.answered:
			p.wire.enter(time.Time{})
			p.turn.Lock()
			answer := p.takeAnswerLocked()
			p.turn.Unlock()
			p.transmitAnswer(answer)
			p.wire.leave()
		}
	}
}

func (p *pairEnd) takeAnswerLocked() []byte {
	answer := p.answer
	p.answer = nil
	return answer
}

// transmitAnswer sends an answer, if there is one. The initiator begins anew
// if it is lost.
func (p *pairEnd) transmitAnswer(answer []byte) {
	if answer != nil {
		_ = p.transmit(answer)
	}
}

// pairHandshakeForm is the first byte of messages of the handshake (SPEC §7).
const pairHandshakeForm = 0xE7

func (p *pairEnd) SendMsg(m *mangos.Message) error {
	until, err := p.awaitSession()
	if err == errBestEffort {
		m.Free()
		return nil
	} else if err != nil {
		return err
	}
	sealed := mangos.NewMessage(len(m.Body) + room)
	if err := p.sealAndSend(sealed, m.Body, until); err != nil {
		sealed.Free()
		if p.isClosed() {
			return mangos.ErrClosed // which has ended the session, too
		}
		return err
	}
	m.Free()
	return nil
}

func (p *pairEnd) sealAndSend(sealed *mangos.Message, body []byte, until time.Time) error {
	if _, ok := p.wire.enter(until); !ok {
		return mangos.ErrSendTimeout
	}
	defer p.wire.leave()
	p.turn.Lock()
	b, err := p.pair.Seal(sealed.Body, body)
	answer := p.takeAnswerLocked()
	p.turn.Unlock()
	p.transmitAnswer(answer)
	if err != nil {
		if errors.Is(err, e2e.ErrExhausted) {
			signal(p.wanted)
		}
		return err
	}
	sealed.Body = b
	return p.sealing.hand(p.inner, sealed)
}

// errBestEffort says that a message is not to be waited for.
var errBestEffort = errors.New("securesp: no session yet")

// awaitSession waits until there is a session, and returns when the caller's
// patience ends.
func (p *pairEnd) awaitSession() (until time.Time, err error) {
	var expired <-chan time.Time
	if value, _ := p.inner.GetOption(mangos.OptionSendDeadline); value != nil {
		if d := value.(time.Duration); d > 0 {
			until = time.Now().Add(d)
			timer := time.NewTimer(d)
			defer timer.Stop()
			expired = timer.C
		}
	}
	if p.isClosed() {
		return until, mangos.ErrClosed
	}
	select {
	case <-p.ready:
		return until, nil
	default:
	}
	if bestEffort, _ := p.inner.GetOption(mangos.OptionBestEffort); bestEffort == true {
		return until, errBestEffort
	}
	select {
	case <-p.closed:
		return until, mangos.ErrClosed
	case <-p.ready:
		return until, nil
	case <-expired:
		return until, mangos.ErrSendTimeout
	}
}

func (p *pairEnd) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

func (p *pairEnd) RecvMsg() (*mangos.Message, error) {
	p.mu.Lock()
	d := p.deadline
	p.mu.Unlock()
	var expired <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		expired = timer.C
	}
	if p.isClosed() {
		return nil, mangos.ErrClosed
	}
	select {
	case <-p.closed:
		return nil, mangos.ErrClosed
	case m := <-p.received:
		p.sealing.opened.Add(1)
		return m, nil
	case <-expired:
		return nil, mangos.ErrRecvTimeout
	}
}

func (p *pairEnd) Send(body []byte) error { return send(p, body) }

func (p *pairEnd) Recv() ([]byte, error) { return recv(p) }

// Close ends the socket, its goroutines and the session.
func (p *pairEnd) Close() error {
	if err := p.inner.Close(); err != nil {
		return err
	}
	close(p.closed)
	p.workers.Wait()
	p.pair.Close()
	return nil
}

func (p *pairEnd) GetOption(name string) (interface{}, error) {
	switch name {
	case OptionSealStats:
		return p.sealing.stats(), nil
	case mangos.OptionRecvDeadline:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.deadline, nil
	}
	return p.inner.GetOption(name)
}

func (p *pairEnd) SetOption(name string, value interface{}) error {
	if name != mangos.OptionRecvDeadline {
		return p.inner.SetOption(name, value)
	}
	d, ok := value.(time.Duration)
	if !ok {
		return mangos.ErrBadValue
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deadline = d
	return nil
}
