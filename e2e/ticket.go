package e2e

import (
	"crypto/cipher"
	"encoding/binary"
	"sync"
	"time"

	"github.com/securesp/securesp/keys"
)

// A ticket is what a worker remembers about a client, kept by the client
// (SPEC §7). Only workers can open it:
//
//	keyid:4 | day:u32 | nonce:24 | XChaCha20-Poly1305 of
//	    suite:u8 | resumption secret:32 | client key:32 | expiry unix-s:u64
//
// The first 8 bytes are the associated data. day is the UTC day of issue, of
// which, with the service's secret, the key is derived.
const (
	ticketHeadSize  = keys.ServiceIDSize + 4
	ticketPlainSize = 1 + keySize + keys.Size + 8
	ticketSize      = ticketHeadSize + xNonceLen + ticketPlainSize + tagSize

	// maxTicketSize is the largest that a client accepts. Clients do not
	// look into tickets.
	maxTicketSize = 1024
)

type ticket struct {
	secret [keySize]byte
	client keys.Public
	expiry time.Time
}

const secondsPerDay = 24 * 60 * 60

func dayOf(t time.Time) uint32 { return uint32(t.Unix() / secondsPerDay) }

// workerKey is a service key as workers hold it.
type workerKey struct {
	*keys.ServicePrivate
	id    [keys.ServiceIDSize]byte
	until time.Time // zero: no end

	mu      sync.Mutex
	tickets map[uint32]cipher.AEAD // by day; a handful
}

func newWorkerKey(k ServiceKey) *workerKey {
	return &workerKey{
		ServicePrivate: k.Key,
		id:             k.Key.Public().ID(),
		until:          k.Until,
		tickets:        make(map[uint32]cipher.AEAD),
	}
}

func (k *workerKey) valid(now time.Time) bool {
	return k.until.IsZero() || now.Before(k.until)
}

// ticketCipher returns the cipher for tickets issued on a day, or nil if none
// of them can be good at the time now. The neighbouring days are there for
// tickets that live through midnight and workers whose clocks are ahead.
func (k *workerKey) ticketCipher(day uint32, now time.Time) cipher.AEAD {
	today := dayOf(now)
	near := func(d uint32) bool { return d+1 >= today && d <= today+1 }
	if !near(day) {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if aead, ok := k.tickets[day]; ok {
		return aead
	}
	for d := range k.tickets {
		if !near(d) {
			delete(k.tickets, d)
		}
	}
	secret := k.ticketSecret(day)
	defer clear(secret)
	aead := manyTimes(secret)
	k.tickets[day] = aead
	return aead
}

func (k *workerKey) ticketSecret(day uint32) []byte {
	label := binary.BigEndian.AppendUint32([]byte(protocolLabel+" ticket"), day)
	return k.Derive(string(label))
}

// sealTicket appends t to dst.
func (k *workerKey) sealTicket(dst []byte, t *ticket, now time.Time, r randomness) []byte {
	start := len(dst)
	day := dayOf(now)
	dst = append(dst, k.id[:]...)
	dst = binary.BigEndian.AppendUint32(dst, day)
	var nonce [xNonceLen]byte
	r.read(nonce[:])
	dst = append(dst, nonce[:]...)

	var b [ticketPlainSize]byte
	defer clear(b[:])
	plain := append(b[:0], suiteOne)
	plain = append(plain, t.secret[:]...)
	plain = append(plain, t.client.Bytes()...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(t.expiry.Unix()))
	return k.ticketCipher(day, now).Seal(dst, nonce[:], plain, dst[start:start+ticketHeadSize])
}

// openTicket returns an error that matches ErrExpired for every ticket, of
// ticketSize bytes, that is of no use to this key.
func (k *workerKey) openTicket(b []byte, now time.Time) (*ticket, error) {
	head, nonce, sealed := b[:ticketHeadSize], b[ticketHeadSize:][:xNonceLen], b[ticketHeadSize+xNonceLen:]
	aead := k.ticketCipher(binary.BigEndian.Uint32(head[keys.ServiceIDSize:]), now)
	if aead == nil {
		return nil, ErrExpired
	}
	plain, err := aead.Open(nil, nonce, sealed, head)
	if err != nil {
		return nil, ErrExpired
	}
	defer clear(plain)
	t := &ticket{secret: [keySize]byte(plain[1:])}
	rest := plain[1+keySize:]
	if t.client, err = keys.NewPublic(rest[:keys.Size]); err != nil || plain[0] != suiteOne {
		return nil, ErrExpired
	}
	t.expiry = time.Unix(int64(binary.BigEndian.Uint64(rest[keys.Size:])), 0)
	if !now.Before(t.expiry) {
		return nil, ErrExpired
	}
	return t, nil
}

// A ticket request and its reply (SPEC §7):
//
//	E3 | suite:u8 | ticket length:u16 | ticket | nonce:24 | sealed part
//	E4 | nonce:24 | sealed part
//
// Both are sealed with XChaCha20-Poly1305 under the resumption secret. The
// forms, as part of the associated data, keep them apart, and the request's
// nonce, which the reply's associated data ends with, makes it the reply to
// that one request.
const (
	ticketAt      = 1 + 1 + 2
	ticketReplyAt = 1 + xNonceLen
)

// resumed is the state of one ticket exchange, on either side.
type resumed struct {
	aead  cipher.AEAD
	nonce [xNonceLen]byte // of the request
}

func resume(secret *[keySize]byte, nonce []byte) *resumed {
	return &resumed{manyTimes(secret[:]), [xNonceLen]byte(nonce)}
}

// replyData returns the associated data of a reply with the given front.
func (r *resumed) replyData(front []byte) []byte {
	return append(append(make([]byte, 0, ticketReplyAt+xNonceLen), front...), r.nonce[:]...)
}

// splitTicketRequest returns the ticket and where the sealed part starts.
func splitTicketRequest(message []byte, maxBody int) (ticket []byte, at int, err error) {
	if len(message) < ticketAt || message[0] != formTicketRequest || message[1] != suiteOne {
		return nil, 0, ErrMalformed
	}
	n := int(binary.BigEndian.Uint16(message[2:]))
	at = ticketAt + n + xNonceLen
	size := len(message) - at - requestTailSize - tagSize
	switch {
	case n > maxTicketSize || size < 0:
		return nil, 0, ErrMalformed
	case size > maxBody:
		return nil, 0, ErrTooLarge
	}
	return message[ticketAt : ticketAt+n], at, nil
}

// sealTicketRequest appends a whole ticket request.
func sealTicketRequest(dst []byte, t *clientTicket, r randomness, body []byte, tail requestTail) ([]byte, *resumed) {
	size := ticketAt + len(t.ticket) + xNonceLen + requestTailSize + tagSize
	dst = grow(dst, size+len(body), body)
	start := len(dst)
	dst = append(dst, formTicketRequest, suiteOne)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.ticket)))
	dst = append(dst, t.ticket...)
	nonce := dst[len(dst) : len(dst)+xNonceLen]
	r.read(nonce)
	dst = dst[:len(dst)+xNonceLen]
	exchange := resume(&t.secret, nonce)
	b := tail.bytes()
	return sealPart(dst, dst[start:], exchange.aead, nonce, body, b[:]), exchange
}
