package mechtest_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/mechtest"
	"github.com/securesp/securesp/mechanism/noise"
	"github.com/securesp/securesp/mechanism/null"
)

// faults are mistakes a mechanism could make, each with the laws that have to
// find it.
var faults = []struct {
	name      string
	mechanism mechanism.Mechanism
	laws      []string
}{
	{"null that claims security", claimant{null.Mechanism()}, []string{
		"handshake/completes", "handshake/foreign", "handshake/mismatch", "handshake/randomness", "handshake/secrets",
		"session/flipped", "session/sequence", "session/strangers", "session/rekey",
	}},
	{"wrong order goes unnoticed", faulty{handshake: func(h mechanism.Handshake, _ mechanism.Config) mechanism.Handshake {
		return lenient{h}
	}}, []string{"handshake/order"}},
	{"a rejected message is final", faulty{handshake: func(h mechanism.Handshake, _ mechanism.Config) mechanism.Handshake {
		return &brittle{Handshake: h}
	}}, []string{"handshake/flipped", "handshake/truncated", "handshake/foreign"}},
	{"missing configuration goes unnoticed", careless{}, []string{"handshake/config"}},
	{"input is overwritten", faulty{handshake: func(h mechanism.Handshake, _ mechanism.Config) mechanism.Handshake {
		return scribbler{h}
	}}, []string{"handshake/buffers"}},
	{"peer is believed at once", faulty{handshake: func(h mechanism.Handshake, c mechanism.Config) mechanism.Handshake {
		return believer{h, c}
	}}, []string{"handshake/peer"}},
	{"secrets are printed", tattler{}, []string{"handshake/secrets"}},
	{"records are accepted twice", faulty{session: func(s mechanism.Session) mechanism.Session {
		return &forgetful{Session: s}
	}}, []string{"session/sequence"}},
	{"plaintext is released early", faulty{session: func(s mechanism.Session) mechanism.Session {
		return eager{s}
	}}, []string{"session/flipped"}},
	{"encoding allocates", faulty{session: func(s mechanism.Session) mechanism.Session {
		return wasteful{s}
	}}, []string{"session/allocations", "session/buffers"}},
	{"directions share state", faulty{session: func(s mechanism.Session) mechanism.Session {
		return &shared{Session: s}
	}}, []string{"session/rekey"}},
	{"packets are accepted twice", faulty{packets: func(p mechanism.PacketSession) mechanism.PacketSession {
		return &amnesiac{PacketSession: p, seen: make(map[string][]byte)}
	}}, []string{"packet/flipped", "packet/lossy", "packet/window", "packet/epochs", "packet/concurrent"}},
	{"the window is small", faulty{packets: func(p mechanism.PacketSession) mechanism.PacketSession {
		return &narrow{PacketSession: p, size: 8191}
	}}, []string{"packet/window"}},
	{"forged counters move the window", faulty{packets: func(p mechanism.PacketSession) mechanism.PacketSession {
		return &narrow{PacketSession: p, size: math.MaxInt64, trusting: true}
	}}, []string{"packet/forged"}},
}

const helperEnv = "MECHTEST_FAULTY"

// TestFaultsAreFound runs the suite on faulty mechanisms, in processes of its
// own, where it has to fail.
func TestFaultsAreFound(t *testing.T) {
	self, err := os.Executable()
	is.New(t).NoErr(err) // finding the test binary
	for _, fault := range faults {
		for _, law := range fault.laws {
			t.Run(fault.name+"/"+law, func(t *testing.T) {
				is := is.New(t)
				name := "TestFaulty/" + strings.ReplaceAll(fault.name, " ", "_") + "/" + law
				pattern := "^" + strings.ReplaceAll(name, "/", "$/^") + "$"
				command := exec.Command(self, "-test.run", pattern)
				command.Env = append(os.Environ(), helperEnv+"=1")
				output, err := command.CombinedOutput()
				is.True(err != nil) // the law did not find the fault
				if !strings.Contains(string(output), "--- FAIL: "+name) {
					t.Errorf("another failure than that of %s:\n%s", name, output)
				}
			})
		}
	}
}

// TestFaulty is what TestFaultsAreFound runs.
func TestFaulty(t *testing.T) {
	if os.Getenv(helperEnv) == "" {
		return
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			mechtest.Run(t, mechtest.Options{Mechanism: fault.mechanism})
		})
	}
}

// TestSound: without a fault the wrappers pass.
func TestSound(t *testing.T) {
	mechtest.Run(t, mechtest.Options{Mechanism: faulty{}})
}

// sound is the mechanism that faults are added to.
var sound, _ = noise.Mechanism(mechanism.IKAESGCM)

// faulty is sound with the given wrappers.
type faulty struct {
	handshake func(mechanism.Handshake, mechanism.Config) mechanism.Handshake
	session   func(mechanism.Session) mechanism.Session
	packets   func(mechanism.PacketSession) mechanism.PacketSession
}

func (faulty) Suite() mechanism.Suite   { return sound.Suite() }
func (faulty) Traits() mechanism.Traits { return sound.Traits() }

func (f faulty) NewHandshake(c mechanism.Config) (mechanism.Handshake, error) {
	h, err := sound.NewHandshake(c)
	if err != nil {
		return nil, err
	}
	if f.handshake != nil {
		return f.handshake(h, c), nil
	}
	return wrapped{h, f}, nil
}

