package docs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

const root = "../.." // of the module

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestThreatsAreTried checks that every test that THREATS.md names exists, and
// that every threat in its tables has one.
func TestThreatsAreTried(t *testing.T) {
	is := is.New(t)
	named := regexp.MustCompile("`(?:([a-z0-9/]+)\\.)?((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`")
	law := regexp.MustCompile("`mechtest ([a-z]+/[a-z]+)`")
	laws := read(t, "mechanism/mechtest/mechtest.go")
	rows := 0
	for line := range strings.Lines(read(t, "docs/THREATS.md")) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| threat |") {
			continue
		}
		rows++
		tests, claims := named.FindAllStringSubmatch(line, -1), law.FindAllStringSubmatch(line, -1)
		if len(tests)+len(claims) == 0 {
			t.Errorf("nothing tries: %s", line)
		}
		for _, m := range tests {
			if dir := m[1]; !declares(t, dir, m[2]) {
				t.Errorf("there is no test %s in directory %q", m[2], dir)
			}
		}
		for _, m := range claims {
			if !strings.Contains(laws, `"`+m[1]+`"`) {
				t.Errorf("mechtest has no law %s", m[1])
			}
		}
	}
	is.True(rows > 30) // the tables were found
}

// declares reports whether a test of that name is in the directory.
func declares(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(dir), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

// TestLinks checks that what the documents refer to in this repository exists.
func TestLinks(t *testing.T) {
	is := is.New(t)
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	code := regexp.MustCompile("(?s)```.*?```|`[^`]*`")
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	is.NoErr(err)
	found := 0
	for _, file := range append(documents, filepath.Join(root, "README.md")) {
		content, err := os.ReadFile(file)
		is.NoErr(err) // read a document
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(content), ""), -1) {
			found++
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s: %v", path.Base(file), err)
			}
		}
	}
	is.True(found > 5) // links were found
}

// TestCitations checks that every section of SPEC.md that the code cites is
// there.
func TestCitations(t *testing.T) {
	is := is.New(t)
	headings := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^##+ ([0-9.]*[0-9])\.? `).FindAllStringSubmatch(read(t, "docs/SPEC.md"), -1) {
		headings[m[1]] = true
	}
	cited := 0
	for _, pattern := range []string{"*.go", "*/*.go", "*/*/*.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		is.NoErr(err)
		for _, file := range files {
			content, err := os.ReadFile(file)
			is.NoErr(err) // read a source
			for _, m := range regexp.MustCompile(`SPEC(?:\.md)? §([0-9](?:\.[0-9]+)*)`).FindAllStringSubmatch(string(content), -1) {
				cited++
				if !headings[m[1]] {
					t.Errorf("%s cites SPEC §%s, which there is not", file, m[1])
				}
			}
		}
	}
	is.True(cited > 50) // citations were found
}

// TestVectorDigests checks SPEC.md's table of vector files.
func TestVectorDigests(t *testing.T) {
	is := is.New(t)
	const dir = "mechanism/noise/testdata/vectors"
	stated := make(map[string]string)
	for _, m := range regexp.MustCompile("\\| ([0-9a-f]{4}\\.json) \\| `([0-9a-f]{64})` \\|").FindAllStringSubmatch(read(t, "docs/SPEC.md"), -1) {
		stated[m[1]] = m[2]
	}
	files, err := filepath.Glob(filepath.Join(root, dir, "*.json"))
	is.NoErr(err)
	is.Equal(len(files), len(stated)) // one line for each file
	for _, file := range files {
		content, err := os.ReadFile(file)
		is.NoErr(err) // read a vector
		digest := sha256.Sum256(content)
		if name := filepath.Base(file); stated[name] != hex.EncodeToString(digest[:]) {
			t.Errorf("SPEC.md has another digest for %s, which has %x", name, digest)
		}
	}
}

// TestKeyExamples checks the keys that SPEC.md shows as text.
func TestKeyExamples(t *testing.T) {
	is := is.New(t)
	spec := read(t, "docs/SPEC.md")
	var b [keys.Size]byte
	for i := range b {
		b[i] = byte(i)
	}
	private, err := keys.NewPrivate(b[:])
	is.NoErr(err)
	shared, err := keys.NewShared(b[:])
	is.NoErr(err)
	is.True(strings.Contains(spec, private.Reveal()))
	is.True(strings.Contains(spec, private.Public().String()))
	is.True(strings.Contains(spec, hex.EncodeToString(private.Public().Bytes())))
	is.True(strings.Contains(spec, shared.Reveal()))
}

// TestHelloExample checks the beginning of a HELLO that SPEC.md shows.
func TestHelloExample(t *testing.T) {
	is := is.New(t)
	example := regexp.MustCompile(`(?m)^00535053 01 00 02 [0-9 ]+$`).FindString(read(t, "docs/SPEC.md"))
	want, err := hex.DecodeString(strings.ReplaceAll(example, " ", ""))
	is.NoErr(err)
	is.True(len(want) > 6) // it was found
	identity, err := keys.Generate()
	is.NoErr(err)
	near, far := net.Pipe()
	c := securesp.Client(near, &securesp.Config{
		Identity: identity, Trust: trust.Anyone(),
		Suites: []mechanism.Suite{mechanism.XXhfsAESGCM, mechanism.XXhfsChaChaPoly},
	})
	failed := make(chan error, 1)
	go func() { failed <- c.HandshakeContext(t.Context()) }()
	got := make([]byte, len(want))
	_, err = io.ReadFull(far, got)
	is.NoErr(err)                                             // read the beginning
	is.Equal(fmt.Sprintf("%x", got), fmt.Sprintf("%x", want)) // as shown
	is.NoErr(far.Close())
	is.True(<-failed != nil)
}

// TestInstalled checks that .ci/run installs every Debian package that a test
// asks for when it is missing. (Node and npm it expects to be there.)
func TestInstalled(t *testing.T) {
	is := is.New(t)
	list := regexp.MustCompile(`(?m)^DEBIAN=\(([^)]*)\)`).FindStringSubmatch(read(t, ".ci/run"))
	is.Equal(len(list), 2) // the list was found
	installed := append(strings.Fields(list[1]), "nodejs", "npm")
	asked := 0
	for _, pattern := range []string{"interop/*_test.go", "interop/*/*_test.go", "spmangos/*_test.go", "cmd/*/*_test.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		is.NoErr(err)
		for _, file := range files {
			content, err := os.ReadFile(file)
			is.NoErr(err) // read a test
			for _, m := range regexp.MustCompile(`apt-get install ((?:[a-z0-9.+-]+ ?)+)`).FindAllStringSubmatch(string(content), -1) {
				for _, name := range strings.Fields(m[1]) {
					asked++
					if !slices.Contains(installed, name) {
						t.Errorf("%s asks for %s, which .ci/run does not install", filepath.Base(file), name)
					}
				}
			}
		}
	}
	is.True(asked > 2) // requests were found
}
