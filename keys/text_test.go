package keys

import (
	"bytes"
	"errors"
	"testing"

	"github.com/matryer/is"
)

// TestOneText sees that bytes have one text only, also where base64 leaves bits
// of its last letter unused.
func TestOneText(t *testing.T) {
	is := is.New(t)
	for _, size := range []int{Size, 31, 1216} {
		text := encodeText(servicePrefix, make([]byte, size))
		for c := range 256 {
			other := text[:len(text)-1] + string([]byte{byte(c)})
			_, err := decodeText(servicePrefix, other, size)
			is.Equal(err == nil, other == text) // no other last letter will do
			is.True(err == nil || errors.Is(err, ErrFormat) || errors.Is(err, ErrChecksum))
		}
	}
}

// FuzzText: decoding undoes encoding for every kind and size of key, and there
// is one text for given bytes.
func FuzzText(f *testing.F) {
	f.Add(make([]byte, Size), "spk1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-DYu72")
	f.Add([]byte{}, "ssk1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8Avt-z")
	f.Add(make([]byte, 1216), "sps1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8MzDvC")
	f.Add([]byte{1, 2}, "spk1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-DYu7\n")
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		for _, kind := range kinds {
			decoded, err := decodeText(kind.prefix, encodeText(kind.prefix, b), len(b))
			if err != nil || !bytes.Equal(decoded, b) {
				t.Errorf("%s: %x became %x, %v", kind.prefix, b, decoded, err)
			}
			for _, size := range []int{Size, 1, 2} {
				if decoded, err := decodeText(kind.prefix, text, size); err == nil && encodeText(kind.prefix, decoded) != text {
					t.Errorf("%q became %q", text, encodeText(kind.prefix, decoded))
				}
			}
		}
	})
}

// FuzzIdentityFile: no content of a file makes Load's parser do worse than
// return an error, and what it accepts is one key.
func FuzzIdentityFile(f *testing.F) {
	const key = "ssk1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8Avt-z"
	f.Add([]byte(key))
	f.Add([]byte("# comment\r\n\r\n  " + key + "  \r\n"))
	f.Add([]byte(key + "\n" + key))
	f.Add([]byte("\n#\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		text, err := keyLine("f", privatePrefix, content)
		if err != nil {
			return
		}
		if p, err := ParsePrivate(string(text)); err == nil && !bytes.Contains(content, []byte(p.Reveal())) {
			t.Errorf("%q is not in %q", p.Reveal(), content)
		}
	})
}
