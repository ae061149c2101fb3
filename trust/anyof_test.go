package trust_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

// always is a policy with one answer.
type always struct{ err error }

func (a always) Authorize(context.Context, trust.Peer) error { return a.err }

func TestAnyOf(t *testing.T) {
	is := is.New(t)
	a, b, c := newKey(t), newKey(t), newKey(t)
	curve := newCurveKey(t)
	policy := trust.AnyOf(trust.Keys(a), trust.CurveKeys(curve), trust.Keys(b))
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: a}))          // the first
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{CurveKey: curve})) // the second
	is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: b}))          // the third
	is.True(errors.Is(policy.Authorize(t.Context(), trust.Peer{Key: c}), trust.ErrUnknownKey))
	is.True(errors.Is(policy.Authorize(t.Context(), trust.Peer{CurveKey: newCurveKey(t)}), trust.ErrUnknownKey))
	is.True(errors.Is(policy.Authorize(t.Context(), trust.Peer{}), trust.ErrAnonymous))

	none := trust.AnyOf()
	is.True(errors.Is(none.Authorize(t.Context(), trust.Peer{Key: a}), trust.ErrUnknownKey))
	is.True(errors.Is(none.Authorize(t.Context(), trust.Peer{}), trust.ErrAnonymous))
	is.NoErr(trust.AnyOf(trust.Keys(a), trust.Anyone()).Authorize(t.Context(), trust.Peer{}))
}

// TestAnyOfRefusal: the most telling of several refusals comes out.
func TestAnyOfRefusal(t *testing.T) {
	is := is.New(t)
	boom := errors.New("boom")
	unknown, expired := always{trust.ErrUnknownKey}, always{trust.ErrExpired}
	address, broken := always{trust.ErrAddress}, always{boom}
	for _, c := range []struct {
		policies []trust.Policy
		want     error
	}{
		{[]trust.Policy{unknown, unknown}, trust.ErrUnknownKey},
		{[]trust.Policy{unknown, expired}, trust.ErrExpired},
		{[]trust.Policy{expired, unknown}, trust.ErrExpired},
		{[]trust.Policy{expired, address}, trust.ErrExpired},
		{[]trust.Policy{unknown, expired, broken}, boom},
		{[]trust.Policy{broken, expired, unknown}, boom},
		{[]trust.Policy{broken, always{}}, nil},
	} {
		is.Equal(trust.AnyOf(c.policies...).Authorize(t.Context(), trust.Peer{Key: newKey(t)}), c.want)
	}
}

func TestAnyOfPinned(t *testing.T) {
	is := is.New(t)
	a, b := newKey(t), newKey(t)
	c, d := newCurveKey(t), newCurveKey(t)
	file, _ := openFile(t, a.String())
	for _, tc := range []struct {
		policies []trust.Policy
		key      keys.Public
		curve    keys.CurvePublic
	}{
		{nil, keys.Public{}, keys.CurvePublic{}},
		{[]trust.Policy{trust.Keys(a)}, a, keys.CurvePublic{}},
		{[]trust.Policy{trust.CurveKeys(c)}, keys.Public{}, c},
		{[]trust.Policy{trust.Keys(a), trust.CurveKeys(c)}, a, c},
		{[]trust.Policy{trust.CurveKeys(c), file}, a, c},
		{[]trust.Policy{file, trust.Keys(a)}, a, keys.CurvePublic{}},
		{[]trust.Policy{trust.Keys(a), trust.CurveKeys(c, d)}, a, keys.CurvePublic{}},
		{[]trust.Policy{trust.Keys(a, b), trust.CurveKeys(c)}, keys.Public{}, c},
		{[]trust.Policy{trust.Keys(a), trust.Keys(b), trust.CurveKeys(c)}, keys.Public{}, c},
		{[]trust.Policy{trust.CurveKeys(c), trust.CurveKeys(d)}, keys.Public{}, keys.CurvePublic{}},
		{[]trust.Policy{trust.Keys(a), trust.CurveKeys(c), trust.Anyone()}, keys.Public{}, keys.CurvePublic{}},
		{[]trust.Policy{trust.AnyOf(trust.Keys(a), trust.CurveKeys(c)), trust.Keys(a)}, a, c},
	} {
		policy := trust.AnyOf(tc.policies...)
		key, ok := policy.(trust.Pinner).Pinned()
		is.Equal(key, tc.key)
		is.Equal(ok, !tc.key.IsZero())
		curve, ok := policy.(trust.CurvePinner).CurvePinned()
		is.Equal(curve, tc.curve)
		is.Equal(ok, !tc.curve.IsZero())
	}
}

