package securesp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
)

// wired is a connected pair whose wire is at hand: what a sends passes near,
// what b sends passes far.
type wired struct {
	a, b      *securesp.Conn
	near, far *testnet.Conn
}

// wire returns a connected pair over a wire that holds plenty.
func wire(t testing.TB, initiator, responder *securesp.Config) *wired {
	t.Helper()
	near, far := testnet.Pipe(32 << 20)
	o := meet(near, far, initiator, responder)
	if err := errors.Join(o.aErr, o.bErr); err != nil {
		t.Fatal(err)
	}
	return &wired{o.a, o.b, near, far}
}

// wireSuite is wire with fresh keys for suite and a record for each message.
func wireSuite(t testing.TB, suite mechanism.Suite) *wired {
	t.Helper()
	initiator, responder := eachRecord(t, suite)
	return wire(t, initiator, responder)
}

func (w *wired) close() { closeBoth(w.a, w.b) }

// eachRecord is a configuration with which every message is a record of its
// own.
func eachRecord(t testing.TB, suite mechanism.Suite) (initiator, responder *securesp.Config) {
	initiator, responder = configs(t, suite)
	initiator.NoCoalescing, responder.NoCoalescing = true, true
	return initiator, responder
}

// secureSuites is the table of suites without NULL, which resists nothing.
// With the race detector, which makes handshakes slow, it is those whose
// sessions differ.
func secureSuites() (names []string, s []mechanism.Suite) {
	if raceEnabled {
		return []string{"AESGCM", "ChaChaPoly", "CURVE"}, []mechanism.Suite{mechanism.NKAESGCM, mechanism.NKChaChaPoly, mechanism.Curve}
	}
	for _, row := range suites {
		if row.suite != mechanism.Null {
			names, s = append(names, row.name), append(s, row.suite)
		}
	}
	return names, s
}

// messageNumber is the i-th of a run of distinguishable messages.
func messageNumber(i int) []byte { return fmt.Appendf(nil, "message number %d", i) }

// recordSizes returns how long a record with one of them and a FIN are on the
// wire.
func recordSizes(t *testing.T, initiator, responder *securesp.Config) (message, fin int64) {
	t.Helper()
	w := wire(t, initiator, responder)
	defer w.close()
	before := w.near.Sent()
	if err := errors.Join(w.a.WriteMessage(messageNumber(0)), w.a.Flush()); err != nil {
		t.Fatal(err)
	}
	message = w.near.Sent() - before
	if err := w.a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return message, w.near.Sent() - before - message
}

