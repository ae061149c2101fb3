package keys

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
)

// The prefixes of keys as text (SPEC §6).
const (
	publicPrefix        = "spk1:"
	privatePrefix       = "ssk1:"
	sharedPrefix        = "sps1:"
	servicePrefix       = "sek1:"
	serviceSecretPrefix = "sdk1:"
)

// kinds names what each prefix stands for.
var kinds = []struct{ prefix, name string }{
	{publicPrefix, "public key"},
	{privatePrefix, "private key"},
	{sharedPrefix, "pre-shared key"},
	{servicePrefix, "service key"},
	{serviceSecretPrefix, "secret service key"},
}

const checksumSize = 4

// textEncoding is strict: of the texts that would decode to the same bytes it
// accepts one.
var textEncoding = base64.RawURLEncoding.Strict()

// encodeText returns prefix ‖ base64url(b ‖ checksum), where checksum is the
// first 4 bytes of SHA-256(prefix ‖ b) (SPEC §6).
func encodeText(prefix string, b []byte) string {
	sealed := make([]byte, 0, len(b)+checksumSize)
	sealed = append(sealed, b...)
	sealed = append(sealed, checksum(prefix, b)...)
	defer clear(sealed)
	return prefix + textEncoding.EncodeToString(sealed)
}

// decodeText is the inverse of encodeText for size bytes. It returns errors
// that match ErrFormat or ErrChecksum and contain nothing of text.
func decodeText(prefix, text string, size int) ([]byte, error) {
	name := kindOf(prefix)
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return nil, wrongKind(prefix, text)
	}
	// The decoder skips line breaks; both lengths must be right to rule
	// them out.
	if want := textEncoding.EncodedLen(size + checksumSize); len(encoded) != want {
		return nil, &keyError{fmt.Sprintf("a %s has %d characters after %q, this text has %d",
			name, want, prefix, len(encoded)), ErrFormat}
	}
	sealed, err := textEncoding.DecodeString(encoded)
	if err != nil || len(sealed) != size+checksumSize {
		clear(sealed)
		return nil, &keyError{fmt.Sprintf("%s has a character that does not belong in one", name), ErrFormat}
	}
	b, sum := sealed[:size:size], sealed[size:]
	if subtle.ConstantTimeCompare(sum, checksum(prefix, b)) != 1 {
		clear(sealed)
		return nil, &keyError{fmt.Sprintf("%s was altered or mistyped: its checksum does not match; copy it again", name), ErrChecksum}
	}
	return b, nil
}

func checksum(prefix string, b []byte) []byte {
	h := sha256.New()
	h.Write([]byte(prefix))
	h.Write(b)
	return h.Sum(nil)[:checksumSize]
}

func kindOf(prefix string) string {
	for _, k := range kinds {
		if k.prefix == prefix {
			return k.name
		}
	}
	panic("securesp: no key has this prefix")
}

// wrongKind says what text is instead of a key with prefix.
func wrongKind(prefix, text string) error {
	name := kindOf(prefix)
	for _, k := range kinds {
		if strings.HasPrefix(text, k.prefix) {
			return &keyError{fmt.Sprintf("a %s (%s…) was given where a %s (%s…) belongs",
				k.name, k.prefix, name, prefix), ErrFormat}
		}
	}
	return &keyError{fmt.Sprintf("a %s starts with %q, this text does not", name, prefix), ErrFormat}
}

// checkBytes refuses what cannot be a key of the named kind: another size than
// Size, and 32 zero bytes, which are a forgotten buffer and, as a public key,
// the mark of no key at all.
func checkBytes(name string, b []byte) error {
	if len(b) != Size {
		return &keyError{fmt.Sprintf("a %s is %d bytes long, not %d", name, Size, len(b)), ErrFormat}
	}
	var zero [Size]byte
	if subtle.ConstantTimeCompare(b, zero[:]) == 1 {
		return &keyError{fmt.Sprintf("a %s cannot be all zero bytes", name), ErrFormat}
	}
	return nil
}
