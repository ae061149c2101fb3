package interop

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

const (
	installDissononce = "apt-get install python3-dissononce"
	installNode       = "apt-get install nodejs npm, then npm ci in the directory interop"
)

// classical are the protocols without hybrid forward secrecy that suites have,
// and withPSK some that have a pre-shared key besides.
var (
	classical = protocols("25519", "XX", "IK", "NK", "NN")
	withPSK   = protocols("25519", "NNpsk0", "XXpsk3", "IKpsk0", "IKpsk2", "NKpsk1")
	hybrid    = protocols("25519+MLKEM768", "XXhfs", "IKhfs", "NKhfs", "NNhfs+psk0", "XXhfs+psk3")
)

func protocols(dh string, patterns ...string) []string {
	var names []string
	for _, pattern := range patterns {
		for _, cipher := range []string{"ChaChaPoly", "AESGCM"} {
			names = append(names, strings.Join([]string{"Noise", pattern, dh, cipher, "SHA256"}, "_"))
		}
	}
	return names
}

func TestDissononce(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's packages are for Debian's Python alone
	p := startProgram(t, installDissononce, python, "peers/with_dissononce.py")
	agreeOn(t, p, append(classical, withPSK...), canRekey)
}

func TestNoiseC(t *testing.T) {
	p := startNode(t, "noise-c.wasm", "peers/with_noise_c.js")
	agreeOn(t, p, classical, cannotRekey)
}

// TestSpecification holds the suites against a second implementation that was
// written from docs/SPEC.md and shares no code with ours, not even the
// primitives'.
func TestSpecification(t *testing.T) {
	p := startNode(t, "@noble/post-quantum", "peers/spec.js")
	agreeOn(t, p, append(classical, hybrid...), canRekey)
}

// TestSuitesCovered makes sure that no suite is forgotten above.
func TestSuitesCovered(t *testing.T) {
	is := is.New(t)
	covered := make(map[string]bool)
	for _, name := range append(classical, hybrid...) {
		covered[name] = true
	}
	suites := 0
	for _, s := range mechanism.Suites() {
		if _, ok := noise.Mechanism(s); ok {
			suites++
			is.True(covered[s.String()]) // a suite's protocol
		}
	}
	is.Equal(suites, 16)
}

// Whether a peer's library can replace a key.
const (
	cannotRekey = false
	canRekey    = true
)

// agreeOn runs every protocol with p in both roles.
func agreeOn(t *testing.T, p peer, names []string, rekeys bool) {
	for _, name := range names {
		for _, role := range []mechanism.Role{mechanism.Initiator, mechanism.Responder} {
			t.Run(fmt.Sprintf("%s/%v", name, role), func(t *testing.T) {
				is := is.New(t)
				m := newMeeting(t, name, role)
				is.NoErr(p.start(m.theirs)) // start the peer
				m.handshake(is, p)
				session := m.compare(is, p)
				exchangeRecords(is, p, session)
				if rekeys {
					crossRekey(is, p, session)
				}
			})
			t.Run(fmt.Sprintf("%s/%v/tampered", name, role), func(t *testing.T) {
				is := is.New(t)
				m := newMeeting(t, name, role)
				m.theirs.prologue = []byte("another prologue")
				is.NoErr(p.start(m.theirs)) // start the peer
				is.True(m.fails(p))         // somebody notices
			})
		}
	}
}

// meeting is our side of a handshake and what the peer needs for its own.
type meeting struct {
	ours   *noise.Handshake
	theirs setup
	self   *keys.Private
	other  *keys.Private
}

// newMeeting makes keys for both sides. role is ours.
func newMeeting(t *testing.T, protocol string, role mechanism.Role) *meeting {
	t.Helper()
	is := is.New(t)
	is.Helper()
	self, err := keys.Generate()
	is.NoErr(err)
	other, err := keys.Generate()
	is.NoErr(err)
	psk, err := keys.GenerateShared()
	is.NoErr(err)
	m := &meeting{self: self, other: other}
	m.theirs = setup{
		protocol:  protocol,
		initiator: role == mechanism.Responder,
		prologue:  []byte("securesp interoperability"),
	}
	config := mechanism.Config{Role: role, Prologue: m.theirs.prologue}
	pattern := strings.Split(protocol, "_")[1]
	initiatorKey, responderKey := pattern[0] != 'N', pattern[1] != 'N'
	known := pattern[1] == 'K'
	if role == mechanism.Responder {
		initiatorKey, responderKey = responderKey, initiatorKey
	}
	if initiatorKey { // now: ours
		config.Identity = self
	}
	if responderKey { // now: theirs
		m.theirs.s = other.ECDH().Bytes()
	}
	if known && role == mechanism.Initiator {
		config.Peer = other.Public()
	} else if known {
		m.theirs.rs = self.Public().Bytes()
	}
	if strings.Contains(pattern, "psk") {
		config.PSK, m.theirs.psk = psk, psk.Bytes()
	}
	m.ours, err = noise.New(protocol, config)
	is.NoErr(err) // our side
	return m
}

