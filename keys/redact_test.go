package keys_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
)

// holder has a secret in every place that something printed can have it.
type holder[T any] struct {
	Value     T
	Pointer   *T
	Any       any
	AnyPtr    any
	Slice     []T
	Pointers  []*T
	Array     [1]T
	Map       map[string]T
	value     T
	pointer   *T
	any       any
	anyPtr    any
	slice     []T
	pointers  []*T
	array     [1]T
	m         map[string]*T
	nested    struct{ inner struct{ value T } }
	nestedPtr *struct{ pointer *T }
}

func hold[T any](secret *T) *holder[T] {
	h := &holder[T]{
		*secret, secret, *secret, secret, []T{*secret}, []*T{secret}, [1]T{*secret}, map[string]T{"k": *secret},
		*secret, secret, *secret, secret, []T{*secret}, []*T{secret}, [1]T{*secret}, map[string]*T{"k": secret},
		struct{ inner struct{ value T } }{struct{ value T }{*secret}}, &struct{ pointer *T }{secret},
	}
	return h
}

// secretBytes are 32 bytes whose printed forms hardly occur by accident. As
// letters they are printable, lest a leak hide behind a substitute.
var secretBytes = []byte("Squeamish ossifrage, ssh, secret")

// traces are the forms in which secretBytes could be seen in what is printed.
func traces(revealed string) []string {
	all := []string{
		string(secretBytes), revealed[10:30],
		base64.StdEncoding.EncodeToString(secretBytes)[:30],
		base64.URLEncoding.EncodeToString(secretBytes)[:30],
		hex.EncodeToString(secretBytes)[:16], strings.ToUpper(hex.EncodeToString(secretBytes)[:16]),
	}
	for _, verb := range verbs {
		for _, form := range []any{secretBytes[8:16], [8]byte(secretBytes[8:16])} {
			all = append(all, strings.Trim(fmt.Sprintf(verb, form), "[]{}byteuin8 "))
		}
	}
	return all
}

var verbs = []string{
	"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%#x", "% x", "%d", "%o", "%b", "%c", "%U", "%t", "%e", "%g", "%p", "%20v", "%z",
}

// trace returns a trace of the secret in output, or "".
func trace(output, revealed string) string {
	for _, t := range traces(revealed) {
		if len(t) >= 8 && strings.Contains(output, t) {
			return t
		}
	}
	return ""
}

