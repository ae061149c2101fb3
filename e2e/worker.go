package e2e

import (
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/securesp/securesp/keys"
)

// ServiceKey is a key of a service as its workers hold it.
type ServiceKey struct {
	Key *keys.ServicePrivate

	// Until is when the key ceases to be accepted; zero means never.
	// Tickets made with the key end no later.
	Until time.Time
}

// Duplicates says what a worker does with a message that it, or another worker
// with the same SeenCache, opened before.
type Duplicates uint8

const (
	// DropDuplicates refuses it, with ErrReplay.
	DropDuplicates Duplicates = iota

	// FlagDuplicates opens it, with Received.Duplicate set. That is for
	// handlers that can safely act twice, and want to answer twice because
	// the first answer may be lost.
	FlagDuplicates
)

// WorkerConfig is what a [Worker] is made with. It is not kept.
type WorkerConfig struct {
	// Keys are the service's keys. Several are valid at once, so that
	// clients need not all change to a new one at the same moment.
	Keys []ServiceKey

	// Authorize decides whether a sender, whose key is proved, may send at
	// all: nil admits it, under the name returned, which may be empty. It
	// is asked for every message, also when a ticket is used, so a sender
	// that it refuses from now on is out at once. Required. It must be
	// safe for concurrent use.
	Authorize func(sender keys.Public) (name string, err error)

	// Window is how far a message's time may be from Now, either way.
	// Default DefaultWindow, at most MaxWindow.
	Window time.Duration

	// Duplicates says what to do with repeated messages.
	Duplicates Duplicates

	// Seen remembers opened messages. Default: a MemoryCache of
	// DefaultSeenCapacity, for this Worker alone.
	Seen SeenCache

	// TicketLifetime is how long the tickets issued are good. Default
	// DefaultTicketLifetime, at most MaxTicketLifetime. If negative, no
	// ticket is issued or accepted: then every reply has forward secrecy,
	// and every request costs public-key operations.
	TicketLifetime time.Duration

	// MaxBody is the size in bytes of the largest body that is opened or
	// sealed. Default DefaultMaxBody.
	MaxBody int

	// AllowClear makes the worker take clear messages, from anybody and
	// without asking Authorize; see Received.Clear.
	AllowClear bool

	// Now tells the time. Default time.Now.
	Now func() time.Time
}

// Worker opens what is sealed to a service and seals the replies. It keeps
// nothing about clients but what its SeenCache remembers, so any worker of the
// service can take any message. It is safe for concurrent use.
type Worker struct {
	config WorkerConfig
	keys   atomic.Pointer[[]*workerKey]
	random randomness
}

// NewWorker returns a worker. It returns an error that matches ErrConfig if
// Keys or Authorize is missing or a value is out of bounds.
func NewWorker(config WorkerConfig) (*Worker, error) {
	if config.Authorize == nil {
		return nil, configError("a worker needs Authorize")
	}
	if err := setCommon(&config.Window, &config.MaxBody, &config.Now); err != nil {
		return nil, err
	}
	if config.TicketLifetime == 0 {
		config.TicketLifetime = DefaultTicketLifetime
	}
	if config.TicketLifetime > MaxTicketLifetime {
		return nil, configError("TicketLifetime is above its maximum")
	}
	if config.Seen == nil {
		config.Seen = NewMemoryCache(DefaultSeenCapacity)
	}
	w := &Worker{config: config}
	return w, w.SetKeys(config.Keys)
}

// setCommon fills in the defaults of what all configurations have.
func setCommon(window *time.Duration, maxBody *int, now *func() time.Time) error {
	if *window == 0 {
		*window = DefaultWindow
	}
	if *maxBody == 0 {
		*maxBody = DefaultMaxBody
	}
	if *now == nil {
		*now = time.Now
	}
	if *window < 0 || *window > MaxWindow {
		return configError("Window is out of bounds")
	}
	if *maxBody < 0 {
		return configError("MaxBody is negative")
	}
	return nil
}

// SetKeys replaces the service's keys, for messages opened from now on. To
// rotate: give all workers the new key beside the old one, then clients the
// new one, and let the old one end. Its errors match ErrConfig, and change
// nothing.
func (w *Worker) SetKeys(list []ServiceKey) error {
	if len(list) == 0 {
		return configError("a worker needs a service key")
	}
	fresh := make([]*workerKey, len(list))
	for i, k := range list {
		if k.Key.Public() == nil {
			return configError("a service key is empty")
		}
		fresh[i] = newWorkerKey(k)
		same := func(other *workerKey) bool { return other.id == fresh[i].id }
		if slices.ContainsFunc(fresh[:i], same) {
			return configError("two service keys have the same number")
		}
	}
	w.keys.Store(&fresh)
	return nil
}

