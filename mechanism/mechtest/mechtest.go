// Package mechtest is the conformance suite of securesp's mechanisms: whoever
// implements [mechanism.Mechanism] runs it in a test of their own,
//
//	func TestConformance(t *testing.T) {
//		mechtest.Run(t, mechtest.Options{Mechanism: New()})
//	}
//
// It states as tests what package mechanism's documentation promises, and
// tries to break each promise the way an attacker or a careless caller would.
// A mechanism whose traits say that it is not secure is held to everything but
// the laws about attackers.
package mechtest

import (
	"errors"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

// Options says what is tested.
type Options struct {
	// Mechanism is the one under test.
	Mechanism mechanism.Mechanism

	// Configs returns configurations of both roles that fit together. The
	// suite calls it many times, changes the copies it gets and expects the
	// same keys each time. Nil means: what the traits ask for, with keys
	// made once for each test.
	Configs func() (initiator, responder mechanism.Config)

	// MessageSizes are the sizes in bytes of the handshake messages without
	// payload. Nil leaves them unchecked.
	MessageSizes []int
}

// Run tests the mechanism. Each law is a subtest, so that go test -run picks
// one.
func Run(t *testing.T, o Options) {
	if o.Configs == nil {
		o.Configs = configsFor(t, o.Mechanism.Traits())
	}
	for _, law := range []struct {
		name   string
		secure bool // holds for secure mechanisms only
		test   func(*testing.T, Options)
	}{
		{"handshake/completes", false, testCompletes},
		{"handshake/order", false, testOrder},
		{"handshake/config", false, testConfig},
		{"handshake/buffers", false, testHandshakeBuffers},
		{"handshake/payload", false, testPayload},
		{"handshake/truncated", false, testTruncatedMessages},
		{"handshake/flipped", true, testFlippedMessages},
		{"handshake/foreign", true, testForeignMessages},
		{"handshake/mismatch", true, testMismatch},
		{"handshake/peer", true, testPeer},
		{"handshake/randomness", true, testRandomness},
		{"handshake/secrets", true, testSecrets},
		{"session/sizes", false, testSizes},
		{"session/buffers", false, testSessionBuffers},
		{"session/allocations", false, testSessionAllocations},
		{"session/concurrent", false, testSessionConcurrent},
		{"session/erase", false, testSessionErase},
		{"session/truncated", false, testTruncatedRecords},
		{"session/flipped", true, testFlippedRecords},
		{"session/sequence", true, testSequence},
		{"session/strangers", true, testStrangers},
		{"session/rekey", true, testRekey},
		{"packet/sizes", false, testPacketSizes},
		{"packet/flipped", true, testFlippedPackets},
		{"packet/lossy", true, testLossyPackets},
		{"packet/window", true, testPacketWindow},
		{"packet/epochs", true, testPacketEpochs},
		{"packet/forged", true, testForgedCounters},
		{"packet/concurrent", true, testPacketConcurrent},
		{"packet/allocations", false, testPacketAllocations},
		{"packet/erase", false, testPacketErase},
	} {
		if law.secure && !o.Mechanism.Traits().Secure {
			continue
		}
		t.Run(law.name, func(t *testing.T) { law.test(t, o) })
	}
}

// configsFor returns configurations with all that the traits ask for.
func configsFor(t *testing.T, traits mechanism.Traits) func() (i, r mechanism.Config) {
	t.Helper()
	is := is.New(t)
	i := mechanism.Config{Role: mechanism.Initiator, Prologue: []byte("prologue")}
	r := mechanism.Config{Role: mechanism.Responder, Prologue: []byte("prologue")}
	var err error
	if traits.Curve {
		i.CurveIdentity, err = keys.GenerateCurve()
		is.NoErr(err) // generating the initiator's key
		r.CurveIdentity, err = keys.GenerateCurve()
		is.NoErr(err) // generating the responder's key
		if traits.KnownResponder {
			i.CurvePeer = r.CurveIdentity.Public()
		}
	} else {
		if traits.InitiatorKey {
			i.Identity, err = keys.Generate()
			is.NoErr(err) // generating the initiator's key
		}
		if traits.ResponderKey {
			r.Identity, err = keys.Generate()
			is.NoErr(err) // generating the responder's key
		}
		if traits.KnownResponder {
			i.Peer = r.Identity.Public()
		}
	}
	if traits.PSK {
		i.PSK, err = keys.GenerateShared()
		is.NoErr(err) // generating the pre-shared key
		r.PSK = i.PSK
	}
	return func() (mechanism.Config, mechanism.Config) { return i, r }
}

// run is a handshake under way. Its sides are indexed by role.
type run [2]mechanism.Handshake

// start begins a handshake with configurations that change may alter.
func (o Options) start(t *testing.T, change func(i, r *mechanism.Config)) run {
	t.Helper()
	is := is.New(t)
	ic, rc := o.Configs()
	if change != nil {
		change(&ic, &rc)
	}
	i, err := o.Mechanism.NewHandshake(ic)
	is.NoErr(err) // starting the initiator
	r, err := o.Mechanism.NewHandshake(rc)
	is.NoErr(err) // starting the responder
	return run{i, r}
}

// roles returns which side sends next.
func (p run) roles() (sender, receiver mechanism.Role) {
	if p[mechanism.Initiator].Next() == mechanism.Send {
		return mechanism.Initiator, mechanism.Responder
	}
	return mechanism.Responder, mechanism.Initiator
}

// done reports whether both sides are.
func (p run) done() bool {
	return p[0].Next() == mechanism.Done && p[1].Next() == mechanism.Done
}

// deliver has the next message made and read.
func (p run) deliver() error {
	sender, receiver := p.roles()
	message, err := p[sender].AppendMessage(nil, nil)
	if err != nil {
		return err
	}
	_, err = p[receiver].ReadMessage(nil, message)
	return err
}

// finish delivers what is left of the handshake. It returns the first error.
func (p run) finish() error {
	for !p.done() {
		if err := p.deliver(); err != nil {
			return err
		}
	}
	return nil
}

// at returns a handshake in which message n (from 0) was made but not read.
func (o Options) at(t *testing.T, n int) (p run, message []byte, sender, receiver mechanism.Role) {
	t.Helper()
	is := is.New(t)
	p = o.start(t, nil)
	for range n {
		is.NoErr(p.deliver()) // message of an honest handshake
	}
	sender, receiver = p.roles()
	message, err := p[sender].AppendMessage(nil, nil)
	is.NoErr(err) // making a message
	return p, message, sender, receiver
}

// messages returns how many messages a handshake has.
func (o Options) messages(t *testing.T) int {
	t.Helper()
	is := is.New(t)
	p := o.start(t, nil)
	n := 0
	for ; !p.done(); n++ {
		is.NoErr(p.deliver()) // message of an honest handshake
	}
	return n
}

// complete returns a finished handshake.
func (o Options) complete(t *testing.T) run {
	t.Helper()
	is := is.New(t)
	p := o.start(t, nil)
	is.NoErr(p.finish()) // honest handshake
	return p
}

// sessions returns both ends of a session, indexed by role.
func (o Options) sessions(t *testing.T) [2]mechanism.Session {
	t.Helper()
	is := is.New(t)
	p := o.complete(t)
	var s [2]mechanism.Session
	for role := range s {
		var err error
		s[role], err = p[role].Session()
		is.NoErr(err) // session of a finished handshake
	}
	return s
}

// packetSessions returns both ends of a packet session, indexed by role, or
// false if the mechanism has none.
func (o Options) packetSessions(t *testing.T) (s [2]mechanism.PacketSession, ok bool) {
	t.Helper()
	is := is.New(t)
	p := o.complete(t)
	for role := range s {
		var err error
		s[role], err = p[role].PacketSession()
		if errors.Is(err, mechanism.ErrUnsupported) {
			return s, false
		}
		is.NoErr(err) // packet session of a finished handshake
	}
	return s, true
}

// refused reports whether err is one that a forged message or record may
// cause.
func refused(err error) bool {
	return errors.Is(err, mechanism.ErrAuthentication) ||
		errors.Is(err, mechanism.ErrMalformed) || errors.Is(err, mechanism.ErrReplay)
}

// pattern returns n bytes that differ from their neighbours.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}