// tampered sends messages over a wire with the given tap and returns how many
// arrive before the receiver gives up, and with what error. It fails the test
// if one of them is not the message that was sent in its place.
func tampered(t *testing.T, initiator, responder *securesp.Config, messages int, tap func(w *wired) testnet.Tap) (arrived int, err error) {
	t.Helper()
	w := wire(t, initiator, responder)
	defer w.close()
	w.near.Tap(tap(w))
	for i := range messages {
		if err := w.a.WriteMessage(messageNumber(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	w.near.Cut()
	for {
		var m []byte
		if m, err = w.b.ReadMessage(nil); err != nil {
			break
		}
		if !bytes.Equal(m, messageNumber(arrived)) {
			t.Errorf("message %d arrived as %q", arrived, m)
		}
		arrived++
	}
	if _, again := w.b.ReadMessage(nil); again == nil || again.Error() != err.Error() {
		t.Errorf("the error does not stick: %v, then %v", err, again)
	}
	if _, again := w.b.Read(make([]byte, 10)); again == nil {
		t.Errorf("Read works after %v", err)
	}
	return arrived, err
}

// TestFlippedRecordBytes inverts a bit of every byte of the first records: what
// arrives is what was sent before, and then an error for good.
func TestFlippedRecordBytes(t *testing.T) {
	names, all := secureSuites()
	for i, suite := range all {
		t.Run(names[i], func(t *testing.T) {
			initiator, responder := eachRecord(t, suite)
			recordSize, _ := recordSizes(t, initiator, responder)
			for offset := range 3 * recordSize {
				synctest.Test(t, func(t *testing.T) {
					arrived, err := tampered(t, initiator, responder, 5, func(*wired) testnet.Tap {
						return testnet.Flip(offset, 1<<(offset%8))
					})
					// A length that has become longer swallows what
					// follows, up to the end of the carrier.
					if !anyOf(err, securesp.ErrAuthentication, securesp.ErrProtocol, io.ErrUnexpectedEOF) || err == io.EOF {
						t.Errorf("byte %d: wrong error %v", offset, err)
					}
					if arrived != int(offset/recordSize) {
						t.Errorf("byte %d: %d messages arrived", offset, arrived)
					}
				})
			}
		})
	}
}

// TestRecordsOutOfPlace doubles, drops, swaps and repeats whole records.
func TestRecordsOutOfPlace(t *testing.T) {
	var held []byte
	for _, tc := range []struct {
		name    string
		arrived int
		tap     func(i int, record []byte) [][]byte
	}{
		{"doubled", 3, func(i int, r []byte) [][]byte {
			if i == 2 {
				return [][]byte{r, r}
			}
			return [][]byte{r}
		}},
		{"dropped", 2, func(i int, r []byte) [][]byte {
			if i == 2 {
				return nil
			}
			return [][]byte{r}
		}},
		{"swapped", 2, func(i int, r []byte) [][]byte {
			switch i {
			case 2:
				held = r
				return nil
			case 3:
				return [][]byte{r, held}
			}
			return [][]byte{r}
		}},
		{"replayed later", 5, func(i int, r []byte) [][]byte {
			switch i {
			case 0:
				held = r
			case 4:
				return [][]byte{r, held}
			}
			return [][]byte{r}
		}},
		{"type changed", 2, func(i int, r []byte) [][]byte {
			if i == 2 {
				r[2] = byte(mechanism.Pad)
			}
			return [][]byte{r}
		}},
		{"made a clear record", 2, func(i int, r []byte) [][]byte {
			if i == 2 {
				r[2] = byte(mechanism.Clear)
			}
			return [][]byte{r}
		}},
		{"preceded by an empty record", 2, func(i int, r []byte) [][]byte {
			if i == 2 {
				return [][]byte{make([]byte, 3+16), r}
			}
			return [][]byte{r}
		}},
		{"the first dropped", 0, func(i int, r []byte) [][]byte {
			if i == 0 {
				return nil
			}
			return [][]byte{r}
		}},
	} {
		names, all := secureSuites()
		for i, suite := range all {
			t.Run(tc.name+"/"+names[i], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					initiator, responder := eachRecord(t, suite)
					arrived, err := tampered(t, initiator, responder, 6, func(*wired) testnet.Tap {
						return testnet.Records(tc.tap)
					})
					is.True(anyOf(err, securesp.ErrAuthentication, securesp.ErrProtocol)) // noticed
					is.Equal(arrived, tc.arrived)                                         // at once
				})
			})
		}
	}
}

// TestReflectedRecords sends a side its own records back.
func TestReflectedRecords(t *testing.T) {
	names, all := secureSuites()
	for i, suite := range all {
		t.Run(names[i], func(t *testing.T) {
			is := is.New(t)
			w := wireSuite(t, suite)
			defer w.close()
			var tape testnet.Recorder
			w.near.Tap(tape.Tap())
			is.NoErr(w.a.WriteMessage([]byte("echo?"))) // send
			w.far.Inject(tape.Bytes())
			_, err := w.a.ReadMessage(nil)
			is.True(errors.Is(err, securesp.ErrAuthentication)) // each direction has its key
		})
	}
}

// TestCutRecords ends the carrier at every byte: whole records before it
// count, and the end is never taken for an orderly one.
func TestCutRecords(t *testing.T) {
	names, all := secureSuites()
	for i, suite := range all {
		t.Run(names[i], func(t *testing.T) {
			initiator, responder := eachRecord(t, suite)
			recordSize, fin := recordSizes(t, initiator, responder)
			for offset := range 3*recordSize + fin {
				arrived, err := tampered(t, initiator, responder, 3, func(*wired) testnet.Tap {
					return testnet.Cut(offset)
				})
				if err != io.ErrUnexpectedEOF {
					t.Errorf("byte %d: %v", offset, err)
				}
				if arrived != int(offset/recordSize) {
					t.Errorf("byte %d: %d messages arrived", offset, arrived)
				}
			}
			arrived, err := tampered(t, initiator, responder, 3, func(*wired) testnet.Tap { return nil })
			if arrived != 3 || err != io.EOF {
				t.Errorf("untouched: %d messages, %v", arrived, err)
			}
		})
	}
}

