package e2e

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// Pending is a request whose reply has not come yet. It is safe for concurrent
// use.
type Pending struct {
	client *Client

	mu       sync.Mutex
	form     byte      // of the request
	time     time.Time // when it was sealed
	service  *keys.ServicePublic
	done     bool // a reply was opened
	attempts int  // how often it was sealed in full
	retried  bool // Retry was called
	mayRetry bool
	unknown  []*keys.ServicePublic // hints said that the service does not have these

	// For formRequest: waits for a reply that opens from end to end.
	handshake *noise.Handshake

	// For formTicketRequest.
	ticket   *clientTicket
	exchange *resumed

	// A ticket that a hint says is of no use, which anybody may have said:
	// others go on using it until the service has answered a full request.
	doubted *clientTicket
}

func (p *Pending) sealFull(dst, body []byte, to *keys.ServicePublic) ([]byte, error) {
	if to == nil {
		return nil, configError("the client has no key of a service")
	}
	tail := requestTail{time: p.client.config.Now(), wantTicket: !p.client.config.NoTickets}
	dst, handshake, err := sealEnvelope(dst, formRequest, p.client.config.Identity, to, p.client.random, body, tail)
	if err != nil {
		return nil, err
	}
	p.form, p.time, p.service, p.handshake = formRequest, tail.time, to, handshake
	p.attempts++
	return dst, nil
}

func (p *Pending) sealResumed(dst, body []byte, t *clientTicket) []byte {
	tail := requestTail{time: p.client.config.Now()}
	p.form, p.time, p.service, p.ticket = formTicketRequest, tail.time, t.service, t
	dst, p.exchange = sealTicketRequest(dst, t, p.client.random, body, tail)
	return dst
}

// Service returns the key of the service that the request is sealed to, which
// is who seals the reply. It is nil for clear requests.
func (p *Pending) Service() *keys.ServicePublic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.service
}

// Open opens the reply and appends its body to dst, which must not overlap
// message. The message is neither changed nor kept.
//
// An error that matches ErrRetry means that the service could not use the
// request as it was sealed; it matches ErrUnknownKey or ErrExpired too. Call
// Retry then, and send what it returns. Where the error comes from a hint that
// anybody on the way can forge, that fresh request is all that it can bring
// about, and the genuine reply is still taken until Retry is called. There is
// no ErrRetry after a request was sealed in full to each of the client's keys
// (if it has but one, twice), nor after the service has found it late twice.
//
// ErrNotAuthorized and ErrExpired without ErrRetry are the service's own
// verdict. After ErrAuthentication, ErrMalformed or ErrTooLarge the genuine
// reply may still be opened. Once a reply was opened, every other one is
// ErrReplay.
func (p *Pending) Open(dst, message []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return nil, ErrReplay
	}
	switch form := formOf(message); {
	case form == formHint && p.form != formClear:
		return nil, p.hint(message)
	case form == formClear && p.form == formClear:
		return p.openClear(dst, message)
	case form == formReply && p.form == formRequest:
		return p.openReply(dst, message)
	case form == formTicketReply && p.form == formTicketRequest:
		return p.openTicketReply(dst, message)
	case form == formClear:
		return nil, ErrAuthentication // sealed by nobody
	default:
		return nil, ErrMalformed
	}
}

// Retry seals the request anew, with the same body as before, and appends it
// to dst, which body must not overlap. It always makes a full request. It may
// be called once after Open returned an error that matches ErrRetry, and
// returns mechanism.ErrOrder otherwise. From then on only the reply to the new
// request is taken.
func (p *Pending) Retry(dst, body []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mayRetry {
		return nil, mechanism.ErrOrder
	}
	if len(body) > p.client.config.MaxBody {
		return nil, ErrTooLarge
	}
	dst, err := p.sealFull(dst, body, p.client.service(p.unknown))
	if err != nil {
		return nil, err
	}
	p.retried, p.mayRetry, p.done = true, false, false
	p.ticket, p.exchange = nil, nil
	return dst, nil
}