// key returns the key with the given number if it is valid now.
func (w *Worker) key(id [keys.ServiceIDSize]byte, now time.Time) (*workerKey, bool) {
	for _, k := range *w.keys.Load() {
		if k.id == id {
			return k, k.valid(now)
		}
	}
	return nil, false
}

// Received is a message that was opened.
type Received struct {
	// Body is what was sealed: the bytes behind the dst of the call that
	// opened it.
	Body []byte

	// Sender is the proven key of who sealed the message, and Name what
	// Authorize calls it. Both are zero if Clear is set.
	Sender keys.Public
	Name   string

	// Time is when the message was sealed, by its sender's clock. It is
	// zero if Clear is set.
	Time time.Time

	// Duplicate is set if the message was opened before; see
	// FlagDuplicates.
	Duplicate bool

	// Clear is set if the message was not sealed at all: nothing is known
	// about who sent it, who read it and what it was on the way.
	Clear bool
}

// RequestError is the type of the errors of [Worker.Open] and
// [Worker.OpenOneWay].
type RequestError struct {
	// Err is the reason, which errors.Is finds too.
	Err error

	// Sender is who sealed the message, if that was proved.
	Sender keys.Public

	// Answer, if not nil, is what to send back, so that the client learns
	// what it can do. It is shorter than the request.
	Answer []byte
}

// Error returns the reason.
func (e *RequestError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *RequestError) Unwrap() error { return e.Err }

// Open opens a request and appends its body to dst, which must not overlap
// message. The message is neither changed nor kept.
//
// Its errors are of type *RequestError and match ErrUnknownKey, ErrExpired,
// ErrReplay, ErrNotAuthorized, ErrAuthentication, ErrMalformed or ErrTooLarge,
// or what the SeenCache returned. Whoever serves many clients drops such a
// message, sends the error's Answer if there is one, and goes on.
func (w *Worker) Open(dst, message []byte) (*Request, error) {
	var r *Request
	var err error
	switch formOf(message) {
	case formRequest:
		r, err = w.openRequest(dst, message)
	case formTicketRequest:
		r, err = w.openTicketRequest(dst, message)
	case formClear:
		var received *Received
		if received, err = w.openClear(dst, message); err == nil {
			r = &Request{Received: *received, replier: clearReplier{}, maxBody: w.config.MaxBody}
		}
	default:
		err = ErrMalformed
	}
	if err != nil {
		return nil, requestError(err)
	}
	return r, nil
}

// OpenOneWay opens a message that Client.SealOneWay sealed and appends its
// body to dst, which must not overlap message. The message is neither changed
// nor kept. Errors are as for Open, without an Answer.
func (w *Worker) OpenOneWay(dst, message []byte) (*Received, error) {
	var r *Received
	var err error
	switch formOf(message) {
	case formOneWay:
		r, err = w.openOneWay(dst, message)
	case formClear:
		r, err = w.openClear(dst, message)
	default:
		err = ErrMalformed
	}
	if err != nil {
		e := requestError(err)
		e.Answer = nil
		return nil, e
	}
	return r, nil
}

func requestError(err error) *RequestError {
	if e, ok := err.(*RequestError); ok {
		return e
	}
	return &RequestError{Err: err}
}

// formOf returns the form of a message that is not a group's, or 0.
func formOf(message []byte) byte {
	if len(message) == 0 {
		return 0
	}
	return message[0]
}

func (w *Worker) openRequest(dst, message []byte) (*Request, error) {
	now := w.config.Now()
	key, e, err := w.openEnvelope(message, formRequest, now)
	if err != nil {
		return nil, err
	}
	opened, tail, err := e.openBody(dst, message)
	if err != nil {
		return nil, err
	}
	replier := &envelopeReplier{
		worker:     w,
		key:        key,
		front:      cloneEnvelope(message),
		handshake:  e.handshake,
		client:     e.sender,
		wantTicket: tail.wantTicket,
	}
	r := &Request{
		Received: Received{Body: opened[len(dst):], Sender: e.sender, Time: tail.time},
		replier:  replier,
		maxBody:  w.config.MaxBody,
	}
	return w.admitRequest(r, formRequest, envelopeNonce(message), now)
}

