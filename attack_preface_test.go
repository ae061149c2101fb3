package securesp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
)

// Pieces of the preface (SPEC §2), written out as the specification has them.
var (
	acceptStart = []byte("\x00SPS\x01\x00")
	retryStart  = []byte("\x00SPS\x01\x01")
	rejectStart = []byte("\x00SPS\x01\x02")
)

// rawHello returns a HELLO with the given parts.
func rawHello(suites []mechanism.Suite, tlvs, m1 []byte) []byte {
	p := append([]byte("\x00SPS\x01\x00"), byte(len(suites)))
	for _, s := range suites {
		p = binary.BigEndian.AppendUint16(p, uint16(s))
	}
	p = append(binary.BigEndian.AppendUint16(p, uint16(len(tlvs))), tlvs...)
	return append(binary.BigEndian.AppendUint16(p, uint16(len(m1))), m1...)
}

// toResponder hands bytes to a responder and returns what it says and why it
// gives up. It must be called in a synctest bubble.
func toResponder(t *testing.T, config *securesp.Config, p []byte) (said []byte, took time.Duration, err error) {
	t.Helper()
	near, far := testnet.Pipe(1 << 20)
	start := time.Now()
	if _, err := near.Write(p); err != nil {
		t.Fatal(err)
	}
	err = securesp.Server(far, config).HandshakeContext(context.Background())
	took = time.Since(start)
	said, readErr := io.ReadAll(near)
	if readErr != nil {
		t.Fatal(readErr)
	}
	near.Close()
	return said, took, err
}

// toInitiator answers an initiator's HELLO with bytes, and returns what the
// initiator has said after that and why it gives up.
func toInitiator(t *testing.T, config *securesp.Config, p []byte) (said []byte, took time.Duration, err error) {
	t.Helper()
	near, far := testnet.Pipe(1 << 20)
	start := time.Now()
	far.Inject(p)
	err = securesp.Client(near, config).HandshakeContext(context.Background())
	took = time.Since(start)
	said, readErr := io.ReadAll(far)
	if readErr != nil {
		t.Fatal(readErr)
	}
	far.Close()
	size := helloSize(said)
	return said[size:], took, err
}

// helloSize returns the size of the HELLO that p starts with.
func helloSize(p []byte) int {
	n := 7 + 2*int(p[6])
	n += 2 + int(binary.BigEndian.Uint16(p[n:]))
	return n + 2 + int(binary.BigEndian.Uint16(p[n:]))
}

// TestMalformedHello sends a responder what no initiator would.
func TestMalformedHello(t *testing.T) {
	for suite, size := range map[mechanism.Suite]int{mechanism.XXhfsAESGCM: 1216, mechanism.Curve: 200} {
		t.Run(suite.String(), func(t *testing.T) { malformedHello(t, suite, size) })
	}
}

