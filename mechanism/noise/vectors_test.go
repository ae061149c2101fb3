package noise_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

//go:generate go test -run TestVectors -update

var update = flag.Bool("update", false, "write the test vectors in testdata anew")

// vector is one suite's file in testdata, as docs/SPEC.md describes it. All
// byte strings are in hexadecimal.
type vector struct {
	Suite         string          `json:"suite"`
	Protocol      string          `json:"protocol"`
	Prologue      hexBytes        `json:"prologue"`
	PSK           hexBytes        `json:"psk,omitempty"`
	Initiator     vectorSide      `json:"initiator"`
	Responder     vectorSide      `json:"responder"`
	Handshake     []vectorMessage `json:"handshake"`
	HandshakeHash hexBytes        `json:"handshake_hash"`
	Secrets       vectorSecrets   `json:"secrets"`
	Records       []vectorRecord  `json:"records"`
	Packets       []vectorPacket  `json:"packets"`
}

type vectorSide struct {
	Static        hexBytes `json:"static,omitempty"` // private key
	StaticPublic  hexBytes `json:"static_public,omitempty"`
	Ephemeral     hexBytes `json:"ephemeral"`                // private key
	KEMSeed       hexBytes `json:"kem_seed,omitempty"`       // d || z of ML-KEM.KeyGen
	KEMRandomness hexBytes `json:"kem_randomness,omitempty"` // m of ML-KEM.Encaps
}

type vectorMessage struct {
	From    string   `json:"from"`
	Message hexBytes `json:"message"`
}

type vectorSecrets struct {
	I2RTraffic hexBytes `json:"i2r_traffic"`
	R2ITraffic hexBytes `json:"r2i_traffic"`
	I2RPacket  hexBytes `json:"i2r_packet"`
	R2IPacket  hexBytes `json:"r2i_packet"`
}

type vectorRecord struct {
	From      string   `json:"from"`
	Counter   uint64   `json:"counter"`
	Type      uint8    `json:"type"`
	Plaintext hexBytes `json:"plaintext"`
	Record    hexBytes `json:"record"`
}

type vectorPacket struct {
	From      string   `json:"from"`
	Counter   uint64   `json:"counter"`
	Plaintext hexBytes `json:"plaintext"`
	Packet    hexBytes `json:"packet"`
}

// shownCounters are those whose records and packets are in the vectors: the
// first ones, and those around the first rekeying (SPEC §4). Those that lie
// between have the key of the first.
var shownCounters = []uint64{0, 1, 65535, 65536}

func TestVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", "*.json"))
	is.New(t).NoErr(err) // listing vectors
	if !*update {
		is.New(t).Equal(len(files), len(messageSizes)) // a file for each suite
	}
	for suite := range messageSizes {
		t.Run(suite.String(), func(t *testing.T) {
			is := is.New(t)
			path := filepath.Join("testdata", "vectors", fmt.Sprintf("%04x.json", uint16(suite)))
			got, err := json.MarshalIndent(makeVector(t, suite), "", "\t")
			is.NoErr(err) // encoding a vector
			got = append(got, '\n')
			if *update {
				is.NoErr(os.WriteFile(path, got, 0o644)) // writing a vector
				return
			}
			want, err := os.ReadFile(path)
			is.NoErr(err)                   // reading a vector
			is.True(bytes.Equal(got, want)) // the vector as published
		})
	}
}

// seed returns n fixed bytes for a purpose.
func seed(purpose string, n int) []byte {
	sum := sha512.Sum512([]byte("securesp test vector: " + purpose))
	return sum[:n]
}

// makeVector runs a suite with fixed inputs. What each side makes, the other
// has to accept.
func makeVector(t *testing.T, suite mechanism.Suite) *vector {
	t.Helper()
	m, ok := noise.Mechanism(suite)
	is := is.New(t)
	is.True(ok)
	v := &vector{
		Suite:     fmt.Sprintf("%04x", uint16(suite)),
		Protocol:  suite.String(),
		Prologue:  []byte("securesp test vector prologue"),
		Initiator: vectorSide{Ephemeral: seed("initiator ephemeral", 32)},
		Responder: vectorSide{Ephemeral: seed("responder ephemeral", 32)},
	}
	traits := m.Traits()
	if traits.InitiatorKey {
		v.Initiator.setStatic(t, seed("initiator static", 32))
	}
	if traits.ResponderKey {
		v.Responder.setStatic(t, seed("responder static", 32))
	}
	if traits.PSK {
		v.PSK = seed("psk", 32)
	}
	if traits.Hybrid {
		v.Initiator.KEMSeed = seed("initiator ML-KEM-768 seed", 64)
		v.Responder.KEMRandomness = seed("responder ML-KEM-768 randomness", 32)
	}
	i := v.start(t, m, mechanism.Initiator, v.Initiator, v.Responder)
	r := v.start(t, m, mechanism.Responder, v.Responder, v.Initiator)
	sender, receiver := i, r
	for n := 0; sender.Next() != mechanism.Done; n++ {
		message, err := sender.AppendMessage(nil, nil)
		is.NoErr(err) // making a message
		_, err = receiver.ReadMessage(nil, message)
		is.NoErr(err) // reading a message
		v.Handshake = append(v.Handshake, vectorMessage{mechanism.Role(n % 2).String(), message})
		sender, receiver = receiver, sender
	}
	v.addRecords(t, i, r)
	v.addPackets(t, i, r)
	return v
}

