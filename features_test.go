package securesp_test

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// TestPadding looks at the wire: with padding, messages of different sizes
// make records of the same size, and still arrive as they were.
func TestPadding(t *testing.T) {
	for _, tc := range []struct {
		padding securesp.Padding
		sizes   []int // of messages that must look alike
		record  int   // plaintext bytes of their records
	}{
		{securesp.PadPowerOfTwo, []int{0, 1, 7, 14}, 16},
		{securesp.PadPowerOfTwo, []int{15, 20, 30}, 32},
		{securesp.PadPowerOfTwo, []int{5000, 6000, 8000}, 8192},
		{securesp.PadPowerOfTwo, []int{8191, 10000, 16000}, 16384},
		{256, []int{0, 1, 100, 250}, 256},
		{1000, []int{998, 1500, 1990}, 2000},
		{16384, []int{0, 1, 5000, 16000}, 16384},
		{16383, []int{0, 1, 5000, 16000}, 16383},
	} {
		t.Run(fmt.Sprint(tc.padding, tc.record), func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, mechanism.XXAESGCM)
			initiator.Padding, initiator.NoCoalescing = tc.padding, true
			w := wire(t, initiator, responder)
			defer w.close()
			var sizes []int
			w.near.Tap(testnet.Records(func(_ int, r []byte) [][]byte {
				sizes = append(sizes, len(r)-3-16)
				is.Equal(r[2], byte(mechanism.DataPadded))
				return [][]byte{r}
			}))
			for i, n := range tc.sizes {
				is.NoErr(w.a.WriteMessage(noiseBytes(uint64(i), n)))
				m, err := w.b.ReadMessage(nil)
				is.NoErr(err)
				is.True(bytes.Equal(m, noiseBytes(uint64(i), n)))
			}
			w.near.Tap(nil)
			is.Equal(len(sizes), len(tc.sizes))
			for _, n := range sizes {
				is.Equal(n, tc.record) // all alike
			}
		})
	}
	for _, padding := range []securesp.Padding{securesp.PadPowerOfTwo, 1, 300, 16383, 16384} {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		initiator.Padding = padding
		w := wire(t, initiator, responder)
		for i, n := range boundarySizes() {
			is.NoErr(w.a.WriteMessage(noiseBytes(uint64(i), n))) // across records
			m, err := w.b.ReadMessage(nil)
			is.NoErr(err)
			is.True(bytes.Equal(m, noiseBytes(uint64(i), n)))
		}
		w.close()
	}
}

// TestKeepAlive: an idle connection whose peer lives stays, one whose peer has
// gone silent ends.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		initiator.KeepAlive = 10 * time.Second
		w := wire(t, initiator, responder)
		read := func(c *securesp.Conn) <-chan error {
			ended := make(chan error, 1)
			go func() {
				_, err := c.Read(make([]byte, 1))
				ended <- err
			}()
			return ended
		}
		aEnded, bEnded := read(w.a), read(w.b)
		time.Sleep(time.Hour)
		is.Equal(len(aEnded)+len(bEnded), 0)                  // alive
		is.True(w.near.Sent() > 300 && w.near.Sent() < 20000) // by a PING now and then
		pings := w.b.Stats().RecordsReceived
		is.True(pings >= 350 && pings <= 361)

		w.near.Tap(func([]byte) ([]byte, bool) { return nil, false }) // a cable is pulled
		w.far.Tap(func([]byte) ([]byte, bool) { return nil, false })
		start := time.Now()
		err := <-aEnded
		is.True(errors.Is(err, securesp.ErrPeerSilent))
		is.True(!errors.Is(err, os.ErrDeadlineExceeded)) // final, no timeout
		silent := time.Since(start)
		is.True(silent > 20*time.Second && silent <= 50*time.Second)
		_, err = w.a.Write([]byte("x"))
		is.True(errors.Is(err, securesp.ErrPeerSilent))
		w.near.Tap(nil)
		w.near.Close()
		w.b.Close()
		<-bEnded
	})
}

// TestKeepAliveWithoutReader: nobody is called silent whom nobody hears.
func TestKeepAliveWithoutReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		initiator.KeepAlive = time.Second
		w := wire(t, initiator, responder)
		time.Sleep(time.Hour)
		is.NoErr(w.b.WriteMessage([]byte("hi")))
		m, err := w.a.ReadMessage(nil)
		is.NoErr(err)
		is.Equal(string(m), "hi")
		w.close()
	})
}

