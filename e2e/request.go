package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// Request is a request that a [Worker] opened. Its methods are safe for
// concurrent use.
type Request struct {
	Received

	// Resumed is set if the client used a ticket.
	Resumed bool

	replier replier
	maxBody int
}

// Reply seals a reply with the given body and appends it to dst, which body
// must not overlap. A reply to a clear request is clear. It may be called any
// number of times, with the same or other bodies: each reply is sealed with
// fresh randomness, and the client accepts one. A body above the configured
// maximum is ErrTooLarge.
func (r *Request) Reply(dst, body []byte) ([]byte, error) {
	if len(body) > r.maxBody {
		return nil, ErrTooLarge
	}
	return r.replier.seal(dst, body, statusOK)
}

// Refuse seals a refusal and appends it to dst: the client gets
// ErrNotAuthorized. It is for handlers that decide by what is asked. A clear
// request cannot be refused so: that is mechanism.ErrUnsupported.
func (r *Request) Refuse(dst []byte) ([]byte, error) {
	return r.replier.seal(dst, nil, statusNotAuthorized)
}

// replier seals replies to one request. It is safe for concurrent use.
type replier interface {
	seal(dst, body []byte, status status) ([]byte, error)
}

// status is what a reply says about its request (SPEC §7).
type status byte

const (
	statusOK            status = 0
	statusNotAuthorized status = 1
	statusExpired       status = 2
)

// statusOf returns what the client is told of an error; statusOK means
// nothing.
func statusOf(err error) status {
	switch {
	case errors.Is(err, ErrNotAuthorized):
		return statusNotAuthorized
	case errors.Is(err, ErrExpired):
		return statusExpired
	default:
		return statusOK
	}
}

func (s status) err() error {
	switch s {
	case statusOK:
		return nil
	case statusNotAuthorized:
		return ErrNotAuthorized
	case statusExpired:
		return ErrExpired
	default:
		return ErrMalformed
	}
}

// Tail of a reply (SPEC §7):
//
//	TLVs | TLV length:u16 | status:u8
//
// A TLV is type:u8 | length:u16 | value. Unknown types are ignored.
const (
	replyTailSize = 2 + 1
	tlvHeadSize   = 1 + 2

	// tlvTicket: lifetime in seconds:u32 | resumption secret:32 | ticket
	tlvTicket         = 1
	tlvTicketHeadSize = 4 + keySize
)

// replyTail is a reply's tail as it is read.
type replyTail struct {
	status status
	ticket []byte // value of tlvTicket, part of the opened bytes
}

// cutReplyTail splits what follows the first start bytes of opened into body
// and tail. The body is returned with those bytes before it.
func cutReplyTail(opened []byte, start int) ([]byte, replyTail, error) {
	end := len(opened) - replyTailSize
	if end < start {
		return nil, replyTail{}, ErrMalformed
	}
	tail := replyTail{status: status(opened[end+2])}
	at := end - int(binary.BigEndian.Uint16(opened[end:]))
	if at < start {
		return nil, replyTail{}, ErrMalformed
	}
	for tlvs := opened[at:end]; len(tlvs) > 0; {
		if len(tlvs) < tlvHeadSize {
			return nil, replyTail{}, ErrMalformed
		}
		kind, n := tlvs[0], int(binary.BigEndian.Uint16(tlvs[1:]))
		if tlvs = tlvs[tlvHeadSize:]; n > len(tlvs) {
			return nil, replyTail{}, ErrMalformed
		}
		if kind == tlvTicket {
			if tail.ticket != nil || n <= tlvTicketHeadSize || n > tlvTicketHeadSize+maxTicketSize {
				return nil, replyTail{}, ErrMalformed
			}
			tail.ticket = tlvs[:n]
		}
		tlvs = tlvs[n:]
	}
	return opened[:at], tail, nil
}

// envelopeReplier replies to a full request:
//
//	E2 | Noise message:80 | sealed part
type envelopeReplier struct {
	worker     *Worker
	key        *workerKey
	front      []byte // of the request
	client     keys.Public
	wantTicket bool

	mu        sync.Mutex
	handshake *noise.Handshake // nil once used
}

