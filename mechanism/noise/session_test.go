package noise_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// sessions returns both ends of a session by role.
func sessions(t testing.TB, protocol string) [2]mechanism.Session {
	t.Helper()
	is := is.New(t)
	p := startPair(t, protocol, mechanism.Config{}, mechanism.Config{}).finish(t)
	var s [2]mechanism.Session
	for role, h := range p {
		var err error
		s[role], err = h.Session()
		is.NoErr(err) // session of a finished handshake
	}
	return s
}

func packetSessions(t testing.TB, protocol string) [2]mechanism.PacketSession {
	t.Helper()
	is := is.New(t)
	p := startPair(t, protocol, mechanism.Config{}, mechanism.Config{}).finish(t)
	var s [2]mechanism.PacketSession
	for role, h := range p {
		var err error
		s[role], err = h.PacketSession()
		is.NoErr(err) // packet session of a finished handshake
	}
	return s
}

const (
	nnAESGCM     = "Noise_NN_25519_AESGCM_SHA256"
	nnChaChaPoly = "Noise_NN_25519_ChaChaPoly_SHA256"
)

func TestRecordLayout(t *testing.T) {
	is := is.New(t)
	s := sessions(t, nnAESGCM)
	is.Equal(s[0].Lead(), 3)
	is.Equal(s[0].Overhead(), 19)
	record, err := s[0].Encode(nil, mechanism.Ready, make([]byte, 1000))
	is.NoErr(err) // encoding
	is.Equal(binary.BigEndian.Uint16(record), uint16(1+1000+16))
	is.Equal(record[2], byte(mechanism.Ready))
}

// TestRekeyMoment: the key changes right before the counter's multiples of
// 65,536, each direction by itself.
func TestRekeyMoment(t *testing.T) {
	for _, protocol := range []string{nnAESGCM, nnChaChaPoly} {
		t.Run(protocol, func(t *testing.T) {
			is := is.New(t)
			s := sessions(t, protocol)
			rekeys := func(want uint64) {
				t.Helper()
				sent, received := s[0].Rekeys()
				is.Equal([]uint64{sent, received}, []uint64{want, 0})
				sent, received = s[1].Rekeys()
				is.Equal([]uint64{sent, received}, []uint64{0, want})
			}
			buffer := make([]byte, 0, 19)
			for n := 1; n <= 2<<16+1; n++ {
				record, err := s[0].Encode(buffer, mechanism.Pad, nil)
				is.NoErr(err) // encoding
				_, _, err = s[1].Decode(nil, record)
				is.NoErr(err) // decoding
				switch n {    // records so far
				case 1, 1<<16 - 1:
					rekeys(0)
				case 1 << 16, 2<<16 - 1:
					rekeys(1)
				case 2 << 16:
					rekeys(2)
				}
			}
			record, err := s[1].Encode(nil, mechanism.Pad, nil)
			is.NoErr(err) // encoding in the other direction
			_, _, err = s[0].Decode(nil, record)
			is.NoErr(err) // decoding in the other direction
		})
	}
}

// TestLastCounter: the nonce that REKEY uses encrypts nothing else, and the
// counter never starts again.
func TestLastCounter(t *testing.T) {
	is := is.New(t)
	s := sessions(t, nnAESGCM)
	noise.SkipTo(s[0], true, math.MaxUint64-1)
	noise.SkipTo(s[1], false, math.MaxUint64-1)
	record, err := s[0].Encode(nil, mechanism.Data, []byte("last"))
	is.NoErr(err) // the last record
	_, _, err = s[1].Decode(nil, record)
	is.NoErr(err) // the last record
	for range 3 {
		_, err = s[0].Encode(nil, mechanism.Data, []byte("one more"))
		is.True(errors.Is(err, mechanism.ErrExhausted))
		_, _, err = s[1].Decode(nil, record)
		is.True(errors.Is(err, mechanism.ErrExhausted))
	}
}

// keyholder returns a responder's session and a function that seals record 0
// for it with a header and a plaintext that no initiator would use: a peer
// that has the keys need not run our code.
func keyholder(t *testing.T) (mechanism.Session, func(header, plaintext []byte) []byte) {
	t.Helper()
	is := is.New(t)
	var key []byte
	p := startPair(t, nnAESGCM, mechanism.Config{KeyLog: func(label string, secret []byte) {
		if label == "I2R_TRAFFIC_SECRET" {
			key = secret
		}
	}}, mechanism.Config{}).finish(t)
	_, err := p[0].Session()
	is.NoErr(err) // initiator's session
	r, err := p[1].Session()
	is.NoErr(err) // responder's session
	return r, func(header, plaintext []byte) []byte {
		return noise.Cipher("AESGCM", key).Seal(bytes.Clone(header), make([]byte, 12), plaintext, header)
	}
}

