// Package trust decides which peers securesp talks to.
//
// A [Policy] is asked once a peer has proved its key, and before the
// connection is handed to anybody. The policies here cover the usual cases:
//
//   - [Keys] and [CurveKeys]: these keys and no others;
//   - [File]: the keys listed in a file, which is reread when it changes;
//     connections end when their key leaves it;
//   - [FirstUse]: whatever key a peer shows first, and that one ever after;
//   - [Func]: a function of yours;
//   - [AnyOf]: whomever one of several policies authorises, such as Keys for
//     the Noise suites and CurveKeys for CURVE;
//   - [Anyone]: everybody, which is to say no authentication.
//
// All of them but Anyone, and AnyOf with it, refuse a peer that has proved no key. Keys are
// compared with ==, not in constant time: public keys are no secret.
package trust

import (
	"context"
	"net"

	"github.com/securesp/securesp/keys"
)

// Peer is what is known of the other side when a [Policy] is asked. Keys are
// proved; a peer with neither Key nor CurveKey is anonymous.
type Peer struct {
	Key      keys.Public      // static key of a Noise suite
	CurveKey keys.CurvePublic // static key of the suite CURVE
	PSK      bool             // the peer also proved that it holds the pre-shared key

	// Addr is where the peer's packets come from. Whoever forwards them
	// may choose it, so it narrows trust in a key, and cannot found it.
	Addr net.Addr

	// Credentials are what the operating system says of the process at the
	// other end of a UNIX socket, nil elsewhere.
	Credentials *Credentials

	// Name is what we know the peer by: the address that was dialled
	// ("host:port" or the path of a UNIX socket), or in a suite that rests
	// on a shared secret alone the name that a holder of it goes by. It is
	// empty for other peers that came to us.
	Name string
}

// Credentials identify the process at the other end of a UNIX socket.
type Credentials struct {
	PID      int
	UID, GID uint32
}

// anonymous reports whether the peer has proved no key at all.
func (p Peer) anonymous() bool { return p.Key.IsZero() && p.CurveKey.IsZero() }

// Policy decides which peers are talked to. It must be safe for concurrent
// use.
type Policy interface {
	// Authorize returns nil if the peer may connect, an error that matches
	// ErrDenied if the policy decided against it, and any other error,
	// which refuses the peer as well, if it could not decide. It should
	// return soon after ctx is done, which the handshake's timeout sees to.
	Authorize(ctx context.Context, peer Peer) error
}

// Pinner is a [Policy] that may name exactly one key. If it does, whoever
// dials may use a suite that needs the peer's key beforehand.
type Pinner interface {
	// Pinned returns the only key that can be authorised, or false.
	Pinned() (keys.Public, bool)
}

// CurvePinner is a [Policy] that may name exactly one key of CURVE.
type CurvePinner interface {
	// CurvePinned returns the only key that can be authorised, or false.
	CurvePinned() (keys.CurvePublic, bool)
}

// Namer is a [Policy] that knows peers by name.
type Namer interface {
	// NameOf returns the name of the key's holder, or "".
	NameOf(key keys.Public) string
}

// Watcher is a [Policy] that can take back what it has authorised.
type Watcher interface {
	// Watch has revoke called once, with an error that matches ErrDenied,
	// when the peer is no longer authorised: also when that was so before
	// Watch was called. The call comes from the policy's own goroutine and
	// must return quickly.
	//
	// The caller must call stop when it loses interest. After stop returns
	// revoke is not called, though a call that began before may still be
	// under way. stop may be called more than once, and from revoke.
	Watch(peer Peer, revoke func(error)) (stop func())
}
