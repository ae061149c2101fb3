package mechtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/allocs"
	"github.com/securesp/securesp/mechanism"
)

// window is how many counters a replay window holds at least, and epoch how
// many counters share a key (SPEC §5).
const (
	window = 8192
	epoch  = 1 << 16
)

// packets returns the ends of a packet session; the calling law holds trivially
// if there is none.
func packets(t *testing.T, o Options, law func(is *is.I, s [2]mechanism.PacketSession)) {
	t.Helper()
	if s, ok := o.packetSessions(t); ok {
		law(is.New(t), s)
	}
}

// sealPackets returns n packets; the plaintext of each is its number.
func sealPackets(t *testing.T, s mechanism.PacketSession, n int) [][]byte {
	t.Helper()
	is := is.New(t)
	out := make([][]byte, n)
	for i := range out {
		var err error
		out[i], err = s.Seal(nil, fmt.Append(nil, i))
		is.NoErr(err) // sealing a packet
	}
	return out
}

// mustOpen opens a packet that sealPackets made as number n.
func mustOpen(t *testing.T, s mechanism.PacketSession, packet []byte, n int) {
	t.Helper()
	is := is.New(t)
	got, err := s.Open(nil, packet)
	is.NoErr(err) // opening a genuine packet
	is.Equal(string(got), fmt.Sprint(n))
}

func testPacketSizes(t *testing.T, o Options) {
	packets(t, o, func(is *is.I, s [2]mechanism.PacketSession) {
		for _, size := range []int{0, 1, 15, 16, 17, 1000, 1200, 16384} {
			for role, from := range s {
				to := s[1-role]
				plaintext := pattern(size)
				packet, err := from.Seal([]byte("start"), plaintext)
				is.NoErr(err) // sealing a packet
				is.Equal(string(packet[:5]), "start")
				packet = packet[5:]
				is.Equal(len(packet), size+from.Overhead())
				is.Equal(binary.BigEndian.Uint32(packet), to.Index())
				is.True(bytes.Equal(plaintext, pattern(size)))
				before := bytes.Clone(packet)
				got, err := to.Open([]byte("front"), packet)
				is.NoErr(err) // opening a packet
				is.Equal(string(got[:5]), "front")
				is.True(bytes.Equal(got[5:], plaintext))
				is.True(bytes.Equal(packet, before)) // the packet is untouched
			}
		}
		is.True(bytes.Equal(s[0].Binding(), s[1].Binding()))
		is.Equal(len(s[0].Binding()), 32)
	})
}

// testFlippedPackets: no bit of a packet may change and no byte be missing or
// added; the genuine one is then still accepted.
func testFlippedPackets(t *testing.T, o Options) {
	packets(t, o, func(is *is.I, s [2]mechanism.PacketSession) {
		refuses := func(packet []byte) {
			t.Helper()
			space := make([]byte, 0, len(packet))
			got, err := s[1].Open(space, packet)
			is.True(refused(err)) // opening a packet that is not genuine
			is.True(len(got) == 0)
			is.True(!leaks(space))
		}
		packet, err := s[0].Seal(nil, bytes.Repeat([]byte{'P'}, 100))
		is.NoErr(err) // sealing a packet
		for bit := range 8 * len(packet) {
			forged := bytes.Clone(packet)
			forged[bit/8] ^= 1 << (bit % 8)
			refuses(forged)
		}
		for size := range packet {
			refuses(packet[:size])
		}
		refuses(append(bytes.Clone(packet), 0))
		refuses(append(bytes.Clone(packet), make([]byte, 1<<16)...))

		_, err = s[0].Open(nil, packet)
		is.True(refused(err)) // reflected
		other, _ := o.packetSessions(t)
		_, err = other[1].Open(nil, packet)
		is.True(refused(err)) // another session's packet

		_, err = s[1].Open(nil, packet)
		is.NoErr(err) // the genuine packet after the forged ones
		space := make([]byte, 0, len(packet))
		_, err = s[1].Open(space, packet)
		is.True(errors.Is(err, mechanism.ErrReplay))
		is.True(!leaks(space))
	})
}

