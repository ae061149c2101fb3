package curve

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/crypto/nacl/box"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

// Static keys of the tests.
var clientKey, serverKey, otherKey = testKey(1), testKey(2), testKey(3)

func testKey(fill byte) *keys.CurvePrivate {
	key, err := keys.NewCurvePrivate(bytes.Repeat([]byte{fill}, keySize))
	if err != nil {
		panic(err)
	}
	return key
}

// newPair starts a handshake of CurveZMQ itself between honest sides.
func newPair(t *testing.T) (initiator, responder *Handshake) {
	is := is.New(t)
	is.Helper()
	initiator, err := New(Config{Role: mechanism.Initiator, Identity: clientKey, Peer: serverKey.Public()})
	is.NoErr(err) // start the initiator
	responder, err = New(Config{Role: mechanism.Responder, Identity: serverKey})
	is.NoErr(err) // start the responder
	return initiator, responder
}

// exchange passes the next commands, which must be accepted.
func exchange(t *testing.T, initiator, responder *Handshake, commands int) {
	is := is.New(t)
	is.Helper()
	for range commands {
		from, to := initiator, responder
		if from.Next() != mechanism.Send {
			from, to = to, from
		}
		command, err := from.AppendCommand(nil)
		is.NoErr(err)                     // make a command
		is.NoErr(to.ReadCommand(command)) // read a command
	}
}

// refused reports whether err is how a forged command is refused.
func refused(err error) bool {
	return errors.Is(err, mechanism.ErrAuthentication) || errors.Is(err, mechanism.ErrMalformed)
}

// TestForgedCommands alters each command in every way that one byte, a cut or
// an extension can, and then shows that the genuine one is still accepted.
func TestForgedCommands(t *testing.T) {
	for step, name := range []string{"HELLO", "WELCOME", "INITIATE", "READY"} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := newPair(t)
			exchange(t, initiator, responder, step)
			from, to := initiator, responder
			if step%2 == 1 {
				from, to = to, from
			}
			command, err := from.AppendCommand(nil)
			is.NoErr(err) // make the command
			for i := range command {
				for _, mask := range []byte{0x01, 0x80, 0xFF} {
					forged := bytes.Clone(command)
					forged[i] ^= mask
					if !refused(to.ReadCommand(forged)) {
						t.Errorf("accepted with byte %d changed by %#x", i, mask)
					}
				}
				if !refused(to.ReadCommand(command[:i])) {
					t.Errorf("accepted when cut after %d bytes", i)
				}
			}
			for _, extra := range []int{1, 16, mechanism.MaxHandshakeMessage, 1 << 16} {
				if !refused(to.ReadCommand(append(bytes.Clone(command), make([]byte, extra)...))) {
					t.Errorf("accepted with %d more bytes", extra)
				}
			}
			is.True(to.Peer().IsZero())
			is.NoErr(to.ReadCommand(command)) // the genuine command
			exchange(t, initiator, responder, 3-step)
			is.Equal(initiator.Next(), mechanism.Done)
			is.Equal(responder.Next(), mechanism.Done)
			is.Equal(*initiator.shared, *responder.shared)
			is.Equal(initiator.transcript, responder.transcript)
		})
	}
}

// TestReplayedHandshake replays a client's commands to another run of the same
// server: the HELLO gets a WELCOME of no use to who has not c', the INITIATE
// nothing.
func TestReplayedHandshake(t *testing.T) {
	is := is.New(t)
	initiator, responder := newPair(t)
	hello, err := initiator.AppendCommand(nil)
	is.NoErr(err)                          // HELLO
	is.NoErr(responder.ReadCommand(hello)) // first run
	welcome, err := responder.AppendCommand(nil)
	is.NoErr(err)                            // WELCOME
	is.NoErr(initiator.ReadCommand(welcome)) // read WELCOME
	initiate, err := initiator.AppendCommand(nil)
	is.NoErr(err)                             // INITIATE
	is.NoErr(responder.ReadCommand(initiate)) // first run

	_, again := newPair(t)
	is.NoErr(again.ReadCommand(hello)) // the replay is genuine
	welcome2, err := again.AppendCommand(nil)
	is.NoErr(err) // second WELCOME
	is.True(!bytes.Equal(welcome, welcome2))
	is.True(errors.Is(again.ReadCommand(initiate), mechanism.ErrAuthentication))
	is.True(again.Peer().IsZero())

	// Nor does either command do anything twice in its own run.
	is.True(errors.Is(responder.ReadCommand(initiate), mechanism.ErrOrder))
	is.True(errors.Is(responder.ReadCommand(hello), mechanism.ErrOrder))
}

