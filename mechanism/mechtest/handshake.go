package mechtest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

// testCompletes: an honest handshake finishes, with equal and, if the
// mechanism is secure, unique bindings; its messages are as long as they
// should be.
func testCompletes(t *testing.T, o Options) {
	is := is.New(t)
	seen := make(map[string]bool)
	for range 3 {
		p := o.start(t, nil)
		for n := 0; !p.done(); n++ {
			sender, receiver := p.roles()
			message, err := p[sender].AppendMessage(nil, nil)
			is.NoErr(err) // making a message
			is.True(len(message) <= mechanism.MaxHandshakeMessage)
			if o.MessageSizes != nil {
				is.True(n < len(o.MessageSizes)) // number of messages
				is.Equal(len(message), o.MessageSizes[n])
			}
			_, err = p[receiver].ReadMessage(nil, message)
			is.NoErr(err) // reading a message
		}
		i, err := p[mechanism.Initiator].Session()
		is.NoErr(err) // initiator's session
		r, err := p[mechanism.Responder].Session()
		is.NoErr(err) // responder's session
		is.Equal(len(i.Binding()), 32)
		is.True(bytes.Equal(i.Binding(), r.Binding()))
		if o.Mechanism.Traits().Secure {
			is.True(!seen[string(i.Binding())]) // unique to the handshake
		}
		seen[string(i.Binding())] = true
		if packets, err := p[mechanism.Initiator].PacketSession(); err == nil {
			is.True(bytes.Equal(packets.Binding(), i.Binding()))
		}
	}
}

// testOrder: every call at the wrong step is refused with ErrOrder and changes
// nothing.
func testOrder(t *testing.T, o Options) {
	is := is.New(t)
	misuse := func(h mechanism.Handshake) {
		next := h.Next()
		if next != mechanism.Send {
			_, err := h.AppendMessage(nil, nil)
			is.True(errors.Is(err, mechanism.ErrOrder)) // sending out of turn
		}
		if next != mechanism.Receive {
			_, err := h.ReadMessage(nil, make([]byte, 64))
			is.True(errors.Is(err, mechanism.ErrOrder)) // reading out of turn
		}
		if next != mechanism.Done {
			_, err := h.Session()
			is.True(errors.Is(err, mechanism.ErrOrder)) // session too early
			_, err = h.PacketSession()
			is.True(errors.Is(err, mechanism.ErrOrder)) // packet session too early
		}
		is.Equal(h.Next(), next)
	}
	p := o.start(t, nil)
	is.Equal(p[mechanism.Initiator].Next(), mechanism.Send)
	is.Equal(p[mechanism.Responder].Next(), mechanism.Receive)
	for !p.done() {
		misuse(p[0])
		misuse(p[1])
		is.NoErr(p.deliver()) // message of an honest handshake
	}
	for _, h := range p {
		misuse(h)
		_, err := h.Session()
		is.NoErr(err) // first session
		_, err = h.Session()
		is.True(errors.Is(err, mechanism.ErrOrder)) // second session
		if _, err = h.PacketSession(); err == nil {
			_, err = h.PacketSession()
			is.True(errors.Is(err, mechanism.ErrOrder)) // second packet session
		} else {
			is.True(errors.Is(err, mechanism.ErrUnsupported))
		}
	}
}

// testConfig: a configuration that lacks what the traits ask for is refused
// with ErrConfig.
func testConfig(t *testing.T, o Options) {
	traits := o.Mechanism.Traits()
	i, r := o.Configs()
	for _, tt := range []struct {
		name   string
		needed bool
		config mechanism.Config
		remove func(*mechanism.Config)
	}{
		{"initiator's identity", traits.InitiatorKey, i, dropIdentity},
		{"responder's identity", traits.ResponderKey, r, dropIdentity},
		{"responder's key", traits.KnownResponder, i, dropPeer},
		{"initiator's PSK", traits.PSK, i, func(c *mechanism.Config) { c.PSK = nil }},
		{"responder's PSK", traits.PSK, r, func(c *mechanism.Config) { c.PSK = nil }},
	} {
		if !tt.needed {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			tt.remove(&tt.config)
			h, err := o.Mechanism.NewHandshake(tt.config)
			is.True(errors.Is(err, mechanism.ErrConfig))
			is.True(h == nil)
		})
	}
}