// malformedHello offers one suite, whose first message has the given size.
func malformedHello(t *testing.T, suite mechanism.Suite, size int) {
	offer := []mechanism.Suite{suite}
	good := make([]byte, size) // and a low-order key
	tlv := func(typ byte, n int) []byte {
		return append([]byte{typ, byte(n >> 8), byte(n)}, make([]byte, n)...)
	}
	seventeen := make([]mechanism.Suite, 17)
	for i := range seventeen {
		seventeen[i] = mechanism.XXhfsAESGCM
	}
	reject := func(code byte) []byte { return append(bytes.Clone(rejectStart), code) }
	for _, tc := range []struct {
		name string
		sent []byte
		err  error
		said []byte
	}{
		{"SP", []byte("\x00SP\x00\x00\x50\x00\x00"), securesp.ErrPlainSP, nil},
		{"SP, four bytes", []byte("\x00SP\x00"), securesp.ErrPlainSP, nil},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), securesp.ErrNotSecureSP, nil},
		{"TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), securesp.ErrNotSecureSP, nil},
		{"SSH", []byte("SSH-2.0-OpenSSH_9\r\n"), securesp.ErrNotSecureSP, nil},
		{"four bytes of something", []byte("QUIT"), securesp.ErrNotSecureSP, nil},
		{"version 0", []byte("\x00SPS\x00\x00"), securesp.ErrVersion, reject(1)},
		{"version 2", []byte("\x00SPS\x02\x00\x01\x01\x01"), securesp.ErrVersion, reject(1)},
		{"no suites", rawHello(nil, nil, good), securesp.ErrProtocol, reject(4)},
		{"17 suites", rawHello(seventeen, nil, good), securesp.ErrProtocol, reject(4)},
		{"unknown suite", rawHello([]mechanism.Suite{0xFFFF}, nil, good), securesp.ErrNoCommonSuite, reject(2)},
		{"suite of another responder", rawHello([]mechanism.Suite{mechanism.XXAESGCM}, nil, good[:32]), securesp.ErrNoCommonSuite, reject(2)},
		{"NULL", rawHello([]mechanism.Suite{mechanism.Null}, nil, nil), securesp.ErrNoCommonSuite, reject(2)},
		{"TLVs too long", rawHello(offer, tlv(0x77, 1022), good), securesp.ErrProtocol, reject(4)},
		{"TLV overruns", rawHello(offer, []byte{0x77, 0, 2, 1}, good), securesp.ErrProtocol, reject(4)},
		{"half a TLV", rawHello(offer, []byte{0x77, 0}, good), securesp.ErrProtocol, reject(4)},
		{"TLV twice", rawHello(offer, append(tlv(0x77, 1), tlv(0x77, 1)...), good), securesp.ErrProtocol, reject(4)},
		{"name too long", rawHello(offer, tlv(2, 256), good), securesp.ErrProtocol, reject(4)},
		{"HELLO of 4097 bytes", rawHello(offer, nil, make([]byte, 4097-13)), securesp.ErrProtocol, reject(4)},
		{"message of 65,535 bytes", rawHello(offer, nil, make([]byte, 65535)), securesp.ErrProtocol, reject(4)},
		{"no message", rawHello(offer, nil, nil), mechanism.ErrMalformed, reject(4)},
		{"message too short", rawHello(offer, nil, good[:size-1]), mechanism.ErrMalformed, reject(4)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				_, responder := configs(t, suite)
				said, took, err := toResponder(t, responder, tc.sent)
				is.True(errors.Is(err, tc.err))                   // the right error
				is.True(bytes.Equal(said, tc.said))               // and answer
				is.Equal(took, time.Duration(0))                  // at once
				is.True(!strings.Contains(err.Error(), "HTTP/1")) // nothing of the peer's is echoed
			})
		})
	}
}

// TestMalformedReply answers an initiator as no responder would.
func TestMalformedReply(t *testing.T) {
	for _, offer := range [][]mechanism.Suite{
		{mechanism.XXhfsAESGCM, mechanism.XXhfsChaChaPoly},
		{mechanism.Curve, mechanism.XXhfsAESGCM},
	} {
		t.Run(offer[0].String(), func(t *testing.T) { malformedReply(t, offer) })
	}
}

