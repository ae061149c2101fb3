// Package zmtp speaks as much of ZMTP 3.1 (RFC 37) as it takes to exchange
// messages with the sockets of libzmq, always under CURVE: the greeting,
// frames, the handshake of package curve, and messages of several parts. It is
// how the interoperability tests show that curve is CURVE, and a pattern for
// programs that want to talk to ZeroMQ. Routing, reconnecting and the state
// machines of socket types are not here.
package zmtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/curve"
)

// Errors of this package; test with errors.Is. Those of package curve and of
// the connection are wrapped, too.
var (
	ErrProtocol     = errors.New("securesp: ZMTP protocol violation")
	ErrSocketType   = errors.New("securesp: incompatible ZMTP socket types")
	ErrUnauthorized = errors.New("securesp: CURVE client not authorised")
	ErrTooLarge     = errors.New("securesp: ZMTP message too large")
)

// Config is what Handshake needs.
type Config struct {
	Role       mechanism.Role     // of CURVE; who connects does not matter
	Identity   *keys.CurvePrivate // own static key
	Server     keys.CurvePublic   // the server's key, if Role is Initiator
	SocketType string             // "PUSH", "PULL", "REQ", "REP", …
	RoutingID  []byte             // the Identity property; nil for none

	// Authorize decides about a client that has proved its key, if Role is
	// Responder. Nil accepts nobody.
	Authorize func(client keys.CurvePublic) bool

	// MaxMessageSize is how many bytes all parts of a received message may
	// have.
	MaxMessageSize int

	Rand io.Reader // nil means crypto/rand; for recordings only
}

// peers lists which socket types go together (RFC 37, "The Socket-Type
// Property"), as far as they need nothing but messages.
var peers = map[string][]string{
	"REQ":    {"REP", "ROUTER"},
	"REP":    {"REQ", "DEALER"},
	"DEALER": {"REP", "DEALER", "ROUTER"},
	"ROUTER": {"REQ", "DEALER", "ROUTER"},
	"PUSH":   {"PULL"},
	"PULL":   {"PUSH"},
	"PAIR":   {"PAIR"},
}

// Conn is a connection to a ZeroMQ socket. One goroutine may send while
// another receives.
type Conn struct {
	carrier  net.Conn
	r        *bufio.Reader
	config   Config
	peer     keys.CurvePublic
	metadata curve.Metadata
	messages *curve.Messages

	mu  sync.Mutex // of sending
	out []byte
}

// Handshake makes a Conn of a fresh connection. It does not close carrier, nor
// does it set deadlines.
func Handshake(carrier net.Conn, config Config) (*Conn, error) {
	c := &Conn{carrier: carrier, r: bufio.NewReader(carrier), config: config}
	metadata := curve.Metadata{{Name: "Socket-Type", Value: []byte(config.SocketType)}}
	if config.RoutingID != nil {
		metadata = append(metadata, curve.Property{Name: "Identity", Value: config.RoutingID})
	}
	h, err := curve.New(curve.Config{
		Role:     config.Role,
		Identity: config.Identity,
		Peer:     config.Server,
		Metadata: metadata,
		Rand:     config.Rand,
	})
	if err != nil {
		return nil, err
	}
	if err := c.greet(); err != nil {
		return nil, err
	}
	for h.Next() != mechanism.Done {
		if err := c.step(h); err != nil {
			return nil, err
		}
	}
	if err := c.checkSocketType(h.Metadata()); err != nil {
		return nil, err
	}
	c.peer, c.metadata = h.Peer(), h.Metadata()
	c.messages, err = h.Messages()
	return c, err
}

// greet exchanges greetings.
func (c *Conn) greet() error {
	if _, err := c.carrier.Write(appendGreeting(nil, c.config.Role)); err != nil {
		return err
	}
	var theirs [greetingSize]byte
	for n := 0; n < len(theirs); { // a wrong signature shows before its end
		m, err := c.r.Read(theirs[n:])
		if err != nil {
			return noEOF(err)
		}
		if n += m; theirs[0] != 0xFF {
			break
		}
	}
	return checkGreeting(theirs, c.config.Role)
}

