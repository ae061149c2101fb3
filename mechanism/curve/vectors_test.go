package curve_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/curve"
)

// hexBytes are bytes that JSON holds as hexadecimal text.
type hexBytes []byte

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// vector is one run of the handshake in testdata/vectors.json, which
// testdata/vectors.py made with libsodium.
type vector struct {
	Client, Server hexBytes
	ClientRandom   hexBytes `json:"client_random"`
	ServerRandom   hexBytes `json:"server_random"`
	Messages       []hexBytes
	Prologue       hexBytes
	Binding        hexBytes
	Records        []struct {
		Type          mechanism.Type
		Plaintext     hexBytes
		FromInitiator hexBytes `json:"from_initiator"`
		FromResponder hexBytes `json:"from_responder"`
	}
	Packets []struct {
		Plaintext     hexBytes
		FromInitiator hexBytes `json:"from_initiator"`
		FromResponder hexBytes `json:"from_responder"`
	}
	ClientMetadata []vectorProperty `json:"client_metadata"`
	ServerMetadata []vectorProperty `json:"server_metadata"`
	Commands       []struct {
		Flags         byte
		Content       hexBytes
		FromInitiator hexBytes `json:"from_initiator"`
		FromResponder hexBytes `json:"from_responder"`
	}
}

type vectorProperty struct {
	Name  string
	Value hexBytes
}

func metadataOf(properties []vectorProperty) (m curve.Metadata) {
	for _, p := range properties {
		m = append(m, curve.Property{Name: p.Name, Value: p.Value})
	}
	return m
}

func loadVectors(t *testing.T) (suite, zmtp vector) {
	is := is.New(t)
	is.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	is.NoErr(err) // read the vectors
	var all struct{ Suite, ZMTP vector }
	is.NoErr(json.Unmarshal(text, &all)) // parse the vectors
	is.Equal(len(all.Suite.Messages), 4)
	is.Equal(len(all.Suite.Records), 3)
	is.Equal(len(all.Suite.Packets), 3)
	is.Equal(len(all.ZMTP.Commands), 3)
	return all.Suite, all.ZMTP
}

func curveKey(t *testing.T, b []byte) *keys.CurvePrivate {
	is := is.New(t)
	is.Helper()
	key, err := keys.NewCurvePrivate(b)
	is.NoErr(err) // make a key
	return key
}

// TestSuiteVectors runs the suite with fixed randomness against libsodium's
// result, byte for byte.
func TestSuiteVectors(t *testing.T) {
	is := is.New(t)
	v, _ := loadVectors(t)
	client, server := curveKey(t, v.Client), curveKey(t, v.Server)
	initiator, err := curve.Mechanism().NewHandshake(mechanism.Config{
		Role: mechanism.Initiator, Prologue: v.Prologue,
		CurveIdentity: client, CurvePeer: server.Public(), Rand: bytes.NewReader(v.ClientRandom),
	})
	is.NoErr(err) // start the initiator
	responder, err := curve.Mechanism().NewHandshake(mechanism.Config{
		Role: mechanism.Responder, Prologue: v.Prologue,
		CurveIdentity: server, Rand: bytes.NewReader(v.ServerRandom),
	})
	is.NoErr(err) // start the responder
	from, to := initiator, responder
	for _, want := range v.Messages {
		got, err := from.AppendMessage(nil, nil)
		is.NoErr(err) // make a message
		is.True(bytes.Equal(got, want))
		_, err = to.ReadMessage(nil, got)
		is.NoErr(err) // read the message
		from, to = to, from
	}
	checkRecords(t, v, initiator, responder)
	checkPackets(t, v, initiator, responder)
}

