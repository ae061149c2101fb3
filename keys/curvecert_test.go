package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// The test keys of libzmq's manual page zmq_curve(7).
const (
	manualPublic  = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
	manualPrivate = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
	manualServer  = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
)

// certificates as other programs write them.
var foreignCerts = map[string]string{
	"czmq": `#   ****  Generated on 2026-01-02 03:04:05 by CZMQ  ****
#   a comment

metadata
    email = "ph@example.org"
    name = "P. H."
curve
    public-key = "` + manualPublic + `"
    secret-key = "` + manualPrivate + `"
`,
	"pyzmq": `#   ****  Generated on 2026-01-02 03:04:05.678901 by pyzmq  ****
#   a comment

metadata
    email = ph@example.org
    name = P. H.
curve
    public-key = "` + manualPublic + `"
    secret-key = "` + manualPrivate + `"
`,
	"by hand": "curve # keys first\n    secret-key='" + manualPrivate + "'# mine\n\n    # yours\n" +
		"    public-key   =   \"" + manualPublic + "\"   # ours\nmetadata\n" +
		"    email= ph@example.org # at home\n    name =\"P. H.\"",
}

// writeCert writes a certificate file with the given mode.
func writeCert(t *testing.T, content string, mode fs.FileMode) string {
	is := is.New(t)
	is.Helper()
	path := filepath.Join(t.TempDir(), "cert")
	is.NoErr(os.WriteFile(path, []byte(content), mode)) // write the file
	return path
}

func TestLoadForeignCurveCert(t *testing.T) {
	for program, content := range foreignCerts {
		t.Run(program, func(t *testing.T) {
			is := is.New(t)
			for _, lineEnd := range []string{"\n", "\r\n"} {
				c, err := LoadCurveCert(writeCert(t, strings.ReplaceAll(content, "\n", lineEnd), 0o600))
				is.NoErr(err) // load the certificate
				is.Equal(c.Public.String(), manualPublic)
				is.Equal(c.Private.Reveal(), manualPrivate)
				is.Equal(c.Metadata, map[string]string{"email": "ph@example.org", "name": "P. H."})
			}
		})
	}
}

func TestCurveCertRoundTrip(t *testing.T) {
	is := is.New(t)
	private, err := GenerateCurve()
	is.NoErr(err) // generate a key
	want := &CurveCert{
		Public:  private.Public(),
		Private: private,
		Metadata: map[string]string{
			"name": `Jörg "J" Ö`, "empty": "", "quote": "it's", "hash": "a # b = c", "a/b.c": " spaces ",
		},
	}
	path := filepath.Join(t.TempDir(), "cert")
	is.NoErr(want.Save(path)) // save both files
	for _, file := range []string{path, path + "_secret"} {
		got, err := LoadCurveCert(file)
		is.NoErr(err) // load a file
		is.Equal(got.Public, want.Public)
		is.Equal(got.Metadata, want.Metadata)
		is.Equal(got.Private != nil, file != path)
		info, err := os.Stat(file)
		is.NoErr(err) // look at the file
		is.True(runtime.GOOS == "windows" || info.Mode().Perm() == 0o600)
		content, err := os.ReadFile(file)
		is.NoErr(err) // read the file
		is.Equal(strings.Contains(string(content), private.Reveal()), file != path)
	}
	is.True(!strings.Contains(fmt.Sprintf("%v %+v %#v", want, *want, want), private.Reveal()))
}

func TestCurveCertNeverOverwrites(t *testing.T) {
	for _, taken := range []string{"", "_secret"} {
		t.Run("cert"+taken, func(t *testing.T) {
			is := is.New(t)
			private, err := GenerateCurve()
			is.NoErr(err) // generate a key
			path := filepath.Join(t.TempDir(), "cert")
			is.NoErr(os.WriteFile(path+taken, []byte("precious"), 0o600)) // a file in the way
			err = (&CurveCert{Public: private.Public(), Private: private}).Save(path)
			is.True(errors.Is(err, fs.ErrExist))
			content, err := os.ReadFile(path + taken)
			is.NoErr(err) // read the file in the way
			is.Equal(string(content), "precious")
			entries, err := os.ReadDir(filepath.Dir(path))
			is.NoErr(err)             // list the directory
			is.Equal(len(entries), 1) // no other file was left
		})
	}
}