// step sends or receives one command of the handshake.
func (c *Conn) step(h *curve.Handshake) error {
	if h.Next() == mechanism.Receive {
		command, err := readFrame(c.r, flagCommand, mechanism.MaxHandshakeMessage)
		if err != nil {
			return noEOF(err)
		}
		return h.ReadCommand(command)
	}
	if client := h.Peer(); !client.IsZero() { // we are about to send READY
		if c.config.Authorize == nil || !c.config.Authorize(client) {
			refusal := curve.AppendRefusal(nil, curve.StatusDenied)
			_, err := c.carrier.Write(appendFrame(nil, flagCommand, refusal))
			return errors.Join(ErrUnauthorized, err)
		}
		if err := c.checkSocketType(h.Metadata()); err != nil {
			return err
		}
	}
	command, err := h.AppendCommand(nil)
	if err != nil {
		return err
	}
	_, err = c.carrier.Write(appendFrame(nil, flagCommand, command))
	return err
}

func (c *Conn) checkSocketType(theirs curve.Metadata) error {
	value, _ := theirs.Get("Socket-Type")
	if !slices.Contains(peers[c.config.SocketType], string(value)) {
		return ErrSocketType
	}
	return nil
}

// Peer returns the peer's static key, which it has proved.
func (c *Conn) Peer() keys.CurvePublic { return c.peer }

// Metadata returns the properties that the peer sent.
func (c *Conn) Metadata() curve.Metadata { return c.metadata }

// Close closes the carrier.
func (c *Conn) Close() error { return c.carrier.Close() }

// Send sends one message of one or more parts.
func (c *Conn) Send(parts ...[]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = c.out[:0]
	for i, part := range parts {
		var flags byte
		if i < len(parts)-1 {
			flags = curve.More
		}
		if err := c.appendLocked(flags, part); err != nil {
			return err
		}
	}
	_, err := c.carrier.Write(c.out)
	return err
}

// appendLocked appends one MESSAGE to out. Its frame is not one of a command,
// whatever RFC 26 calls it: that is what libzmq sends and expects.
func (c *Conn) appendLocked(flags byte, content []byte) error {
	message, err := c.messages.Encode(nil, flags, content)
	if err != nil {
		return err
	}
	c.out = appendFrame(c.out, 0, message)
	return nil
}

// Receive returns the parts of the next message. It returns io.EOF when the
// connection ended between two messages. ZMTP has no sealed end, so that may
// be somebody's doing who cut the connection.
func (c *Conn) Receive() ([][]byte, error) {
	var parts [][]byte
	left := c.config.MaxMessageSize
	for {
		// A part costs the room of its overhead, too, so that empty
		// ones are no way around the limit.
		frame, err := readFrame(c.r, 0, left+curve.MessageOverhead)
		if err != nil && len(parts) > 0 {
			return nil, noEOF(err)
		}
		if err != nil {
			return nil, err
		}
		flags, content, err := c.messages.Decode(nil, frame)
		if err != nil {
			return nil, err
		}
		if flags&curve.Command != 0 {
			if err := c.command(content); err != nil {
				return nil, err
			}
			continue
		}
		parts = append(parts, content)
		if flags&curve.More == 0 {
			return parts, nil
		}
		if left -= len(content) + curve.MessageOverhead; left < 0 {
			return nil, ErrTooLarge
		}
	}
}

// command answers a PING with a PONG (RFC 37, "Connection Heartbeating") and
// ignores all else:
//
//	"\x04PING" | time to live:u16 | context, at most 16 bytes
func (c *Conn) command(content []byte) error {
	ping, ok := bytes.CutPrefix(content, []byte("\x04PING"))
	if !ok {
		return nil
	}
	if len(ping) < 2 || len(ping) > 2+16 {
		return fmt.Errorf("%w: a malformed PING", ErrProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = c.out[:0]
	if err := c.appendLocked(curve.Command, append([]byte("\x04PONG"), ping[2:]...)); err != nil {
		return err
	}
	_, err := c.carrier.Write(c.out)
	return err
}