// payloads are what handshake messages carry here, by number.
var payloads = [][]byte{nil, []byte("second"), bytes.Repeat([]byte("third"), 100)}

// handshake runs the handshake to its end.
func (m *meeting) handshake(is *is.I, p peer) {
	is.Helper()
	for i := 0; m.ours.Next() != mechanism.Done; i++ {
		var got []byte
		if m.ours.Next() == mechanism.Send {
			message, err := m.ours.AppendMessage(nil, payloads[i])
			is.NoErr(err) // write a message
			got, err = p.read(message)
			is.NoErr(err) // the peer reads it
		} else {
			message, err := p.write(payloads[i])
			is.NoErr(err) // the peer writes a message
			got, err = m.ours.ReadMessage(nil, message)
			is.NoErr(err) // read it
		}
		is.True(bytes.Equal(got, payloads[i])) // the payload
	}
}

// fails reports whether the handshake fails because one side refuses a
// message.
func (m *meeting) fails(p peer) bool {
	for m.ours.Next() != mechanism.Done {
		var message []byte
		var err error
		if m.ours.Next() == mechanism.Send {
			if message, err = m.ours.AppendMessage(nil, nil); err == nil {
				_, err = p.read(message)
			}
		} else if message, err = p.write(nil); err == nil {
			_, err = m.ours.ReadMessage(nil, message)
		}
		if err != nil {
			return errors.Is(err, errRefused) || errors.Is(err, mechanism.ErrAuthentication)
		}
	}
	return false
}

// compare checks that both sides have come to the same result.
func (m *meeting) compare(is *is.I, p peer) mechanism.Session {
	is.Helper()
	session, err := m.ours.Session()
	is.NoErr(err) // our session
	hash, remote, err := p.finish()
	is.NoErr(err)                                 // the peer's
	is.True(bytes.Equal(hash, session.Binding())) // the handshake hash
	if m.theirs.s != nil {
		is.Equal(m.ours.Peer().Key, m.other.Public()) // the peer's key
	}
	if len(remote) > 0 {
		is.True(bytes.Equal(remote, m.self.Public().Bytes())) // our key
	}
	return session
}

// exchangeRecords sends records of all sizes both ways: to the peer they are
// its cipher's messages with the header as associated data.
func exchangeRecords(is *is.I, p peer, session mechanism.Session) {
	is.Helper()
	for _, size := range []int{0, 1, 15, 16, 17, 4096, mechanism.MaxPlaintext} {
		plaintext := make([]byte, size)
		rand.Read(plaintext)
		record, err := session.Encode(nil, mechanism.Data, plaintext)
		is.NoErr(err) // seal a record
		got, err := p.decrypt(record[:mechanism.HeaderSize], record[mechanism.HeaderSize:])
		is.NoErr(err)                        // the peer opens it
		is.True(bytes.Equal(got, plaintext)) // as the peer has it

		header := binary.BigEndian.AppendUint16(nil, uint16(size+session.Overhead()-2))
		header = append(header, byte(mechanism.DataPadded))
		ciphertext, err := p.encrypt(header, plaintext)
		is.NoErr(err) // the peer seals a record
		kind, opened, err := session.Decode(nil, append(header, ciphertext...))
		is.NoErr(err)                           // open it
		is.Equal(kind, mechanism.DataPadded)    // its type
		is.True(bytes.Equal(opened, plaintext)) // its content
	}
}

// crossRekey sends the peer the first record under a replaced key.
func crossRekey(is *is.I, p peer, session mechanism.Session) {
	is.Helper()
	const interval = 1 << 16 // SPEC §4
	var record []byte
	seal := func() (rekeys uint64) {
		var err error
		record, err = session.Encode(record[:0], mechanism.Ping, nil)
		is.NoErr(err) // seal a record
		rekeys, _ = session.Rekeys()
		return rekeys
	}
	for n := 0; seal() == 0; n++ {
		is.True(n < interval) // it has to come
	}
	seal()
	is.NoErr(p.rekey(interval)) // the peer follows
	_, err := p.decrypt(record[:mechanism.HeaderSize], record[mechanism.HeaderSize:])
	is.NoErr(err) // the peer opens it
}