// testLossyPackets: over a carrier that loses, reorders and duplicates, each
// packet that arrives is accepted exactly once.
func testLossyPackets(t *testing.T, o Options) {
	packets(t, o, func(is *is.I, s [2]mechanism.PacketSession) {
		const count = 3000
		random := rand.New(rand.NewPCG(3, 4))
		sent := sealPackets(t, s[0], count)
		var wire []int
		for n := range count {
			switch random.IntN(10) {
			case 0: // lost
			case 1:
				wire = append(wire, n, n, n)
			default:
				wire = append(wire, n)
			}
		}
		random.Shuffle(len(wire), func(i, j int) { wire[i], wire[j] = wire[j], wire[i] })
		seen := make(map[int]bool)
		for _, n := range wire {
			if seen[n] {
				_, err := s[1].Open(nil, sent[n])
				is.True(errors.Is(err, mechanism.ErrReplay))
				continue
			}
			mustOpen(t, s[1], sent[n], n)
			seen[n] = true
		}
	})
}

// testPacketWindow: a packet that is late by less than the window is accepted,
// one that is older than an epoch is not, nor is one that was accepted.
func testPacketWindow(t *testing.T, o Options) {
	packets(t, o, func(is *is.I, s [2]mechanism.PacketSession) {
		sent := sealPackets(t, s[0], 3*window)
		newest := len(sent) - 1
		mustOpen(t, s[1], sent[newest], newest)
		for _, late := range []int{1, 63, 64, 65, window / 2, window - 1} {
			mustOpen(t, s[1], sent[newest-late], newest-late)
			_, err := s[1].Open(nil, sent[newest-late])
			is.True(errors.Is(err, mechanism.ErrReplay)) // a late packet twice
		}
		_, err := s[1].Open(nil, sent[newest])
		is.True(errors.Is(err, mechanism.ErrReplay)) // the newest packet twice
	})
}

// testPacketEpochs: packets of the epoch before and after the newest are
// accepted in any order, in every epoch. No two packets are encrypted alike,
// which they would be if a nonce were used twice.
func testPacketEpochs(t *testing.T, o Options) {
	packets(t, o, func(is *is.I, s [2]mechanism.PacketSession) {
		arriving := []int{
			5, epoch - 2, // the last of an epoch is late
			epoch + 1, epoch - 1, epoch, // so is the first of the next
			2*epoch - 3, // nearly all of it is lost
			2*epoch + 2, 2*epoch - 1, 2*epoch + 1, 2*epoch - window + 10,
			2*epoch + window + 1, 2*epoch + 2*window,
			3*epoch - 1,
		}
		tooLate := []int{0, 5, epoch - 1, epoch, epoch + 7}
		sent := make(map[int][]byte)
		for _, n := range slices.Concat(arriving, tooLate) {
			sent[n] = nil
		}
		seen := make(map[uint64]bool, 3*epoch)
		buffer := make([]byte, 0, 100)
		for n := range 3 * epoch {
			packet, err := s[0].Seal(buffer, pattern(16))
			if err != nil {
				t.Fatal(err)
			}
			body := binary.BigEndian.Uint64(packet[len(packet)-32:])
			if seen[body] {
				t.Fatalf("packet %d: encrypted like an earlier one", n)
			}
			seen[body] = true
			if _, wanted := sent[n]; wanted {
				sent[n] = bytes.Clone(packet)
			}
		}
		for _, n := range arriving {
			_, err := s[1].Open(nil, sent[n])
			is.NoErr(err) // a packet that is late by less than the window
			_, err = s[1].Open(nil, sent[n])
			is.True(errors.Is(err, mechanism.ErrReplay)) // the same packet twice
		}
		for _, n := range tooLate {
			_, err := s[1].Open(nil, sent[n])
			is.True(errors.Is(err, mechanism.ErrReplay)) // from before the last epoch
		}
	})
}

