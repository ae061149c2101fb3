package curve

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/securesp/securesp/mechanism"
)

// maxMetadata is how long encoded metadata may be, so that the longest command
// that carries it, INITIATE, keeps to mechanism.MaxHandshakeMessage.
const maxMetadata = mechanism.MaxHandshakeMessage - minInitiate

// Property is one entry of [Metadata].
type Property struct {
	// Name is 1 to 255 letters, digits and characters of "-_.+". Upper and
	// lower case are the same.
	Name string
	// Value is any bytes.
	Value []byte
}

// Metadata is what the two sides tell each other inside their INITIATE and
// READY commands (RFC 26): for ZMTP, above all "Socket-Type" and "Identity".
// No name occurs twice. All of it takes at most 3839 bytes encoded; a property
// takes 5 more than its name and value.
type Metadata []Property

// Get returns the value of the property with the given name, in any case, and
// whether there is one.
func (m Metadata) Get(name string) ([]byte, bool) {
	for _, p := range m {
		if strings.EqualFold(p.Name, name) {
			return p.Value, true
		}
	}
	return nil, false
}

// encode returns m as it travels:
//
//	property = len:u8 | name | len:u32 | value
func (m Metadata) encode() ([]byte, error) {
	var out []byte
	for i, p := range m {
		if _, twice := m[:i].Get(p.Name); twice {
			return nil, fmt.Errorf("%w: a metadata property occurs twice", mechanism.ErrConfig)
		}
		if !validName(p.Name) {
			return nil, fmt.Errorf("%w: invalid name of a metadata property", mechanism.ErrConfig)
		}
		out = append(out, byte(len(p.Name)))
		out = append(out, p.Name...)
		if len(p.Value) > maxMetadata {
			return nil, fmt.Errorf("%w: metadata is too long", mechanism.ErrConfig)
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(p.Value)))
		out = append(out, p.Value...)
	}
	if len(out) > maxMetadata {
		return nil, fmt.Errorf("%w: metadata is too long", mechanism.ErrConfig)
	}
	return out, nil
}

// parseMetadata is the inverse of encode. The result shares no memory with b.
func parseMetadata(b []byte) (Metadata, error) {
	var m Metadata
	seen := make(map[string]bool)
	for len(b) > 0 {
		nameLen := int(b[0])
		b = b[1:]
		if len(b) < nameLen+4 {
			return nil, mechanism.ErrMalformed
		}
		name := string(b[:nameLen])
		valueLen := binary.BigEndian.Uint32(b[nameLen:])
		b = b[nameLen+4:]
		if valueLen > math.MaxInt32 || int(valueLen) > len(b) {
			return nil, mechanism.ErrMalformed
		}
		folded := strings.ToLower(name)
		if !validName(name) || seen[folded] {
			return nil, mechanism.ErrMalformed
		}
		seen[folded] = true
		m = append(m, Property{Name: name, Value: append([]byte{}, b[:valueLen]...)})
		b = b[valueLen:]
	}
	return m, nil
}

// validName reports whether name is one that RFC 26 allows.
func validName(name string) bool {
	if len(name) == 0 || len(name) > math.MaxUint8 {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == '+':
		default:
			return false
		}
	}
	return true
}
