package keys

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/securesp/securesp/internal/safefile"
)

// CurveCert is what a CURVE certificate of CZMQ holds: keys and a few words
// about their owner. Nobody signs such a certificate; it is a file for keys.
type CurveCert struct {
	Public   CurvePublic
	Private  *CurvePrivate     // nil if the certificate holds no secret key
	Metadata map[string]string // such as "name" and "email"
}

// secretSuffix makes the name of the file with the secret key from that of the
// public one.
const secretSuffix = "_secret"

// LoadCurveCert reads one certificate file as CZMQ and pyzmq write them: text
// in ZPL (ZeroMQ RFC 4) with the sections "metadata" and "curve", the latter
// with public-key and, in a file named …_secret, secret-key, each in Z85.
// Unlike CZMQ it reads the file it is told and no other.
//
// It is strict: a section or key it does not know, one that occurs twice or a
// secret key that does not belong to the public one is an error that matches
// ErrFormat and names the line. A file with a secret key that others than its
// owner may access is ErrPermissions (not checked on Windows); pyzmq creates
// such files.
func LoadCurveCert(path string) (*CurveCert, error) {
	f, info, err := safefile.Open(path)
	if err != nil {
		return nil, readError(path, err)
	}
	defer f.Close()
	content, err := safefile.ReadAll(f, info.Size(), maxFileSize)
	if err != nil {
		return nil, readError(path, err)
	}
	defer clear(content)
	c, err := parseCurveCert(content)
	if err != nil {
		return nil, fileError(path, err.Error(), ErrFormat)
	}
	if mode := info.Mode().Perm(); c.Private != nil && mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fileError(path, fmt.Sprintf("holds a secret key and is accessible to others (mode %04o): "+
			"run \"chmod 600\" on it, and make a new key if others may have read it", mode), ErrPermissions)
	}
	return c, nil
}

// Save writes the certificate as CZMQ does: the public part to path and, if
// there is a secret key, everything to path with "_secret" appended. Both are
// new files that only the owner may access; the public one may be given to
// others. If one of them exists no other is made, and the error matches
// fs.ErrExist. It is ErrFormat if there is no key, the two do not belong
// together or the metadata cannot be expressed.
func (c *CurveCert) Save(path string) error {
	public, err := c.encode()
	if err != nil {
		return err
	}
	if c.Private != nil {
		secret := public + "\n    secret-key = \"" + c.Private.Reveal() + "\""
		if err := saveKey(path+secretSuffix, "# CURVE certificate with a SECRET key: keep this file to yourself", secret); err != nil {
			return err
		}
	}
	err = saveKey(path, "# CURVE certificate: no secret, but see that nobody replaces it on its way", public)
	if err != nil && c.Private != nil {
		return errors.Join(err, os.Remove(path+secretSuffix))
	}
	return err
}

// encode returns the content of the public certificate file without the
// comment at its head and the line break at its end. The section curve is the last one.
func (c *CurveCert) encode() (string, error) {
	switch {
	case c.Private != nil && c.Private.Public() != c.Public:
		return "", &keyError{"the keys of a CURVE certificate do not belong together", ErrFormat}
	case c.Public.IsZero():
		return "", &keyError{"a CURVE certificate needs a public key", ErrFormat}
	}
	var b strings.Builder
	b.WriteString("metadata\n")
	for _, name := range slices.Sorted(maps.Keys(c.Metadata)) {
		value, ok := quoteZPL(c.Metadata[name])
		if !ok || !validZPLName(name) {
			return "", &keyError{"metadata of a CURVE certificate cannot be written to its file", ErrFormat}
		}
		fmt.Fprintf(&b, "    %s = %s\n", name, value)
	}
	fmt.Fprintf(&b, "curve\n    public-key = \"%s\"", c.Public)
	return b.String(), nil
}