// TestReusedCookie puts the cookie of one run into another run of the same
// client and server.
func TestReusedCookie(t *testing.T) {
	is := is.New(t)
	first, firstServer := newPair(t)
	exchange(t, first, firstServer, 2)
	initiator, responder := newPair(t)
	exchange(t, initiator, responder, 2)
	initiator.cookie, first.cookie = first.cookie, initiator.cookie
	initiate, err := initiator.AppendCommand(nil)
	is.NoErr(err) // INITIATE with another run's cookie
	is.True(errors.Is(responder.ReadCommand(initiate), mechanism.ErrAuthentication))
}

// TestWrongServerKey has a client that was given another server's key.
func TestWrongServerKey(t *testing.T) {
	is := is.New(t)
	_, responder := newPair(t)
	initiator, err := New(Config{Role: mechanism.Initiator, Identity: clientKey, Peer: otherKey.Public()})
	is.NoErr(err) // start the initiator
	hello, err := initiator.AppendCommand(nil)
	is.NoErr(err) // HELLO
	is.True(errors.Is(responder.ReadCommand(hello), mechanism.ErrAuthentication))
}

// TestVouch has INITIATEs that are right but for the vouch.
func TestVouch(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(initiator *Handshake)
	}{
		{"for another ephemeral key", func(h *Handshake) { h.ephemeralClient[0] ^= 1 }},
		{"for another server", func(h *Handshake) { h.server = otherKey.Public().Bytes() }},
		{"by another client", func(h *Handshake) { h.client = otherKey.Public().Bytes() }},
		{"by another client's key", func(h *Handshake) { h.static = otherKey.ECDH() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := newPair(t)
			exchange(t, initiator, responder, 2)
			honest := *initiator
			tt.change(initiator)
			initiate, err := initiator.AppendCommand(nil)
			is.NoErr(err) // INITIATE with a bad vouch
			is.True(errors.Is(responder.ReadCommand(initiate), mechanism.ErrAuthentication))
			is.True(responder.Peer().IsZero())
			exchange(t, &honest, responder, 2)
			is.Equal(responder.Peer(), clientKey.Public())
		})
	}
}

// TestForwardedVouch is the attack that the S in the vouch is there against: a
// server the client talks to gives the client another server's S' and passes
// the client's vouch on to that server.
func TestForwardedVouch(t *testing.T) {
	is := is.New(t)
	// The malicious server otherKey as client of the honest one.
	mallory, err := New(Config{Role: mechanism.Initiator, Identity: otherKey, Peer: serverKey.Public()})
	is.NoErr(err) // start the attack
	_, responder := newPair(t)
	exchange(t, mallory, responder, 2)

	// The victim has been led to use the honest server's S' and, to make it
	// as bad as can be, the attacker's C'.
	victim, err := New(Config{Role: mechanism.Initiator, Identity: clientKey, Peer: otherKey.Public()})
	is.NoErr(err) // start the victim
	key, err := boxKey(victim.static, mallory.ephemeralServer[:])
	is.NoErr(err) // key of C and S'
	vouch := sealVouch(mallory.ephemeralClient, victim.server, [longNonceSize]byte{}, key)
	forged := appendInitiate(nil, initiate{
		cookie: mallory.cookie,
		nonce:  2,
		client: victim.client,
		vouch:  vouch,
	}, mallory.shared)
	is.True(errors.Is(responder.ReadCommand(forged), mechanism.ErrAuthentication))
}

// lowOrder are the u-coordinates of low order below 2^255 (RFC 7748 section 7;
// the list is that of cr.yp.to/ecdh.html, section "validate").
var lowOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// everyonesKey is the key of boxes with a public key of low order, whoever's
// private key is the other one.
func everyonesKey() *[32]byte {
	key := new([32]byte)
	box.Precompute(key, new([32]byte), new([32]byte))
	return key
}