func (s *vectorSide) setStatic(t *testing.T, private []byte) {
	t.Helper()
	key, err := keys.NewPrivate(private)
	is.New(t).NoErr(err) // a fixed static key
	s.Static, s.StaticPublic = private, key.Public().Bytes()
}

// start begins the handshake of one side.
func (v *vector) start(t *testing.T, m mechanism.Mechanism, role mechanism.Role, own, peer vectorSide) *noise.Handshake {
	t.Helper()
	is := is.New(t)
	var psks []hexBytes
	if v.PSK != nil {
		psks = append(psks, v.PSK)
	}
	config := vectorConfig(t, role, v.Prologue, append(bytes.Clone(own.Ephemeral), own.KEMSeed...),
		own.Static, peer.StaticPublic, psks)
	if role == mechanism.Initiator {
		config.KeyLog = v.logSecret
	}
	h, err := m.NewHandshake(config)
	is.NoErr(err) // starting a side
	noise.Derandomize(h.(*noise.Handshake), bytes.NewReader(own.KEMRandomness))
	return h.(*noise.Handshake)
}

func (v *vector) logSecret(label string, secret []byte) {
	*map[string]*hexBytes{
		"I2R_TRAFFIC_SECRET": &v.Secrets.I2RTraffic,
		"R2I_TRAFFIC_SECRET": &v.Secrets.R2ITraffic,
		"I2R_PACKET_SECRET":  &v.Secrets.I2RPacket,
		"R2I_PACKET_SECRET":  &v.Secrets.R2IPacket,
	}[label] = secret
}

func (v *vector) addRecords(t *testing.T, sides ...*noise.Handshake) {
	t.Helper()
	is := is.New(t)
	var sessions [2]mechanism.Session
	for role, h := range sides {
		var err error
		sessions[role], err = h.Session()
		is.NoErr(err) // session of a finished handshake
	}
	v.HandshakeHash = sessions[0].Binding()
	for _, counter := range shownCounters {
		for role, s := range sessions {
			if counter == 65535 {
				noise.SkipTo(s, true, counter)
				noise.SkipTo(sessions[1-role], false, counter)
			}
			from := mechanism.Role(role).String()
			plaintext := fmt.Appendf(nil, "record %d of the %s", counter, from)
			kind := mechanism.Data
			if counter == 0 {
				kind = mechanism.Ready
			}
			record, err := s.Encode(nil, kind, plaintext)
			is.NoErr(err) // encoding a record
			_, _, err = sessions[1-role].Decode(nil, record)
			is.NoErr(err) // decoding a record
			v.Records = append(v.Records, vectorRecord{from, counter, uint8(kind), plaintext, record})
		}
	}
}

func (v *vector) addPackets(t *testing.T, sides ...*noise.Handshake) {
	t.Helper()
	is := is.New(t)
	var sessions [2]mechanism.PacketSession
	for role, h := range sides {
		var err error
		sessions[role], err = h.PacketSession()
		is.NoErr(err) // packet session of a finished handshake
	}
	for _, counter := range shownCounters {
		for role, s := range sessions {
			if counter == 65535 {
				noise.SkipPacketsTo(s, counter)
			}
			from := mechanism.Role(role).String()
			plaintext := fmt.Appendf(nil, "packet %d of the %s", counter, from)
			packet, err := s.Seal(nil, plaintext)
			is.NoErr(err) // sealing a packet
			_, err = sessions[1-role].Open(nil, packet)
			is.NoErr(err) // opening a packet
			v.Packets = append(v.Packets, vectorPacket{from, counter, plaintext, packet})
		}
	}
}
