package securesp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/mechanism"
)

// noiseBytes returns n random bytes, the same for the same seed.
func noiseBytes(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	p := make([]byte, n)
	r.Read(p)
	return p
}

// boundarySizes are message sizes around everything that has a size: frame
// headers, records, batches, the two ways of sending.
func boundarySizes() []int {
	sizes := []int{0, 1, 2, 31, 32, 63, 64, 65, 1000}
	for _, at := range []int{4 << 10, mechanism.MaxPlaintext, 2 * mechanism.MaxPlaintext, 36 << 10} {
		for _, d := range []int{-16, -13, -12, -4, -3, -2, -1, 0, 1} {
			sizes = append(sizes, at+d)
		}
	}
	return append(sizes, 256<<10-1, 256<<10, 512<<10+1, 0, 0)
}

// split cuts p into parts, some of them empty.
func split(r *rand.Rand, p []byte) [][]byte {
	parts := [][]byte{nil}
	for len(p) > 0 {
		n := min(len(p), r.IntN(len(p)+len(p)/2+2))
		parts = append(parts, p[:n:n])
		p = p[n:]
	}
	return parts
}

// TestMessageBoundaries sends messages of every interesting size, by Write and
// in parts by WriteMessage, and overwrites what was sent as soon as the call
// has returned.
func TestMessageBoundaries(t *testing.T) {
	sizes := boundarySizes()
	everywhere(t, func(t *testing.T, a, b *securesp.Conn) {
		is := is.New(t)
		sent := make(chan error, 1)
		go func() {
			r := rand.New(rand.NewPCG(1, 1))
			for i, n := range sizes {
				p := noiseBytes(uint64(i), n)
				var err error
				if i%3 == 0 && n > 0 {
					_, err = a.Write(p)
				} else {
					err = a.WriteMessage(split(r, p)...)
				}
				if err != nil {
					sent <- err
					return
				}
				clear(p)
			}
			sent <- a.CloseWrite()
		}()
		m := []byte("kept")
		for i, n := range sizes {
			var err error
			m, err = b.ReadMessage(m[:4])
			is.NoErr(err)                                         // read
			is.Equal(len(m)-4, n)                                 // its size
			is.True(bytes.Equal(m[4:], noiseBytes(uint64(i), n))) // its bytes
			is.Equal(string(m[:4]), "kept")                       // appended
		}
		_, err := b.ReadMessage(nil)
		is.Equal(err, io.EOF) // and no more
		is.NoErr(<-sent)      // all were sent
		st := a.Stats()
		is.Equal(st.MessagesSent, uint64(len(sizes)))
		is.Equal(b.Stats().MessagesReceived, uint64(len(sizes)))
		is.Equal(st.BytesSent, b.Stats().BytesReceived)
	})
}

// TestZeroLength: an empty Write sends nothing, an empty message is one, and
// Read does not see it.
func TestZeroLength(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *securesp.Conn) {
		is := is.New(t)
		go func() {
			a.Write(nil)
			a.WriteMessage()
			a.Write([]byte{})
			a.WriteMessage(nil, []byte{})
			a.WriteMessage([]byte("x"))
			a.WriteMessage()
			a.Write([]byte("y"))
		}()
		for _, want := range []string{"", "", "x"} {
			m, err := b.ReadMessage(nil)
			is.NoErr(err)
			is.Equal(string(m), want)
		}
		n, err := b.Read(nil)
		is.Equal(n, 0)
		is.NoErr(err) // even if nothing is there
		p := make([]byte, 5)
		n, err = b.Read(p) // skips the empty message
		is.NoErr(err)
		is.Equal(string(p[:n]), "y")
	})
}