// openEnvelope finds the key that message is for and opens its envelope.
func (w *Worker) openEnvelope(message []byte, form byte, now time.Time) (*workerKey, *envelope, error) {
	id, err := checkEnvelope(message, form, w.config.MaxBody)
	if err != nil {
		return nil, nil, err
	}
	key, ok := w.key(id, now)
	if !ok {
		return nil, nil, hintError(ErrUnknownKey, hintUnknownKey)
	}
	e, err := openEnvelope(message, key.ServicePrivate, w.random)
	return key, e, err
}

func (w *Worker) openTicketRequest(dst, message []byte) (*Request, error) {
	now := w.config.Now()
	sealed, at, err := splitTicketRequest(message, w.config.MaxBody)
	if err != nil {
		return nil, err
	}
	if len(sealed) != ticketSize || w.config.TicketLifetime < 0 {
		return nil, hintError(ErrExpired, hintUnusableTicket)
	}
	key, ok := w.key([keys.ServiceIDSize]byte(sealed), now)
	if !ok {
		return nil, hintError(ErrUnknownKey, hintUnknownKey)
	}
	t, err := key.openTicket(sealed, now)
	if err != nil {
		return nil, hintError(err, hintUnusableTicket)
	}
	defer clear(t.secret[:])
	nonce := message[at-xNonceLen : at]
	exchange := resume(&t.secret, nonce)
	opened, err := openPart(dst, message, at, message[:at], exchange.aead, nonce)
	if err != nil {
		return nil, err
	}
	opened, tail, err := cutRequestTail(opened, len(dst))
	if err != nil {
		return nil, err
	}
	r := &Request{
		Received: Received{Body: opened[len(dst):], Sender: t.client, Time: tail.time},
		Resumed:  true,
		replier:  &ticketReplier{exchange, w.random},
		maxBody:  w.config.MaxBody,
	}
	return w.admitRequest(r, formTicketRequest, nonce, now)
}

func (w *Worker) openOneWay(dst, message []byte) (*Received, error) {
	now := w.config.Now()
	_, e, err := w.openEnvelope(message, formOneWay, now)
	if err != nil {
		return nil, err
	}
	opened, tail, err := e.openBody(dst, message)
	if err != nil {
		return nil, err
	}
	r := &Received{Body: opened[len(dst):], Sender: e.sender, Time: tail.time}
	if err := w.admit(r, formOneWay, envelopeNonce(message), now); err != nil {
		return nil, &RequestError{Err: err, Sender: e.sender}
	}
	return r, nil
}

func (w *Worker) openClear(dst, message []byte) (*Received, error) {
	if !w.config.AllowClear {
		return nil, ErrAuthentication
	}
	if len(message)-1 > w.config.MaxBody {
		return nil, ErrTooLarge
	}
	opened := append(grow(dst, len(message)-1, message), message[1:]...)
	return &Received{Body: opened[len(dst):], Clear: true}, nil
}

// admitRequest admits an authentic request, or makes the sealed refusal of it.
func (w *Worker) admitRequest(r *Request, form byte, unique []byte, now time.Time) (*Request, error) {
	err := w.admit(&r.Received, form, unique, now)
	if err == nil {
		return r, nil
	}
	refused := &RequestError{Err: err, Sender: r.Sender}
	if status := statusOf(err); status != statusOK {
		if refused.Answer, err = r.replier.seal(nil, nil, status); err != nil {
			return nil, err
		}
	}
	return nil, refused
}

// admit decides about an authentic message: may its sender send, is it of this
// time, was it here before?
func (w *Worker) admit(r *Received, form byte, unique []byte, now time.Time) (err error) {
	defer func() {
		if err != nil {
			clear(r.Body)
		}
	}()
	if r.Name, err = w.config.Authorize(r.Sender); err != nil {
		return notAuthorized(err)
	}
	if !within(r.Time, now, w.config.Window) {
		return ErrExpired
	}
	expires := r.Time.Add(w.config.Window)
	r.Duplicate, err = w.config.Seen.Add(seenID(form, r.Sender, unique), now, expires)
	if err != nil {
		return err
	}
	if r.Duplicate && w.config.Duplicates == DropDuplicates {
		return ErrReplay
	}
	return nil
}

// Format prints what it is: no verb shows a secret.
func (w *Worker) Format(f fmt.State, _ rune) { io.WriteString(f, "e2e worker") }