func malformedReply(t *testing.T, offer []mechanism.Suite) {
	for _, tc := range []struct {
		name string
		sent []byte
		err  error
	}{
		{"SP", []byte("\x00SP\x00\x00\x50\x00\x00"), securesp.ErrPlainSP},
		{"HTTP", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), securesp.ErrNotSecureSP},
		{"TLS alert", []byte("\x15\x03\x01\x00\x02\x02\x46"), securesp.ErrNotSecureSP},
		{"version 2", []byte("\x00SPS\x02\x00\x00\x00"), securesp.ErrVersion},
		{"kind 3", []byte("\x00SPS\x01\x03\x00\x00"), securesp.ErrProtocol},
		{"empty M2", append(bytes.Clone(acceptStart), 0, 0), mechanism.ErrMalformed},
		{"M2 of 4097 bytes", append(bytes.Clone(acceptStart), 0x10, 0x01), securesp.ErrProtocol},
		{"M2 of 65,535 bytes", append(bytes.Clone(acceptStart), 0xFF, 0xFF), securesp.ErrProtocol},
		{"REJECT 1", append(bytes.Clone(rejectStart), 1), securesp.ErrVersion},
		{"REJECT 1 of version 9", []byte("\x00SPS\x09\x02\x01"), securesp.ErrVersion},
		{"REJECT 2", append(bytes.Clone(rejectStart), 2), securesp.ErrNoCommonSuite},
		{"REJECT 3", append(bytes.Clone(rejectStart), 3), securesp.ErrBusy},
		{"REJECT 4", append(bytes.Clone(rejectStart), 4), securesp.ErrRejected},
		{"REJECT 200", append(bytes.Clone(rejectStart), 200), securesp.ErrRejected},
		{"RETRY with NULL", append(bytes.Clone(retryStart), 0, 0), securesp.ErrProtocol},
		{"RETRY with the first suite", retryWith(offer[0]), securesp.ErrProtocol},
		{"RETRY with a suite not offered", append(bytes.Clone(retryStart), 0x02, 0x01), securesp.ErrProtocol},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				initiator, _ := mixedConfigs(t, offer, nil)
				said, took, err := toInitiator(t, initiator, tc.sent)
				is.True(errors.Is(err, tc.err))  // the right error
				is.Equal(len(said), 0)           // no second try, least of all a weaker one
				is.Equal(took, time.Duration(0)) // at once
				if strings.HasPrefix(tc.name, "REJECT ") && !errors.Is(err, securesp.ErrRejected) {
					is.True(strings.Contains(err.Error(), "unauthenticated hint")) // marked
				}
			})
		})
	}
}

// mixed are offers of which a middleman may want to have something else made:
// hybrid, CURVE and classical suites in several orders, with and without keys
// known beforehand and a pre-shared key.
var mixed = []struct {
	name   string
	suites []mechanism.Suite
}{
	{"hybrid, classical", []mechanism.Suite{mechanism.XXhfsAESGCM, mechanism.XXAESGCM}},
	{"hybrid, CURVE, classical", []mechanism.Suite{mechanism.IKhfsAESGCM, mechanism.Curve, mechanism.XXChaChaPoly}},
	{"CURVE, hybrid", []mechanism.Suite{mechanism.Curve, mechanism.XXhfsChaChaPoly}},
	{"PSK, CURVE, hybrid", []mechanism.Suite{mechanism.XXhfsPSK3AESGCM, mechanism.Curve, mechanism.XXhfsAESGCM}},
	{"classical, hybrid, CURVE", []mechanism.Suite{mechanism.IKAESGCM, mechanism.XXhfsAESGCM, mechanism.Curve}},
}

// retryWith is a RETRY that asks for suite.
func retryWith(suite mechanism.Suite) []byte {
	return binary.BigEndian.AppendUint16(bytes.Clone(retryStart), uint16(suite))
}

// TestSecondRetry answers RETRY twice: the initiator follows only the first,
// with the suite it names and no other.
func TestSecondRetry(t *testing.T) {
	for _, m := range mixed {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				for _, asked := range m.suites[1:] {
					for _, again := range m.suites {
						initiator, _ := mixedConfigs(t, m.suites, nil)
						said, _, err := toInitiator(t, initiator, append(retryWith(asked), retryWith(again)...))
						is.True(errors.Is(err, securesp.ErrProtocol)) // refused
						is.Equal(len(said), helloSize(said))          // one HELLO more
						only := rawHello([]mechanism.Suite{asked}, nil, nil)
						is.True(bytes.HasPrefix(said, only[:len(only)-4])) // with one suite
					}
				}
			})
		})
	}
}

// TestRetry is the genuine case: the responder supports only one suite of what
// is offered, and both sides use that.
func TestRetry(t *testing.T) {
	for _, m := range mixed {
		for _, common := range m.suites {
			t.Run(m.name+"/"+common.String(), func(t *testing.T) {
				is := is.New(t)
				initiator, responder := mixedConfigs(t, m.suites, []mechanism.Suite{common})
				near, far := testnet.Pipe(64 << 10)
				o := meet(near, far, initiator, responder)
				is.NoErr(o.aErr) // initiator
				is.NoErr(o.bErr) // responder
				as, bs := o.a.ConnectionState(), o.b.ConnectionState()
				is.Equal(as.Suite, common) // the only one in common
				is.Equal(bs.Suite, common)
				is.True(bytes.Equal(as.Binding, bs.Binding))
				is.Equal(as.Peer.CurveKey.IsZero(), common != mechanism.Curve) // each suite with its own keys
				is.Equal(as.Peer.Key.IsZero(), common == mechanism.Curve)
				o.close()
			})
		}
	}
}