// TestReadAndReadMessage mixes the two: what Read has left of a message is one
// for ReadMessage.
func TestReadAndReadMessage(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *securesp.Conn) {
		is := is.New(t)
		const size = 40000 // three records
		sent := make(chan error, 1)
		go func() {
			var errs []error
			for i := range 8 {
				errs = append(errs, a.WriteMessage(noiseBytes(uint64(i), size)))
			}
			sent <- errors.Join(append(errs, a.CloseWrite())...)
		}()
		for i, taken := range []int{0, 1, 100, 16384, 16385, 32768, size - 1} {
			want := noiseBytes(uint64(i), size)
			p := make([]byte, taken)
			_, err := io.ReadFull(b, p)
			is.NoErr(err) // the front by Read
			is.True(bytes.Equal(p, want[:taken]))
			m, err := b.ReadMessage(nil)
			is.NoErr(err) // the rest by ReadMessage
			is.True(bytes.Equal(m, want[taken:]))
		}
		p, err := io.ReadAll(b)
		is.NoErr(err) // the last by Read alone
		is.True(bytes.Equal(p, noiseBytes(7, size)))
		is.NoErr(<-sent)
	})
}

// TestMaxMessageSize: WriteMessage respects what the peer accepts, at no cost;
// ReadMessage refuses the rest; Read has no such limit.
func TestMaxMessageSize(t *testing.T) {
	for _, limit := range []int{1, 100, 16384, 50000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, mechanism.XXAESGCM)
			responder.MaxMessageSize = limit
			a, b := connect(t, "unix", initiator, responder)
			is.Equal(a.ConnectionState().PeerMaxMessageSize, uint64(limit))
			is.Equal(b.ConnectionState().PeerMaxMessageSize, uint64(securesp.DefaultMaxMessageSize))
			over := noiseBytes(1, limit+1)
			is.True(errors.Is(a.WriteMessage(over), securesp.ErrMessageTooLarge))
			is.NoErr(a.WriteMessage(over[:limit])) // nothing was lost by trying
			m, err := b.ReadMessage(nil)
			is.NoErr(err)
			is.True(bytes.Equal(m, over[:limit]))

			_, err = a.Write(over)
			is.NoErr(err) // a stream may be longer
			_, err = io.ReadFull(b, make([]byte, limit+1))
			is.NoErr(err) // for Read
			_, err = a.Write(over)
			is.NoErr(err)
			m, err = b.ReadMessage([]byte("dst"))
			is.True(errors.Is(err, securesp.ErrMessageTooLarge)) // not for ReadMessage
			is.Equal(string(m), "dst")
			_, err = a.Read(make([]byte, 1))
			is.True(errors.Is(err, securesp.ErrMessageTooLarge)) // the sender learns it
			is.Equal(asCloseError(err).Code, securesp.CloseTooLarge)
		})
	}
}

// TestConcurrentWriters: messages of several goroutines never mix, and each
// one's keep their order.
func TestConcurrentWriters(t *testing.T) {
	const writers, each = 6, 60
	everywhere(t, func(t *testing.T, a, b *securesp.Conn) {
		is := is.New(t)
		var running sync.WaitGroup
		errs := make(chan error, writers)
		for w := range writers {
			running.Go(func() {
				r := rand.New(rand.NewPCG(uint64(w), 7))
				for i := range each {
					size := r.IntN(200)
					if r.IntN(8) == 0 {
						size = r.IntN(80000)
					}
					head := binary.BigEndian.AppendUint32([]byte{byte(w)}, uint32(i))
					body := bytes.Repeat([]byte{byte(w)}, size)
					var err error
					if i%2 == 0 {
						err = a.WriteMessage(head, body)
					} else {
						_, err = a.Write(append(head, body...))
					}
					if err != nil {
						errs <- err
						return
					}
				}
				errs <- nil
			})
		}
		var next [writers]uint32
		var m []byte
		for range writers * each {
			var err error
			m, err = b.ReadMessage(m[:0])
			is.NoErr(err)
			w := m[0]
			is.Equal(binary.BigEndian.Uint32(m[1:]), next[w]) // in order
			next[w]++
			is.Equal(bytes.Count(m[5:], m[:1]), len(m)-5) // unmixed
		}
		running.Wait()
		for range writers {
			is.NoErr(<-errs)
		}
	})
}