func TestAnyOfNames(t *testing.T) {
	is := is.New(t)
	a, b := newKey(t), newKey(t)
	first, _ := openFile(t, a.String()+"\n"+b.String()+" first\n")
	second, _ := openFile(t, a.String()+" alice\n"+b.String()+" second\n")
	namer := trust.AnyOf(trust.Anyone(), first, second).(trust.Namer)
	is.Equal(namer.NameOf(a), "alice") // whoever has a name
	is.Equal(namer.NameOf(b), "first") // in order
	is.Equal(namer.NameOf(newKey(t)), "")
}

func TestAnyOfNil(t *testing.T) {
	is := is.New(t)
	defer func() { is.True(recover() != nil) }() // at once, not when a peer comes
	trust.AnyOf(trust.Anyone(), nil)
}

// TestAnyOfWatch takes a key out of each of two files in turn, beside a policy
// that cannot be watched.
func TestAnyOfWatch(t *testing.T) {
	for name, tc := range map[string]struct {
		other trust.Policy
		want  error
	}{
		"nobody else":       {trust.CurveKeys(), trust.ErrUnknownKey},
		"somebody else":     {trust.Anyone(), nil},
		"somebody cautious": {always{trust.ErrDenied}, trust.ErrUnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				alice := newKey(t)
				first, firstPath := openFile(t, alice.String())
				second, secondPath := openFile(t, alice.String())
				revoked := make(chan error, 10)
				stop := trust.AnyOf(first, tc.other, second).(trust.Watcher).
					Watch(trust.Peer{Key: alice}, func(err error) { revoked <- err })
				defer stop()
				replace(t, secondPath, "")
				time.Sleep(time.Minute)
				is.Equal(len(revoked), 0) // the first still has it
				replace(t, firstPath, "")
				time.Sleep(revocation)
				synctest.Wait()
				if tc.want == nil {
					is.Equal(len(revoked), 0) // the other still has it
					return
				}
				is.Equal(len(revoked), 1)
				is.True(errors.Is(<-revoked, tc.want))
				time.Sleep(time.Minute)
				is.Equal(len(revoked), 0) // once
			})
		})
	}
}

// TestAnyOfWatchStop stops before trust ends, from revoke, and while a policy
// is being asked.
func TestAnyOfWatchStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		alice := newKey(t)
		file, path := openFile(t, alice.String())
		watch := func(policy trust.Policy, revoke func(error)) (stop func()) {
			return trust.AnyOf(file, policy).(trust.Watcher).Watch(trust.Peer{Key: alice}, revoke)
		}
		called := make(chan error, 10)
		early := watch(trust.CurveKeys(), func(err error) { called <- err })
		early()
		early() // once more does no harm

		within := make(chan error, 1)
		var stop func()
		stop = watch(trust.CurveKeys(), func(err error) {
			stop()
			within <- err
		})
		asked := make(chan struct{})
		slow := watch(trust.Func(func(ctx context.Context, _ trust.Peer) error {
			close(asked)
			<-ctx.Done() // which stop sees to
			return ctx.Err()
		}), func(err error) { called <- err })
		replace(t, path, "")
		is.True(errors.Is(<-within, trust.ErrUnknownKey))
		<-asked
		slow()
		synctest.Wait()
		is.Equal(len(called), 0) // who has stopped hears nothing
	})
}