// TestPreference: the initiator's order counts, whatever the responder's is.
func TestPreference(t *testing.T) {
	for _, m := range mixed {
		is := is.New(t)
		backwards := slices.Clone(m.suites)
		slices.Reverse(backwards)
		initiator, responder := mixedConfigs(t, m.suites, backwards)
		near, far := testnet.Pipe(64 << 10)
		o := meet(near, far, initiator, responder)
		is.NoErr(errors.Join(o.aErr, o.bErr))
		is.Equal(o.a.ConnectionState().Suite, m.suites[0])
		o.close()
	}
}

// detected checks that neither side has a connection, and that one of them
// knows that somebody has changed something.
func (o *outcome) detected(is *is.I) {
	is.Helper()
	is.NoErr(o.victim(true))  // no connection for the initiator
	is.NoErr(o.victim(false)) // nor for the responder
	is.True(anyOf(errors.Join(o.aErr, o.bErr), securesp.ErrAuthentication, securesp.ErrProtocol,
		mechanism.ErrMalformed, securesp.ErrNoCommonSuite))
	is.Equal(o.took, time.Duration(0)) // nobody waits for a timeout
}

// TestForgedRetry has a man in the middle invent a RETRY, to make two sides
// that share a better suite use a worse one.
func TestForgedRetry(t *testing.T) {
	for _, m := range mixed {
		for _, worse := range m.suites[1:] {
			t.Run(m.name+"/"+worse.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					initiator, responder := mixedConfigs(t, m.suites, m.suites)
					near, far := testnet.Pipe(64 << 10)
					far.Inject(retryWith(worse))
					hellos := 0
					near.Tap(func(p []byte) ([]byte, bool) {
						if hellos++; hellos == 1 {
							return nil, false // never reaches the responder
						}
						return p, false
					})
					o := meet(near, far, initiator, responder)
					o.detected(is)
					is.True(anyOf(errors.Join(o.aErr, o.bErr), securesp.ErrAuthentication))
					o.close()
				})
			})
		}
	}
}

// TestDowngrade has a man in the middle edit the offer. The HELLO travels
// through the prologue, so no edit goes unnoticed, whether it makes the
// responder pick another suite or only changes its mind about flags and
// entries it ignores.
func TestDowngrade(t *testing.T) {
	type edit struct {
		name string
		edit func(hello []byte) []byte
	}
	edits := func(suites []mechanism.Suite) []edit {
		list := []edit{
			{"first two exchanged", func(p []byte) []byte {
				p[7], p[8], p[9], p[10] = p[9], p[10], p[7], p[8]
				return p
			}},
			{"everything replaced by NULL", func(p []byte) []byte {
				return rawHello([]mechanism.Suite{mechanism.Null}, nil, nil)
			}},
			{"flags", func(p []byte) []byte {
				p[5] = 1
				return p
			}},
			{"entry added", func(p []byte) []byte {
				n := 7 + 2*int(p[6])
				return append(append(bytes.Clone(p[:n]), 0, 3, 0x77, 0, 0), p[n+2:]...)
			}},
		}
		for i := range suites {
			at := 7 + 2*i
			list = append(list,
				edit{fmt.Sprintf("suite %d made unknown", i), func(p []byte) []byte {
					p[at] = 0xFF
					return p
				}},
				edit{fmt.Sprintf("suite %d removed", i), func(p []byte) []byte {
					p[6]--
					return append(p[:at], p[at+2:]...)
				}},
				edit{fmt.Sprintf("no suite before %d", i), func(p []byte) []byte {
					p[6] -= byte(i)
					return append(p[:7], p[at:]...)
				}})
		}
		// Suite 0 has none before it: that is no edit.
		return slices.DeleteFunc(list, func(e edit) bool { return e.name == "no suite before 0" })
	}
	for _, m := range mixed {
		for _, e := range edits(m.suites) {
			t.Run(m.name+"/"+e.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					initiator, responder := mixedConfigs(t, m.suites, m.suites)
					near, far := testnet.Pipe(64 << 10)
					first := true
					near.Tap(func(p []byte) ([]byte, bool) {
						if first {
							first = false
							p = e.edit(bytes.Clone(p))
						}
						return p, false
					})
					o := meet(near, far, initiator, responder)
					o.detected(is)
					o.close()
				})
			})
		}
	}
}

