package securesp

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// Defaults and limits of a Config.
const (
	DefaultMaxMessageSize   = 16 << 20
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultMaxPending       = 256

	maxProtocolLen  = 255 // SPEC §3
	maxNameLen      = 255
	maxExtensionLen = 1024
)

// Config says who we are, whom we trust and how. The zero value refuses
// everything: at least Identity and Trust must be set, unless Suites asks for
// less.
//
// A Config may be shared by any number of connections and must not be changed
// once it has been used; see Clone.
type Config struct {
	// Identity is our static key. Every default suite needs one.
	Identity *keys.Private

	// Trust decides which peers we talk to; it is asked once the peer has
	// proved its key, and before Dial or Accept return. It is required
	// unless no listed suite lets the peer prove a key. A peer that proves
	// none, in a suite that permits it, is presented with a zero key,
	// which all policies of package trust but Anyone refuse. If the
	// policy also implements trust.Watcher, as trust.File's does,
	// connections end when it withdraws its trust.
	Trust trust.Policy

	// Suites lists the acceptable suites in order of preference. Nil means
	// the hybrid Noise suites: dialing, IKhfs if Trust names exactly one
	// key, else XXhfs; accepting, both. With a PSK it means XXhfs+psk3,
	// or NNhfs+psk0 if there is no Identity.
	Suites []mechanism.Suite

	// PSK is the pre-shared key, for suites that have one.
	PSK *keys.Shared

	// Name and PeerName are what the two sides of a suite that rests on a
	// shared secret alone call themselves and each other. They are
	// required there, at most 255 bytes, and must differ: that keeps an
	// attacker from connecting us to ourselves. A responder may leave
	// PeerName empty and accept any name but its own.
	Name, PeerName string

	// CurveIdentity is our static key for the suite CURVE, whose keys are
	// never shared with other suites. To list CURVE beside others, put
	// Trust together with trust.AnyOf.
	CurveIdentity *keys.CurvePrivate

	// Protocol names the application protocol, at most 255 bytes. Both
	// sides must give the same.
	Protocol string

	// MaxMessageSize is the largest message in bytes that ReadMessage
	// accepts, and that peers are told about. Zero means 16 MiB.
	MaxMessageSize int

	// HandshakeTimeout bounds a handshake from the moment the carrier
	// stands. Zero means 10 seconds; it is never infinite.
	HandshakeTimeout time.Duration

	// MaxPending is how many connections a Listener holds whose handshake
	// is not finished or that Accept has not returned yet. Zero means 256.
	// One more makes it drop one that is at its handshake: of the host
	// that has most of them, first of those that have not even said
	// HELLO, the oldest.
	MaxPending int

	// KeepAlive, if positive, is after how much silence a sealed PING is
	// sent; a peer that lets three of these intervals pass in silence
	// while we read ends the connection with ErrPeerSilent. A PING is
	// answered when the peer's program reads; one that may go without
	// reading for long should set KeepAlive itself.
	KeepAlive time.Duration

	// Padding hides the exact size of what is sent.
	Padding Padding

	// NoCoalescing makes every Write hand its data to the carrier before
	// it returns, instead of letting small writes in quick succession
	// share one record and one system call.
	NoCoalescing bool

	// BusyPoll, if positive, is how long a Read over TCP or a UNIX socket
	// keeps asking the kernel before it sleeps. It buys latency with a
	// processor: use it where there is one to spare. At most a
	// millisecond; longer is taken as that.
	BusyPoll time.Duration

	// SocketMode, if not zero, is the permission that Listen gives to a
	// UNIX socket file.
	SocketMode fs.FileMode

	// Extensions are the upper layer's own entries for the READY record:
	// types 0x10 to 0x1F (SPEC §3), at most 1024 bytes in all.
	Extensions map[uint8][]byte

	// OnHandshakeError, if set, is told of every failed handshake, with a
	// *HandshakeError. It may be called from several goroutines at once
	// and should return quickly.
	OnHandshakeError func(error)

	// Logger, if set, gets one line for each failed handshake (level Warn)
	// and each revoked connection.
	Logger *slog.Logger

	// KeyLogWriter, if set, gets each connection's traffic keys, one a
	// line, for debugging with a network analyser. It gives all secrecy
	// away. Each line is one Write.
	KeyLogWriter io.Writer

	// AllowClear permits WriteClear and ReadClear, if the peer permits it,
	// too.
	AllowClear bool
}

// Clone returns a copy of c that may be changed.
func (c *Config) Clone() *Config {
	if c == nil {
		return nil
	}
	d := *c
	d.Suites = slices.Clone(c.Suites)
	if c.Extensions != nil {
		d.Extensions = make(map[uint8][]byte, len(c.Extensions))
		for t, v := range c.Extensions {
			d.Extensions[t] = slices.Clone(v)
		}
	}
	return &d
}

// Padding is how the plaintext of a data record is extended: 0 not at all,
// PadPowerOfTwo to the next power of two, a positive number to the next
// multiple of that many bytes, at most 16,384 (SPEC §4).
type Padding int

// PadPowerOfTwo pads each data record to the next power of two.
const PadPowerOfTwo Padding = -1