// hint takes an unauthenticated hint (SPEC §7): EF | code:u8.
func (p *Pending) hint(message []byte) error {
	if len(message) != 2 {
		return ErrMalformed
	}
	var cause error
	switch message[1] {
	case hintUnknownKey:
		cause = ErrUnknownKey
		if !slices.Contains(p.unknown, p.service) {
			p.unknown = append(p.unknown, p.service)
		}
	case hintUnusableTicket:
		cause = ErrExpired
	default:
		return ErrMalformed
	}
	if p.ticket != nil {
		p.doubted = p.ticket
	}
	if p.attempts >= p.client.attempts() {
		return cause
	}
	return p.again(cause)
}

// again permits Retry, and returns cause as the reason for it.
func (p *Pending) again(cause error) error {
	p.mayRetry = true
	return retryError(cause)
}

func (p *Pending) openReply(dst, message []byte) ([]byte, error) {
	if len(message) < replyAt+replyTailSize+tagSize {
		return nil, ErrMalformed
	}
	if err := p.checkReplySize(message, replyAt); err != nil {
		return nil, err
	}
	// Another reply's Noise message, or another sealed part, may have been put
	// in: the handshake is over only once both are there that belong together.
	var opened, body []byte
	var tail replyTail
	var refused error
	var space [keySize]byte
	defer clear(space[:])
	_, err := p.handshake.ReadMessageIf(space[:0], message[1:replyAt], func(key []byte) error {
		opened, refused = openPart(dst, message, replyAt, message[:replyAt], oneTime(key), zeroNonce[:])
		if refused == nil {
			body, tail, refused = p.cut(opened, len(dst))
		}
		return refused
	})
	switch {
	case refused != nil:
		return nil, refused
	case err != nil:
		return nil, ErrAuthentication
	}
	p.handshake = nil
	return p.finish(opened, body, tail, len(dst))
}

func (p *Pending) openTicketReply(dst, message []byte) ([]byte, error) {
	if len(message) < ticketReplyAt+replyTailSize+tagSize {
		return nil, ErrMalformed
	}
	if err := p.checkReplySize(message, ticketReplyAt); err != nil {
		return nil, err
	}
	front := message[:ticketReplyAt]
	opened, err := openPart(dst, message, ticketReplyAt, p.exchange.replyData(front), p.exchange.aead, front[1:])
	if err != nil {
		return nil, err
	}
	body, tail, err := p.cut(opened, len(dst))
	if err != nil {
		return nil, err
	}
	return p.finish(opened, body, tail, len(dst))
}

// maxReplyTail is the largest tail, TLVs included.
const maxReplyTail = replyTailSize + 1<<16 - 1

func (p *Pending) checkReplySize(message []byte, at int) error {
	if len(message)-at-tagSize-maxReplyTail > p.client.config.MaxBody {
		return ErrTooLarge
	}
	return nil
}

// cut takes apart the opened part of an authentic reply, which starts at index
// start of opened.
func (p *Pending) cut(opened []byte, start int) ([]byte, replyTail, error) {
	body, tail, err := cutReplyTail(opened, start)
	if err == nil && len(body)-start > p.client.config.MaxBody {
		err = ErrTooLarge
	}
	if err != nil {
		clear(opened[start:])
		return nil, replyTail{}, err
	}
	return body, tail, nil
}

// finish takes a reply that cut has taken apart.
func (p *Pending) finish(opened, body []byte, tail replyTail, start int) ([]byte, error) {
	if p.form == formRequest {
		if p.doubted != nil {
			p.client.dropTicket(p.doubted)
		}
		if tail.ticket != nil {
			p.client.takeTicket(p.service, tail.ticket, p.time)
		}
		p.client.prefer(p.service)
	}
	clear(opened[len(body):])
	p.done, p.mayRetry = true, false
	if tail.status == statusOK {
		return body, nil
	}
	clear(body[start:])
	err := tail.status.err()
	if tail.status == statusExpired && !p.retried {
		err = p.again(err)
	}
	return nil, err
}

func (p *Pending) openClear(dst, message []byte) ([]byte, error) {
	if len(message)-1 > p.client.config.MaxBody {
		return nil, ErrTooLarge
	}
	p.done = true
	return append(grow(dst, len(message)-1, message), message[1:]...), nil
}

// Format prints what it is: no verb shows a secret.
func (p *Pending) Format(f fmt.State, _ rune) { io.WriteString(f, "pending e2e request") }
