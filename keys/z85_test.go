package keys

import (
	"bytes"
	"testing"

	"github.com/matryer/is"
)

// TestZ85Golden takes the test case of ZeroMQ RFC 32.
func TestZ85Golden(t *testing.T) {
	is := is.New(t)
	b := []byte{0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B}
	is.Equal(encodeZ85(b), "HelloWorld")
	decoded, ok := decodeZ85("HelloWorld")
	is.True(ok) // good Z85
	is.True(bytes.Equal(decoded, b))
}

// FuzzZ85: decoding undoes encoding, and there is one text for given bytes.
func FuzzZ85(f *testing.F) {
	f.Add([]byte(nil), "")
	f.Add([]byte{0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B}, "HelloWorld")
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF}, "%nSc0")
	f.Add([]byte{0, 0, 0, 0}, "%nSc1")
	f.Add([]byte{0, 0, 0, 1}, "00 00")
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		b = b[:len(b)/4*4]
		decoded, ok := decodeZ85(encodeZ85(b))
		if !ok || !bytes.Equal(decoded, b) {
			t.Errorf("%x became %x", b, decoded)
		}
		if decoded, ok := decodeZ85(text); ok && encodeZ85(decoded) != text {
			t.Errorf("%q became %q", text, encodeZ85(decoded))
		}
	})
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
