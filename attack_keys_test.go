package securesp_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// lowOrder are points of small order on Curve25519 and its twist, in the
// encodings that a peer might try (RFC 7748 §6.1, §7): with them a shared
// secret would be zero whatever our key is.
var lowOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000080",
}

// TestLowOrderEphemeral replaces the ephemeral key that opens a message, in
// both directions.
func TestLowOrderEphemeral(t *testing.T) {
	for _, s := range attacked {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				for _, text := range lowOrder {
					point, err := hex.DecodeString(text)
					is.NoErr(err) // decode
					for _, toInitiator := range []bool{false, true} {
						if toInitiator && s.suite == mechanism.Curve {
							continue // S' is in a box: see curveClientKey
						}
						initiator, responder := configs(t, s.suite)
						near, far := testnet.Pipe(64 << 10)
						first := true
						replace := func(p []byte) ([]byte, bool) {
							if !first {
								return p, false
							}
							first = false
							at := len(acceptStart) + 2
							if !toInitiator {
								head := bytes.Clone(p)
								at = helloSize(head) - len(message1(head))
								if s.suite == mechanism.Curve {
									at += curveClientKey
								}
							}
							q := bytes.Clone(p)
							copy(q[at:], point)
							return q, false
						}
						if toInitiator {
							far.Tap(replace)
						} else {
							near.Tap(replace)
						}
						o := meet(near, far, initiator, responder)
						is.NoErr(o.victim(toInitiator)) // the victim gets no connection
						if err := o.bystander(!toInitiator); err != nil {
							t.Error(err)
						}
						is.True(o.aErr != nil && o.bErr != nil || toInitiator) // nor does anybody else
						if s.suite == mechanism.Curve {
							is.True(errors.Is(o.bErr, securesp.ErrAuthentication)) // for the key, not the form
						}
						o.close()
					}
				}
			})
		})
	}
}

// curveClientKey is where C' stands in CURVE's HELLO: behind the name, the
// version and padding (SPEC §8). S' of its WELCOME is inside a box, out of
// reach without a key: see TestLowOrderKeys of mechanism/curve.
const curveClientKey = 6 + 2 + 72

// message1 returns the handshake message of a HELLO.
func message1(hello []byte) []byte {
	n := 7 + 2*int(hello[6])
	n += 2 + int(hello[n])<<8 + int(hello[n+1])
	return hello[n+2 : helloSize(hello)]
}

// TestLowOrderStatic dials a responder whose configured key is of low order.
func TestLowOrderStatic(t *testing.T) {
	is := is.New(t)
	tried := 0
	lowOrderTrust := func(suite mechanism.Suite, point []byte) (trust.Policy, error) {
		if suite == mechanism.Curve {
			public, err := keys.NewCurvePublic(point)
			return trust.CurveKeys(public), err
		}
		public, err := keys.NewPublic(point)
		return trust.Keys(public), err
	}
	static := []mechanism.Suite{mechanism.IKhfsAESGCM, mechanism.NKChaChaPoly, mechanism.Curve}
	for i := range len(lowOrder) * len(static) {
		suite := static[i%len(static)]
		point, err := hex.DecodeString(lowOrder[i/len(static)])
		is.NoErr(err) // decode
		policy, err := lowOrderTrust(suite, point)
		if err != nil {
			continue // refused even sooner
		}
		tried++
		initiator, responder := configs(t, suite)
		initiator.Trust = policy
		near, far := testnet.Pipe(64 << 10)
		o := meet(near, far, initiator, responder)
		is.NoErr(o.victim(true))        // no connection
		is.Equal(near.Sent(), int64(0)) // and nothing was sent
		is.True(o.bErr != nil)          // so the responder heard nothing
		is.True(errors.Is(o.bErr, io.ErrUnexpectedEOF))
		o.close()
	}
	is.True(tried > len(static)) // some get as far as the handshake
	t.Logf("%d of %d points reach the handshake", tried, len(lowOrder)*len(static))
}