// printed returns all that can be made of v by printing it.
func printed(t *testing.T, v any) map[string]string {
	is := is.New(t)
	is.Helper()
	out := map[string]string{"Sprint": fmt.Sprint(v), "Sprintln": fmt.Sprintln(v)}
	for _, verb := range verbs {
		out[verb] = fmt.Sprintf(verb, v)
	}
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("text", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("json", "v", v, slog.Group("g", "v", v))
	out["slog"] = b.String()
	text, err := json.Marshal(v)
	is.NoErr(err) // JSON
	out["json"] = string(text)
	text, _ = xml.Marshal(v) // maps are an error; what is out by then counts
	out["xml"] = string(text)
	b.Reset()
	_ = gob.NewEncoder(&b).Encode(v) // likewise
	out["gob"] = b.String()
	return out
}

func TestSecretsDoNotPrint(t *testing.T) {
	private, err := keys.NewPrivate(secretBytes)
	is.New(t).NoErr(err) // private key
	shared, err := keys.NewShared(secretBytes)
	is.New(t).NoErr(err) // pre-shared key
	curve, err := keys.NewCurvePrivate(secretBytes)
	is.New(t).NoErr(err) // CURVE key
	t.Run("Private", func(t *testing.T) {
		testDoesNotPrint(t, private, private.Reveal(), "[redacted private key of "+private.Public().String()+"]")
	})
	t.Run("Shared", func(t *testing.T) {
		testDoesNotPrint(t, shared, shared.Reveal(), "[redacted pre-shared key]")
	})
	t.Run("CurvePrivate", func(t *testing.T) {
		testDoesNotPrint(t, curve, curve.Reveal(), "[redacted CURVE private key of "+curve.Public().String()+"]")
	})
}

func testDoesNotPrint[T any](t *testing.T, secret *T, revealed, note string) {
	for _, v := range []any{secret, *secret, &secret, hold(secret), *hold(secret), fmt.Errorf("wrapped: %v", secret)} {
		for how, output := range printed(t, v) {
			if seen := trace(output, revealed); seen != "" {
				t.Errorf("%s of %T shows %q in\n%s", how, v, seen, output)
			}
		}
	}
	is := is.New(t)
	for _, verb := range verbs {
		if verb != "%p" { // package fmt asks nobody about this one
			is.Equal(fmt.Sprintf(verb, secret), note)  // pointer
			is.Equal(fmt.Sprintf(verb, *secret), note) // value
		}
	}
	text, err := json.Marshal(secret)
	is.NoErr(err) // JSON
	var back string
	is.NoErr(json.Unmarshal(text, &back)) // a string
	is.Equal(back, note)
	is.True(gob.NewEncoder(new(bytes.Buffer)).Encode(secret) != nil) // gob has nothing to encode

	for _, v := range []any{secret, *secret, hold(secret)} {
		if reachable(reflect.ValueOf(v), secretBytes, map[unsafe.Pointer]bool{}) {
			t.Errorf("reflection finds the secret in %T", v)
		}
	}
}

// TestTraceSees makes sure that the test above would see a secret.
func TestTraceSees(t *testing.T) {
	type naive struct{ b [keys.Size]byte }
	private, err := keys.NewPrivate(secretBytes)
	is.New(t).NoErr(err) // private key
	type careless struct{ text string }
	for _, v := range []any{hold(&naive{[keys.Size]byte(secretBytes)}), naive{[keys.Size]byte(secretBytes)}} {
		out := printed(t, v)
		for _, how := range []string{"Sprint", "%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "slog"} {
			if trace(out[how], private.Reveal()) == "" {
				t.Errorf("%s of %T shows a secret that is not noticed: %s", how, v, out[how])
			}
		}
	}
	is := is.New(t)
	is.True(trace(fmt.Sprint(careless{private.Reveal()}), private.Reveal()) != "")
	type naivePtr struct{ p *naive }
	is.True(reachable(reflect.ValueOf(naivePtr{&naive{[keys.Size]byte(secretBytes)}}), secretBytes, map[unsafe.Pointer]bool{}))
	is.True(reachable(reflect.ValueOf(private.ECDH()), secretBytes, map[unsafe.Pointer]bool{})) // as the package comment warns
}

// reachable reports whether a printer that follows every pointer, exported or
// not, gets to the secret.
func reachable(v reflect.Value, secret []byte, seen map[unsafe.Pointer]bool) bool {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.UnsafePointer()] {
			return false
		}
		seen[v.UnsafePointer()] = true
		return reachable(v.Elem(), secret, seen)
	case reflect.Interface:
		return !v.IsNil() && reachable(v.Elem(), secret, seen)
	case reflect.Struct:
		for i := range v.NumField() {
			if reachable(v.Field(i), secret, seen) {
				return true
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if reachable(v.MapIndex(key), secret, seen) {
				return true
			}
		}
	case reflect.String:
		return strings.Contains(v.String(), string(secret))
	case reflect.Slice, reflect.Array:
		var b []byte
		for i := range v.Len() {
			if e := v.Index(i); e.Kind() == reflect.Uint8 {
				b = append(b, byte(e.Uint()))
			} else if reachable(e, secret, seen) {
				return true
			}
		}
		return bytes.Contains(b, secret)
	}
	return false
}

func TestNilSecretsPrint(t *testing.T) {
	is := is.New(t)
	is.Equal(fmt.Sprint((*keys.Private)(nil)), "<nil>")
	is.Equal(fmt.Sprint((*keys.Shared)(nil)), "<nil>")
	is.Equal(fmt.Sprint((*keys.CurvePrivate)(nil)), "<nil>")
	text, err := json.Marshal(struct{ K *keys.Private }{})
	is.NoErr(err) // JSON of no key
	is.Equal(string(text), `{"K":null}`)
}
