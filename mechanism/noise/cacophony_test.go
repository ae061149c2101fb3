package noise_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// vectorFile returns a published file of test vectors. Such files are not part
// of the module: they are looked for in the directory that the environment
// variable SECURESP_VECTORS names, or beside the module.
func vectorFile(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("SECURESP_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "vectors")
	}
	content, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no published vectors: set SECURESP_VECTORS to a directory with %s", name)
	}
	is.New(t).NoErr(err) // reading vectors
	return content
}

// hexBytes is a byte string written in hexadecimal.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// cacophonyVector is one entry of the vectors of the cacophony project, which
// Noise implementations commonly test with.
type cacophonyVector struct {
	Name             string     `json:"protocol_name"`
	InitPrologue     hexBytes   `json:"init_prologue"`
	InitEphemeral    hexBytes   `json:"init_ephemeral"`
	InitStatic       hexBytes   `json:"init_static"`
	InitRemoteStatic hexBytes   `json:"init_remote_static"`
	InitPSKs         []hexBytes `json:"init_psks"`
	RespPrologue     hexBytes   `json:"resp_prologue"`
	RespEphemeral    hexBytes   `json:"resp_ephemeral"`
	RespStatic       hexBytes   `json:"resp_static"`
	RespRemoteStatic hexBytes   `json:"resp_remote_static"`
	RespPSKs         []hexBytes `json:"resp_psks"`
	HandshakeHash    hexBytes   `json:"handshake_hash"`
	Messages         []struct {
		Payload    hexBytes `json:"payload"`
		Ciphertext hexBytes `json:"ciphertext"`
	} `json:"messages"`
}

// fundamental matches the protocols that are ours to know: the one-way and
// fundamental patterns, which leaves out the deferred ones (with a 1 after a
// letter), and one DH function.
var fundamental = regexp.MustCompile(`^Noise_[A-Z]+(psk[0-9])?_25519_`)

func TestCacophony(t *testing.T) {
	var file struct{ Vectors []cacophonyVector }
	is := is.New(t)
	is.NoErr(json.Unmarshal(vectorFile(t, "cacophony.txt"), &file)) // parsing vectors
	ran := 0
	for _, v := range file.Vectors {
		if fundamental.MatchString(v.Name) {
			ran++
			t.Run(v.Name, func(t *testing.T) { testCacophonyVector(t, v) })
		}
	}
	is.Equal(ran, 36*8) // patterns times ciphers and hashes
}

func testCacophonyVector(t *testing.T, v cacophonyVector) {
	is := is.New(t)
	i, err := noise.New(v.Name, vectorConfig(t, mechanism.Initiator,
		v.InitPrologue, v.InitEphemeral, v.InitStatic, v.InitRemoteStatic, v.InitPSKs))
	is.NoErr(err) // starting the initiator
	r, err := noise.New(v.Name, vectorConfig(t, mechanism.Responder,
		v.RespPrologue, v.RespEphemeral, v.RespStatic, v.RespRemoteStatic, v.RespPSKs))
	is.NoErr(err) // starting the responder

	sender, receiver := i, r
	n := 0
	for ; i.Next() != mechanism.Done; n++ {
		message, err := sender.AppendMessage(nil, v.Messages[n].Payload)
		is.NoErr(err) // making a message
		is.Equal(hex.EncodeToString(message), hex.EncodeToString(v.Messages[n].Ciphertext))
		payload, err := receiver.ReadMessage(nil, message)
		is.NoErr(err) // reading a message
		is.True(bytes.Equal(payload, v.Messages[n].Payload))
		sender, receiver = receiver, sender
	}
	is.Equal(r.Next(), mechanism.Done)
	is.True(bytes.Equal(noise.HandshakeHash(i), v.HandshakeHash))
	is.True(bytes.Equal(noise.HandshakeHash(r), v.HandshakeHash))

	is.True(n < len(v.Messages)) // there are transport messages
	ours, theirs := noise.Split(i), noise.Split(r)
	oneWay := n == 1
	for ; n < len(v.Messages); n++ {
		role := n % 2
		if oneWay {
			role = int(mechanism.Initiator)
		}
		for _, side := range [][2]*noise.Transport{ours, theirs} {
			got := side[role].Encrypt(v.Messages[n].Payload)
			is.Equal(hex.EncodeToString(got), hex.EncodeToString(v.Messages[n].Ciphertext))
		}
	}
}

// vectorConfig makes a configuration from a vector's bytes; empty ones are not
// set.
func vectorConfig(t *testing.T, role mechanism.Role, prologue, ephemeral, static, remote hexBytes, psks []hexBytes) mechanism.Config {
	t.Helper()
	is := is.New(t)
	config := mechanism.Config{Role: role, Prologue: prologue, Rand: bytes.NewReader(ephemeral)}
	var err error
	if len(static) > 0 {
		config.Identity, err = keys.NewPrivate(static)
		is.NoErr(err) // a vector's static key
	}
	if len(remote) > 0 {
		config.Peer, err = keys.NewPublic(remote)
		is.NoErr(err) // a vector's remote key
	}
	for _, psk := range psks {
		config.PSK, err = keys.NewShared(psk)
		is.NoErr(err) // a vector's pre-shared key
	}
	return config
}