// TestWrongKeys gives each side a key that is not the one the other expects,
// and checks what each gets to know.
func TestWrongKeys(t *testing.T) {
	stranger := newParty(t)
	otherPSK, err := keys.GenerateShared()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name             string
		suite            mechanism.Suite
		change           func(initiator, responder *securesp.Config)
		aErr, bErr       error
		aStage, bStage   string
		aProved, bProved bool // the peer's key is in the error
	}{
		{"IK, the initiator expects another", mechanism.IKhfsAESGCM,
			func(i, _ *securesp.Config) { i.Trust = trust.Keys(stranger.identity.Public()) },
			securesp.ErrRejected, securesp.ErrAuthentication, "preface", "key exchange", false, false},
		{"XX, the initiator expects another", mechanism.XXhfsAESGCM,
			func(i, _ *securesp.Config) { i.Trust = trust.Keys(stranger.identity.Public()) },
			securesp.ErrUntrusted, io.ErrUnexpectedEOF, "trust", "key exchange", true, false},
		{"IK, the responder expects another", mechanism.IKhfsAESGCM,
			func(_, r *securesp.Config) { r.Trust = trust.Keys(stranger.identity.Public()) },
			securesp.ErrRefused, securesp.ErrUntrusted, "verdict", "trust", true, true},
		{"XX, the responder expects another", mechanism.XXhfsAESGCM,
			func(_, r *securesp.Config) { r.Trust = trust.Keys(stranger.identity.Public()) },
			securesp.ErrRefused, securesp.ErrUntrusted, "verdict", "trust", true, true},
		{"IK, the initiator thinks better of it", mechanism.IKhfsAESGCM,
			func(i, r *securesp.Config) { i.Trust = fickle{r.Identity.Public()} },
			securesp.ErrUntrusted, securesp.ErrRefused, "trust", "verdict", true, true},
		{"psk0", mechanism.NNhfsPSK0AESGCM,
			func(i, _ *securesp.Config) { i.PSK = otherPSK },
			securesp.ErrRejected, securesp.ErrAuthentication, "preface", "key exchange", false, false},
		{"psk3", mechanism.XXhfsPSK3AESGCM,
			func(i, _ *securesp.Config) { i.PSK = otherPSK },
			securesp.ErrRejected, securesp.ErrAuthentication, "verdict", "key exchange", true, false},
		{"NK, another responder", mechanism.NKhfsAESGCM,
			func(_, r *securesp.Config) { r.Identity = stranger.identity },
			securesp.ErrRejected, securesp.ErrAuthentication, "preface", "key exchange", false, false},
		{"NK, the responder wants to know who", mechanism.NKhfsAESGCM,
			func(_, r *securesp.Config) { r.Trust = trust.Keys(stranger.identity.Public()) },
			securesp.ErrRefused, trust.ErrAnonymous, "verdict", "trust", true, false},
		{"XX, application protocols differ", mechanism.XXhfsAESGCM,
			func(i, _ *securesp.Config) { i.Protocol = "a/1" },
			securesp.ErrProtocolMismatch, securesp.ErrProtocolMismatch, "verdict", "verdict", true, true},
		{"IK, application protocols differ", mechanism.IKhfsAESGCM,
			func(i, r *securesp.Config) { i.Protocol, r.Protocol = "a/1", "a/2" },
			securesp.ErrProtocolMismatch, securesp.ErrProtocolMismatch, "verdict", "verdict", true, true},
		{"CURVE, the initiator expects another", mechanism.Curve,
			func(i, _ *securesp.Config) { i.Trust = trust.CurveKeys(curveKey(t).Public()) },
			securesp.ErrRejected, securesp.ErrAuthentication, "preface", "key exchange", false, false},
		{"CURVE, the responder expects another", mechanism.Curve,
			func(_, r *securesp.Config) { r.Trust = trust.CurveKeys(curveKey(t).Public()) },
			securesp.ErrRefused, securesp.ErrUntrusted, "verdict", "trust", true, true},
		{"CURVE, the responder expects keys of Noise", mechanism.Curve,
			func(_, r *securesp.Config) { r.Trust = trust.Keys(stranger.identity.Public()) },
			securesp.ErrRefused, trust.ErrUnknownKey, "verdict", "trust", true, true},
		{"CURVE, the initiator thinks better of it", mechanism.Curve,
			func(i, r *securesp.Config) { i.Trust = fickleCurve{r.CurveIdentity.Public()} },
			securesp.ErrUntrusted, securesp.ErrRefused, "trust", "verdict", true, true},
		{"CURVE, application protocols differ", mechanism.Curve,
			func(i, r *securesp.Config) { i.Protocol, r.Protocol = "a/1", "a/2" },
			securesp.ErrProtocolMismatch, securesp.ErrProtocolMismatch, "verdict", "verdict", true, true},
		{"psk0, names crossed", mechanism.NNhfsPSK0AESGCM,
			func(i, _ *securesp.Config) { i.Name, i.PeerName = i.PeerName, i.Name },
			securesp.ErrRejected, securesp.ErrAuthentication, "preface", "key exchange", false, false},
		{"psk0, an unexpected name", mechanism.NNhfsPSK0AESGCM,
			func(i, _ *securesp.Config) { i.Name = "carol" },
			securesp.ErrRejected, securesp.ErrAuthentication, "preface", "key exchange", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				initiator, responder := configs(t, tc.suite)
				tc.change(initiator, responder)
				near, far := testnet.Pipe(64 << 10)
				o := meet(near, far, initiator, responder)
				for _, side := range []struct {
					initiator bool
					err       error
					stage     string
					proved    bool
				}{{true, tc.aErr, tc.aStage, tc.aProved}, {false, tc.bErr, tc.bStage, tc.bProved}} {
					is.NoErr(o.victim(side.initiator)) // no connection
					_, err := o.side(side.initiator)
					is.True(errors.Is(err, side.err)) // the right reason
					var he *securesp.HandshakeError
					is.True(errors.As(err, &he))
					is.Equal(he.Stage, side.stage)
					is.Equal(he.Peer != (mechanism.Peer{}), side.proved)
				}
				is.Equal(o.took.Seconds(), 0.0) // nobody waits for a timeout
				o.close()
			})
		})
	}
}

