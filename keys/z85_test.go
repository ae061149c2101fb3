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