func dropIdentity(c *mechanism.Config) { c.Identity, c.CurveIdentity = nil, nil }

func dropPeer(c *mechanism.Config) {
	c.Peer, c.CurvePeer = keys.Public{}, keys.CurvePublic{}
}

// testHandshakeBuffers: messages and payloads are appended to dst, and neither
// inputs are changed nor kept.
func testHandshakeBuffers(t *testing.T, o Options) {
	is := is.New(t)
	prologue := []byte("a prologue that is overwritten after its use")
	p := o.start(t, func(i, r *mechanism.Config) { i.Prologue, r.Prologue = prologue, prologue })
	clear(prologue)
	for !p.done() {
		sender, receiver := p.roles()
		buffer := make([]byte, 5, 2*mechanism.MaxHandshakeMessage)
		copy(buffer, "start")
		message, err := p[sender].AppendMessage(buffer, nil)
		is.NoErr(err) // making a message
		is.Equal(string(message[:5]), "start")
		is.True(&message[0] == &buffer[0]) // a dst with room is used
		message = bytes.Clone(message[5:])
		before := bytes.Clone(message)
		out, err := p[receiver].ReadMessage([]byte("front"), message)
		is.NoErr(err) // reading a message
		is.Equal(string(out), "front")
		is.True(bytes.Equal(message, before)) // the message is untouched
		clear(message)                        // and not kept
		clear(buffer[:cap(buffer)])
	}
	_, err := p[mechanism.Initiator].Session()
	is.NoErr(err) // session of a finished handshake
}

// testPayload: a payload arrives with its message, or is refused with
// ErrUnsupported and changes nothing.
func testPayload(t *testing.T, o Options) {
	is := is.New(t)
	p := o.start(t, nil)
	for n := 0; !p.done(); n++ {
		sender, receiver := p.roles()
		payload := fmt.Appendf(nil, "payload of message %d", n)
		before := bytes.Clone(payload)
		message, err := p[sender].AppendMessage(nil, payload)
		is.True(bytes.Equal(payload, before)) // the payload is untouched
		if errors.Is(err, mechanism.ErrUnsupported) {
			is.Equal(p[sender].Next(), mechanism.Send)
			is.NoErr(p.deliver()) // the same message without payload
			continue
		}
		is.NoErr(err) // making a message with a payload
		clear(payload)
		got, err := p[receiver].ReadMessage([]byte("> "), message)
		is.NoErr(err) // reading a message with a payload
		is.Equal(string(got), "> "+string(before))
	}
}

// testTruncatedMessages: no message is accepted shorter or longer than it is,
// or the handshake fails by its end; a rejected message changes nothing.
func testTruncatedMessages(t *testing.T, o Options) {
	for n := range o.messages(t) {
		t.Run(fmt.Sprint("message ", n+1), func(t *testing.T) {
			_, message, _, _ := o.at(t, n)
			var variants [][]byte
			for size := range message {
				variants = append(variants, message[:size])
			}
			for _, more := range []int{1, 16, 1000, mechanism.MaxHandshakeMessage, 1 << 16} {
				variants = append(variants, append(bytes.Clone(message), make([]byte, more)...))
			}
			o.tamper(t, n, len(variants), func(i int, message []byte) []byte {
				if size := len(variants[i]); size < len(message) {
					return message[:size]
				}
				return append(message, variants[i][len(message):]...)
			})
		})
	}
}

