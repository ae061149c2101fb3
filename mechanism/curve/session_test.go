package curve

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/crypto/nacl/box"

	"github.com/securesp/securesp/mechanism"
)

// newSessions returns both sides' sessions after a handshake of the suite.
func newSessions(t *testing.T) (initiator, responder *handshake) {
	is := is.New(t)
	is.Helper()
	i, r := newPair(t)
	exchange(t, i, r, 4)
	return &handshake{core: i}, &handshake{core: r}
}

func streams(t *testing.T) (a, b *session) {
	is := is.New(t)
	is.Helper()
	i, r := newSessions(t)
	s, err := i.Session()
	is.NoErr(err) // initiator's session
	s2, err := r.Session()
	is.NoErr(err) // responder's session
	return s.(*session), s2.(*session)
}

func packets(t *testing.T) (a, b *packetSession) {
	is := is.New(t)
	is.Helper()
	i, r := newSessions(t)
	p, err := i.PacketSession()
	is.NoErr(err) // initiator's packet session
	p2, err := r.PacketSession()
	is.NoErr(err) // responder's packet session
	return p.(*packetSession), p2.(*packetSession)
}

// TestForgedRecords alters, cuts, repeats, reorders and reflects records.
func TestForgedRecords(t *testing.T) {
	is := is.New(t)
	a, b := streams(t)
	first, err := a.Encode(nil, mechanism.Data, []byte("first"))
	is.NoErr(err) // encode
	second, err := a.Encode(nil, mechanism.Data, []byte("second"))
	is.NoErr(err) // encode
	refuse := func(record []byte) {
		t.Helper()
		kind, plaintext, err := b.Decode(make([]byte, 0, 100), record)
		if !refused(err) || plaintext != nil || kind != 0 {
			t.Errorf("%x gives %q, %v", record, plaintext, err)
		}
	}
	for i := range first {
		forged := bytes.Clone(first)
		forged[i] ^= 1
		refuse(forged)
		refuse(first[:i])
	}
	refuse(append(bytes.Clone(first), 0))
	refuse(second)
	_, _, err = a.Decode(nil, first) // back to its sender
	is.True(errors.Is(err, mechanism.ErrAuthentication))
	_, plaintext, err := b.Decode(nil, first)
	is.NoErr(err) // decode the genuine record
	is.Equal(string(plaintext), "first")
	refuse(first)
	_, plaintext, err = b.Decode(nil, second)
	is.NoErr(err) // decode the next one
	is.Equal(string(plaintext), "second")
}

// TestTypeInside has a record whose type outside and inside the box differ,
// which only somebody with the key can make.
func TestTypeInside(t *testing.T) {
	is := is.New(t)
	a, b := streams(t)
	nonce, err := a.tx.next()
	is.NoErr(err) // next nonce
	sealed := seal(nil, []byte{byte(mechanism.Close), 'x'}, nonce, a.tx.key)
	record := append([]byte{0, byte(1 + len(sealed)), byte(mechanism.Data)}, sealed...)
	_, plaintext, err := b.Decode(nil, record)
	is.True(errors.Is(err, mechanism.ErrAuthentication))
	is.True(plaintext == nil)
}

// TestExhaustion comes to the last nonces.
func TestExhaustion(t *testing.T) {
	is := is.New(t)
	a, b := streams(t)
	a.tx.last, b.rx.last = math.MaxUint64-1, math.MaxUint64-1
	record, err := a.Encode(nil, mechanism.Data, nil)
	is.NoErr(err) // the last nonce
	_, _, err = b.Decode(nil, record)
	is.NoErr(err) // the last nonce
	_, err = a.Encode(nil, mechanism.Data, nil)
	is.True(errors.Is(err, mechanism.ErrExhausted))
	_, _, err = b.Decode(nil, record)
	is.True(errors.Is(err, mechanism.ErrExhausted))

	p, q := packets(t)
	p.send.counter = math.MaxUint64 - 1
	packet, err := p.Seal(nil, nil)
	is.NoErr(err) // the last counter
	_, err = q.Open(nil, packet)
	is.NoErr(err) // the last counter
	_, err = p.Seal(nil, nil)
	is.True(errors.Is(err, mechanism.ErrExhausted))
	_, err = q.Open(nil, packet)
	is.True(errors.Is(err, mechanism.ErrReplay))
}

