package trust

import (
	"context"
	"errors"
	"sync"

	"github.com/securesp/securesp/keys"
)

// AnyOf returns a [Policy] that authorises a peer if one of the given policies
// does, which are asked in order. If none does, the error is that of a policy
// that could not decide, else that of the first that had more to say than
// [ErrUnknownKey].
//
// It is a [Pinner], a [CurvePinner], a [Namer] and a [Watcher]:
//
//   - a key is pinned if the policies that may authorise keys of its kind all
//     name that one. A policy that implements only one of Pinner and
//     CurvePinner is taken to authorise keys of that kind alone;
//   - a key's name is the first that a policy has for it;
//   - a peer is revoked once every Watcher among the policies has revoked it,
//     unless a policy that is no Watcher, asked again, authorises it.
func AnyOf(policies ...Policy) Policy {
	for _, p := range policies {
		if p == nil {
			panic("securesp: AnyOf of a policy that is nil")
		}
	}
	return anyOf(append([]Policy(nil), policies...))
}

type anyOf []Policy

func (a anyOf) Authorize(ctx context.Context, peer Peer) error {
	var refusal error
	for _, p := range a {
		err := p.Authorize(ctx, peer)
		if err == nil {
			return nil
		}
		if refusal == nil || weight(err) > weight(refusal) {
			refusal = err
		}
	}
	switch {
	case refusal != nil:
		return refusal
	case peer.anonymous():
		return ErrAnonymous
	default:
		return ErrUnknownKey
	}
}

// weight is how much a refusal says, compared with others.
func weight(err error) int {
	switch {
	case !errors.Is(err, ErrDenied):
		return 2
	case !errors.Is(err, ErrUnknownKey):
		return 1
	default:
		return 0
	}
}

func (a anyOf) Pinned() (keys.Public, bool) {
	var all pin[keys.Public]
	for _, p := range a {
		if pinner, ok := p.(Pinner); ok {
			all.add(pinner.Pinned())
		} else if _, ok := p.(CurvePinner); !ok {
			all.add(keys.Public{}, false)
		}
	}
	return all.only()
}

func (a anyOf) CurvePinned() (keys.CurvePublic, bool) {
	var all pin[keys.CurvePublic]
	for _, p := range a {
		if pinner, ok := p.(CurvePinner); ok {
			all.add(pinner.CurvePinned())
		} else if _, ok := p.(Pinner); !ok {
			all.add(keys.CurvePublic{}, false)
		}
	}
	return all.only()
}

// pin is what several policies name as the only key.
type pin[K comparable] struct {
	key      K
	any, not bool // one was added; no key is the only one
}

func (p *pin[K]) add(key K, ok bool) {
	p.not = p.not || !ok || p.any && key != p.key
	p.key, p.any = key, true
}

func (p *pin[K]) only() (key K, ok bool) {
	if !p.any || p.not {
		return key, false
	}
	return p.key, true
}

func (a anyOf) NameOf(key keys.Public) string {
	for _, p := range a {
		if n, ok := p.(Namer); ok {
			if name := n.NameOf(key); name != "" {
				return name
			}
		}
	}
	return ""
}

func (a anyOf) Watch(peer Peer, revoke func(error)) (stop func()) {
	var watchers []Watcher
	var others anyOf
	for _, p := range a {
		if w, ok := p.(Watcher); ok {
			watchers = append(watchers, w)
		} else {
			others = append(others, p)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &anyWatch{ctx: ctx, cancel: cancel, peer: peer, revoke: revoke, others: others, left: len(watchers)}
	stops := make([]func(), len(watchers))
	for i, watcher := range watchers {
		stops[i] = watcher.Watch(peer, w.lost)
	}
	return func() {
		w.end()
		for _, stop := range stops {
			stop()
		}
	}
}

// anyWatch is one call of anyOf's Watch.
type anyWatch struct {
	ctx    context.Context // until it ends
	cancel context.CancelFunc
	peer   Peer
	revoke func(error)
	others anyOf // the policies that are no Watcher

	mu      sync.Mutex
	left    int // how many Watchers have not revoked the peer
	refusal error
	ended   bool // stopped or revoked
}

// lost is what the Watchers call as revoke.
func (w *anyWatch) lost(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refusal == nil || weight(err) > weight(w.refusal) {
		w.refusal = err
	}
	if w.left--; w.left > 0 || w.ended {
		return
	}
	// The Watcher must not be held up by those who may take their time.
	go w.askOthers(w.refusal)
}

// askOthers revokes the peer if no other policy authorises it.
func (w *anyWatch) askOthers(refusal error) {
	if len(w.others) > 0 && w.others.Authorize(w.ctx, w.peer) == nil {
		return
	}
	if w.end() {
		w.revoke(refusal)
	}
}

// end ends the watch. It reports whether that was not done before.
func (w *anyWatch) end() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return false
	}
	w.ended = true
	w.cancel()
	return true
}
