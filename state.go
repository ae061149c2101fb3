package securesp

import (
	"sync/atomic"
	"time"

	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// ConnectionState says what a finished handshake has established.
type ConnectionState struct {
	HandshakeComplete bool // everything else is zero until then
	Initiator         bool // our own side
	Suite             mechanism.Suite
	Traits            mechanism.Traits // Traits.Secure is false for NULL alone

	// Peer is the other side as our trust policy accepted it: its key, the
	// name the policy has for it, its address and, on a UNIX socket where
	// the kernel tells, its credentials. The address is the one at the
	// handshake; see RemoteAddr for where a peer has moved over UDP.
	Peer trust.Peer

	Protocol           string // the application protocol, agreed by both
	PeerMaxMessageSize uint64 // the largest message in bytes the peer accepts
	ClearPermitted     bool   // both sides allow WriteClear

	// Binding is 32 bytes that are the same on both sides and unique to
	// this connection. Upper layers can sign it to bind themselves to the
	// connection. It is not secret. (Noise §11.2)
	Binding []byte

	// Extensions are the peer's, see Config.Extensions.
	Extensions map[uint8][]byte
}

// ConnectionState returns what the handshake has established. It does not run
// the handshake. The slices and maps in it are shared; do not change them.
func (c *Conn) ConnectionState() ConnectionState {
	if !c.established.Load() {
		return ConnectionState{Initiator: c.initiator}
	}
	return c.state
}

// Stats counts what a connection has done so far.
type Stats struct {
	BytesSent, BytesReceived       uint64 // payload
	MessagesSent, MessagesReceived uint64
	RecordsSent, RecordsReceived   uint64
	CarrierSent, CarrierReceived   uint64 // bytes of the carrier, the handshake not counted
	RekeysSent, RekeysReceived     uint64
	HandshakeTime                  time.Duration
}

type stats struct {
	received, messagesReceived   atomic.Uint64
	recordsSent, recordsReceived atomic.Uint64
	wireSent, wireReceived       atomic.Uint64
	handshakeTime                time.Duration // constant once established
}

// Stats returns the counters as they are now.
func (c *Conn) Stats() Stats {
	if !c.established.Load() {
		return Stats{}
	}
	s := Stats{
		BytesReceived: c.stats.received.Load(), MessagesReceived: c.stats.messagesReceived.Load(),
		RecordsSent: c.stats.recordsSent.Load(), RecordsReceived: c.stats.recordsReceived.Load(),
		CarrierSent: c.stats.wireSent.Load(), CarrierReceived: c.stats.wireReceived.Load(),
		HandshakeTime: c.stats.handshakeTime,
	}
	c.sender.mu.Lock()
	s.BytesSent, s.MessagesSent = c.sender.bytes, c.sender.messages
	c.sender.mu.Unlock()
	s.RekeysSent, s.RekeysReceived = c.session.Rekeys()
	return s
}

// startKeepAlive arranges for a PING after each interval of silence.
func (c *Conn) startKeepAlive() {
	interval := c.config.KeepAlive
	now := int64(time.Since(epoch))
	c.lastSent.Store(now)
	c.lastReceived.Store(now)
	ready := make(chan struct{})
	c.keepAlive = time.AfterFunc(interval, func() {
		<-ready
		c.checkAlive(interval)
	})
	close(ready)
}

// checkAlive runs once an interval.
func (c *Conn) checkAlive(interval time.Duration) {
	if c.closeErr() != nil {
		return
	}
	now := int64(time.Since(epoch))
	// Silence counts only while somebody listens: what nobody reads may
	// well be waiting in the carrier.
	if since := c.receiver.waiting.Load(); since != 0 && now-since > 3*int64(interval) {
		c.abandon(CloseGoingAway, ErrPeerSilent)
		return
	}
	if now-c.lastSent.Load() >= int64(interval) || now-c.lastReceived.Load() >= int64(interval) {
		c.sender.control(mechanism.Ping, nil)
	}
	c.keepAlive.Reset(interval)
}
