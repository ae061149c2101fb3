package securesp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
)

// attacked are the suites whose handshakes are attacked byte by byte: each
// shape of handshake once.
var attacked = []struct {
	name  string
	suite mechanism.Suite
}{
	{"XXhfs", mechanism.XXhfsAESGCM},
	{"IKhfs", mechanism.IKhfsChaChaPoly},
	{"NK", mechanism.NKAESGCM},
	{"NNhfs+psk0", mechanism.NNhfsPSK0AESGCM},
	{"XXhfs+psk3", mechanism.XXhfsPSK3ChaChaPoly},
	{"CURVE", mechanism.Curve},
}

// outcome is what a handshake came to on each side, and how long it took.
type outcome struct {
	a, b       *securesp.Conn // initiator and responder
	aErr, bErr error
	took       time.Duration
	retried    bool // there was a RETRY, if nobody has interfered
}

// meet runs the handshake of both sides over the given carriers.
func meet(near, far net.Conn, initiator, responder *securesp.Config) outcome {
	o := outcome{a: securesp.Client(near, initiator), b: securesp.Server(far, responder)}
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.bErr = o.b.HandshakeContext(context.Background())
	}()
	o.aErr = o.a.HandshakeContext(context.Background())
	<-done
	o.took = time.Since(start)
	return o
}

// side picks a side's result: the initiator's or the responder's.
func (o *outcome) side(initiator bool) (*securesp.Conn, error) {
	if initiator {
		return o.a, o.aErr
	}
	return o.b, o.bErr
}

func (o *outcome) close() { closeBoth(o.a, o.b) }

// spans returns how many bytes each side sends up to and with its verdict.
func spans(t testing.TB, initiator, responder *securesp.Config) (toResponder, toInitiator int64) {
	t.Helper()
	near, far := testnet.Pipe(64 << 10)
	o := meet(near, far, initiator, responder)
	if err := errors.Join(o.aErr, o.bErr); err != nil {
		t.Fatal(err)
	}
	toResponder, toInitiator = near.Sent(), far.Sent()
	o.close()
	return toResponder, toInitiator
}

// victim checks the side that received something forged: no connection, the
// right type of error, no later than the handshake's time.
func (o *outcome) victim(initiator bool) error {
	c, err := o.side(initiator)
	var he *securesp.HandshakeError
	switch {
	case err == nil:
		return errors.New("the handshake succeeded")
	case !errors.As(err, &he):
		return fmt.Errorf("error of type %T", err)
	case he.Initiator != initiator || he.Stage == "" || he.Remote == nil:
		return fmt.Errorf("incomplete error %#v", he)
	case c.ConnectionState().HandshakeComplete:
		return errors.New("the state says complete")
	case o.took > securesp.DefaultHandshakeTimeout+2*time.Second:
		return fmt.Errorf("took %v", o.took)
	}
	if n, err := c.Write([]byte("x")); n != 0 || err == nil {
		return errors.New("Write worked")
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
		return fmt.Errorf("Read returned %d, %v", n, err)
	}
	return nil
}

// bystander checks the other side: it may have finished before, but then
// must not mistake the end for an orderly one.
func (o *outcome) bystander(initiator bool) error {
	c, err := o.side(initiator)
	if err != nil {
		return nil
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
		return fmt.Errorf("the bystander's Read returned %d, %v", n, err)
	}
	return nil
}