const (
	noiseReplySize = keys.Size + keySize + tagSize // e, payload
	replyAt        = 1 + noiseReplySize
)

func (r *envelopeReplier) seal(dst, body []byte, s status) ([]byte, error) {
	handshake, err := r.takeHandshake()
	if err != nil {
		return nil, err
	}
	var buf [tlvHeadSize + tlvTicketHeadSize + ticketSize + replyTailSize]byte
	defer clear(buf[:])
	tail := buf[:0]
	if s == statusOK && r.wantTicket {
		tail = r.worker.appendTicket(tail, r.key, r.client)
	}
	tail = binary.BigEndian.AppendUint16(tail, uint16(len(tail)))
	tail = append(tail, byte(s))

	dst = grow(dst, replyAt+len(body)+len(tail)+tagSize, body)
	start := len(dst)
	var key [keySize]byte
	defer clear(key[:])
	r.worker.random.read(key[:])
	if dst, err = handshake.AppendMessage(append(dst, formReply), key[:]); err != nil {
		return nil, err
	}
	return sealPart(dst, dst[start:], oneTime(key[:]), zeroNonce[:], body, tail), nil
}

// takeHandshake returns a handshake that has read the request and sent
// nothing. Every reply needs one of its own, with its own ephemeral key.
func (r *envelopeReplier) takeHandshake() (*noise.Handshake, error) {
	r.mu.Lock()
	handshake := r.handshake
	r.handshake = nil
	r.mu.Unlock()
	if handshake != nil {
		return handshake, nil
	}
	e, err := openEnvelope(r.front, r.key.ServicePrivate, r.worker.random)
	if err != nil {
		return nil, err
	}
	clear(e.key[:])
	return e.handshake, nil
}

// appendTicket appends the TLV with a new ticket, if one may be issued.
func (w *Worker) appendTicket(tlvs []byte, key *workerKey, client keys.Public) []byte {
	now := w.config.Now()
	expiry := now.Add(w.config.TicketLifetime)
	if !key.until.IsZero() && key.until.Before(expiry) {
		expiry = key.until
	}
	lifetime := expiry.Sub(now).Truncate(time.Second)
	if lifetime <= 0 {
		return tlvs
	}
	t := &ticket{client: client, expiry: expiry}
	defer clear(t.secret[:])
	w.random.read(t.secret[:])
	tlvs = append(tlvs, tlvTicket)
	tlvs = binary.BigEndian.AppendUint16(tlvs, tlvTicketHeadSize+ticketSize)
	tlvs = binary.BigEndian.AppendUint32(tlvs, uint32(lifetime/time.Second))
	tlvs = append(tlvs, t.secret[:]...)
	return key.sealTicket(tlvs, t, now, w.random)
}

// ticketReplier replies to a ticket request.
type ticketReplier struct {
	exchange *resumed
	random   randomness
}

func (r *ticketReplier) seal(dst, body []byte, s status) ([]byte, error) {
	dst = grow(dst, ticketReplyAt+len(body)+replyTailSize+tagSize, body)
	start := len(dst)
	dst = append(dst, formTicketReply)
	nonce := dst[len(dst) : len(dst)+xNonceLen]
	r.random.read(nonce)
	dst = dst[:len(dst)+xNonceLen]
	tail := [replyTailSize]byte{2: byte(s)}
	return sealPart(dst, r.exchange.replyData(dst[start:]), r.exchange.aead, nonce, body, tail[:]), nil
}

// clearReplier replies to a clear request.
type clearReplier struct{}

func (clearReplier) seal(dst, body []byte, s status) ([]byte, error) {
	if s != statusOK {
		return nil, mechanism.ErrUnsupported
	}
	return appendClear(dst, body), nil
}

func appendClear(dst, body []byte) []byte {
	dst = grow(dst, 1+len(body), body)
	return append(append(dst, formClear), body...)
}

// Format prints who sent the request: no verb shows the body or a secret.
func (r *Request) Format(f fmt.State, _ rune) { io.WriteString(f, "request from "+r.Sender.String()) }
