package securesp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// ChannelBinder is what a carrier may implement that is itself a secure
// channel: both ends return the same 32 bytes, which no other channel has.
// The handshake then fails if the two ends of the carrier are not the same
// channel. (SPEC §2)
type ChannelBinder interface {
	ChannelBinding() ([]byte, error)
}

// handshaker negotiates one connection: preface, key exchange, trust and
// verdict (SPEC §2, §3).
type handshaker struct {
	conn    *Conn
	config  *Config
	ctx     context.Context
	in      prefaceReader
	out     []byte // what goes out with the next write
	stage   string
	mechs   []mechanism.Mechanism
	mech    mechanism.Mechanism // the chosen one
	hs      mechanism.Handshake
	session mechanism.Session
	peer    trust.Peer
	asked   bool // the policy has accepted peer
	keyLog  []keyLogEntry
	theirs  ready
}

type keyLogEntry struct {
	label  string
	secret []byte
}

// run does the handshake. On success the caller owns session and what is left
// in the reader.
func (h *handshaker) run() error {
	h.stage = "configuration"
	var err error
	if h.mechs, err = h.config.mechanisms(h.conn.initiator); err != nil {
		return err
	}
	h.stage = "preface"
	if h.conn.initiator {
		err = h.initiate()
	} else {
		err = h.respond()
	}
	if err != nil {
		return err
	}
	return h.verdict()
}

// initiate sends HELLO, follows at most one RETRY, and runs the mechanism.
func (h *handshaker) initiate() error {
	offer := make([]mechanism.Suite, len(h.mechs))
	for i, m := range h.mechs {
		offer[i] = m.Suite()
	}
	first := h.helloHead(offer)
	if err := h.begin(h.mechs[0], append([]byte(prologueLabel), first...)); err != nil {
		return err
	}
	hello, err := h.sendHello(first)
	if err != nil {
		return err
	}
	rep, err := readReply(&h.in)
	if err != nil {
		return err
	}
	if rep.kind == kindRetry {
		if !slices.Contains(offer[1:], rep.suite) {
			return fmt.Errorf("%w: retry with a suite that was not offered", ErrProtocol)
		}
		again := h.helloHead([]mechanism.Suite{rep.suite})
		mech := h.mechs[slices.Index(offer, rep.suite)]
		if err := h.begin(mech, retryPrologue(hello, rep.suite, again)); err != nil {
			return err
		}
		if _, err := h.sendHello(again); err != nil {
			return err
		}
		if rep, err = readReply(&h.in); err != nil {
			return err
		}
	}
	switch rep.kind {
	case kindAccept:
	case kindReject:
		return rejection(rep.code)
	default:
		return errPreface
	}
	h.stage = "key exchange"
	if err := h.receive(rep.message); err != nil {
		return err
	}
	return h.exchange()
}

func (h *handshaker) helloHead(offer []mechanism.Suite) []byte {
	local, remote := "", ""
	for _, m := range h.mechs {
		if pskOnly(m.Traits()) {
			local, remote = h.config.Name, h.config.PeerName
		}
	}
	return appendHelloHead(nil, offer, local, remote)
}

// sendHello completes HELLO with the first handshake message, sends it and
// returns the whole.
func (h *handshaker) sendHello(head []byte) ([]byte, error) {
	m1, err := h.hs.AppendMessage(nil, nil)
	if err != nil {
		return nil, err
	}
	hello := appendBlock(head, m1)
	if len(hello) > maxHello {
		return nil, fmt.Errorf("%w: the offer does not fit into a HELLO", ErrConfig)
	}
	h.out = append(h.out, hello...)
	return hello, h.send()
}

// respond reads HELLO, picks a suite and runs the mechanism.
func (h *handshaker) respond() error {
	hello, err := readHello(&h.in)
	if err != nil {
		return h.rejectFor(err)
	}
	i := h.choose(hello.suites)
	if i < 0 {
		return h.reject(rejectNoSuite, ErrNoCommonSuite)
	}
	prologue := append([]byte(prologueLabel), hello.head...)
	if i > 0 {
		suite := hello.suites[i]
		h.out = binary.BigEndian.AppendUint16(appendReply(h.out, kindRetry), uint16(suite))
		if err := h.send(); err != nil {
			return err
		}
		again, err := readHello(&h.in)
		if err != nil {
			return h.rejectFor(err)
		}
		if len(again.suites) != 1 || again.suites[0] != suite {
			return h.reject(rejectHandshake, errPreface)
		}
		prologue = retryPrologue(hello.whole, suite, again.head)
		hello = again
	}
	for _, m := range h.mechs {
		if m.Suite() == hello.suites[0] {
			h.mech = m
		}
	}
	h.stage = "key exchange"
	if err := h.checkNames(hello); err != nil {
		return h.reject(rejectHandshake, err)
	}
	if err := h.begin(h.mech, prologue); err != nil {
		return h.reject(rejectHandshake, err)
	}
	if err := h.receive(hello.message); err != nil {
		return h.rejectFor(err)
	}
	h.out = appendReply(h.out, kindAccept)
	return h.exchange()
}

