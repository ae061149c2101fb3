package keys

import (
	"encoding/binary"
)

// z85Digits is the alphabet of Z85 (ZeroMQ RFC 32).
const z85Digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

// z85Values maps a character to its digit, 0xFF if it is none.
var z85Values = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xFF
	}
	for i := range len(z85Digits) {
		values[z85Digits[i]] = byte(i)
	}
	return values
}()

// encodeZ85 returns b, whose length is a multiple of 4, as Z85: each 4 bytes
// are a big-endian number that 5 digits in base 85 express, the first the most
// significant (ZeroMQ RFC 32).
func encodeZ85(b []byte) string {
	text := make([]byte, 0, len(b)/4*5)
	defer func() { clear(text) }()
	for ; len(b) > 0; b = b[4:] {
		n := binary.BigEndian.Uint32(b)
		var group [5]byte
		for i := len(group) - 1; i >= 0; i-- {
			group[i] = z85Digits[n%85]
			n /= 85
		}
		text = append(text, group[:]...)
	}
	return string(text)
}

// decodeZ85 is the inverse of encodeZ85. It reports false if text is not what
// encodeZ85 returns for some bytes.
func decodeZ85(text string) ([]byte, bool) {
	if len(text)%5 != 0 {
		return nil, false
	}
	b := make([]byte, 0, len(text)/5*4)
	for ; len(text) > 0; text = text[5:] {
		var n uint64
		for i := range 5 {
			digit := z85Values[text[i]]
			if digit == 0xFF {
				clear(b)
				return nil, false
			}
			n = n*85 + uint64(digit)
		}
		if n > 0xFFFFFFFF { // 5 digits can say more than 4 bytes hold
			clear(b)
			return nil, false
		}
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return b, true
}
