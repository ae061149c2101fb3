package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/securesp/securesp/keys"
)

// ClientConfig is what a [Client] is made with. It is not kept.
type ClientConfig struct {
	// Identity is the key by which the service knows the client. Required.
	Identity *keys.Private

	// Services are the keys of the one service that requests are sealed
	// to. Usually that is one; during a rotation it may be several, the
	// one to begin with first. All are trusted alike: a middleman can make
	// the client use any of them. Required, except for AllowClear alone.
	Services []*keys.ServicePublic

	// NoTickets makes every request a full one: then middlemen cannot tell
	// which requests come from the same client, and replies have forward
	// secrecy.
	NoTickets bool

	// MaxBody is the size in bytes of the largest body that is sealed or
	// opened. Default DefaultMaxBody.
	MaxBody int

	// AllowClear permits SealClear.
	AllowClear bool

	// Now tells the time. Default time.Now.
	Now func() time.Time
}

// Client seals requests and one-way messages to a service. It is safe for
// concurrent use.
type Client struct {
	config ClientConfig
	random randomness

	mu       sync.Mutex
	services []*keys.ServicePublic // the one to use first
	ticket   *clientTicket         // nil: none
}

// clientTicket is a ticket as its client keeps it. It is immutable.
type clientTicket struct {
	service *keys.ServicePublic
	ticket  []byte
	secret  [keySize]byte
	until   time.Time
}

// NewClient returns a client. It returns an error that matches ErrConfig if
// something required is missing or a value is out of bounds.
func NewClient(config ClientConfig) (*Client, error) {
	if config.Identity == nil || config.Identity.ECDH() == nil {
		return nil, configError("a client needs an identity")
	}
	window := DefaultWindow
	if err := setCommon(&window, &config.MaxBody, &config.Now); err != nil {
		return nil, err
	}
	c := &Client{config: config}
	if len(config.Services) == 0 && config.AllowClear {
		return c, nil
	}
	return c, c.SetServices(config.Services)
}

// SetServices replaces the keys of the service, for messages sealed from now
// on. A ticket that was received under a key that is no longer listed is
// forgotten. Its errors match ErrConfig, and change nothing.
func (c *Client) SetServices(services []*keys.ServicePublic) error {
	if len(services) == 0 {
		return configError("a client needs the key of a service")
	}
	for _, s := range services {
		if s == nil || s.Encapsulation() == nil || lowOrder(s.Identity()) {
			return configError("a service key is empty or of low order")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.services = slices.Clone(services)
	if c.ticket != nil && !slices.ContainsFunc(services, c.ticket.service.Equal) {
		c.ticket = nil
	}
	return nil
}

// Seal seals a request with the given body and appends it to dst, which body
// must not overlap. It returns what opens the reply. It uses a ticket if the
// client has one from an earlier reply. The bytes may be sent any number of
// times, as long as the time window allows. A body above the configured
// maximum is ErrTooLarge.
func (c *Client) Seal(dst, body []byte) ([]byte, *Pending, error) {
	if len(body) > c.config.MaxBody {
		return nil, nil, ErrTooLarge
	}
	p := &Pending{client: c}
	var err error
	if t := c.usableTicket(); t != nil {
		dst = p.sealResumed(dst, body, t)
	} else {
		dst, err = p.sealFull(dst, body, c.service(nil))
	}
	if err != nil {
		return nil, nil, err
	}
	return dst, p, nil
}

// SealOneWay seals a message that is not answered and appends it to dst, which
// body must not overlap. A body above the configured maximum is ErrTooLarge.
func (c *Client) SealOneWay(dst, body []byte) ([]byte, error) {
	if len(body) > c.config.MaxBody {
		return nil, ErrTooLarge
	}
	to := c.service(nil)
	if to == nil {
		return nil, configError("the client has no key of a service")
	}
	tail := requestTail{time: c.config.Now()}
	dst, _, err := sealEnvelope(dst, formOneWay, c.config.Identity, to, c.random, body, tail)
	return dst, err
}

// SealClear makes a clear request or one-way message and appends it to dst,
// which body must not overlap. Anybody can read and alter it, and the reply,
// on the way. It returns an error that matches ErrConfig unless AllowClear is
// configured. The Pending takes nothing but a clear reply.
func (c *Client) SealClear(dst, body []byte) ([]byte, *Pending, error) {
	if !c.config.AllowClear {
		return nil, nil, configError("the client does not allow clear messages")
	}
	if len(body) > c.config.MaxBody {
		return nil, nil, ErrTooLarge
	}
	return appendClear(dst, body), &Pending{client: c, form: formClear}, nil
}

// service returns the key to seal to: the first that is not among those that
// the service is said not to know or, if all are, the one after the last of
// them. It returns nil if none is listed.
func (c *Client) service(unknown []*keys.ServicePublic) *keys.ServicePublic {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.services) == 0 {
		return nil
	}
	for _, s := range c.services {
		if !slices.ContainsFunc(unknown, s.Equal) {
			return s
		}
	}
	i := slices.IndexFunc(c.services, unknown[len(unknown)-1].Equal)
	return c.services[(i+1)%len(c.services)]
}

// attempts is how often a request may be sealed in full: to each key once, but
// twice at least, as another worker may know an only one.
func (c *Client) attempts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(2, len(c.services))
}

// prefer makes service the first to use, if it is listed. That is only for a
// key that the service has proved to have.
func (c *Client) prefer(service *keys.ServicePublic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.services, service.Equal); i > 0 {
		reordered := slices.Delete(slices.Clone(c.services), i, i+1)
		c.services = slices.Insert(reordered, 0, service)
	}
}

func (c *Client) usableTicket() *clientTicket {
	if c.config.NoTickets {
		return nil
	}
	now := c.config.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ticket != nil && !now.Before(c.ticket.until) {
		c.ticket = nil
	}
	return c.ticket
}

// dropTicket forgets t if it is still the one in use.
func (c *Client) dropTicket(t *clientTicket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ticket == t {
		c.ticket = nil
	}
}

// takeTicket keeps the value of a ticket TLV: lifetime in seconds, resumption
// secret, ticket. The lifetime counts from when the request was sealed, which
// is before the ticket was issued.
func (c *Client) takeTicket(service *keys.ServicePublic, value []byte, sealed time.Time) {
	lifetime := time.Duration(binary.BigEndian.Uint32(value)) * time.Second
	t := &clientTicket{
		service: service,
		ticket:  bytes.Clone(value[tlvTicketHeadSize:]),
		secret:  [keySize]byte(value[4:]),
		until:   sealed.Add(min(lifetime, MaxTicketLifetime)),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.config.NoTickets && slices.ContainsFunc(c.services, service.Equal) {
		c.ticket = t
	}
}

// Format prints what it is: no verb shows a secret.
func (c *Client) Format(f fmt.State, _ rune) {
	io.WriteString(f, "e2e client "+c.config.Identity.Public().String())
}