// TestLowOrderKeys sends keys with which everybody would know the key of the
// boxes, and boxes made with that.
func TestLowOrderKeys(t *testing.T) {
	for _, text := range lowOrder {
		t.Run(text, func(t *testing.T) {
			is := is.New(t)
			b, err := hex.DecodeString(text)
			is.NoErr(err) // decode the key
			bad := [keySize]byte(b)
			naive := new([32]byte)
			box.Precompute(naive, &bad, (*[32]byte)(bytes.Repeat([]byte{9}, 32)))
			is.Equal(naive, everyonesKey()) // without the check the attack would work

			initiator, responder := newPair(t)
			hello := appendHello(nil, hello{client: bad, nonce: 1}, everyonesKey())
			is.True(errors.Is(responder.ReadCommand(hello), mechanism.ErrAuthentication))

			exchange(t, initiator, responder, 1)
			forged := appendWelcome(nil, welcome{server: bad}, [longNonceSize]byte{}, responder.helloKey)
			is.True(errors.Is(initiator.ReadCommand(forged), mechanism.ErrAuthentication))

			exchange(t, initiator, responder, 1)
			forged = appendInitiate(nil, initiate{
				cookie: initiator.cookie,
				nonce:  2,
				client: bad,
				vouch:  sealVouch(initiator.ephemeralClient, initiator.server, [longNonceSize]byte{}, everyonesKey()),
			}, initiator.shared)
			is.True(errors.Is(responder.ReadCommand(forged), mechanism.ErrAuthentication))
			exchange(t, initiator, responder, 2)

			if peer, err := keys.NewCurvePublic(b); err == nil {
				_, err = New(Config{Role: mechanism.Initiator, Identity: clientKey, Peer: peer})
				is.True(errors.Is(err, mechanism.ErrConfig))
			}
		})
	}
}

// TestAliasedKey proves a static key under a second name, which X25519 does
// not tell from the first.
func TestAliasedKey(t *testing.T) {
	is := is.New(t)
	initiator, responder := newPair(t)
	exchange(t, initiator, responder, 2)
	initiator.client[keySize-1] |= 0x80
	forged, err := initiator.AppendCommand(nil)
	is.NoErr(err) // INITIATE
	is.True(errors.Is(responder.ReadCommand(forged), mechanism.ErrAuthentication))
}

// TestShortNonces has nonces that do not increment.
func TestShortNonces(t *testing.T) {
	is := is.New(t)
	for _, last := range []uint64{0, 2, 7, math.MaxUint64} { // INITIATE is one more
		initiator, responder := newPair(t)
		exchange(t, initiator, responder, 2)
		initiator.sent = last
		forged, err := initiator.AppendCommand(nil)
		is.NoErr(err) // INITIATE
		is.True(errors.Is(responder.ReadCommand(forged), mechanism.ErrAuthentication))
	}
	initiator, responder := newPair(t)
	exchange(t, initiator, responder, 2)
	initiator.sent, responder.received = math.MaxUint64, math.MaxUint64 // a HELLO with the last nonce
	forged, err := initiator.AppendCommand(nil)
	is.NoErr(err) // INITIATE
	is.True(errors.Is(responder.ReadCommand(forged), mechanism.ErrAuthentication))
}

// TestMalformedHello has HELLOs whose box is right.
func TestMalformedHello(t *testing.T) {
	is := is.New(t)
	initiator, responder := newPair(t)
	genuine, err := initiator.AppendCommand(nil)
	is.NoErr(err) // HELLO
	sealed := bytes.Repeat([]byte{1}, helloZeros)
	forged := seal(genuine[:helloSize-helloZeros-boxOverhead], sealed, shortNonce(prefixHello, 1), initiator.helloKey)
	is.Equal(len(forged), helloSize)
	is.True(errors.Is(responder.ReadCommand(forged), mechanism.ErrMalformed))
}