// testForgedCounters: a packet whose counter somebody moved, near or far, into
// another epoch or to the very end, is refused and moves nothing.
func testForgedCounters(t *testing.T, o Options) {
	packets(t, o, func(is *is.I, s [2]mechanism.PacketSession) {
		sent := sealPackets(t, s[0], 10)
		mustOpen(t, s[1], sent[4], 4)
		for _, counter := range []uint64{
			5, 11, window - 1, window, 2 * window, epoch - 1, epoch, epoch + 1, 2*epoch - 1,
			2 * epoch, 3 * epoch, 1 << 32, 1 << 48, 1<<63 - 1, 1 << 63, 1<<64 - 2, 1<<64 - 1,
		} {
			forged := bytes.Clone(sent[9])
			binary.BigEndian.PutUint64(forged[4:], counter)
			_, err := s[1].Open(nil, forged)
			is.True(refused(err)) // a moved counter
		}
		for _, n := range []int{0, 9, 1, 5} {
			mustOpen(t, s[1], sent[n], n)
		}
	})
}

// testPacketConcurrent: many callers at once get counters of their own, and a
// packet opened by many at once is accepted by one.
func testPacketConcurrent(t *testing.T, o Options) {
	packets(t, o, func(is *is.I, s [2]mechanism.PacketSession) {
		const callers, each = 8, 200
		var mu sync.Mutex
		var firstErr error
		var sent [][]byte
		accepted := make(map[string]int)
		inParallel := func(work func(caller int) error) {
			var group sync.WaitGroup
			for caller := range callers {
				group.Go(func() {
					if err := work(caller); err != nil {
						mu.Lock()
						firstErr = errors.Join(firstErr, err)
						mu.Unlock()
					}
				})
			}
			group.Wait()
		}
		inParallel(func(caller int) error {
			for n := range each {
				packet, err := s[0].Seal(nil, fmt.Append(nil, caller*each+n))
				if err != nil {
					return err
				}
				mu.Lock()
				sent = append(sent, packet)
				mu.Unlock()
			}
			return nil
		})
		is.NoErr(firstErr) // sealing
		counters := make(map[uint64]bool)
		for _, packet := range sent {
			counters[binary.BigEndian.Uint64(packet[4:])] = true
		}
		is.Equal(len(counters), callers*each)

		inParallel(func(int) error {
			for _, packet := range sent {
				got, err := s[1].Open(nil, packet)
				if errors.Is(err, mechanism.ErrReplay) {
					continue
				}
				if err != nil {
					return err
				}
				mu.Lock()
				accepted[string(got)]++
				mu.Unlock()
			}
			return nil
		})
		is.NoErr(firstErr) // opening
		is.Equal(len(accepted), callers*each)
		for _, times := range accepted {
			is.Equal(times, 1)
		}
	})
}

// testPacketAllocations: with room in dst nothing is allocated.
func testPacketAllocations(t *testing.T, o Options) {
	packets(t, o, func(is *is.I, s [2]mechanism.PacketSession) {
		plaintext := pattern(1000)
		packet := make([]byte, 0, len(plaintext)+s[0].Overhead())
		opened := make([]byte, 0, len(plaintext))
		var failed error
		each := allocs.PerRun(1000, func() {
			sealed, err := s[0].Seal(packet, plaintext)
			if err == nil {
				_, err = s[1].Open(opened, sealed)
			}
			if err != nil {
				failed = err
			}
		})
		is.NoErr(failed) // sealing and opening
		is.True(each <= allocs.Few)
	})
}

// testPacketErase: an erased session does nothing any more.
func testPacketErase(t *testing.T, o Options) {
	packets(t, o, func(is *is.I, s [2]mechanism.PacketSession) {
		packet, err := s[0].Seal(nil, []byte("too late"))
		is.NoErr(err) // sealing before Erase
		s[0].Erase()
		s[1].Erase()
		_, err = s[0].Seal(nil, nil)
		is.True(err != nil) // sealing after Erase
		got, err := s[1].Open(nil, packet)
		is.True(err != nil) // opening after Erase
		is.Equal(len(got), 0)
	})
}