// anyOf reports whether err matches one of the targets.
func anyOf(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// retried are offers of which the responder, which supports only the last,
// answers the first HELLO with RETRY.
var retried = []struct {
	name   string
	suites []mechanism.Suite
}{
	{"RETRY to classical", []mechanism.Suite{mechanism.XXhfsAESGCM, mechanism.XXAESGCM}},
	{"RETRY to hybrid", []mechanism.Suite{mechanism.XXAESGCM, mechanism.IKhfsAESGCM}},
	{"RETRY to CURVE", []mechanism.Suite{mechanism.XXChaChaPoly, mechanism.Curve}},
}

// handshakeAttack tries tap, made for each offset, on every byte that either
// side sends until it is satisfied, and hands the outcome to check.
func handshakeAttack(t *testing.T, tap func(offset int64) testnet.Tap, check func(o *outcome, toInitiator bool, offset, end int64) error) {
	type kind struct {
		name    string
		retried bool
		configs func(testing.TB) (initiator, responder *securesp.Config)
	}
	var kinds []kind
	for _, s := range attacked {
		kinds = append(kinds, kind{s.name, false, func(t testing.TB) (initiator, responder *securesp.Config) {
			return configs(t, s.suite)
		}})
	}
	for _, s := range retried {
		kinds = append(kinds, kind{s.name, true, func(t testing.TB) (initiator, responder *securesp.Config) {
			return mixedConfigs(t, s.suites, s.suites[len(s.suites)-1:])
		}})
	}
	for _, k := range kinds {
		for _, toInitiator := range []bool{false, true} {
			name := k.name + "/to responder"
			if toInitiator {
				name = k.name + "/to initiator"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					initiator, responder := k.configs(t)
					end, n := spans(t, initiator, responder)
					if toInitiator {
						end = n
					}
					for offset := int64(0); offset < end; offset += stride(offset, end) {
						near, far := testnet.Pipe(64 << 10)
						if toInitiator {
							far.Tap(tap(offset))
						} else {
							near.Tap(tap(offset))
						}
						o := meet(near, far, initiator, responder)
						o.retried = k.retried
						err := check(&o, toInitiator, offset, end)
						if err == nil {
							err = o.bystander(!toInitiator)
						}
						if err != nil {
							t.Errorf("byte %d of %d: %v", offset, end, err)
						}
						o.close()
					}
				})
			})
		}
	}
}

// stride is how far it is to the next byte to attack: one, but with the race
// detector, which makes the cryptography slow, more inside the long
// encapsulation keys and ciphertexts, where one byte is like the other.
func stride(offset, end int64) int64 {
	if raceEnabled && offset >= 40 && offset < end-60 {
		return 23
	}
	return 1
}

// TestFlippedHandshakeBytes inverts one bit of every byte of HELLO, reply,
// handshake messages and verdicts.
func TestFlippedHandshakeBytes(t *testing.T) {
	handshakeAttack(t,
		func(offset int64) testnet.Tap { return testnet.Flip(offset, 1<<(offset%8)) },
		func(o *outcome, toInitiator bool, offset, _ int64) error {
			if err := o.victim(toInitiator); err != nil {
				return err
			}
			_, err := o.side(toInitiator)
			_, other := o.side(!toInitiator)
			ok := false
			switch {
			case offset < 4:
				ok = errors.Is(err, securesp.ErrNotSecureSP)
			case offset == 4:
				ok = errors.Is(err, securesp.ErrVersion)
			case errors.Is(err, io.ErrUnexpectedEOF):
				// Message 1 of XX authenticates nothing: the
				// initiator finds out and hangs up. And where
				// both sides wait, either may give up first.
				ok = errors.Is(other, securesp.ErrAuthentication) ||
					errors.Is(other, os.ErrDeadlineExceeded) && o.took >= securesp.DefaultHandshakeTimeout
			case o.retried && anyOf(err, securesp.ErrNotSecureSP, securesp.ErrVersion):
				ok = true // the second HELLO or reply has a magic, too
			default:
				ok = anyOf(err, securesp.ErrAuthentication, securesp.ErrProtocol, mechanism.ErrMalformed,
					securesp.ErrNoCommonSuite, os.ErrDeadlineExceeded)
			}
			if !ok {
				return fmt.Errorf("wrong error: %v (other side: %v)", err, other)
			}
			return nil
		})
}

// TestInsertedHandshakeBytes has one more byte arrive before each byte.
func TestInsertedHandshakeBytes(t *testing.T) {
	handshakeAttack(t, testnet.Insert,
		func(o *outcome, toInitiator bool, _, _ int64) error { return o.victim(toInitiator) })
}

// TestCutHandshake ends the carrier before every byte of the handshake.
func TestCutHandshake(t *testing.T) {
	handshakeAttack(t, testnet.Cut,
		func(o *outcome, toInitiator bool, _, _ int64) error {
			if err := o.victim(toInitiator); err != nil {
				return err
			}
			if _, err := o.side(toInitiator); !errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("wrong error: %v", err)
			}
			if o.took != 0 {
				return fmt.Errorf("took %v to notice", o.took)
			}
			return nil
		})
}