// TestKeyLog decrypts a recorded connection with nothing but the key log.
func TestKeyLog(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.XXhfsAESGCM)
	initiator.NoCoalescing = true
	var log bytes.Buffer
	initiator.KeyLogWriter = &log
	w := wire(t, initiator, responder)
	var tape testnet.Recorder
	w.near.Tap(tape.Tap())
	is.NoErr(w.a.WriteMessage([]byte("who reads this has the key")))
	w.near.Tap(nil)
	binding := hex.EncodeToString(w.a.ConnectionState().Binding)
	w.close()

	opened := 0
	lines := bufio.NewScanner(&log)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		is.Equal(len(fields), 4)
		is.Equal(fields[0], "SECURESP")
		is.Equal(fields[2], binding) // says which connection
		key, err := hex.DecodeString(fields[3])
		is.NoErr(err)
		if len(key) != 32 {
			continue
		}
		block, err := aes.NewCipher(key)
		is.NoErr(err)
		aead, err := cipher.NewGCM(block)
		is.NoErr(err)
		nonce := make([]byte, 12)
		binary.BigEndian.PutUint64(nonce[4:], 1) // READY was the first
		record := tape.Bytes()
		if p, err := aead.Open(nil, nonce, record[3:], record[:3]); err == nil {
			is.True(bytes.HasSuffix(p, []byte("who reads this has the key")))
			opened++
		}
	}
	is.Equal(opened, 1) // one of the logged keys opens it
}

// TestKeyLogIsShared has connections log to one writer that is not safe for
// concurrent use: each line is one Write, one at a time.
func TestKeyLogIsShared(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.XXAESGCM)
	w := &lineWriter{}
	initiator.KeyLogWriter, responder.KeyLogWriter = w, w
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			near, far := testnet.Pipe(64 << 10)
			o := meet(near, far, initiator, responder)
			o.close()
		})
	}
	running.Wait()
	is.True(len(w.lines) >= 8*2*2)
	for _, l := range w.lines {
		is.True(strings.HasPrefix(l, "SECURESP ") && strings.Count(l, "\n") == 1 && strings.HasSuffix(l, "\n"))
	}
}

type lineWriter struct{ lines []string }

func (w *lineWriter) Write(p []byte) (int, error) {
	w.lines = append(w.lines, string(p))
	return len(p), nil
}

// TestRevocation takes a key out of a trust file, or has it expire there: the
// open connection ends on both sides, and each learns why.
func TestRevocation(t *testing.T) {
	for _, tc := range []struct {
		name                 string
		byResponder, expires bool
	}{
		{"removed by responder", true, false},
		{"removed by initiator", false, false},
		{"expired at responder", true, true},
		{"expired at initiator", false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				initiator, responder := configs(t, mechanism.XXAESGCM)
				path := filepath.Join(t.TempDir(), "trust")
				key := initiator.Identity.Public()
				if !tc.byResponder {
					key = responder.Identity.Public()
				}
				line := key.String() + " alice"
				if tc.expires {
					line += " expires=" + time.Now().Add(time.Minute).Format(time.RFC3339)
				}
				is.NoErr(os.WriteFile(path, []byte(line+"\n"), 0o600))
				policy, err := trust.File(path)
				is.NoErr(err)
				var logged bytes.Buffer
				revoker := responder
				if !tc.byResponder {
					revoker = initiator
				}
				revoker.Trust = policy
				revoker.Logger = slog.New(slog.NewTextHandler(&logged, nil))
				w := wire(t, initiator, responder)
				mine, theirs := w.b, w.a
				if !tc.byResponder {
					mine, theirs = theirs, mine
				}
				is.Equal(mine.ConnectionState().Peer.Name, "alice") // the file's name for it
				ended := make(chan error, 2)
				for _, c := range []*securesp.Conn{mine, theirs} {
					go func() {
						_, err := c.Read(make([]byte, 1))
						ended <- err
					}()
					time.Sleep(time.Second)
				}
				is.Equal(len(ended), 0)
				start := time.Now()
				if tc.expires {
					start = start.Add(time.Minute) // at the latest
				} else {
					is.NoErr(os.WriteFile(path, nil, 0o600))
				}
				errs := []error{<-ended, <-ended}
				is.True(time.Since(start) < 5*time.Second)
				var own, other int
				for _, err := range errs {
					if errors.Is(err, securesp.ErrRevoked) {
						own++
					}
					if asCloseError(err).Code == securesp.CloseRevoked {
						other++
					}
				}
				is.Equal([]int{own, other}, []int{1, 1}) // ErrRevoked here, code 7 there
				_, err = mine.Write([]byte("x"))
				is.True(errors.Is(err, securesp.ErrRevoked))
				is.True(strings.Contains(logged.String(), "revoked"))
				w.close()

				near, far := testnet.Pipe(64 << 10)
				o := meet(near, far, initiator, responder)
				is.True(o.aErr != nil && o.bErr != nil) // and no new one
				o.close()
			})
		})
	}
}