// TestReservedCounter has a peer with the key use the counter that is never
// sent.
func TestReservedCounter(t *testing.T) {
	is := is.New(t)
	p, q := packets(t)
	packet, err := p.Seal(nil, nil)
	is.NoErr(err) // a packet for its header
	header := append(packet[:4], bytes.Repeat([]byte{0xFF}, 8)...)
	forged := seal(header, nil, shortNonce(prefixPacket, math.MaxUint64), p.send.key)
	_, err = q.Open(nil, forged)
	is.True(errors.Is(err, mechanism.ErrAuthentication))
}

// TestPacketIndex has a packet that is genuine but for the index.
func TestPacketIndex(t *testing.T) {
	is := is.New(t)
	p, q := packets(t)
	is.True(p.Index() != q.Index())
	packet, err := p.Seal(nil, []byte("hello"))
	is.NoErr(err) // seal
	for i := range 4 {
		forged := bytes.Clone(packet)
		forged[i] ^= 1
		_, err := q.Open(nil, forged)
		is.True(errors.Is(err, mechanism.ErrAuthentication))
	}
	_, err = q.Open(nil, packet)
	is.NoErr(err) // the genuine packet
}

// TestMessageSequence drops, repeats and alters MESSAGE commands.
func TestMessageSequence(t *testing.T) {
	is := is.New(t)
	i, r := newPair(t)
	exchange(t, i, r, 4)
	a, err := i.Messages()
	is.NoErr(err) // initiator's messages
	b, err := r.Messages()
	is.NoErr(err) // responder's messages
	_, err = i.Messages()
	is.True(errors.Is(err, mechanism.ErrOrder))
	var sent [3][]byte
	for n := range sent {
		sent[n], err = a.Encode(nil, 0, []byte("hello"))
		is.NoErr(err) // encode
		is.Equal(len(sent[n]), MessageOverhead+5)
	}
	_, _, err = b.Decode(nil, sent[1])
	is.True(errors.Is(err, mechanism.ErrAuthentication)) // one was dropped
	_, content, err := b.Decode([]byte("> "), sent[0])
	is.NoErr(err) // decode
	is.Equal(string(content), "> hello")
	_, _, err = b.Decode(nil, sent[0])
	is.True(errors.Is(err, mechanism.ErrAuthentication)) // repeated
	for n := range sent[1] {
		forged := bytes.Clone(sent[1])
		forged[n] ^= 1
		_, content, err := b.Decode(nil, forged)
		is.True(refused(err) && content == nil)
		_, _, err = b.Decode(nil, sent[1][:n])
		is.True(refused(err))
	}
	unknown := append([]byte(nameMessage), 0, 0, 0, 0, 0, 0, 0, 4)
	unknown = seal(unknown, []byte{0x04}, shortNonce(prefixMessageC, 4), a.tx.key)
	_, _, err = b.Decode(nil, unknown)
	is.True(errors.Is(err, mechanism.ErrMalformed)) // a flag that does not exist
	a.Erase()
	_, err = a.Encode(nil, 0, nil)
	is.True(errors.Is(err, mechanism.ErrExhausted))
}

// TestKeyLog opens a record with nothing but the log and SPEC §8, and looks
// whether the packet keys are whose the labels say.
func TestKeyLog(t *testing.T) {
	is := is.New(t)
	initiator, _ := newSessions(t)
	logged := make(map[string][keySize]byte)
	initiator.keyLog = func(label string, secret []byte) { logged[label] = [keySize]byte(secret) }

	s, err := initiator.Session()
	is.NoErr(err) // session
	record, err := s.Encode(nil, mechanism.Data, []byte("who reads this has the key"))
	is.NoErr(err) // encode
	is.Equal(len(logged), 1)
	key := logged["CURVE_BOX_KEY"]
	nonce := [24]byte([]byte("CurveZMQMESSAGEC\x00\x00\x00\x00\x00\x00\x00\x03")) // HELLO was 1, INITIATE 2
	opened, ok := box.OpenAfterPrecomputation(nil, record[mechanism.HeaderSize:], &nonce, &key)
	is.True(ok)
	is.True(bytes.HasSuffix(opened, []byte("who reads this has the key")))

	p, err := initiator.PacketSession()
	is.NoErr(err) // packet session
	is.Equal(len(logged), 3)
	is.Equal(*p.(*packetSession).send.key, logged["I2R_PACKET_SECRET"])
	is.Equal(*p.(*packetSession).recv.key, logged["R2I_PACKET_SECRET"])
}