// checkRecords encodes and decodes v's records in both directions.
func checkRecords(t *testing.T, v vector, initiator, responder mechanism.Handshake) {
	is := is.New(t)
	is.Helper()
	i, err := initiator.Session()
	is.NoErr(err) // initiator's session
	r, err := responder.Session()
	is.NoErr(err) // responder's session
	is.True(bytes.Equal(i.Binding(), v.Binding))
	is.True(bytes.Equal(r.Binding(), v.Binding))
	for _, want := range v.Records {
		got, err := i.Encode(nil, want.Type, want.Plaintext)
		is.NoErr(err) // encode
		is.True(bytes.Equal(got, want.FromInitiator))
		got, err = r.Encode(nil, want.Type, want.Plaintext)
		is.NoErr(err) // encode
		is.True(bytes.Equal(got, want.FromResponder))
		kind, plaintext, err := r.Decode(nil, want.FromInitiator)
		is.NoErr(err) // decode
		is.Equal(kind, want.Type)
		is.True(bytes.Equal(plaintext, want.Plaintext))
		kind, plaintext, err = i.Decode(nil, want.FromResponder)
		is.NoErr(err) // decode
		is.Equal(kind, want.Type)
		is.True(bytes.Equal(plaintext, want.Plaintext))
	}
}

// checkPackets seals and opens v's packets in both directions.
func checkPackets(t *testing.T, v vector, initiator, responder mechanism.Handshake) {
	is := is.New(t)
	is.Helper()
	pi, err := initiator.PacketSession()
	is.NoErr(err) // initiator's packet session
	pr, err := responder.PacketSession()
	is.NoErr(err) // responder's packet session
	for _, want := range v.Packets {
		got, err := pi.Seal(nil, want.Plaintext)
		is.NoErr(err) // seal
		is.True(bytes.Equal(got, want.FromInitiator))
		got, err = pr.Seal(nil, want.Plaintext)
		is.NoErr(err) // seal
		is.True(bytes.Equal(got, want.FromResponder))
		plaintext, err := pr.Open(nil, want.FromInitiator)
		is.NoErr(err) // open
		is.True(bytes.Equal(plaintext, want.Plaintext))
		plaintext, err = pi.Open(nil, want.FromResponder)
		is.NoErr(err) // open
		is.True(bytes.Equal(plaintext, want.Plaintext))
	}
}

// TestZMTPVectors does the same for CurveZMQ itself.
func TestZMTPVectors(t *testing.T) {
	is := is.New(t)
	_, v := loadVectors(t)
	client, server := curveKey(t, v.Client), curveKey(t, v.Server)
	initiator, err := curve.New(curve.Config{
		Role: mechanism.Initiator, Identity: client, Peer: server.Public(),
		Metadata: metadataOf(v.ClientMetadata), Rand: bytes.NewReader(v.ClientRandom),
	})
	is.NoErr(err) // start the initiator
	responder, err := curve.New(curve.Config{
		Role: mechanism.Responder, Identity: server,
		Metadata: metadataOf(v.ServerMetadata), Rand: bytes.NewReader(v.ServerRandom),
	})
	is.NoErr(err) // start the responder
	from, to := initiator, responder
	for _, want := range v.Messages {
		got, err := from.AppendCommand(nil)
		is.NoErr(err) // make a command
		is.True(bytes.Equal(got, want))
		is.NoErr(to.ReadCommand(got)) // read the command
		from, to = to, from
	}
	is.Equal(initiator.Metadata(), metadataOf(v.ServerMetadata))
	is.Equal(responder.Metadata(), metadataOf(v.ClientMetadata))
	i, err := initiator.Messages()
	is.NoErr(err) // initiator's messages
	r, err := responder.Messages()
	is.NoErr(err) // responder's messages
	for _, want := range v.Commands {
		got, err := i.Encode(nil, want.Flags, want.Content)
		is.NoErr(err) // encode
		is.True(bytes.Equal(got, want.FromInitiator))
		got, err = r.Encode(nil, want.Flags, want.Content)
		is.NoErr(err) // encode
		is.True(bytes.Equal(got, want.FromResponder))
		flags, content, err := r.Decode(nil, want.FromInitiator)
		is.NoErr(err) // decode
		is.Equal(flags, want.Flags)
		is.True(bytes.Equal(content, want.Content))
		flags, content, err = i.Decode(nil, want.FromResponder)
		is.NoErr(err) // decode
		is.Equal(flags, want.Flags)
		is.True(bytes.Equal(content, want.Content))
	}
}
