package curve

import (
	"bytes"
	"testing"

	"github.com/securesp/securesp/mechanism"
)

// zeroReader is randomness of no use but to make the same handshake each time.
type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// fixedHandshake returns the side that waits for the given command, and that
// command. It is the same in each process, so a corpus stays of use.
func fixedHandshake(step int) (to *Handshake, command []byte) {
	from := must(New(Config{Role: mechanism.Initiator, Identity: clientKey, Peer: serverKey.Public(), Rand: zeroReader{}}))
	to = must(New(Config{Role: mechanism.Responder, Identity: serverKey, Rand: zeroReader{}}))
	for {
		command = must(from.AppendCommand(nil))
		if step == 0 {
			return to, command
		}
		if err := to.ReadCommand(command); err != nil {
			panic(err)
		}
		from, to = to, from
		step--
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// fuzzCommand has one law: of all commands only the genuine one is accepted,
// and the others change nothing.
func fuzzCommand(f *testing.F, step int) {
	victim, genuine := fixedHandshake(step)
	f.Add(genuine)
	f.Add(genuine[:len(genuine)-1])
	f.Add(append(bytes.Clone(genuine), 0))
	f.Add(AppendRefusal(nil, StatusDenied))
	transcript := victim.transcript
	f.Fuzz(func(t *testing.T, command []byte) {
		if bytes.Equal(command, genuine) {
			fresh, _ := fixedHandshake(step)
			if err := fresh.ReadCommand(command); err != nil {
				t.Errorf("the genuine command: %v", err)
			}
			return
		}
		if err := victim.ReadCommand(command); !refused(err) {
			t.Errorf("a forged command: %v", err)
		}
		if victim.step != step || victim.transcript != transcript || !victim.Peer().IsZero() {
			t.Error("a forged command changed the handshake")
		}
	})
}

func FuzzHello(f *testing.F)    { fuzzCommand(f, 0) }
func FuzzWelcome(f *testing.F)  { fuzzCommand(f, 1) }
func FuzzInitiate(f *testing.F) { fuzzCommand(f, 2) }
func FuzzReady(f *testing.F)    { fuzzCommand(f, 3) }

// FuzzMetadata has the law that what is parsed encodes to the same bytes.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte{})
	f.Add(must(Metadata{{"Socket-Type", []byte("REQ")}, {"Identity", nil}}.encode()))
	f.Add([]byte("\x01A\x00\x00\x00\x00\x01a\x00\x00\x00\x00")) // twice the same name
	f.Add([]byte("\x00\x00\x00\x00\x00"))                       // no name
	f.Add([]byte("\x01A\xFF\xFF\xFF\xFF"))                      // a length to overflow with
	f.Fuzz(func(t *testing.T, encoded []byte) {
		m, err := parseMetadata(encoded)
		if err != nil {
			if m != nil || !refused(err) {
				t.Errorf("%v with error %v", m, err)
			}
			return
		}
		again, err := m.encode()
		if len(encoded) > maxMetadata {
			if err == nil {
				t.Error("encoded more than a command holds")
			}
			return
		}
		if err != nil || !bytes.Equal(again, encoded) {
			t.Errorf("%x became %x, %v", encoded, again, err)
		}
	})
}

// fixedDirection returns the state after a handshake that is the same in each
// process.
func fixedDirection(prefix string) direction {
	return direction{key: new([32]byte), prefix: prefix, last: 2}
}

// FuzzRecord has the law that of all records only the genuine one is opened.
func FuzzRecord(f *testing.F) {
	tx := &session{tx: fixedDirection(prefixMessageC)}
	genuine := must(tx.Encode(nil, mechanism.Data, []byte("hello")))
	f.Add(genuine)
	f.Add(genuine[:len(genuine)-1])
	f.Add(must(tx.Encode(nil, mechanism.Data, []byte("hello")))) // out of order
	f.Fuzz(func(t *testing.T, record []byte) {
		rx := &session{rx: fixedDirection(prefixMessageC)}
		kind, plaintext, err := rx.Decode(nil, record)
		if bytes.Equal(record, genuine) {
			if err != nil || kind != mechanism.Data || string(plaintext) != "hello" {
				t.Errorf("the genuine record: %v %q %v", kind, plaintext, err)
			}
		} else if !refused(err) || plaintext != nil || rx.rx.last != 2 {
			t.Errorf("a forged record: %q %v", plaintext, err)
		}
	})
}

// FuzzMessage is FuzzRecord for CurveZMQ's MESSAGE.
func FuzzMessage(f *testing.F) {
	tx := &Messages{tx: fixedDirection(prefixMessageC)}
	genuine := must(tx.Encode(nil, More, []byte("hello")))
	f.Add(genuine)
	f.Add(genuine[:len(genuine)-1])
	f.Add(must(tx.Encode(nil, More, []byte("hello")))) // out of order
	f.Fuzz(func(t *testing.T, message []byte) {
		rx := &Messages{rx: fixedDirection(prefixMessageC)}
		flags, content, err := rx.Decode(nil, message)
		if bytes.Equal(message, genuine) {
			if err != nil || flags != More || string(content) != "hello" {
				t.Errorf("the genuine message: %v %q %v", flags, content, err)
			}
		} else if !refused(err) || content != nil || rx.rx.last != 2 {
			t.Errorf("a forged message: %q %v", content, err)
		}
	})
}