// choose returns the index of the first offered suite that we support, or -1.
// NULL counts only alone.
func (h *handshaker) choose(offer []mechanism.Suite) int {
	return slices.IndexFunc(offer, func(s mechanism.Suite) bool {
		return (s != mechanism.Null || len(offer) == 1) && slices.ContainsFunc(h.mechs, func(m mechanism.Mechanism) bool {
			return m.Suite() == s
		})
	})
}

// checkNames keeps a handshake that rests on a shared secret alone from being
// reflected to the side that began it.
func (h *handshaker) checkNames(hello *hello) error {
	if !pskOnly(h.mech.Traits()) {
		return nil
	}
	c := h.config
	if hello.local == "" || hello.local == hello.remote || hello.remote != c.Name ||
		hello.local == c.Name || c.PeerName != "" && hello.local != c.PeerName {
		return fmt.Errorf("%w: the peer uses other names for the two sides", ErrAuthentication)
	}
	h.peer.Name = hello.local
	return nil
}

// rejectFor sends the REJECT that suits err, if the peer would understand one.
func (h *handshaker) rejectFor(err error) error {
	switch {
	case errors.Is(err, ErrVersion):
		return h.reject(rejectVersion, err)
	case errors.Is(err, ErrNotSecureSP), errors.Is(err, errHungUp), isNetError(err):
		return err
	}
	return h.reject(rejectHandshake, err)
}

func isNetError(err error) bool {
	var n net.Error
	return errors.As(err, &n)
}

// reject sends a REJECT and returns err, the reason that only we get to know.
func (h *handshaker) reject(code byte, err error) error {
	h.out = append(appendReply(h.out[:0], kindReject), code)
	_ = h.send() // the handshake has failed anyway
	return err
}

func retryPrologue(hello []byte, suite mechanism.Suite, again []byte) []byte {
	p := append([]byte(retryPrologueLabel), hello...)
	p = binary.BigEndian.AppendUint16(appendReply(p, kindRetry), uint16(suite))
	return append(p, again...)
}

// begin starts mech with the given prologue, to which the carrier's channel
// binding is added.
func (h *handshaker) begin(mech mechanism.Mechanism, prologue []byte) error {
	if b, ok := h.conn.carrier.(ChannelBinder); ok {
		binding, err := b.ChannelBinding()
		if err != nil {
			return err
		}
		prologue = append(prologue, binding...)
	}
	c := mechanism.Config{
		Role:          mechanism.Responder,
		Prologue:      prologue,
		Identity:      h.config.Identity,
		PSK:           h.config.PSK,
		CurveIdentity: h.config.CurveIdentity,
	}
	if h.conn.initiator {
		c.Role = mechanism.Initiator
		if mech.Traits().KnownResponder {
			c.Peer, _ = h.config.pinned()
			c.CurvePeer, _ = h.config.curvePinned()
		}
	}
	if h.config.KeyLogWriter != nil {
		c.KeyLog = func(label string, secret []byte) {
			h.keyLog = append(h.keyLog, keyLogEntry{label, slices.Clone(secret)})
		}
	}
	var err error
	h.mech = mech
	h.hs, err = mech.NewHandshake(c)
	return err
}

// exchange runs the rest of the mechanism's messages. The last one, if it is
// ours, stays in h.out to go with the verdict.
func (h *handshaker) exchange() error {
	for {
		switch h.hs.Next() {
		case mechanism.Done:
			return nil
		case mechanism.Send:
			m, err := h.hs.AppendMessage(nil, nil)
			if err != nil {
				return err
			}
			h.out = appendBlock(h.out, m)
			if h.hs.Next() == mechanism.Done {
				return nil
			}
			if err := h.send(); err != nil {
				return err
			}
		case mechanism.Receive:
			m, err := h.in.takeLaterMessage()
			if err != nil {
				return err
			}
			if err := h.receive(m); err != nil {
				return h.rejectFor(err)
			}
		}
	}
}

// receive hands a message to the mechanism. An initiator that now knows the
// peer's key decides about it before it says anything more.
func (h *handshaker) receive(message []byte) error {
	if _, err := h.hs.ReadMessage(nil, message); err != nil {
		return err
	}
	if h.conn.initiator && h.hs.Next() != mechanism.Done && h.hs.Peer() != (mechanism.Peer{}) {
		return h.authorize()
	}
	return nil
}

// authorize asks the trust policy.
func (h *handshaker) authorize() error {
	if h.asked {
		return nil
	}
	proved := h.hs.Peer()
	h.peer.Key, h.peer.CurveKey = proved.Key, proved.CurveKey
	h.peer.PSK = h.mech.Traits().PSK
	h.peer.Addr = h.conn.carrier.RemoteAddr()
	h.peer.Credentials = peerCredentials(h.conn.carrier)
	if h.peer.Name == "" {
		h.peer.Name = h.conn.dialed
	}
	if h.config.Trust != nil {
		h.stage = "trust"
		if err := h.config.Trust.Authorize(h.ctx, h.peer); err != nil {
			return fmt.Errorf("%w: %w", ErrUntrusted, err)
		}
	}
	h.asked = true
	return nil
}