// TestPrologue has an INITIATE or a READY that is genuine but for what it says
// of the prologue.
func TestPrologue(t *testing.T) {
	ours := mechanism.Config{Prologue: []byte("ours"), CurveIdentity: clientKey, CurvePeer: serverKey.Public()}
	for _, metadata := range []Metadata{
		nil,
		{{Name: prologueProperty}},
		{{Name: prologueProperty, Value: make([]byte, 32)}},
		{{Name: "Socket-Type", Value: []byte("REQ")}},
	} {
		for _, role := range []mechanism.Role{mechanism.Initiator, mechanism.Responder} {
			t.Run(fmt.Sprint(role, metadata), func(t *testing.T) {
				is := is.New(t)
				config := ours
				config.Role = role
				if role == mechanism.Responder {
					config.CurveIdentity = serverKey
				}
				honest, err := Mechanism().NewHandshake(config)
				is.NoErr(err) // start the honest side
				initiator, responder := newPair(t)
				encoded, err := metadata.encode()
				is.NoErr(err) // encode metadata
				victim := honest.(*handshake).core
				if role == mechanism.Initiator {
					initiator, responder.metadata = victim, encoded
					exchange(t, initiator, responder, 3)
				} else {
					responder, initiator.metadata = victim, encoded
					exchange(t, initiator, responder, 2)
				}
				forger := initiator
				if role == mechanism.Initiator {
					forger = responder
				}
				forged, err := forger.AppendCommand(nil)
				is.NoErr(err) // INITIATE or READY
				before := *victim
				_, err = honest.ReadMessage(nil, forged)
				is.True(errors.Is(err, mechanism.ErrAuthentication))
				is.Equal(honest.Next(), mechanism.Receive)
				is.Equal(honest.Peer(), mechanism.Peer{})
				is.Equal(victim.transcript, before.transcript)
			})
		}
	}
}

// TestForgetting looks at what the responder has in memory between HELLO and
// INITIATE, and after.
func TestForgetting(t *testing.T) {
	is := is.New(t)
	initiator, responder := newPair(t)
	exchange(t, initiator, responder, 1)
	is.True(initiator.ephemeral != nil) // there is something to forget
	helloKey := responder.helloKey
	exchange(t, initiator, responder, 1)
	is.True(responder.ephemeral == nil) // only the cookie has it
	is.True(responder.helloKey == nil)
	is.Equal(*helloKey, [32]byte{})
	is.Equal(responder.ephemeralClient, [keySize]byte{})
	is.True(responder.shared == nil)
	cookieKey := responder.cookieKey
	exchange(t, initiator, responder, 1)
	is.True(responder.cookieKey == nil)
	is.Equal(*cookieKey, [32]byte{})
	is.True(initiator.ephemeral == nil)
	is.True(initiator.helloKey == nil)
}

// TestNoSecretPrinted prints everything that holds a key with every verb.
func TestNoSecretPrinted(t *testing.T) {
	is := is.New(t)
	initiator, responder := newPair(t)
	exchange(t, initiator, responder, 4)
	shared := *initiator.shared
	suite := &handshake{core: initiator}
	stream, err := suite.Session()
	is.NoErr(err) // session
	packets, err := suite.PacketSession()
	is.NoErr(err) // packet session
	messages, err := responder.Messages()
	is.NoErr(err) // messages
	for _, v := range []any{initiator, suite, stream, packets, messages} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			text := fmt.Sprintf(verb, v)
			is.True(strings.HasPrefix(text, "CURVE "))
			is.True(len(text) < 40) // too short for a key
			is.True(!strings.Contains(text, string(shared[:])))
		}
	}
}

// TestBoxKey compares with NaCl's own precomputation.
func TestBoxKey(t *testing.T) {
	is := is.New(t)
	private, public := clientKey.Bytes(), serverKey.Public().Bytes()
	var want [32]byte
	box.Precompute(&want, &public, &private)
	got, err := boxKey(clientKey.ECDH(), public[:])
	is.NoErr(err) // derive the key
	is.Equal(*got, want)
	_, err = boxKey(clientKey.ECDH(), make([]byte, keySize))
	is.True(errors.Is(err, mechanism.ErrAuthentication))
	_, err = ecdh.X25519().NewPublicKey(make([]byte, keySize))
	is.NoErr(err) // crypto/ecdh alone would take the zero key
}
