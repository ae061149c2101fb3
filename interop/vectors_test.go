package interop

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/mechanism"
)

// published is a file of test vectors as docs/SPEC.md describes it.
type published struct {
	Protocol      string    `json:"protocol"`
	Prologue      hexBytes  `json:"prologue"`
	PSK           hexBytes  `json:"psk"`
	Initiator     secrets   `json:"initiator"`
	Responder     secrets   `json:"responder"`
	Handshake     []message `json:"handshake"`
	HandshakeHash hexBytes  `json:"handshake_hash"`
	Secrets       struct {
		I2R       hexBytes `json:"i2r_traffic"`
		R2I       hexBytes `json:"r2i_traffic"`
		PacketI2R hexBytes `json:"i2r_packet"`
		PacketR2I hexBytes `json:"r2i_packet"`
	} `json:"secrets"`
	Records []struct {
		From      string   `json:"from"`
		Counter   uint64   `json:"counter"`
		Type      uint8    `json:"type"`
		Plaintext hexBytes `json:"plaintext"`
		Record    hexBytes `json:"record"`
	} `json:"records"`
	Packets []struct {
		From      string   `json:"from"`
		Counter   uint64   `json:"counter"`
		Plaintext hexBytes `json:"plaintext"`
		Packet    hexBytes `json:"packet"`
	} `json:"packets"`
}

type secrets struct {
	Static        hexBytes `json:"static"`
	StaticPublic  hexBytes `json:"static_public"`
	Ephemeral     hexBytes `json:"ephemeral"`
	KEMSeed       hexBytes `json:"kem_seed"`
	KEMRandomness hexBytes `json:"kem_randomness"`
}

type message struct {
	From    string   `json:"from"`
	Message hexBytes `json:"message"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// TestPublishedVectors has the second implementation compute all that the
// published vectors state.
func TestPublishedVectors(t *testing.T) {
	files, err := filepath.Glob("../mechanism/noise/testdata/vectors/*.json")
	is := is.New(t)
	is.NoErr(err)            // list the vectors
	is.Equal(len(files), 16) // one for each Noise suite
	sides := map[string]*program{
		"initiator": startNode(t, "@noble/post-quantum", "peers/spec.js"),
		"responder": startNode(t, "@noble/post-quantum", "peers/spec.js"),
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			is := is.New(t)
			content, err := os.ReadFile(file)
			is.NoErr(err) // read the vector
			var v published
			is.NoErr(json.Unmarshal(content, &v)) // parse it
			is.NoErr(v.begin(sides["initiator"], true, v.Initiator, v.Responder))
			is.NoErr(v.begin(sides["responder"], false, v.Responder, v.Initiator))
			v.check(is, sides)
		})
	}
}

func (v *published) begin(p *program, initiator bool, own, other secrets) error {
	args := map[string]any{"protocol": v.Protocol, "initiator": initiator, "prologue": []byte(v.Prologue)}
	given := map[string]hexBytes{
		"s": own.Static, "psk": v.PSK, "ephemeral": own.Ephemeral,
		"kemSeed": own.KEMSeed, "kemRandomness": own.KEMRandomness,
	}
	if initiator { // it may know the responder's key beforehand
		given["rs"] = other.StaticPublic
	}
	for name, value := range given {
		if value != nil {
			args[name] = []byte(value)
		}
	}
	_, err := p.ask("start", args)
	return err
}

func (v *published) check(is *is.I, sides map[string]*program) {
	is.Helper()
	is.True(len(v.Handshake) >= 2 && len(v.Records) > 0 && len(v.Packets) > 0) // a whole vector
	for _, m := range v.Handshake {
		reader := sides[mechanism.Responder.String()]
		if m.From == mechanism.Responder.String() {
			reader = sides[mechanism.Initiator.String()]
		}
		got, err := sides[m.From].write(nil)
		is.NoErr(err)                        // write a handshake message
		is.True(bytes.Equal(got, m.Message)) // as published
		_, err = reader.read(m.Message)
		is.NoErr(err) // read it
	}
	for _, side := range sides {
		hash, _, err := side.finish()
		is.NoErr(err)                               // finish
		is.True(bytes.Equal(hash, v.HandshakeHash)) // the handshake hash
		got, err := side.ask("secrets", nil)
		is.NoErr(err)                                               // derive the secrets
		is.True(bytes.Equal(got["i2r"], v.Secrets.I2R))             // record key, initiator to responder
		is.True(bytes.Equal(got["r2i"], v.Secrets.R2I))             // record key, responder to initiator
		is.True(bytes.Equal(got["packetI2R"], v.Secrets.PacketI2R)) // packet key, initiator to responder
		is.True(bytes.Equal(got["packetR2I"], v.Secrets.PacketR2I)) // packet key, responder to initiator
	}
	for _, r := range v.Records {
		got, err := sides[r.From].ask("record", map[string]any{
			"counter": r.Counter, "type": r.Type, "plaintext": []byte(r.Plaintext),
		})
		is.NoErr(err)                                 // seal a record
		is.True(bytes.Equal(got["record"], r.Record)) // as published
	}
	for _, p := range v.Packets {
		got, err := sides[p.From].ask("packet", map[string]any{
			"counter": p.Counter, "plaintext": []byte(p.Plaintext),
		})
		is.NoErr(err)                                 // seal a packet
		is.True(bytes.Equal(got["packet"], p.Packet)) // as published
	}
}

// TestCurveVectors has the published vectors of CURVE made anew, by libsodium.
func TestCurveVectors(t *testing.T) {
	is := is.New(t)
	if err := exec.Command(systemPython, "-c", "import nacl").Run(); err != nil {
		t.Fatalf("PyNaCl is missing (%v): on Debian, apt-get install python3-nacl", err)
	}
	dir := filepath.Join("..", "mechanism", "curve", "testdata")
	want, err := os.ReadFile(filepath.Join(dir, "vectors.json"))
	is.NoErr(err) // read the published ones
	got, err := exec.Command(systemPython, filepath.Join(dir, "vectors.py")).Output()
	is.NoErr(err)                   // make them
	is.True(bytes.Equal(got, want)) // the same
}