// TestFirstUse dials twice, then meets another key at the same address.
func TestFirstUse(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.XXAESGCM)
	policy, err := trust.FirstUse(filepath.Join(t.TempDir(), "known"))
	is.NoErr(err)
	initiator.Trust = policy
	address := testnet.FreeAddress(t)
	l, err := securesp.Listen("tcp", address, responder)
	is.NoErr(err)
	done := acceptAll(l)
	for range 2 {
		c, err := securesp.Dial("tcp", address, initiator)
		is.NoErr(err) // the first time recorded, the second recognised
		is.Equal(c.ConnectionState().Peer.Key, responder.Identity.Public())
		is.NoErr(c.Close())
	}
	is.NoErr(l.Close())
	<-done

	impostor := responder.Clone()
	impostor.Identity = newParty(t).identity
	l, err = securesp.Listen("tcp", address, impostor)
	is.NoErr(err)
	done = acceptAll(l)
	_, err = securesp.Dial("tcp", address, initiator)
	is.True(errors.Is(err, securesp.ErrUntrusted))
	is.True(errors.Is(err, trust.ErrKeyChanged)) // loud, and typed
	is.NoErr(l.Close())
	<-done
}

// TestStateAndBinding compares what the two sides know.
func TestStateAndBinding(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, s.suite)
			initiator.Protocol, responder.Protocol = "test/1", "test/1"
			initiator.MaxMessageSize = 12345
			initiator.Extensions = map[uint8][]byte{0x10: {1, 2}, 0x1F: {}}
			near, _ := testnet.Pipe(64 << 10)
			a := securesp.Client(near, initiator)
			is.True(!a.ConnectionState().HandshakeComplete) // and does not run it
			is.Equal(near.Sent(), int64(0))
			is.Equal(a.Stats(), securesp.Stats{})
			w := wire(t, initiator, responder)
			defer w.close()
			as, bs := w.a.ConnectionState(), w.b.ConnectionState()
			is.True(as.HandshakeComplete && bs.HandshakeComplete)
			is.True(as.Initiator && !bs.Initiator)
			is.Equal(as.Suite, s.suite)
			is.Equal(bs.Suite, s.suite)
			is.Equal(as.Protocol, "test/1")
			is.Equal(bs.Protocol, "test/1")
			is.Equal(bs.PeerMaxMessageSize, uint64(12345))
			is.True(bytes.Equal(bs.Extensions[0x10], []byte{1, 2}))
			is.Equal(len(bs.Extensions), 2)
			is.Equal(len(as.Extensions), 0)
			is.True(bytes.Equal(as.Binding, bs.Binding)) // the same on both sides
			is.Equal(len(as.Binding), 32)
			if as.Traits.Secure {
				is.True(!seen[string(as.Binding)]) // and on no other connection
				seen[string(as.Binding)] = true
			}
			if as.Traits.ResponderKey && !as.Traits.Curve {
				is.Equal(as.Peer.Key, responder.Identity.Public())
			}
			if as.Traits.InitiatorKey && !as.Traits.Curve {
				is.Equal(bs.Peer.Key, initiator.Identity.Public())
			}
			is.True(w.a.Stats().HandshakeTime > 0)
			is.Equal(w.a.NetConn(), w.near)
			is.Equal(w.a.LocalAddr(), w.near.LocalAddr())
			is.Equal(w.a.RemoteAddr(), w.near.RemoteAddr())
		})
	}
}

// TestRekey sends enough records for both directions to change their keys.
func TestRekey(t *testing.T) {
	is := is.New(t)
	initiator, responder := eachRecord(t, mechanism.XXAESGCM)
	w := wire(t, initiator, responder)
	defer w.close()
	var m []byte
	for i := range 70000 {
		p := []byte{byte(i), byte(i >> 8)}
		is.NoErr(w.a.WriteMessage(p))
		var err error
		m, err = w.b.ReadMessage(m[:0])
		if err != nil || !bytes.Equal(m, p) {
			t.Fatalf("message %d: %x, %v", i, m, err)
		}
	}
	is.Equal(w.a.Stats().RekeysSent, uint64(1))
	is.Equal(w.b.Stats().RekeysReceived, uint64(1))
	is.Equal(w.b.Stats().RekeysSent, uint64(0)) // each direction for itself
}