// TestImpossibleRecordLengths sends record headers that no session makes. The
// receiver gives up on the header alone.
func TestImpossibleRecordLengths(t *testing.T) {
	for suite, overhead := range map[mechanism.Suite]int{mechanism.XXhfsAESGCM: 17, mechanism.Curve: 18} {
		impossibleRecordLengths(t, suite, []int{0, 1, overhead - 1, overhead + 16384 + 1, 0x7FFF, 0xFFFF})
	}
}

func impossibleRecordLengths(t *testing.T, suite mechanism.Suite, lengths []int) {
	for _, length := range lengths {
		for _, typ := range []mechanism.Type{mechanism.Data, mechanism.Close, 0x55, mechanism.Clear} {
			if typ == mechanism.Clear && length > 0 && length <= 1+16384 {
				continue // possible, but not permitted: see TestClearNotPermitted
			}
			t.Run(fmt.Sprintf("%v/%d/%#x", suite, length, typ), func(t *testing.T) {
				is := is.New(t)
				w := wireSuite(t, suite)
				defer w.close()
				w.near.Inject(append(binary.BigEndian.AppendUint16(nil, uint16(length)), byte(typ)))
				_, err := w.b.Read(make([]byte, 100))
				is.True(errors.Is(err, securesp.ErrProtocol)) // at once
				_, err = w.a.Read(make([]byte, 1))
				var ce *securesp.CloseError
				is.True(errors.As(err, &ce)) // and the sender is told why
				is.Equal(ce.Code, securesp.CloseProtocolError)
			})
		}
	}
}

// TestNoPlaintextTwiceAlike checks the wire: the same plaintext never gives
// the same bytes, in either direction, on one connection or another, and the
// plaintext is not among them.
func TestNoPlaintextTwiceAlike(t *testing.T) {
	names, all := secureSuites()
	for i, suite := range all {
		t.Run(names[i], func(t *testing.T) {
			is := is.New(t)
			plain := []byte("the very same sixteen or more bytes")
			seen := make(map[string]bool)
			initiator, responder := eachRecord(t, suite)
			count := 0
			for range 3 {
				w := wire(t, initiator, responder)
				tap := testnet.Records(func(_ int, r []byte) [][]byte {
					count++
					body := string(r[3:])
					if seen[body] || bytes.Contains(r, plain[:16]) {
						t.Errorf("record %d shows its plaintext", count)
					}
					for n := range len(body) - 16 { // any 16 bytes in common
						seen[body[n:n+16]] = true
					}
					seen[body] = true
					return [][]byte{r}
				})
				w.near.Tap(tap)
				w.far.Tap(tap)
				for range 50 {
					is.NoErr(w.a.WriteMessage(plain))
					is.NoErr(w.b.WriteMessage(plain))
				}
				w.near.Tap(nil)
				w.far.Tap(nil)
				w.close()
			}
			is.Equal(count, 300) // every message was looked at
		})
	}
}

// TestGarbage feeds a receiver random bytes after the handshake: an error each
// time, and never a byte of data.
func TestGarbage(t *testing.T) {
	for _, suite := range []mechanism.Suite{mechanism.NKChaChaPoly, mechanism.Curve} {
		garbage(t, suite)
	}
}

func garbage(t *testing.T, suite mechanism.Suite) {
	r := rand.New(rand.NewPCG(1, 2))
	initiator, responder := eachRecord(t, suite)
	for range 100 {
		w := wire(t, initiator, responder)
		p := make([]byte, 3+r.IntN(200))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		p[0] = 0 // a length that is there
		w.near.Inject(p)
		w.near.Cut()
		if n, err := w.b.Read(make([]byte, 1000)); n > 0 || err == nil || err == io.EOF {
			t.Errorf("%x gave %d bytes, %v", p, n, err)
		}
		w.close()
	}
}
