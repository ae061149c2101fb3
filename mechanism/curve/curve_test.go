package curve_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/curve"
	"github.com/securesp/securesp/mechanism/mechtest"
)

func newKey(t *testing.T) *keys.CurvePrivate {
	is := is.New(t)
	is.Helper()
	key, err := keys.GenerateCurve()
	is.NoErr(err) // generate a key
	return key
}

func TestConformance(t *testing.T) {
	mechtest.Run(t, mechtest.Options{
		Mechanism:    curve.Mechanism(),
		MessageSizes: []int{200, 168, 311, 84}, // SPEC §8
	})
}

// TestConfig starts handshakes that lack something.
func TestConfig(t *testing.T) {
	own, peer := newKey(t), newKey(t).Public()
	for _, tt := range []struct {
		name   string
		config curve.Config
		ok     bool
	}{
		{"initiator", curve.Config{Identity: own, Peer: peer}, true},
		{"responder", curve.Config{Role: mechanism.Responder, Identity: own}, true},
		{"nothing", curve.Config{}, false},
		{"no identity", curve.Config{Peer: peer}, false},
		{"empty identity", curve.Config{Identity: new(keys.CurvePrivate), Peer: peer}, false},
		{"no peer", curve.Config{Identity: own}, false},
		{"no role", curve.Config{Role: 2, Identity: own, Peer: peer}, false},
		{"bad name", curve.Config{Identity: own, Peer: peer, Metadata: curve.Metadata{{Name: "a b"}}}, false},
		{"no name", curve.Config{Identity: own, Peer: peer, Metadata: curve.Metadata{{}}}, false},
		{"long name", curve.Config{Identity: own, Peer: peer, Metadata: curve.Metadata{{Name: strings.Repeat("a", 256)}}}, false},
		{"twice", curve.Config{Identity: own, Peer: peer, Metadata: curve.Metadata{{Name: "a"}, {Name: "A"}}}, false},
		{"most metadata", curve.Config{Identity: own, Peer: peer, Metadata: curve.Metadata{{Name: "a", Value: make([]byte, 3839-6)}}}, true},
		{"too much metadata", curve.Config{Identity: own, Peer: peer, Metadata: curve.Metadata{{Name: "a", Value: make([]byte, 3839-5)}}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			h, err := curve.New(tt.config)
			is.Equal(err == nil, tt.ok)
			is.Equal(h != nil, tt.ok)
			is.True(tt.ok || errors.Is(err, mechanism.ErrConfig))
		})
	}
}

// TestMostMetadata sends as much as fits in both directions.
func TestMostMetadata(t *testing.T) {
	is := is.New(t)
	server := newKey(t)
	most := curve.Metadata{{Name: "X-Most", Value: make([]byte, 3839-11)}}
	from, err := curve.New(curve.Config{Identity: newKey(t), Peer: server.Public(), Metadata: most})
	is.NoErr(err) // start the initiator
	to, err := curve.New(curve.Config{Role: mechanism.Responder, Identity: server, Metadata: most})
	is.NoErr(err) // start the responder
	for from.Next() != mechanism.Done {
		command, err := from.AppendCommand(nil)
		is.NoErr(err) // make a command
		is.True(len(command) <= mechanism.MaxHandshakeMessage)
		is.NoErr(to.ReadCommand(command)) // read a command
		from, to = to, from
	}
	value, ok := from.Metadata().Get("x-most")
	is.True(ok)
	is.Equal(len(value), 3839-11)
	_, ok = from.Metadata().Get("Identity")
	is.True(!ok)
}

// TestPayload has the suite refuse payloads and go on without.
func TestPayload(t *testing.T) {
	is := is.New(t)
	server := newKey(t)
	h, err := curve.Mechanism().NewHandshake(mechanism.Config{CurveIdentity: newKey(t), CurvePeer: server.Public()})
	is.NoErr(err) // start a handshake
	_, err = h.AppendMessage(nil, []byte("x"))
	is.True(errors.Is(err, mechanism.ErrUnsupported))
	is.Equal(h.Next(), mechanism.Send)
	hello, err := h.AppendMessage([]byte("before"), nil)
	is.NoErr(err) // HELLO without payload
	is.True(strings.HasPrefix(string(hello), "before\x05HELLO"))
}

// TestRefusal sends a client every form of ERROR.
func TestRefusal(t *testing.T) {
	for _, tt := range []struct {
		name    string
		command string
		status  curve.Status
		ok      bool
	}{
		{"denied", string(curve.AppendRefusal(nil, curve.StatusDenied)), curve.StatusDenied, true},
		{"temporary", "\x05ERROR\x03300", curve.StatusTemporary, true},
		{"internal", "\x05ERROR\x03500", curve.StatusInternal, true},
		{"other", "\x05ERROR\x03200", 0, true},
		{"text", "\x05ERROR\x05\x1b[2J!", 0, true},
		{"empty", "\x05ERROR\x00", 0, true},
		{"no reason", "\x05ERROR", 0, false},
		{"short", "\x05ERROR\x0440", 0, false},
		{"long", "\x05ERROR\x02400", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			h, err := curve.New(curve.Config{Identity: newKey(t), Peer: newKey(t).Public()})
			is.NoErr(err) // start a handshake
			_, err = h.AppendCommand(nil)
			is.NoErr(err) // HELLO
			err = h.ReadCommand([]byte(tt.command))
			var refused *curve.RefusedError
			is.Equal(errors.As(err, &refused), tt.ok)
			if !tt.ok {
				is.True(errors.Is(err, mechanism.ErrMalformed))
				return
			}
			is.True(errors.Is(err, mechanism.ErrAuthentication))
			is.Equal(refused.Status, tt.status)
			is.True(!strings.Contains(err.Error(), "\x1b"))
			is.Equal(h.Next(), mechanism.Receive) // nothing has changed
		})
	}
}

// TestOrder calls everything at the wrong time.
func TestOrder(t *testing.T) {
	is := is.New(t)
	server := newKey(t)
	h, err := curve.Mechanism().NewHandshake(mechanism.Config{CurveIdentity: newKey(t), CurvePeer: server.Public()})
	is.NoErr(err) // start a handshake
	_, err = h.ReadMessage(nil, nil)
	is.True(errors.Is(err, mechanism.ErrOrder))
	_, err = h.Session()
	is.True(errors.Is(err, mechanism.ErrOrder))
	_, err = h.PacketSession()
	is.True(errors.Is(err, mechanism.ErrOrder))
	_, err = h.AppendMessage(nil, nil)
	is.NoErr(err) // HELLO
	_, err = h.AppendMessage(nil, nil)
	is.True(errors.Is(err, mechanism.ErrOrder))
}