// testFlippedMessages: no bit of a message may change.
func testFlippedMessages(t *testing.T, o Options) {
	for n := range o.messages(t) {
		t.Run(fmt.Sprint("message ", n+1), func(t *testing.T) {
			_, message, _, _ := o.at(t, n)
			o.tamper(t, n, len(message), func(i int, message []byte) []byte {
				message[i] ^= 1 << (i % 8)
				return message
			})
		})
	}
}

// tamper gives the receiver of message n each of count altered forms of it.
// One that is not refused at once must make the handshake fail before both
// sides are done. After a refusal the genuine message must still do.
func (o Options) tamper(t *testing.T, n, count int, alter func(i int, message []byte) []byte) {
	t.Helper()
	is := is.New(t)
	p, message, _, receiver := o.at(t, n)
	for i := range count {
		forged := alter(i, bytes.Clone(message))
		_, err := p[receiver].ReadMessage(nil, forged)
		if err != nil {
			if !refused(err) || p[receiver].Next() != mechanism.Receive {
				t.Fatalf("variant %d: rejected with %v, next step %v", i, err, p[receiver].Next())
			}
			continue
		}
		if err := p.finish(); err == nil {
			t.Fatalf("variant %d: the handshake succeeded", i)
		} else if !refused(err) {
			t.Fatalf("variant %d: the handshake failed with %v", i, err)
		}
		if n == 0 { // the sender refused the reply, which changed nothing
			p[receiver] = o.start(t, nil)[receiver]
		} else {
			p, message, _, receiver = o.at(t, n)
		}
	}
	_, err := p[receiver].ReadMessage(nil, message)
	is.NoErr(err)        // the genuine message after the forged ones
	is.NoErr(p.finish()) // and what follows
}

// testForeignMessages: messages of another handshake between the same sides,
// and a side's own messages, are refused. (A first message alone may be
// replayed: the sender of the original is not there to go on.)
func testForeignMessages(t *testing.T, o Options) {
	is := is.New(t)
	for n := range o.messages(t) {
		_, foreign, _, _ := o.at(t, n)
		p, message, sender, receiver := o.at(t, n)
		if n > 0 {
			_, err := p[receiver].ReadMessage(nil, foreign)
			is.True(refused(err)) // message of another handshake
		}
		if p[sender].Next() == mechanism.Receive {
			_, err := p[sender].ReadMessage(nil, message)
			is.True(refused(err)) // own message, reflected
		}
		_, err := p[receiver].ReadMessage(nil, message)
		is.NoErr(err)        // the genuine message
		is.NoErr(p.finish()) // and what follows
	}
}

// testMismatch: sides that disagree on the prologue, a key or the pre-shared
// key never both finish.
func testMismatch(t *testing.T, o Options) {
	traits := o.Mechanism.Traits()
	for _, tt := range []struct {
		name    string
		applies bool
		change  func(i, r *mechanism.Config)
	}{
		{"initiator's prologue", true, func(i, r *mechanism.Config) { i.Prologue = []byte("other") }},
		{"responder's prologue", true, func(i, r *mechanism.Config) { r.Prologue = nil }},
		{"responder's key", traits.KnownResponder && !traits.Curve, func(i, r *mechanism.Config) {
			i.Peer = newKey(t).Public()
		}},
		{"responder's CURVE key", traits.KnownResponder && traits.Curve, func(i, r *mechanism.Config) {
			other, err := keys.GenerateCurve()
			is.New(t).NoErr(err) // generating a key
			i.CurvePeer = other.Public()
		}},
		{"pre-shared key", traits.PSK, func(i, r *mechanism.Config) {
			other, err := keys.GenerateShared()
			is.New(t).NoErr(err) // generating a pre-shared key
			i.PSK = other
		}},
	} {
		if !tt.applies {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			p := o.start(t, tt.change)
			is.True(refused(p.finish()))
			is.True(!p.done())
		})
	}
}

func newKey(t *testing.T) *keys.Private {
	t.Helper()
	key, err := keys.Generate()
	is.New(t).NoErr(err) // generating a key
	return key
}

