package trust_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

// policies returns one policy of each kind; all but CurveKeys would accept key.
func policies(t *testing.T, key keys.Public) map[string]trust.Policy {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "trusted")
	write(t, path, key.String()+"\n")
	file, err := trust.File(path)
	is.NoErr(err) // trust file
	firstUse, err := trust.FirstUse(filepath.Join(t.TempDir(), "known"))
	is.NoErr(err) // first use
	return map[string]trust.Policy{
		"Keys":      trust.Keys(key),
		"CurveKeys": trust.CurveKeys(newCurveKey(t)),
		"File":      file,
		"FirstUse":  firstUse,
		"Func":      trust.Func(func(context.Context, trust.Peer) error { return nil }),
		"Anyone":    trust.Anyone(),
		"AnyOf":     trust.AnyOf(trust.Keys(key), trust.CurveKeys(newCurveKey(t))),
	}
}

func TestAnonymousRefused(t *testing.T) {
	for name, policy := range policies(t, newKey(t)) {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			for _, peer := range []trust.Peer{
				{},
				{PSK: true, Addr: tcp("192.0.2.1"), Name: "peer:1", Credentials: user(0)},
			} {
				err := policy.Authorize(t.Context(), peer)
				if name == "Anyone" {
					is.NoErr(err) // the one that takes anybody
					continue
				}
				is.True(errors.Is(err, trust.ErrAnonymous)) // refused
				is.True(errors.Is(err, trust.ErrDenied))    // by decision
			}
		})
	}
}

func TestKeys(t *testing.T) {
	is := is.New(t)
	a, b, c := newKey(t), newKey(t), newKey(t)
	policy := trust.Keys(a, b)
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: a})) // listed
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: b})) // listed
	err := policy.Authorize(t.Context(), trust.Peer{Key: c})
	is.True(errors.Is(err, trust.ErrUnknownKey)) // not listed
	is.True(errors.Is(err, trust.ErrDenied))

	// A key of CURVE with the same bytes is another key.
	curve, err := keys.NewCurvePublic(a.Bytes())
	is.NoErr(err) // CURVE key
	err = policy.Authorize(t.Context(), trust.Peer{CurveKey: curve})
	is.True(errors.Is(err, trust.ErrUnknownKey))

	// Nor does a forgotten key open the door to CURVE peers.
	err = trust.Keys(keys.Public{}).Authorize(t.Context(), trust.Peer{CurveKey: curve})
	is.True(errors.Is(err, trust.ErrUnknownKey))
	is.True(errors.Is(trust.Keys().Authorize(t.Context(), trust.Peer{Key: a}), trust.ErrUnknownKey))
}

func TestCurveKeys(t *testing.T) {
	is := is.New(t)
	a, b := newCurveKey(t), newCurveKey(t)
	policy := trust.CurveKeys(a)
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{CurveKey: a})) // listed
	is.True(errors.Is(policy.Authorize(t.Context(), trust.Peer{CurveKey: b}), trust.ErrUnknownKey))
	is.True(errors.Is(policy.Authorize(t.Context(), trust.Peer{Key: newKey(t)}), trust.ErrUnknownKey))
	err := trust.CurveKeys(keys.CurvePublic{}).Authorize(t.Context(), trust.Peer{Key: newKey(t)})
	is.True(errors.Is(err, trust.ErrUnknownKey)) // a forgotten key lets nobody in
}

func TestPinned(t *testing.T) {
	is := is.New(t)
	a, b := newKey(t), newKey(t)
	for _, c := range []struct {
		policy trust.Policy
		want   keys.Public
	}{
		{trust.Keys(), keys.Public{}},
		{trust.Keys(a), a},
		{trust.Keys(a, a), a},
		{trust.Keys(a, keys.Public{}), a},
		{trust.Keys(keys.Public{}), keys.Public{}},
		{trust.Keys(a, b), keys.Public{}},
	} {
		key, ok := c.policy.(trust.Pinner).Pinned()
		is.Equal(key, c.want)
		is.Equal(ok, !c.want.IsZero())
	}
	curve := newCurveKey(t)
	key, ok := trust.CurveKeys(curve).(trust.CurvePinner).CurvePinned()
	is.True(ok)
	is.Equal(key, curve)
	_, ok = trust.CurveKeys(curve, newCurveKey(t)).(trust.CurvePinner).CurvePinned()
	is.True(!ok)
}

func TestFunc(t *testing.T) {
	is := is.New(t)
	boom := errors.New("boom")
	var asked trust.Peer
	policy := trust.Func(func(_ context.Context, peer trust.Peer) error {
		asked = peer
		return boom
	})
	peer := trust.Peer{Key: newKey(t), Name: "peer:1"}
	is.Equal(policy.Authorize(t.Context(), peer), boom) // unchanged
	is.Equal(asked, peer)
	is.True(!errors.Is(boom, trust.ErrDenied))
}

// TestOptional pins down which policies offer what.
func TestOptional(t *testing.T) {
	is := is.New(t)
	for name, policy := range policies(t, newKey(t)) {
		_, pinner := policy.(trust.Pinner)
		_, curvePinner := policy.(trust.CurvePinner)
		_, namer := policy.(trust.Namer)
		_, watcher := policy.(trust.Watcher)
		is.Equal(pinner, name == "Keys" || name == "File" || name == "AnyOf")
		is.Equal(curvePinner, name == "CurveKeys" || name == "AnyOf")
		is.Equal(namer, name == "File" || name == "AnyOf")
		is.Equal(watcher, name == "File" || name == "AnyOf")
	}
}

func TestReasonsMatchDenied(t *testing.T) {
	is := is.New(t)
	reasons := []error{
		trust.ErrAnonymous, trust.ErrUnknownKey, trust.ErrExpired, trust.ErrAddress, trust.ErrCredentials,
		trust.ErrKeyChanged,
	}
	for i, reason := range reasons {
		is.True(errors.Is(reason, trust.ErrDenied))
		for j, other := range reasons {
			is.Equal(errors.Is(reason, other), i == j) // no two are alike
		}
	}
	is.True(errors.Is(&trust.KeyChangedError{}, trust.ErrKeyChanged))
	is.True(errors.Is(&trust.KeyChangedError{}, trust.ErrDenied))
}