// size returns how long n bytes and one byte of padding become.
func (p Padding) size(n int) int {
	n++
	if p == PadPowerOfTwo {
		size := 16
		for size < n {
			size *= 2
		}
		return size
	}
	return min((n+int(p)-1)/int(p)*int(p), mechanism.MaxPlaintext)
}

func (c *Config) maxMessageSize() int {
	if c.MaxMessageSize == 0 {
		return DefaultMaxMessageSize
	}
	return c.MaxMessageSize
}

func (c *Config) handshakeTimeout() time.Duration {
	if c.HandshakeTimeout <= 0 {
		return DefaultHandshakeTimeout
	}
	return c.HandshakeTimeout
}

func (c *Config) maxPending() int {
	if c.MaxPending <= 0 {
		return DefaultMaxPending
	}
	return c.MaxPending
}

// pinned returns the one key that Trust names, if it names exactly one.
func (c *Config) pinned() (keys.Public, bool) {
	if p, ok := c.Trust.(trust.Pinner); ok {
		return p.Pinned()
	}
	return keys.Public{}, false
}

func (c *Config) curvePinned() (keys.CurvePublic, bool) {
	if p, ok := c.Trust.(trust.CurvePinner); ok {
		return p.CurvePinned()
	}
	return keys.CurvePublic{}, false
}

// mechanisms returns the mechanisms that c permits, in order, after checking
// that c has what each of them needs.
func (c *Config) mechanisms(initiator bool) ([]mechanism.Mechanism, error) {
	if c == nil {
		return nil, fmt.Errorf("%w: it is nil", ErrConfig)
	}
	if err := c.checkSizes(); err != nil {
		return nil, err
	}
	suites := c.Suites
	if suites == nil {
		suites = c.defaultSuites(initiator)
	}
	if len(suites) == 0 || len(suites) > maxOffer {
		return nil, fmt.Errorf("%w: Suites must list 1 to %d suites", ErrConfig, maxOffer)
	}
	list := make([]mechanism.Mechanism, 0, len(suites))
	for i, s := range suites {
		m, ok := mechanismFor(s)
		if !ok {
			return nil, fmt.Errorf("%w: %v is not available", ErrConfig, s)
		}
		if slices.Contains(suites[:i], s) {
			return nil, fmt.Errorf("%w: %v is listed twice", ErrConfig, s)
		}
		if err := c.checkSuite(m, initiator, len(suites)); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

func (c *Config) checkSizes() error {
	switch {
	case len(c.Protocol) > maxProtocolLen:
		return fmt.Errorf("%w: Protocol is longer than %d bytes", ErrConfig, maxProtocolLen)
	case len(c.Name) > maxNameLen || len(c.PeerName) > maxNameLen:
		return fmt.Errorf("%w: a name is longer than %d bytes", ErrConfig, maxNameLen)
	case c.MaxMessageSize < 0:
		return fmt.Errorf("%w: MaxMessageSize is negative", ErrConfig)
	case c.Padding < PadPowerOfTwo || c.Padding > mechanism.MaxPlaintext:
		return fmt.Errorf("%w: Padding is out of range", ErrConfig)
	}
	total := 0
	for t, v := range c.Extensions {
		if t < 0x10 || t > 0x1F {
			return fmt.Errorf("%w: extension type %#02x is not in 0x10..0x1F", ErrConfig, t)
		}
		total += len(v)
	}
	if total > maxExtensionLen {
		return fmt.Errorf("%w: extensions are longer than %d bytes", ErrConfig, maxExtensionLen)
	}
	return nil
}

// checkSuite reports what c lacks for using m in the given role.
func (c *Config) checkSuite(m mechanism.Mechanism, initiator bool, listed int) error {
	t := m.Traits()
	lacks := func(what string) error {
		return fmt.Errorf("%w: %v needs %s", ErrConfig, m.Suite(), what)
	}
	weProve, peerProves := t.InitiatorKey, t.ResponderKey
	if !initiator {
		weProve, peerProves = peerProves, weProve
	}
	_, pinned := c.pinned()
	if t.Curve {
		_, pinned = c.curvePinned()
	}
	switch {
	case !t.Secure && listed > 1:
		return fmt.Errorf("%w: %v may only be listed alone", ErrConfig, m.Suite())
	case weProve && t.Curve && c.CurveIdentity == nil:
		return lacks("a CurveIdentity")
	case weProve && !t.Curve && c.Identity == nil:
		return lacks("an Identity")
	case peerProves && c.Trust == nil:
		return lacks("a Trust policy")
	case initiator && t.KnownResponder && !pinned:
		return lacks("a Trust policy that names exactly one key")
	case t.PSK && c.PSK == nil:
		return lacks("a PSK")
	case pskOnly(t) && (c.Name == "" || initiator && c.PeerName == ""):
		return lacks("Name and PeerName")
	case pskOnly(t) && c.Name == c.PeerName:
		return lacks("Name and PeerName to differ")
	}
	return nil
}

// pskOnly reports whether a suite rests on a pre-shared key alone.
func pskOnly(t mechanism.Traits) bool {
	return t.PSK && !t.InitiatorKey && !t.ResponderKey
}