// testPeer: a key is proved by the end of the handshake exactly where the
// traits say so, is the right one, and never shows before anything was read.
func testPeer(t *testing.T, o Options) {
	is := is.New(t)
	traits := o.Mechanism.Traits()
	i, r := o.Configs()
	want := [2]mechanism.Peer{} // by the role of the owner
	if traits.InitiatorKey {
		want[mechanism.Initiator] = peerOf(i)
	}
	if traits.ResponderKey {
		want[mechanism.Responder] = peerOf(r)
	}
	p := o.start(t, nil)
	for !p.done() {
		for role, h := range p {
			got := h.Peer()
			is.True(got == mechanism.Peer{} || got == want[1-role])
		}
		sender, _ := p.roles()
		proved := p[sender].Peer()
		is.NoErr(p.deliver())              // message of an honest handshake
		is.Equal(p[sender].Peer(), proved) // sending proves nothing
	}
	is.Equal(p[mechanism.Initiator].Peer(), want[mechanism.Responder])
	is.Equal(p[mechanism.Responder].Peer(), want[mechanism.Initiator])

	fresh := o.start(t, nil)
	is.Equal(fresh[0].Peer(), mechanism.Peer{})
	is.Equal(fresh[1].Peer(), mechanism.Peer{})
}

func peerOf(c mechanism.Config) mechanism.Peer {
	return mechanism.Peer{Key: c.Identity.Public(), CurveKey: c.CurveIdentity.Public()}
}

// brokenSource is a source of randomness that has none.
type brokenSource struct{}

var errBroken = errors.New("no randomness")

func (brokenSource) Read([]byte) (int, error) { return 0, errBroken }

// testRandomness: a side whose source of randomness fails reports that instead
// of going on.
func testRandomness(t *testing.T, o Options) {
	for role := range 2 {
		t.Run(mechanism.Role(role).String(), func(t *testing.T) {
			is := is.New(t)
			configs := [2]*mechanism.Config{}
			ic, rc := o.Configs()
			configs[0], configs[1] = &ic, &rc
			configs[role].Rand = brokenSource{}
			var p run
			for side := range p {
				var err error
				p[side], err = o.Mechanism.NewHandshake(*configs[side])
				if side == role && err != nil {
					is.True(errors.Is(err, errBroken))
					return
				}
				is.NoErr(err) // starting a side
			}
			is.True(errors.Is(p.finish(), errBroken))
		})
	}
}

// testSecrets: both sides report the same traffic secrets to KeyLog, and no
// fmt verb shows one of them.
func testSecrets(t *testing.T, o Options) {
	is := is.New(t)
	logged := [2]map[string]string{{}, {}}
	logTo := func(side int) func(string, []byte) {
		return func(label string, secret []byte) { logged[side][label] = string(secret) }
	}
	p := o.start(t, func(i, r *mechanism.Config) { i.KeyLog, r.KeyLog = logTo(0), logTo(1) })
	is.NoErr(p.finish()) // honest handshake
	var printed strings.Builder
	show := func(v any) { fmt.Fprintf(&printed, "%v %+v %#v %s %x %d\n", v, v, v, v, v, v) }
	for _, h := range p {
		show(h)
		s, err := h.Session()
		is.NoErr(err) // session of a finished handshake
		show(h)
		show(s)
		if packets, err := h.PacketSession(); err == nil {
			show(packets)
		}
	}
	is.True(len(logged[0]) > 0)
	is.Equal(logged[0], logged[1])
	seen := make(map[string]bool)
	for _, secret := range logged[0] {
		is.True(len(secret) >= 16)
		is.True(!seen[secret]) // no two uses share a key
		seen[secret] = true
		decimal := strings.Trim(fmt.Sprint([]byte(secret[:8])), "[]")
		for _, form := range []string{secret[:8], fmt.Sprintf("%x", secret[:8]), decimal} {
			is.True(!strings.Contains(printed.String(), form)) // a secret was printed
		}
	}
}
