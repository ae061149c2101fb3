package keys

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what a secret type embeds to print as note and nothing else.
//
// That holds where these methods are called. Package fmt does not call them on
// unexported fields but prints what it finds there by reflection, and other
// printers do so everywhere. Secrets are therefore kept behind a function: no
// reflection sees what a closure holds. It also makes the types impossible to
// compare with ==, which would not be constant-time.
type redacted struct{ note string }

// String returns a note in place of the secret.
func (r redacted) String() string { return r.note }

// Format prints a note in place of the secret, whatever the verb.
func (r redacted) Format(f fmt.State, _ rune) { io.WriteString(f, r.note) }

// LogValue returns a note in place of the secret.
func (r redacted) LogValue() slog.Value { return slog.StringValue(r.note) }

// MarshalText returns a note in place of the secret, which cannot be parsed
// back. It keeps secrets out of JSON and whatever else encodes text.
func (r redacted) MarshalText() ([]byte, error) { return []byte(r.note), nil }