type wrapped struct {
	mechanism.Handshake
	faulty faulty
}

func (w wrapped) Format(f fmt.State, _ rune) {}

func (w wrapped) Session() (mechanism.Session, error) {
	s, err := w.Handshake.Session()
	if err == nil && w.faulty.session != nil {
		s = w.faulty.session(s)
	}
	return s, err
}

func (w wrapped) PacketSession() (mechanism.PacketSession, error) {
	p, err := w.Handshake.PacketSession()
	if err == nil && w.faulty.packets != nil {
		p = w.faulty.packets(p)
	}
	return p, err
}

type claimant struct{ mechanism.Mechanism }

func (claimant) Traits() mechanism.Traits { return mechanism.Traits{Secure: true} }

type careless struct{ faulty }

func (careless) NewHandshake(c mechanism.Config) (mechanism.Handshake, error) {
	h, err := sound.NewHandshake(c)
	if err != nil {
		return null.Mechanism().NewHandshake(c)
	}
	return h, nil
}

type lenient struct{ mechanism.Handshake }

func (l lenient) ReadMessage(dst, message []byte) ([]byte, error) {
	if l.Next() != mechanism.Receive {
		return dst, nil
	}
	return l.Handshake.ReadMessage(dst, message)
}

type brittle struct {
	mechanism.Handshake
	broken bool
}

func (b *brittle) ReadMessage(dst, message []byte) ([]byte, error) {
	if b.broken {
		return nil, mechanism.ErrAuthentication
	}
	out, err := b.Handshake.ReadMessage(dst, message)
	b.broken = err != nil
	return out, err
}

type scribbler struct{ mechanism.Handshake }

func (s scribbler) ReadMessage(dst, message []byte) ([]byte, error) {
	defer clear(message)
	return s.Handshake.ReadMessage(dst, message)
}

type believer struct {
	mechanism.Handshake
	config mechanism.Config
}

func (b believer) Peer() mechanism.Peer {
	if b.config.Role == mechanism.Initiator {
		return mechanism.Peer{Key: b.config.Peer}
	}
	return b.Handshake.Peer()
}

type tattler struct{ faulty }

func (tattler) NewHandshake(c mechanism.Config) (mechanism.Handshake, error) {
	told := new(chatty)
	if keyLog := c.KeyLog; keyLog != nil {
		c.KeyLog = func(label string, secret []byte) {
			told.Secret = secret
			keyLog(label, secret)
		}
	}
	var err error
	told.Handshake, err = sound.NewHandshake(c)
	return told, err
}

// chatty prints as fmt prints any struct.
type chatty struct {
	mechanism.Handshake
	Secret []byte
}

type forgetful struct {
	mechanism.Session
	last      []byte
	plaintext []byte
}

func (f *forgetful) Decode(dst, record []byte) (mechanism.Type, []byte, error) {
	if f.last != nil && string(record) == string(f.last) {
		return mechanism.Data, append(dst, f.plaintext...), nil
	}
	last := slices.Clone(record)
	t, out, err := f.Session.Decode(dst, record)
	if err == nil {
		f.last, f.plaintext = last, slices.Clone(out[len(dst):])
	}
	return t, out, err
}

type eager struct{ mechanism.Session }

func (e eager) Decode(dst, record []byte) (mechanism.Type, []byte, error) {
	t, out, err := e.Session.Decode(dst, record)
	if err != nil {
		space := dst[len(dst):cap(dst)]
		for i := range space {
			space[i] = 'P'
		}
	}
	return t, out, err
}

type wasteful struct{ mechanism.Session }

func (w wasteful) Encode(dst []byte, t mechanism.Type, plaintext []byte) ([]byte, error) {
	return w.Session.Encode(slices.Clip(slices.Clone(dst)), t, plaintext)
}

type shared struct {
	mechanism.Session
	records uint64
}

func (s *shared) Encode(dst []byte, t mechanism.Type, plaintext []byte) ([]byte, error) {
	s.records++
	return s.Session.Encode(dst, t, plaintext)
}

func (s *shared) Rekeys() (sent, received uint64) {
	sent, _ = s.Session.Rekeys()
	return sent, s.records >> 17
}

type amnesiac struct {
	mechanism.PacketSession
	mu   sync.Mutex
	seen map[string][]byte
}

func (a *amnesiac) Open(dst, packet []byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if plaintext, ok := a.seen[string(packet)]; ok {
		return append(dst, plaintext...), nil
	}
	out, err := a.PacketSession.Open(dst, packet)
	if err == nil {
		a.seen[string(packet)] = slices.Clone(out[len(dst):])
	}
	return out, err
}

// narrow refuses what is size behind the highest counter that was opened or,
// if it is trusting, claimed.
type narrow struct {
	mechanism.PacketSession
	highest, size uint64
	trusting      bool
}

func (n *narrow) Open(dst, packet []byte) ([]byte, error) {
	counter := uint64(0)
	if len(packet) >= 12 {
		counter = binary.BigEndian.Uint64(packet[4:])
	}
	if n.highest > counter && n.highest-counter >= n.size {
		return nil, mechanism.ErrReplay
	}
	out, err := n.PacketSession.Open(dst, packet)
	if err == nil || n.trusting {
		n.highest = max(n.highest, counter)
	}
	return out, err
}