func TestCurveCertSaveErrors(t *testing.T) {
	private, other := mustCurve(t), mustCurve(t)
	for _, tt := range []struct {
		name string
		cert CurveCert
	}{
		{"no key", CurveCert{}},
		{"no public key", CurveCert{Private: private}},
		{"keys of two", CurveCert{Public: other.Public(), Private: private}},
		{"both quotes", CurveCert{Public: private.Public(), Metadata: map[string]string{"a": `"'`}}},
		{"line break", CurveCert{Public: private.Public(), Metadata: map[string]string{"a": "b\ncurve"}}},
		{"not UTF-8", CurveCert{Public: private.Public(), Metadata: map[string]string{"a": "\xFF"}}},
		{"no name", CurveCert{Public: private.Public(), Metadata: map[string]string{"": "b"}}},
		{"bad name", CurveCert{Public: private.Public(), Metadata: map[string]string{"a b": "c"}}},
		{"slash", CurveCert{Public: private.Public(), Metadata: map[string]string{"a/": "c"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			path := filepath.Join(t.TempDir(), "cert")
			is.True(errors.Is(tt.cert.Save(path), ErrFormat))
			entries, err := os.ReadDir(filepath.Dir(path))
			is.NoErr(err) // list the directory
			is.Equal(len(entries), 0)
		})
	}
}

func mustCurve(t *testing.T) *CurvePrivate {
	is := is.New(t)
	is.Helper()
	private, err := GenerateCurve()
	is.NoErr(err) // generate a key
	return private
}

// TestMalformedCurveCert has one fault each; want is what the error names.
func TestMalformedCurveCert(t *testing.T) {
	public := "curve\n    public-key = \"" + manualPublic + "\"\n"
	for _, tt := range []struct{ name, content, want string }{
		{"empty", "", "no public-key"},
		{"only metadata", "metadata\n    a = b\n", "no public-key"},
		{"only secret", "curve\n    secret-key = \"" + manualPrivate + "\"\n", "no public-key"},
		{"unknown section", "metadata\ncurves\n", "line 2: not a section"},
		{"section with value", "curve = x\n", "line 1: not a section"},
		{"section twice", public + "curve\n", "line 3: a section occurs twice"},
		{"property twice", public + "    public-key = \"" + manualPublic + "\"\n", "line 3: a property occurs twice"},
		{"unknown key", public + "    private-key = x\n", "line 3: not a key"},
		{"no section", "    a = b\n", "line 1: a property outside"},
		{"indentation", public + "   a = b\n", "line 3: wrong indentation"},
		{"depth", public + "        a = b\n", "line 3: wrong indentation"},
		{"tab", public + "\ta = b\n", "line 3: a character"},
		{"NUL", public + "#\x00\n", "line 3: a character"},
		{"not UTF-8", public + "# \xFF\n", "line 3: a character"},
		{"no name", public + "    = b\n", "line 3: neither"},
		{"no equals sign", public + "    a b\n", "line 3: something other than ="},
		{"open quote", "curve\n    public-key = \"" + manualPublic + "\n", "line 2: a value with a quote"},
		{"after quote", "curve\n    public-key = \"" + manualPublic + "\" x\n", "line 2: a value with a quote"},
		{"short key", "curve\n    public-key = \"" + manualPublic[1:] + "\"\n", "line 2: a CURVE public key is"},
		{"not Z85", "curve\n    public-key = \"" + strings.Repeat("~", 40) + "\"\n", "line 2: CURVE public key is not Z85"},
		{"zero secret", public + "    secret-key = \"" + strings.Repeat("0", 40) + "\"\n", "line 3: a CURVE private key"},
		{"unquoted hash", "curve\n    public-key = " + manualPublic[:20] + "#" + manualPublic[21:] + "\n", "line 2: a CURVE public key is"},
		{"keys of two", "curve\n    public-key = \"" + manualServer + "\"\n    secret-key = \"" + manualPrivate + "\"\n", "does not belong"},
		{"too large", "# " + strings.Repeat("x", maxFileSize), "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			c, err := LoadCurveCert(writeCert(t, tt.content, 0o600))
			is.True(errors.Is(err, ErrFormat))
			is.True(c == nil)
			is.True(strings.Contains(err.Error(), tt.want)) // the error names the fault
			for _, key := range []string{manualPublic, manualPrivate, manualServer} {
				is.True(!strings.Contains(err.Error(), key[1:20]))
			}
		})
	}
}

func TestCurveCertMissing(t *testing.T) {
	is := is.New(t)
	_, err := LoadCurveCert(filepath.Join(t.TempDir(), "none"))
	is.True(errors.Is(err, fs.ErrNotExist))
}

// FuzzCurveCert has the law that what is read and can be written reads the
// same.
func FuzzCurveCert(f *testing.F) {
	for _, content := range foreignCerts {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content string) {
		c, err := parseCurveCert([]byte(content))
		if err != nil {
			return
		}
		c.Private = nil
		text, err := c.encode()
		if err != nil {
			return // a value with both kinds of quotes
		}
		again, err := parseCurveCert([]byte(text))
		if err != nil {
			t.Fatalf("%q became %q: %v", content, text, err)
		}
		if again.Public != c.Public || fmt.Sprint(again.Metadata) != fmt.Sprint(c.Metadata) {
			t.Errorf("%v became %v", c, again)
		}
	})
}