// TestAuthenticNonsense: records that authenticate but that no session makes
// are refused: of the type that says "not sealed", of a wrong length, too long.
func TestAuthenticNonsense(t *testing.T) {
	is := is.New(t)
	r, forge := keyholder(t)
	plaintext := []byte("12345")
	for _, tt := range []struct {
		header    []byte
		plaintext []byte
		want      error
	}{
		{[]byte{0, 22, byte(mechanism.Clear)}, plaintext, mechanism.ErrAuthentication},
		{[]byte{0, 21, 0}, plaintext, mechanism.ErrMalformed},
		{[]byte{0, 23, 0}, plaintext, mechanism.ErrMalformed},
		{[]byte{22, 0, 0}, plaintext, mechanism.ErrMalformed},
		{[]byte{0x40, 18, 0}, make([]byte, mechanism.MaxPlaintext+1), mechanism.ErrMalformed},
	} {
		_, got, err := r.Decode(nil, forge(tt.header, tt.plaintext))
		is.True(errors.Is(err, tt.want))
		is.True(got == nil)
	}
	_, got, err := r.Decode(nil, forge([]byte{0, 22, 0}, plaintext))
	is.NoErr(err) // the one that a session makes
	is.True(bytes.Equal(got, plaintext))
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// TestOverlap: buffers that would overwrite what is still to be read are the
// caller's mistake.
func TestOverlap(t *testing.T) {
	for _, protocol := range []string{nnAESGCM, nnChaChaPoly} {
		t.Run(protocol, func(t *testing.T) {
			is := is.New(t)
			s := sessions(t, protocol)
			const size = 100
			for _, at := range []int{-size + 1, -1, 0, 1, 2, 4, 5, 16, size, size + 3 + 15} {
				buffer := make([]byte, 300+2*size)
				plaintext := buffer[200+at:][:size]
				is.True(panics(func() { s[0].Encode(buffer[:200], mechanism.Data, plaintext) }))
			}
			is.True(panics(func() { // all of it in the header
				buffer := make([]byte, 100)
				s[0].Encode(buffer[:0], mechanism.Data, buffer[1:3])
			}))
			buffer := make([]byte, 300+2*size)
			_, err := s[0].Encode(buffer[:200], mechanism.Data, buffer[100:200])
			is.NoErr(err) // a plaintext right before its record
			plain, err := s[0].Encode(nil, mechanism.Data, make([]byte, size))
			is.NoErr(err) // encoding
			for _, at := range []int{0, 1, 2, 4, 19, len(plain) - 1} {
				wide := append(bytes.Clone(plain), make([]byte, 200)...)
				is.True(panics(func() { s[1].Decode(wide[at:at], wide[:len(plain)]) }))
			}
			short, err := s[0].Encode(nil, mechanism.Data, make([]byte, 1))
			is.NoErr(err)       // encoding
			for at := range 3 { // all of the plaintext would be in the header
				is.True(panics(func() { s[1].Decode(short[at:at], short) }))
			}
			is.True(panics(func() { // dst's space runs into the record
				wide := append(make([]byte, 50), plain...)
				s[1].Decode(wide[:0], wide[50:])
			}))
		})
	}
}

func TestPacketLimits(t *testing.T) {
	is := is.New(t)
	s := packetSessions(t, nnChaChaPoly)
	is.Equal(s[0].Overhead(), 28)
	is.True(s[0].Index() != s[1].Index())
	_, err := s[0].Seal(nil, make([]byte, 65535-28+1))
	is.True(errors.Is(err, mechanism.ErrMessageTooLong))
	packet, err := s[0].Seal(nil, make([]byte, 65535-28))
	is.NoErr(err) // the largest packet
	_, err = s[1].Open(nil, packet)
	is.NoErr(err) // the largest packet

	noise.SkipPacketsTo(s[0], math.MaxUint64-1)
	_, err = s[0].Seal(nil, nil)
	is.NoErr(err) // the last packet
	_, err = s[0].Seal(nil, nil)
	is.True(errors.Is(err, mechanism.ErrExhausted))
}

// TestLastPacketCounter: a peer that uses the counter that is reserved for
// REKEY is refused, so that the window never wraps.
func TestLastPacketCounter(t *testing.T) {
	is := is.New(t)
	var key []byte
	p := startPair(t, nnAESGCM, mechanism.Config{KeyLog: func(label string, secret []byte) {
		if label == "I2R_PACKET_SECRET" {
			key = secret
		}
	}}, mechanism.Config{}).finish(t)
	_, err := p[0].PacketSession()
	is.NoErr(err) // initiator's packet session
	r, err := p[1].PacketSession()
	is.NoErr(err) // responder's packet session
	const lastEpoch = math.MaxUint64 >> 16
	noise.SkipToEpoch(r, lastEpoch) // the key stays that of epoch 0
	forge := func(counter uint64) []byte {
		header := binary.BigEndian.AppendUint32(nil, r.Index())
		header = binary.BigEndian.AppendUint64(header, counter)
		nonce := binary.BigEndian.AppendUint64(make([]byte, 4), counter)
		return noise.Cipher("AESGCM", key).Seal(bytes.Clone(header), nonce, nil, header)
	}
	_, err = r.Open(nil, forge(math.MaxUint64))
	is.True(errors.Is(err, mechanism.ErrAuthentication))
	_, err = r.Open(nil, forge(math.MaxUint64-1))
	is.NoErr(err) // the last counter there is
	_, err = r.Open(nil, forge(math.MaxUint64-1))
	is.True(errors.Is(err, mechanism.ErrReplay))
	_, err = r.Open(nil, forge(math.MaxUint64))
	is.True(errors.Is(err, mechanism.ErrAuthentication))
	_, err = r.Open(nil, forge(0))
	is.True(errors.Is(err, mechanism.ErrReplay))
}

// TestPacketsAfterSilence: a receiver that missed more than a whole epoch
// cannot follow; it refuses, and what it had accepted stays refused.
func TestPacketsAfterSilence(t *testing.T) {
	is := is.New(t)
	s := packetSessions(t, nnAESGCM)
	first, err := s[0].Seal(nil, nil)
	is.NoErr(err) // sealing
	_, err = s[1].Open(nil, first)
	is.NoErr(err) // opening
	var last []byte
	for n := 1; n < 2<<16; n++ {
		last, err = s[0].Seal(last[:0], nil)
		is.NoErr(err) // sealing what gets lost
	}
	beyond, err := s[0].Seal(nil, nil)
	is.NoErr(err) // sealing the first of epoch 2
	_, err = s[1].Open(nil, beyond)
	is.True(errors.Is(err, mechanism.ErrAuthentication))
	_, err = s[1].Open(nil, last)
	is.NoErr(err) // the last of epoch 1
	_, err = s[1].Open(nil, beyond)
	is.NoErr(err) // epoch 2 follows epoch 1
	_, err = s[1].Open(nil, first)
	is.True(errors.Is(err, mechanism.ErrReplay))
}

// TestOldPacketKey: the key of an epoch goes once the window has left it.
func TestOldPacketKey(t *testing.T) {
	is := is.New(t)
	s := packetSessions(t, nnAESGCM)
	const epoch, window = 1 << 16, 8192
	for n := range epoch + window + 1 {
		packet, err := s[0].Seal(nil, nil)
		is.NoErr(err) // sealing
		switch n {
		case epoch - 1, epoch, epoch + window - 1, epoch + window:
			_, err = s[1].Open(nil, packet)
			is.NoErr(err) // opening
			is.Equal(noise.HoldsOldKey(s[1]), n == epoch || n == epoch+window-1)
		}
	}
}

// TestPacketOverlap: packets are never made or opened in place.
func TestPacketOverlap(t *testing.T) {
	is := is.New(t)
	s := packetSessions(t, nnAESGCM)
	buffer := make([]byte, 200)
	is.True(panics(func() { s[0].Seal(buffer[:0], buffer[12:50]) }))
	packet, err := s[0].Seal(nil, make([]byte, 50))
	is.NoErr(err) // sealing
	is.True(panics(func() { s[1].Open(packet[12:12], packet) }))
	_, err = s[1].Open(nil, packet)
	is.NoErr(err) // opening elsewhere
}
