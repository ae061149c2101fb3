package keys_test

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
)

// sequence is the bytes 00 01 … 1f.
var sequence = func() []byte {
	b := make([]byte, keys.Size)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}()

// Text forms and the public key of sequence, computed with Python's hashlib
// and base64 and a transcription of RFC 7748 section 5:
//
//	p + urlsafe_b64encode(b + sha256(p + b).digest()[:4])
const (
	sequencePublic  = "spk1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-DYu72"
	sequencePrivate = "ssk1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8Avt-z"
	sequenceShared  = "sps1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8MzDvC"
	publicOfPrivate = "spk1:j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF9SRxoV"
	highPublic      = "spk1:4OHi4-Tl5ufo6err7O3u7_Dx8vP09fb3-Pn6-_z9_v9b4wjx" // e0 e1 … ff
)

func TestGoldenText(t *testing.T) {
	is := is.New(t)

	public, err := keys.ParsePublic(sequencePublic)
	is.NoErr(err) // a public key
	is.True(bytes.Equal(public.Bytes(), sequence))
	is.Equal(public.String(), sequencePublic)

	high := make([]byte, keys.Size)
	for i := range high {
		high[i] = byte(0xe0 + i)
	}
	public, err = keys.NewPublic(high)
	is.NoErr(err)                         // any bytes are a public key
	is.Equal(public.String(), highPublic) // the URL-safe alphabet

	private, err := keys.ParsePrivate(sequencePrivate)
	is.NoErr(err) // a private key
	is.True(bytes.Equal(private.ECDH().Bytes(), sequence))
	is.Equal(private.Reveal(), sequencePrivate)
	is.Equal(private.Public().String(), publicOfPrivate)

	shared, err := keys.ParseShared(sequenceShared)
	is.NoErr(err) // a pre-shared key
	is.True(bytes.Equal(shared.Bytes(), sequence))
	is.Equal(shared.Reveal(), sequenceShared)
}

// TestRFC7748 takes the keys of RFC 7748 section 6.1.
func TestRFC7748(t *testing.T) {
	for secret, public := range map[string]string{
		"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a": "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
		"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb": "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
	} {
		is := is.New(t)
		b, err := hex.DecodeString(secret)
		is.NoErr(err) // hexadecimal
		private, err := keys.NewPrivate(b)
		is.NoErr(err) // private key
		is.Equal(hex.EncodeToString(private.Public().Bytes()), public)
		curve, err := keys.NewCurvePrivate(b)
		is.NoErr(err) // CURVE key
		got := curve.Public().Bytes()
		is.Equal(hex.EncodeToString(got[:]), public)
	}
}

func TestParseRefuses(t *testing.T) {
	body := strings.TrimPrefix(sequencePublic, "spk1:")
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"empty":                  {"", keys.ErrFormat},
		"prefix alone":           {"spk1:", keys.ErrFormat},
		"no prefix":              {body, keys.ErrFormat},
		"private key":            {sequencePrivate, keys.ErrFormat},
		"pre-shared key":         {sequenceShared, keys.ErrFormat},
		"unknown version":        {"spk2:" + body, keys.ErrFormat},
		"upper-case prefix":      {"SPK1:" + body, keys.ErrFormat},
		"space before":           {" " + sequencePublic, keys.ErrFormat},
		"newline after":          {sequencePublic + "\n", keys.ErrFormat},
		"newline within":         {sequencePublic[:20] + "\n" + sequencePublic[20:], keys.ErrFormat},
		"newline for a letter":   {sequencePublic[:20] + "\n" + sequencePublic[21:], keys.ErrFormat},
		"newlines, right length": {sequencePublic[:20] + "\r\n\r\n" + sequencePublic[24:], keys.ErrFormat},
		"one letter short":       {sequencePublic[:len(sequencePublic)-1], keys.ErrFormat},
		"one letter more":        {sequencePublic + "A", keys.ErrFormat},
		"padding":                {sequencePublic[:len(sequencePublic)-1] + "=", keys.ErrFormat},
		"standard base64":        {strings.Replace(highPublic, "-", "+", 1), keys.ErrFormat},
		"not base64":             {strings.Replace(sequencePublic, "AAEC", "AA!C", 1), keys.ErrFormat},
		"mistyped":               {strings.Replace(sequencePublic, "AAEC", "AAED", 1), keys.ErrChecksum},
		"private key relabelled": {"spk1:" + strings.TrimPrefix(sequencePrivate, "ssk1:"), keys.ErrChecksum},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			key, err := keys.ParsePublic(c.text)
			is.True(errors.Is(err, c.want)) // refused for the right reason
			is.True(key.IsZero())           // and nothing returned
			is.True(strings.HasPrefix(err.Error(), "securesp: "))
			is.Equal(strings.Count(err.Error(), "securesp:"), 1)
			is.True(!strings.Contains(err.Error(), "AwQFBgc")) // nothing of the text repeated
		})
	}
}

