package noise_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// fixedSuites are the suites whose messages are fuzzed.
var fixedSuites = []mechanism.Suite{mechanism.XXhfsChaChaPoly, mechanism.IKhfsAESGCM}

// fixed starts both sides of a handshake that is the same each time, so that
// the messages of one run are genuine in all others.
func fixed(suite mechanism.Suite) pair {
	m, _ := noise.Mechanism(suite)
	identity := func(b byte) *keys.Private {
		key, err := keys.NewPrivate(bytes.Repeat([]byte{b}, 32))
		if err != nil {
			panic(err)
		}
		return key
	}
	i, r := identity(1), identity(2)
	psk, err := keys.NewShared(bytes.Repeat([]byte{6}, 32))
	if err != nil {
		panic(err)
	}
	configs := [2]mechanism.Config{
		{Role: mechanism.Initiator, Identity: i, Peer: r.Public(), PSK: psk, Rand: counting(3)},
		{Role: mechanism.Responder, Identity: r, PSK: psk, Rand: counting(4)},
	}
	var p pair
	for role, config := range configs {
		h, err := m.NewHandshake(config)
		if err != nil {
			panic(err)
		}
		p[role] = h.(*noise.Handshake)
		noise.Derandomize(p[role], counting(5))
	}
	return p
}

// counting is a source of fixed bytes.
func counting(start byte) *bytes.Reader {
	b := make([]byte, 256)
	for i := range b {
		b[i] = start + byte(i)
	}
	return bytes.NewReader(b)
}

// next returns who sends and who receives the next message.
func (p pair) next() (sender, receiver *noise.Handshake) {
	if p[0].Next() == mechanism.Send {
		return p[0], p[1]
	}
	return p[1], p[0]
}

// FuzzHandshake feeds each message of XXhfs and IKhfs, to whichever side it is
// for, in forms that are not genuine. Such a message is refused and changes
// nothing, or the handshake fails later.
func FuzzHandshake(f *testing.F) {
	seeds := 0
	for which, suite := range fixedSuites {
		p := fixed(suite)
		for n := 0; p[0].Next() != mechanism.Done; n++ {
			sender, receiver := p.next()
			message, err := sender.AppendMessage(nil, nil)
			if err != nil {
				f.Fatal(err)
			}
			if _, err := receiver.ReadMessage(nil, message); err != nil {
				f.Fatal(err)
			}
			for _, seed := range [][]byte{message, message[:len(message)-1], append(bytes.Clone(message), 0)} {
				f.Add(uint8(which), uint8(n), seed)
				seeds++
			}
		}
	}
	if seeds != 3*5 {
		f.Fatalf("%d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, which, n uint8, message []byte) {
		p := fixed(fixedSuites[int(which)%len(fixedSuites)])
		for range n {
			if err := p.deliver(); errors.Is(err, mechanism.ErrOrder) {
				return // past the end
			} else if err != nil {
				t.Errorf("honest handshake: %v", err)
				return
			}
		}
		sender, receiver := p.next()
		genuine, err := sender.AppendMessage(nil, nil)
		if err != nil {
			return // past the end
		}
		payload, err := receiver.ReadMessage(nil, message)
		switch {
		case bytes.Equal(message, genuine):
			if err != nil || len(payload) != 0 {
				t.Errorf("the genuine message gave %x, %v", payload, err)
			}
		case err != nil:
			if !errors.Is(err, mechanism.ErrAuthentication) && !errors.Is(err, mechanism.ErrMalformed) {
				t.Errorf("refused with %v", err)
			}
			if _, err := receiver.ReadMessage(nil, genuine); err != nil {
				t.Errorf("the genuine message after a refused one: %v", err)
			}
		case receiver.Next() == mechanism.Done:
			t.Errorf("the last message was accepted: %x", message)
		default:
			if err := p.deliver(); err == nil {
				t.Errorf("message %d was accepted, and the reply to it: %x", n+1, message)
			}
		}
	})
}

// FuzzDecode: a session accepts the next genuine record and nothing else.
func FuzzDecode(f *testing.F) {
	start := func() (i, r mechanism.Session) {
		p := fixed(mechanism.IKhfsAESGCM)
		for p[0].Next() != mechanism.Done {
			if err := p.deliver(); err != nil {
				f.Fatal(err)
			}
		}
		i, err := p[0].Session()
		if err != nil {
			f.Fatal(err)
		}
		if r, err = p[1].Session(); err != nil {
			f.Fatal(err)
		}
		return i, r
	}
	sender, receiver := start()
	genuine, err := sender.Encode(nil, mechanism.Data, []byte("genuine"))
	if err != nil {
		f.Fatal(err)
	}
	later, err := sender.Encode(nil, mechanism.Fin, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{nil, genuine[:18], later, append(bytes.Clone(genuine), later...)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		if bytes.Equal(record, genuine) {
			return
		}
		before := bytes.Clone(record)
		_, got, err := receiver.Decode(nil, record)
		if err == nil || got != nil {
			t.Errorf("accepted %x", record)
		}
		if !errors.Is(err, mechanism.ErrAuthentication) && !errors.Is(err, mechanism.ErrMalformed) {
			t.Errorf("refused with %v", err)
		}
		if !bytes.Equal(before, record) {
			t.Errorf("changed its input")
		}
	})
}

// FuzzOpen: a packet session accepts genuine packets, each once, and nothing
// else.
func FuzzOpen(f *testing.F) {
	p := fixed(mechanism.IKhfsAESGCM)
	for p[0].Next() != mechanism.Done {
		if err := p.deliver(); err != nil {
			f.Fatal(err)
		}
	}
	sender, err := p[0].PacketSession()
	if err != nil {
		f.Fatal(err)
	}
	receiver, err := p[1].PacketSession()
	if err != nil {
		f.Fatal(err)
	}
	packet, err := sender.Seal(nil, []byte("genuine"))
	if err != nil {
		f.Fatal(err)
	}
	if _, err := receiver.Open(nil, packet); err != nil {
		f.Fatal(err)
	}
	for _, counter := range []uint64{0, 1, 8191, 65535, 65536, 1 << 17, 1<<64 - 1} {
		forged := bytes.Clone(packet)
		binary.BigEndian.PutUint64(forged[4:], counter)
		f.Add(forged)
	}
	f.Add([]byte(nil))
	f.Add(packet[:27])
	f.Fuzz(func(t *testing.T, packet []byte) {
		before := bytes.Clone(packet)
		got, err := receiver.Open(nil, packet)
		if err == nil || got != nil {
			t.Errorf("accepted %x", packet)
		}
		if !errors.Is(err, mechanism.ErrAuthentication) && !errors.Is(err, mechanism.ErrMalformed) &&
			!errors.Is(err, mechanism.ErrReplay) {
			t.Errorf("refused with %v", err)
		}
		if !bytes.Equal(before, packet) {
			t.Errorf("changed its input")
		}
	})
}