// fickle is a policy that names a key and then refuses it, as a trust file
// does with an entry that has expired.
type fickle struct{ key keys.Public }

func (f fickle) Pinned() (keys.Public, bool) { return f.key, true }

func (fickle) Authorize(context.Context, trust.Peer) error { return trust.ErrExpired }

// fickleCurve is fickle with a key of CURVE.
type fickleCurve struct{ key keys.CurvePublic }

func (f fickleCurve) CurvePinned() (keys.CurvePublic, bool) { return f.key, true }

func (fickleCurve) Authorize(context.Context, trust.Peer) error { return trust.ErrExpired }

// TestReplay records a whole connection and plays the initiator's side again.
// Message 1 of IK is replayable by its nature; that must not surface.
func TestReplay(t *testing.T) {
	for _, s := range attacked {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				initiator, responder := configs(t, s.suite)
				var tape testnet.Recorder
				near, far := testnet.Pipe(64 << 10)
				near.Tap(tape.Tap())
				o := meet(near, far, initiator, responder)
				is.NoErr(errors.Join(o.aErr, o.bErr)) // the genuine connection
				is.NoErr(o.a.WriteMessage([]byte("pay")))
				is.NoErr(o.a.Flush())
				o.close()

				inner := testnet.Listen(64 << 10)
				failures := make(chan error, 1)
				responder = responder.Clone()
				responder.OnHandshakeError = func(err error) { failures <- err }
				l := securesp.NewListener(inner, responder)
				surfaced := make(chan net.Conn, 1)
				go func() {
					if c, err := l.Accept(); err == nil {
						surfaced <- c
					}
					close(surfaced)
				}()
				again, err := inner.Dial()
				is.NoErr(err) // dial
				_, err = again.Write(tape.Bytes())
				is.NoErr(err)                                              // replay
				is.True(errors.Is(<-failures, securesp.ErrAuthentication)) // recognised
				is.NoErr(l.Close())                                        // close
				is.True(<-surfaced == nil)                                 // Accept returned nothing
				again.Close()
			})
		})
	}
}

// TestReflection connects an initiator with itself: with a responder that has
// the same configuration, and with its own echo.
func TestReflection(t *testing.T) {
	for _, s := range []mechanism.Suite{mechanism.NNhfsPSK0AESGCM, mechanism.NNhfsPSK0ChaChaPoly} {
		for _, anyName := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				alice, _ := configs(t, s)
				itself := alice.Clone()
				if anyName {
					itself.PeerName = ""
				}
				near, far := testnet.Pipe(64 << 10)
				o := meet(near, far, alice, itself)
				is.NoErr(o.victim(true))
				is.NoErr(o.victim(false))
				is.True(errors.Is(o.bErr, securesp.ErrAuthentication)) // it is called bob there
				o.close()

				// The attacker also exchanges the names on the way.
				near, far = testnet.Pipe(64 << 10)
				near.Tap(func(p []byte) ([]byte, bool) {
					q := bytes.Clone(p)
					if i := bytes.Index(q, []byte("\x02\x00\x05alice\x03\x00\x03bob")); i >= 0 {
						copy(q[i:], "\x02\x00\x03bob\x03\x00\x05alice")
					}
					return q, false
				})
				o = meet(near, far, alice, itself)
				is.NoErr(o.victim(true))
				is.NoErr(o.victim(false))
				is.True(errors.Is(o.bErr, securesp.ErrAuthentication)) // the prologue knows
				o.close()
			})
		}
	}
	for _, s := range append(attacked[:len(attacked):len(attacked)], struct {
		name  string
		suite mechanism.Suite
	}{"NULL", mechanism.Null}) {
		t.Run("echo/"+s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				initiator, _ := configs(t, s.suite)
				near, far := testnet.Pipe(64 << 10)
				echoed := make(chan struct{})
				go func() {
					defer close(echoed)
					io.Copy(far, far)
				}()
				c := securesp.Client(near, initiator)
				err := c.HandshakeContext(context.Background())
				is.True(err != nil) // nobody is there
				c.Close()
				<-echoed
			})
		})
	}
}
