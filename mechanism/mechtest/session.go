package mechtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/allocs"
	"github.com/securesp/securesp/mechanism"
)

// types are the types that records may have.
var types = []mechanism.Type{
	mechanism.Data, mechanism.DataPadded, mechanism.Pad, mechanism.Ping,
	mechanism.Pong, mechanism.Ready, mechanism.Fin, mechanism.Close,
}

// seal makes a record.
func seal(t *testing.T, s mechanism.Session, plaintext []byte) []byte {
	t.Helper()
	record, err := s.Encode(nil, mechanism.Data, plaintext)
	is.New(t).NoErr(err) // encoding a record
	return record
}

// opens reports whether s accepts the record and gets plaintext.
func opens(t *testing.T, s mechanism.Session, record, plaintext []byte) {
	t.Helper()
	is := is.New(t)
	_, got, err := s.Decode(nil, record)
	is.NoErr(err) // decoding a genuine record
	is.True(bytes.Equal(got, plaintext))
}

// refuses reports whether s rejects the record without releasing any of it.
func refuses(t *testing.T, s mechanism.Session, record []byte) {
	t.Helper()
	is := is.New(t)
	_, got, err := s.Decode(nil, record)
	is.True(refused(err)) // decoding a record that is not genuine
	is.True(len(got) == 0)
}

// testSizes: every size and type of record, in both directions; nothing beyond
// MaxPlaintext.
func testSizes(t *testing.T, o Options) {
	is := is.New(t)
	s := o.sessions(t)
	is.True(s[0].Lead() <= s[0].Overhead())
	sizes := []int{0, 1, 2, 15, 16, 17, 63, 64, 65, 255, 256, 1000, 4095, 4096,
		mechanism.MaxPlaintext - 1, mechanism.MaxPlaintext}
	for n, size := range sizes {
		for role, from := range s {
			plaintext := pattern(size)
			kind := types[n%len(types)]
			record, err := from.Encode(nil, kind, plaintext)
			is.NoErr(err) // encoding a record
			is.Equal(len(record), size+from.Overhead())
			gotKind, got, err := s[1-role].Decode(nil, record)
			is.NoErr(err) // decoding a record
			is.Equal(gotKind, kind)
			is.True(bytes.Equal(got, plaintext))
		}
	}
	_, err := s[0].Encode(nil, mechanism.Data, make([]byte, mechanism.MaxPlaintext+1))
	is.True(errors.Is(err, mechanism.ErrMessageTooLong))
	_, err = s[0].Encode(nil, mechanism.Clear, nil)
	is.True(err != nil) // a Session makes no clear record
	opens(t, s[1], seal(t, s[0], []byte("next")), []byte("next"))
}

// testSessionBuffers: the append and the in-place forms give the same, and
// inputs stay untouched.
func testSessionBuffers(t *testing.T, o Options) {
	s := o.sessions(t)
	lead, overhead := s[0].Lead(), s[0].Overhead()
	for _, size := range []int{0, 1, 100, mechanism.MaxPlaintext} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			is := is.New(t)
			plaintext := pattern(size)

			// Appended, with room and without.
			for _, room := range []int{0, overhead + size} {
				dst := append(make([]byte, 0, 5+room), "start"...)
				record, err := s[0].Encode(dst, mechanism.Data, plaintext)
				is.NoErr(err) // encoding after other bytes
				is.Equal(string(record[:5]), "start")
				is.Equal(len(record), 5+size+overhead)
				is.True(room == 0 || &record[0] == &dst[0]) // room is used
				is.True(bytes.Equal(plaintext, pattern(size)))

				before := bytes.Clone(record)
				dst = append(make([]byte, 0, 5+room), "front"...)
				_, got, err := s[1].Decode(dst, record[5:])
				is.NoErr(err) // decoding after other bytes
				is.Equal(string(got[:5]), "front")
				is.True(bytes.Equal(got[5:], plaintext))
				is.True(room == 0 || &got[0] == &dst[0])
				is.True(bytes.Equal(record, before)) // the record is untouched
			}

			// In place.
			buffer := make([]byte, 7+size+overhead)
			copy(buffer, "several")
			inner := buffer[7+lead : 7+lead+size]
			copy(inner, plaintext)
			record, err := s[0].Encode(buffer[:7], mechanism.Data, inner)
			is.NoErr(err) // encoding in place
			is.True(&record[0] == &buffer[0])
			is.Equal(string(record[:7]), "several")
			record = record[7:]
			_, got, err := s[1].Decode(record[lead:lead], record)
			is.NoErr(err) // decoding in place
			is.True(bytes.Equal(got, plaintext))
			is.True(size == 0 || &got[0] == &record[lead])
		})
	}
}

// testSessionAllocations: with room in dst nothing is allocated.
func testSessionAllocations(t *testing.T, o Options) {
	is := is.New(t)
	s := o.sessions(t)
	lead := s[0].Lead()
	plaintext := pattern(1000)
	buffer := make([]byte, 0, len(plaintext)+s[0].Overhead())
	var failed error
	each := allocs.PerRun(1000, func() {
		record, err := s[0].Encode(buffer, mechanism.Data, plaintext)
		if err != nil {
			failed = err
			return
		}
		if _, _, err = s[1].Decode(record[lead:lead], record); err != nil {
			failed = err
		}
	})
	is.NoErr(failed) // encoding and decoding
	is.True(each <= allocs.Few)
}