// TestCoalescing: while the carrier is busy small messages share records;
// NoCoalescing gives each one of its own. Either way all arrive.
func TestCoalescing(t *testing.T) {
	for _, off := range []bool{false, true} {
		t.Run(fmt.Sprint("off=", off), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				const messages = 1000
				initiator, responder := configs(t, mechanism.XXAESGCM)
				initiator.NoCoalescing = off
				a, b := connect(t, "pipe", initiator, responder)
				sent := make(chan error, 1)
				go func() {
					for i := range messages {
						if err := a.WriteMessage(messageNumber(i)); err != nil {
							sent <- err
							return
						}
					}
					sent <- a.Flush()
				}()
				// Nobody reads yet: the first message is stuck in the
				// carrier, and the others, unless each must go by
				// itself, wait for it together.
				synctest.Wait()
				for i := range messages {
					m, err := b.ReadMessage(nil)
					is.NoErr(err)
					is.True(bytes.Equal(m, messageNumber(i)))
				}
				is.NoErr(<-sent)
				st := a.Stats()
				is.Equal(st.MessagesSent, uint64(messages))
				is.Equal(st.RecordsSent, b.Stats().RecordsReceived)
				is.Equal(st.CarrierSent, b.Stats().CarrierReceived)
				if off {
					is.Equal(st.RecordsSent, uint64(messages)) // one each
				} else {
					is.True(st.RecordsSent < messages/100) // very few
				}
				closeBoth(a, b)
			})
		})
	}
}

// TestReadMessageFunc asks for memory only once there is something to put into
// it, and says how much.
func TestReadMessageFunc(t *testing.T) {
	is := is.New(t)
	w := wireSuite(t, mechanism.XXAESGCM)
	defer w.close()
	mem := make([]byte, 8, 100<<10)
	asked := 0
	get := func(size int) []byte { asked = size; return mem } // its length means nothing
	read := func() ([]byte, error) { asked = -1; return w.b.ReadMessageFunc(get) }

	is.NoErr(w.b.SetReadDeadline(time.Now().Add(-time.Second)))
	_, err := read()
	is.True(errors.Is(err, os.ErrDeadlineExceeded))
	is.NoErr(w.b.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err = read()
	is.True(errors.Is(err, os.ErrDeadlineExceeded))
	is.Equal(asked, -1) // nothing has come
	is.NoErr(w.b.SetReadDeadline(time.Time{}))

	for _, n := range []int{0, 1, 16 << 10, 40 << 10, 100 << 10, 200 << 10} {
		p := noiseBytes(uint64(n), n)
		sent := make(chan error, 1)
		go func() { sent <- w.a.WriteMessage(p) }()
		m, err := read()
		is.NoErr(err)
		is.Equal(asked, n) // of a message sent in one piece, all
		is.True(bytes.Equal(m, p))
		is.Equal(n > 0 && n <= cap(mem), n > 0 && &m[0] == &mem[0]) // there, if it fits
		is.NoErr(<-sent)
	}

	// A Write says less of what is to come, and what a timeout has left
	// counts as the beginning.
	var held []byte
	w.near.Tap(func(b []byte) ([]byte, bool) {
		held = append(held, b...)
		return nil, false
	})
	p := noiseBytes(7, 40<<10)
	_, err = w.a.Write(p)
	is.NoErr(err)
	is.NoErr(w.a.Flush())
	w.near.Tap(nil)
	start := w.b.Stats().CarrierReceived
	w.near.Inject(held[:len(held)-10])
	for w.b.Stats().CarrierReceived-start < uint64(len(held)-10) {
		is.NoErr(w.b.SetReadDeadline(time.Now().Add(time.Millisecond)))
		m, err := read()
		is.True(errors.Is(err, os.ErrDeadlineExceeded))
		is.Equal(len(m), 0)
	}
	is.NoErr(w.b.SetReadDeadline(time.Time{}))
	w.near.Inject(held[len(held)-10:])
	m, err := read()
	is.NoErr(err)
	is.True(asked > 0 && asked < len(p))
	is.True(bytes.Equal(m, p))
}