// TestEveryLetterCounts alters each character of a key in turn.
func TestEveryLetterCounts(t *testing.T) {
	is := is.New(t)
	for i := range sequencePrivate {
		altered := []byte(sequencePrivate)
		altered[i] ^= 1
		_, err := keys.ParsePrivate(string(altered))
		is.True(errors.Is(err, keys.ErrFormat) || errors.Is(err, keys.ErrChecksum)) // altered key refused
	}
}

func TestBytesRefused(t *testing.T) {
	constructors := map[string]func([]byte) error{
		"NewPublic":       func(b []byte) error { _, err := keys.NewPublic(b); return err },
		"NewPrivate":      func(b []byte) error { _, err := keys.NewPrivate(b); return err },
		"NewShared":       func(b []byte) error { _, err := keys.NewShared(b); return err },
		"NewCurvePublic":  func(b []byte) error { _, err := keys.NewCurvePublic(b); return err },
		"NewCurvePrivate": func(b []byte) error { _, err := keys.NewCurvePrivate(b); return err },
	}
	for name, construct := range constructors {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.NoErr(construct(sequence)) // 32 bytes
			for _, bad := range [][]byte{nil, {}, sequence[:31], append(sequence[:32:32], 1), make([]byte, keys.Size)} {
				is.True(errors.Is(construct(bad), keys.ErrFormat)) // wrong length, or all zero
			}
		})
	}
}

// TestConstructorsCopy sees to it that callers may clear what they passed, and
// what they got.
func TestConstructorsCopy(t *testing.T) {
	is := is.New(t)
	b := bytes.Clone(sequence)
	public, err := keys.NewPublic(b)
	is.NoErr(err) // public key
	private, err := keys.NewPrivate(b)
	is.NoErr(err) // private key
	shared, err := keys.NewShared(b)
	is.NoErr(err) // pre-shared key
	curve, err := keys.NewCurvePrivate(b)
	is.NoErr(err) // CURVE key
	clear(b)
	clear(public.Bytes())
	clear(shared.Bytes())
	clear(private.ECDH().Bytes())
	curveBytes := curve.Bytes()
	clear(curveBytes[:])
	is.Equal(public.String(), sequencePublic)
	is.Equal(private.Reveal(), sequencePrivate)
	is.Equal(shared.Reveal(), sequenceShared)
	is.Equal(curve.Bytes(), [keys.Size]byte(sequence))
}

func TestGenerate(t *testing.T) {
	is := is.New(t)
	a, err := keys.Generate()
	is.NoErr(err) // generate
	b, err := keys.Generate()
	is.NoErr(err)                     // generate
	is.True(a.Public() != b.Public()) // two keys differ
	kept := a.ECDH()
	is.True(a.ECDH() == kept) // always the same object
	again, err := keys.ParsePrivate(a.Reveal())
	is.NoErr(err) // parse what Reveal returned
	is.Equal(again.Public(), a.Public())

	public, err := b.Public().ECDH()
	is.NoErr(err) // public key for crypto/ecdh
	ours, err := a.ECDH().ECDH(public)
	is.NoErr(err) // Diffie-Hellman
	public, err = a.Public().ECDH()
	is.NoErr(err) // public key for crypto/ecdh
	theirs, err := b.ECDH().ECDH(public)
	is.NoErr(err) // Diffie-Hellman
	is.True(bytes.Equal(ours, theirs))
}