// TestRejectForReady: a CURVE initiator that waits for READY tells a REJECT
// from it, and from something that only begins like one.
func TestRejectForReady(t *testing.T) {
	for _, tc := range []struct {
		name string
		sent []byte
		err  error
	}{
		{"no common suite", append(bytes.Clone(rejectStart), 2), securesp.ErrNoCommonSuite},
		{"busy", append(bytes.Clone(rejectStart), 3), securesp.ErrBusy},
		{"handshake", append(bytes.Clone(rejectStart), 4), securesp.ErrRejected},
		{"of another version", []byte("\x00SPS\x09\x02\x01"), securesp.ErrVersion},
		{"RETRY", retryWith(mechanism.Curve)[:7], securesp.ErrProtocol},
		{"not the magic", []byte("\x00SPX\x01\x02\x04"), securesp.ErrProtocol},
		{"cut", rejectStart, io.ErrUnexpectedEOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				initiator, responder := configs(t, mechanism.Curve)
				near, far := testnet.Pipe(64 << 10)
				replies := 0
				far.Tap(func(p []byte) ([]byte, bool) {
					if replies++; replies == 1 {
						return p, false // WELCOME
					}
					return tc.sent, true
				})
				o := meet(near, far, initiator, responder)
				is.NoErr(o.victim(true))
				is.True(errors.Is(o.aErr, tc.err)) // what came, or that nothing more did
				is.Equal(o.took, time.Duration(0)) // at once
				o.close()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.Curve)
		near, far := testnet.Pipe(64 << 10)
		near.Tap(testnet.Flip(9+2+2+200+2+150, 1)) // in INITIATE
		o := meet(near, far, initiator, responder)
		is.True(errors.Is(o.bErr, securesp.ErrAuthentication)) // the genuine reason
		is.True(errors.Is(o.aErr, securesp.ErrRejected))       // and hint
		o.close()
	})
}

// TestNullOnlyIfBothOptIn crosses a side that asks for NULL alone with one
// that does not.
func TestNullOnlyIfBothOptIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		null, nullToo := configs(t, mechanism.Null)
		initiator, responder := configs(t, mechanism.XXhfsAESGCM)
		for _, c := range [][2]*securesp.Config{{null, responder}, {initiator, nullToo}} {
			near, far := testnet.Pipe(64 << 10)
			o := meet(near, far, c[0], c[1])
			is.True(errors.Is(o.aErr, securesp.ErrNoCommonSuite)) // initiator
			is.True(errors.Is(o.bErr, securesp.ErrNoCommonSuite)) // responder
			o.close()
		}
		// Listed with others by an initiator of somebody else's making.
		hello := rawHello([]mechanism.Suite{mechanism.Null, mechanism.XXhfsAESGCM}, nil, nil)
		_, _, err := toResponder(t, nullToo, hello)
		is.True(errors.Is(err, securesp.ErrNoCommonSuite)) // NULL counts only alone

		near, far := testnet.Pipe(64 << 10)
		o := meet(near, far, null, nullToo)
		is.NoErr(o.aErr) // both asked for it
		is.NoErr(o.bErr)
		is.True(!o.a.ConnectionState().Traits.Secure) // and can tell
		is.Equal(o.b.ConnectionState().Suite, mechanism.Null)
		o.close()
	})
}