// parseCurveCert reads what encode wrote. Its errors are texts without prefix
// that begin with the line and contain nothing of the content.
func parseCurveCert(content []byte) (*CurveCert, error) {
	p := certParser{cert: &CurveCert{Metadata: make(map[string]string)}, seen: make(map[string]bool)}
	number := 0
	for line := range bytes.Lines(content) {
		number++
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if problem := p.line(string(line)); problem != "" {
			return nil, fmt.Errorf("line %d: %s", number, problem)
		}
	}
	switch c := p.cert; {
	case c.Public.IsZero():
		return nil, errors.New("holds no public-key in a section curve")
	case c.Private != nil && c.Private.Public() != c.Public:
		return nil, errors.New("has a secret-key that does not belong to its public-key")
	}
	return p.cert, nil
}

type certParser struct {
	cert    *CurveCert
	section string
	seen    map[string]bool // sections, and properties after their section's name
}

// line takes one line and returns what is wrong with it, if anything.
func (p *certParser) line(text string) (problem string) {
	if !printable(text) {
		return "a character that cannot be printed"
	}
	body := strings.TrimLeft(text, " ")
	if body == "" || body[0] == '#' {
		return ""
	}
	indent := len(text) - len(body)
	name, value, problem := parseZPL(body)
	switch {
	case problem != "":
		return problem
	case indent == 0:
		return p.open(name, value)
	case indent != 4:
		return "wrong indentation; a section has none, what is in it 4 spaces"
	case p.section == "":
		return "a property outside of the sections"
	case p.seen[p.section+"/"+name]:
		return "a property occurs twice"
	}
	p.seen[p.section+"/"+name] = true
	return p.property(name, value)
}

func (p *certParser) open(name, value string) (problem string) {
	switch {
	case value != "" || name != "metadata" && name != "curve":
		return "not a section of a CURVE certificate; those are metadata and curve"
	case p.seen[name]:
		return "a section occurs twice"
	}
	p.seen[name] = true
	p.section = name
	return ""
}

func (p *certParser) property(name, value string) (problem string) {
	var err error
	switch {
	case p.section == "metadata":
		p.cert.Metadata[name] = value
	case name == "public-key":
		p.cert.Public, err = ParseCurvePublic(value)
	case name == "secret-key":
		p.cert.Private, err = ParseCurvePrivate(value)
	default:
		return "not a key of a CURVE certificate; those are public-key and secret-key"
	}
	if err != nil {
		return strings.TrimPrefix(err.Error(), "securesp: ")
	}
	return ""
}

// parseZPL splits a line "name", "name = value" or "name = "value"", each
// perhaps with a comment behind it (ZeroMQ RFC 4).
func parseZPL(body string) (name, value, problem string) {
	end := strings.IndexFunc(body, func(c rune) bool { return !isZPLNameChar(c) })
	if end < 0 {
		end = len(body)
	}
	name, rest := body[:end], strings.TrimLeft(body[end:], " ")
	if !validZPLName(name) {
		return "", "", "neither a section nor a property"
	}
	value, found := strings.CutPrefix(rest, "=")
	if !found {
		if rest != "" && rest[0] != '#' {
			return "", "", "something other than = behind a name"
		}
		return name, "", ""
	}
	value = strings.TrimLeft(value, " ")
	if value != "" && (value[0] == '"' || value[0] == '\'') {
		quoted, rest, closed := strings.Cut(value[1:], value[:1])
		rest = strings.TrimLeft(rest, " ")
		if !closed || rest != "" && rest[0] != '#' {
			return "", "", "a value with a quote that does not end it"
		}
		return name, quoted, ""
	}
	value, _, _ = strings.Cut(value, "#")
	return name, strings.TrimRight(value, " "), ""
}

// quoteZPL returns value in quotes, or false if no quotes can hold it: ZPL has
// no escapes.
func quoteZPL(value string) (string, bool) {
	if !printable(value) {
		return "", false
	}
	for _, quote := range []string{`"`, `'`} {
		if !strings.Contains(value, quote) {
			return quote + value + quote, true
		}
	}
	return "", false
}

func printable(text string) bool {
	return utf8.ValidString(text) && strings.IndexFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
}

func validZPLName(name string) bool {
	return name != "" && name[0] != '/' && name[len(name)-1] != '/' &&
		strings.IndexFunc(name, func(c rune) bool { return !isZPLNameChar(c) }) < 0
}

func isZPLNameChar(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.ContainsRune("$-_@.&+/", c)
}