// TestLowOrder pins down who notices a public key that is a point of low
// order: the operation, not the parser.
func TestLowOrder(t *testing.T) {
	is := is.New(t)
	one := make([]byte, keys.Size)
	one[0] = 1
	key, err := keys.NewPublic(one)
	is.NoErr(err) // taken as a key
	public, err := key.ECDH()
	is.NoErr(err) // taken as a key
	private, err := keys.Generate()
	is.NoErr(err) // generate
	_, err = private.ECDH().ECDH(public)
	is.True(err != nil) // but of no use
}

func TestShared(t *testing.T) {
	is := is.New(t)
	a, err := keys.GenerateShared()
	is.NoErr(err) // generate
	b, err := keys.GenerateShared()
	is.NoErr(err) // generate
	is.True(!a.Equal(b))
	same, err := keys.ParseShared(a.Reveal())
	is.NoErr(err) // parse what Reveal returned
	is.True(a.Equal(same))
}

func TestZeroValues(t *testing.T) {
	is := is.New(t)
	var public keys.Public
	is.True(public.IsZero())
	is.Equal(public.String(), "no key")
	_, err := public.ECDH()
	is.True(errors.Is(err, keys.ErrFormat)) // no key to use
	var curve keys.CurvePublic
	is.True(curve.IsZero())
	is.Equal(curve.String(), "no key")
	_, err = curve.ECDH()
	is.True(errors.Is(err, keys.ErrFormat)) // no key to use

	for _, p := range []*keys.Private{nil, {}} {
		is.True(p.Public().IsZero())
		is.Equal(p.ECDH(), (*ecdh.PrivateKey)(nil))
		is.True(panics(func() { p.Reveal() }))
	}
	for _, p := range []*keys.CurvePrivate{nil, {}} {
		is.True(p.Public().IsZero())
		is.Equal(p.ECDH(), (*ecdh.PrivateKey)(nil))
		is.True(panics(func() { p.Bytes() }))
		is.True(panics(func() { p.Reveal() }))
	}
	for _, s := range []*keys.Shared{nil, {}} {
		is.True(panics(func() { s.Bytes() }))
		is.True(panics(func() { s.Equal(s) }))
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return
}

func TestPublicInJSON(t *testing.T) {
	is := is.New(t)
	type config struct {
		Peer  keys.Public
		Curve keys.CurvePublic
		None  keys.Public
		Gone  keys.Public         `json:",omitzero"`
		Names map[keys.Public]int // also as a map key
	}
	peer, err := keys.ParsePublic(sequencePublic)
	is.NoErr(err) // parse
	curve, err := keys.NewCurvePublic(sequence)
	is.NoErr(err) // CURVE key
	in := config{Peer: peer, Curve: curve, Names: map[keys.Public]int{peer: 7}}
	text, err := json.Marshal(in)
	is.NoErr(err)                                                   // encode
	is.True(bytes.Contains(text, []byte(`"`+sequencePublic+`":7`))) // as text
	is.True(bytes.Contains(text, []byte(`"None":""`)))
	is.True(!bytes.Contains(text, []byte("Gone")))
	var out config
	is.NoErr(json.Unmarshal(text, &out)) // decode
	is.Equal(in, out)

	err = json.Unmarshal([]byte(`{"Peer":"`+sequencePrivate+`"}`), &out)
	is.True(errors.Is(err, keys.ErrFormat)) // another kind of key
	is.Equal(out.Peer, peer)                // and the old one stays
}

func TestPublicAsFlag(t *testing.T) {
	is := is.New(t)
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var peer keys.Public
	var curve keys.CurvePublic
	flags.TextVar(&peer, "peer", keys.Public{}, "the peer's `key`")
	flags.TextVar(&curve, "curve", keys.CurvePublic{}, "the peer's `key`")
	is.NoErr(flags.Parse([]string{"-peer", sequencePublic, "-curve", "009c61o!#m2NH?C3>iWS5d]J*6CRx17-skh9337x"}))
	is.Equal(peer.String(), sequencePublic)
	is.Equal(curve.Bytes(), [keys.Size]byte(sequence))
	is.True(flags.Parse([]string{"-peer", "nonsense"}) != nil)
}
