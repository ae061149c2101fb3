package trust

import (
	"context"

	"github.com/securesp/securesp/keys"
)

// Keys returns a [Policy] that authorises the holders of the given keys and
// nobody else: without keys, nobody. Zero keys count for nothing. With exactly
// one key it is a [Pinner].
func Keys(k ...keys.Public) Policy {
	set := make(keySet, len(k))
	for _, key := range k {
		if !key.IsZero() {
			set[key] = struct{}{}
		}
	}
	return set
}

type keySet map[keys.Public]struct{}

func (s keySet) Authorize(_ context.Context, peer Peer) error {
	if peer.anonymous() {
		return ErrAnonymous
	}
	if _, ok := s[peer.Key]; !ok {
		return ErrUnknownKey
	}
	return nil
}

func (s keySet) Pinned() (keys.Public, bool) {
	return only(s)
}

// CurveKeys is [Keys] for the suite CURVE; with exactly one key it is a
// [CurvePinner].
func CurveKeys(k ...keys.CurvePublic) Policy {
	set := make(curveKeySet, len(k))
	for _, key := range k {
		if !key.IsZero() {
			set[key] = struct{}{}
		}
	}
	return set
}

type curveKeySet map[keys.CurvePublic]struct{}

func (s curveKeySet) Authorize(_ context.Context, peer Peer) error {
	if peer.anonymous() {
		return ErrAnonymous
	}
	if _, ok := s[peer.CurveKey]; !ok {
		return ErrUnknownKey
	}
	return nil
}

func (s curveKeySet) CurvePinned() (keys.CurvePublic, bool) {
	return only(s)
}

// only returns the only key of a set, or false.
func only[K comparable, V any](set map[K]V) (key K, ok bool) {
	if len(set) != 1 {
		return key, false
	}
	for key = range set {
	}
	return key, true
}

// Func returns a [Policy] that asks f, which must be safe for concurrent use
// and should return ErrDenied, or an error that wraps it, to refuse a peer.
// Anonymous peers are refused before f is asked; who wants to decide about
// them too implements Policy instead.
func Func(f func(ctx context.Context, peer Peer) error) Policy { return funcPolicy(f) }

type funcPolicy func(context.Context, Peer) error

func (f funcPolicy) Authorize(ctx context.Context, peer Peer) error {
	if peer.anonymous() {
		return ErrAnonymous
	}
	return f(ctx, peer)
}

// Anyone returns a [Policy] that authorises everybody, anonymous peers
// included. Against it a man in the middle always wins: it is for services
// that are open to the world, and for tests.
func Anyone() Policy { return anyone{} }

type anyone struct{}

func (anyone) Authorize(context.Context, Peer) error { return nil }
