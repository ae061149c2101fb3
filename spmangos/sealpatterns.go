package spmangos

import (
	"errors"
	"math"
	"sync"
	"time"

	"go.nanomsg.org/mangos/v3"

	"github.com/securesp/securesp/e2e"
)

// reqPattern is one REQ socket or context: at most one request is outstanding.
type reqPattern struct {
	client *e2e.Client

	// sending makes a request the current one and the one that mangos waits
	// for in one step.
	sending sync.Mutex

	mu      sync.Mutex
	current *outstanding
}

// outstanding is a request that was not answered yet.
type outstanding struct {
	pending *e2e.Pending
	plain   *mangos.Message // what the application sent, to seal it anew
}

func (p *reqPattern) send(e *sealedEnd, m *mangos.Message) error {
	seal := p.client.Seal
	if e.sealing.config.Clear {
		seal = p.client.SealClear
	}
	sealed := mangos.NewMessage(len(m.Body) + room)
	body, pending, err := seal(sealed.Body, m.Body)
	if err != nil {
		sealed.Free()
		return err
	}
	sealed.Body = body

	// The answer may be received before SendMsg returns.
	p.sending.Lock()
	defer p.sending.Unlock()
	r := &outstanding{pending, m}
	p.put(r)
	if err := e.sealing.hand(e.inner, sealed); err != nil {
		p.remove(r)
		sealed.Free()
		return err
	}
	return nil
}

func (p *reqPattern) put(r *outstanding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = r // the one before is canceled by mangos; its memory is left to the collector
}

func (p *reqPattern) get() *outstanding {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// remove ends r, unless another request has come in its place.
func (p *reqPattern) remove(r *outstanding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == r {
		p.current = nil
	}
}

func (p *reqPattern) open(e *sealedEnd, m *mangos.Message) (*mangos.Message, error) {
	r := p.get()
	if r == nil {
		return nil, mangos.ErrCanceled
	}
	out := mangos.NewMessage(len(m.Body))
	body, err := r.pending.Open(out.Body, m.Body)
	if err != nil {
		out.Free()
		if errors.Is(err, e2e.ErrRetry) {
			return nil, p.retry(e, r)
		}
		return nil, err
	}
	p.remove(r)
	r.plain.Free()
	from := Provenance{Clear: true}
	if service := r.pending.Service(); service != nil {
		from = Provenance{Sender: service.Identity()}
	}
	return opened(m, out, body, from), nil
}

// retry sends the request once more, sealed anew. To mangos it is another one,
// so it must not come after the application's next.
func (p *reqPattern) retry(e *sealedEnd, r *outstanding) error {
	if !p.sending.TryLock() {
		return mangos.ErrCanceled // by the request that is being sent
	}
	defer p.sending.Unlock()
	if p.get() != r {
		return mangos.ErrCanceled
	}
	sealed := mangos.NewMessage(len(r.plain.Body) + room)
	body, err := r.pending.Retry(sealed.Body, r.plain.Body)
	if err == nil {
		sealed.Body = body
		err = e.enqueue(sealed)
	}
	if err != nil {
		sealed.Free()
		return err
	}
	e.sealing.retried.Add(1)
	return nil
}

// enqueue is SendMsg of a REQ, but leaves waiting for somebody to send to to
// whoever receives the reply.
func (e *sealedEnd) enqueue(m *mangos.Message) error {
	was, err := e.inner.GetOption(mangos.OptionBestEffort)
	if err != nil {
		return err
	}
	if err := e.inner.SetOption(mangos.OptionBestEffort, true); err != nil {
		return err
	}
	err = e.inner.SendMsg(m)
	_ = e.inner.SetOption(mangos.OptionBestEffort, was) // was accepted before
	return err
}

// repPattern is one REP socket or context, which answers one request at a time.
type repPattern struct {
	worker *e2e.Worker

	mu      sync.Mutex
	request *e2e.Request // to be answered, or nil
}

// put sets the request to be answered and returns the one before.
func (p *repPattern) put(r *e2e.Request) *e2e.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.request
	p.request = r
	return before
}

func (p *repPattern) send(e *sealedEnd, m *mangos.Message) error {
	r := p.put(nil)
	if r == nil {
		return mangos.ErrProtoState
	}
	err := e.transmit(m, r.Reply)
	if errors.Is(err, e2e.ErrTooLarge) {
		p.put(r) // nothing was sent: a smaller reply may be
	}
	return err
}

func (p *repPattern) open(e *sealedEnd, m *mangos.Message) (*mangos.Message, error) {
	p.put(nil) // mangos has forgotten where its answer would go
	out := mangos.NewMessage(len(m.Body))
	r, err := p.worker.Open(out.Body, m.Body)
	if err != nil {
		out.Free()
		return nil, err
	}
	p.put(r)
	from := provenance(&r.Received)
	from.Resumed = r.Resumed
	return opened(m, out, r.Body, from), nil
}

const (
	// answerPatience bounds how long a worker is held up by a connection
	// that does not take the answer to a request that was refused.
	answerPatience = 100 * time.Millisecond

	// forever stands for no deadline, as REP sockets cannot be set back to
	// zero.
	forever = time.Duration(math.MaxInt64)
)

// answer sends back what helps the client of a refused request on, if there is
// anything and it can be done soon.
func (e *sealedEnd) answer(err error, until time.Time) {
	var refused *e2e.RequestError
	if e.sealing.protocol != mangos.ProtoRep || !errors.As(err, &refused) || refused.Answer == nil {
		return
	}
	patience := answerPatience
	if !until.IsZero() {
		patience = min(patience, time.Until(until))
	}
	value, err := e.inner.GetOption(mangos.OptionSendDeadline)
	was, ok := value.(time.Duration)
	if err != nil || !ok || patience <= 0 {
		return
	}
	if was > 0 {
		patience = min(patience, was)
	}
	if e.inner.SetOption(mangos.OptionSendDeadline, patience) != nil {
		return
	}
	m := mangos.NewMessage(len(refused.Answer))
	m.Body = append(m.Body, refused.Answer...)
	if e.inner.SendMsg(m) != nil {
		m.Free() // the client will ask again
	}
	if e.inner.SetOption(mangos.OptionSendDeadline, was) != nil {
		_ = e.inner.SetOption(mangos.OptionSendDeadline, forever)
	}
}

func provenance(r *e2e.Received) Provenance {
	return Provenance{Sender: r.Sender, Name: r.Name, Time: r.Time, Duplicate: r.Duplicate, Clear: r.Clear}
}

type pushPattern struct{ client *e2e.Client }

func (p pushPattern) send(e *sealedEnd, m *mangos.Message) error {
	if !e.sealing.config.Clear {
		return e.transmit(m, p.client.SealOneWay)
	}
	return e.transmit(m, func(dst, body []byte) ([]byte, error) {
		clear, _, err := p.client.SealClear(dst, body)
		return clear, err
	})
}

// open is not reached: a PUSH receives nothing.
func (pushPattern) open(*sealedEnd, *mangos.Message) (*mangos.Message, error) {
	return nil, mangos.ErrProtoOp
}

type pullPattern struct{ worker *e2e.Worker }

func (pullPattern) send(e *sealedEnd, m *mangos.Message) error {
	return e.inner.SendMsg(m) // which refuses
}

func (p pullPattern) open(_ *sealedEnd, m *mangos.Message) (*mangos.Message, error) {
	out := mangos.NewMessage(len(m.Body))
	r, err := p.worker.OpenOneWay(out.Body, m.Body)
	if err != nil {
		out.Free()
		return nil, err
	}
	return opened(m, out, r.Body, provenance(r)), nil
}