// testSessionConcurrent: both directions of both ends work at once. The race
// detector is the judge of it.
func testSessionConcurrent(t *testing.T, o Options) {
	const records = 500
	s := o.sessions(t)
	errs := make(chan error)
	for role := range s {
		wire := make(chan []byte, 16)
		go func() {
			defer close(wire)
			for n := range records {
				record, err := s[role].Encode(nil, mechanism.Data, fmt.Append(nil, n))
				if err != nil {
					errs <- err
					return
				}
				wire <- record
			}
			errs <- nil
		}()
		go func() {
			n, err := 0, error(nil)
			for record := range wire {
				_, got, decodeErr := s[1-role].Decode(nil, record)
				if decodeErr != nil && err == nil {
					err = decodeErr
				} else if string(got) != fmt.Sprint(n) && err == nil {
					err = fmt.Errorf("record %d has plaintext %q", n, got)
				}
				s[1-role].Rekeys()
				s[1-role].Binding()
				n++
			}
			errs <- err
		}()
	}
	is := is.New(t)
	for range 2 * len(s) {
		is.NoErr(<-errs) // encoding or decoding
	}
}

// testSessionErase: an erased session does nothing any more.
func testSessionErase(t *testing.T, o Options) {
	is := is.New(t)
	s := o.sessions(t)
	record := seal(t, s[0], []byte("too late"))
	s[0].Erase()
	s[1].Erase()
	_, err := s[0].Encode(nil, mechanism.Data, nil)
	is.True(err != nil) // encoding after Erase
	_, got, err := s[1].Decode(nil, record)
	is.True(err != nil) // decoding after Erase
	is.Equal(len(got), 0)
	s[0].Erase() // harmless
}

// testTruncatedRecords: a record is accepted at its exact length only.
func testTruncatedRecords(t *testing.T, o Options) {
	s := o.sessions(t)
	for _, size := range []int{0, 1, 100} {
		record := seal(t, s[0], pattern(size))
		for n := range record {
			refuses(t, s[1], record[:n])
		}
		for _, more := range []int{1, 16, 100, mechanism.MaxPlaintext, 1 << 16} {
			refuses(t, s[1], append(bytes.Clone(record), make([]byte, more)...))
		}
		refuses(t, s[1], make([]byte, len(record)))
		opens(t, s[1], record, pattern(size))
	}
}

// testFlippedRecords: no bit of a record may change, and one that was changed
// leaves nothing of its plaintext in dst's space, appended or in place.
func testFlippedRecords(t *testing.T, o Options) {
	is := is.New(t)
	s := o.sessions(t)
	lead := s[0].Lead()
	for _, size := range []int{0, 1, 100} {
		plaintext := bytes.Repeat([]byte{'P'}, size)
		record := seal(t, s[0], plaintext)
		for n := range 8 * len(record) {
			forged := bytes.Clone(record)
			forged[n/8] ^= 1 << (n % 8)
			space := make([]byte, 0, len(record))
			_, got, err := s[1].Decode(space, forged)
			if !refused(err) || len(got) != 0 {
				t.Fatalf("%d bytes, bit %d: error %v", size, n, err)
			}
			is.True(!leaks(space))
			_, _, err = s[1].Decode(forged[lead:lead], forged)
			is.True(refused(err)) // decoding in place
			is.True(!leaks(forged[:0]))
		}
		opens(t, s[1], record, plaintext)
	}
}

// leaks reports whether a run of the plaintext is in b's space, longer than
// chance would have it.
func leaks(b []byte) bool {
	return bytes.Contains(b[:cap(b)], []byte("PPPP"))
}

// testSequence: records are accepted once and in order.
func testSequence(t *testing.T, o Options) {
	s := o.sessions(t)
	var records [][]byte
	for n := range 4 {
		records = append(records, seal(t, s[0], fmt.Append(nil, n)))
	}
	refuses(t, s[1], records[1]) // the first is missing
	opens(t, s[1], records[0], []byte("0"))
	refuses(t, s[1], records[0]) // replayed
	refuses(t, s[1], records[2]) // the second is missing
	opens(t, s[1], records[1], []byte("1"))
	refuses(t, s[1], records[0]) // replayed later
	opens(t, s[1], records[2], []byte("2"))
	opens(t, s[1], records[3], []byte("3"))
}

// testStrangers: records of another session, of the other direction and of
// nobody are refused.
func testStrangers(t *testing.T, o Options) {
	s, other := o.sessions(t), o.sessions(t)
	plaintext := pattern(32)
	record := seal(t, s[0], plaintext)
	refuses(t, s[1], seal(t, other[0], plaintext))
	refuses(t, s[1], seal(t, other[1], plaintext))
	refuses(t, s[0], record) // reflected
	refuses(t, other[1], record)
	opens(t, s[1], record, plaintext)
}

// testRekey: over more records than one key is good for, both sides change
// keys at the same records, and no two records of either direction are
// encrypted alike, which they would be if a nonce were used twice.
func testRekey(t *testing.T, o Options) {
	const records = 1<<16 + 3000
	is := is.New(t)
	s := o.sessions(t)
	lead := s[0].Lead()
	plaintext := make([]byte, 16)
	seen := make(map[uint64]bool, 2*records)
	buffer := make([]byte, 0, len(plaintext)+s[0].Overhead())
	for n := range records {
		for role, from := range s {
			record, err := from.Encode(buffer, mechanism.Data, plaintext)
			if err != nil {
				t.Fatalf("record %d: %v", n, err)
			}
			body := binary.BigEndian.Uint64(record[lead:])
			if seen[body] {
				t.Fatalf("record %d: encrypted like an earlier one", n)
			}
			seen[body] = true
			if _, _, err = s[1-role].Decode(record[lead:lead], record); err != nil {
				t.Fatalf("record %d: %v", n, err)
			}
		}
	}
	for role := range s {
		sent, _ := s[role].Rekeys()
		_, received := s[1-role].Rekeys()
		is.Equal(sent, received)
	}
}