// verdict exchanges READY (SPEC §3). A refusal is a sealed CLOSE in its place.
func (h *handshaker) verdict() error {
	session, err := h.hs.Session()
	if err != nil {
		return err
	}
	h.session = session
	refusal := h.authorize()
	h.stage = "verdict"
	if refusal != nil {
		h.stage = "trust"
		return h.close(CloseNotAuthorized, refusal)
	}
	// Whoever sends the last handshake message goes first, so that the
	// verdict travels with it.
	exchange := []func() error{h.sendReady, h.readVerdict}
	if len(h.out) == 0 {
		slices.Reverse(exchange)
	}
	for _, step := range exchange {
		if err := step(); err != nil {
			return err
		}
	}
	if h.theirs.protocol != h.config.Protocol {
		return ErrProtocolMismatch // the peer sees it, too
	}
	return nil
}

func (h *handshaker) sendReady() error {
	if err := h.seal(mechanism.Ready, appendReady(nil, h.config)); err != nil {
		return err
	}
	return h.send()
}

func (h *handshaker) seal(t mechanism.Type, plaintext []byte) (err error) {
	h.out, err = h.session.Encode(h.out, t, plaintext)
	return err
}

// close sends a sealed CLOSE and returns err. What the peer still sends is
// read and dropped until it hangs up, so that no reset of the carrier
// overtakes the CLOSE.
func (h *handshaker) close(code CloseCode, err error) error {
	if h.seal(mechanism.Close, appendClose(nil, code, "")) == nil && h.send() == nil {
		h.conn.carrier.SetReadDeadline(time.Now().Add(refusalLinger))
		for dropped := 0; dropped < maxHello; {
			b, readErr := h.in.take(1)
			if readErr != nil {
				break
			}
			dropped += len(b)
		}
	}
	return err
}

// refusalLinger is how long a refused peer is given to read why.
const refusalLinger = time.Second

// readVerdict reads the peer's first record.
func (h *handshaker) readVerdict() error {
	record, err := h.in.takeRecord(h.session.Overhead())
	if err != nil {
		return err
	}
	if bytes.HasPrefix(record, magic[:]) {
		return rejection(record[len(record)-1])
	}
	t, body, err := h.session.Decode(nil, record)
	if err != nil {
		return err
	}
	switch t {
	case mechanism.Ready:
		return h.theirs.parse(body)
	case mechanism.Close:
		c, err := parseClose(body)
		if err != nil {
			return err
		}
		if c.Code == CloseProtocolError {
			return fmt.Errorf("%w: %w", ErrProtocolMismatch, c)
		}
		return c
	}
	return fmt.Errorf("%w: no verdict", ErrProtocol)
}

// send writes what has gathered.
func (h *handshaker) send() error {
	_, err := h.conn.carrier.Write(h.out)
	h.out = h.out[:0]
	return err
}

// ready is the body of a READY record (SPEC §3).
type ready struct {
	maxMessage uint64
	protocol   string
	clear      bool
	extensions map[uint8][]byte
}

const (
	tlvMaxMessage = 0x01
	tlvProtocol   = 0x02
	tlvClear      = 0x03
)

// appendReady appends our READY body.
func appendReady(dst []byte, c *Config) []byte {
	dst = appendTLV(dst, tlvMaxMessage, binary.BigEndian.AppendUint64(nil, uint64(c.maxMessageSize())))
	if c.Protocol != "" {
		dst = appendTLV(dst, tlvProtocol, []byte(c.Protocol))
	}
	if c.AllowClear {
		dst = appendTLV(dst, tlvClear, []byte{1})
	}
	for t := uint8(0x10); t <= 0x1F; t++ {
		if v, ok := c.Extensions[t]; ok {
			dst = appendTLV(dst, t, v)
		}
	}
	return dst
}

func (r *ready) parse(body []byte) error {
	return eachTLV(body, func(t byte, value []byte) error {
		switch {
		case t == tlvMaxMessage && len(value) == 8:
			r.maxMessage = binary.BigEndian.Uint64(value)
		case t == tlvProtocol && len(value) <= maxProtocolLen:
			r.protocol = string(value)
		case t == tlvClear && len(value) == 1:
			r.clear = value[0] == 1
		case t <= tlvClear:
			return fmt.Errorf("%w: malformed READY", ErrProtocol)
		case t >= 0x10 && t <= 0x1F:
			if r.extensions == nil {
				r.extensions = make(map[uint8][]byte)
			}
			r.extensions[t] = slices.Clone(value)
		}
		return nil
	})
}
