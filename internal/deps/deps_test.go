package deps

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"
)

const (
	root   = "../.." // of the module
	module = "github.com/securesp/securesp"
)

// own says which packages of the module each package may import, apart from
// internal/, whose packages have lines of their own. Imports go one way: a
// package may import only what stands above it.
var own = []struct {
	dir     string // "…/*" stands for everything below
	imports string
}{
	{"internal/allocs", ""},
	{"internal/leak", ""},
	{"internal/errno", ""},
	{"internal/host", ""},
	{"internal/unixsock", "internal/errno"},
	{"internal/overlap", ""},
	{"internal/replay", ""},
	{"internal/safefile", ""},
	{"internal/testnet", ""},
	{"internal/lossnet", ""},
	{"internal/deps", ""},
	{"keys", "internal/safefile"},
	{"trust", "keys internal/safefile"},
	{"mechanism", "keys"},
	{"mechanism/mechtest", "mechanism keys internal/allocs"},
	{"mechanism/*", "mechanism keys internal/overlap internal/replay"},
	{"internal/zmtp", "mechanism mechanism/curve keys"},
	{"internal/quiccarrier", "mechanism internal/host"},
	{".", "mechanism mechanism/noise mechanism/curve mechanism/null trust keys internal/quiccarrier internal/host internal/unixsock"},
	{"e2e", "keys mechanism mechanism/noise internal/overlap internal/replay"},
	{"spmangos", ". e2e trust mechanism keys internal/errno"},
	{"cmd/securesp", ". e2e spmangos trust mechanism keys internal/errno internal/unixsock"},
	{"examples/*", ". e2e spmangos trust mechanism mechanism/noise mechanism/curve keys"},
	{"internal/docs", ". trust mechanism keys"},
}

// foreign says which packages of other modules are imported, where, and why.
// The reasons are repeated in docs/DESIGN.md.
var foreign = []struct{ prefix, dirs, reason string }{
	{"golang.org/x/crypto/", "mechanism/noise mechanism/curve e2e", "ciphers and hashes that the standard library lacks"},
	{"golang.org/x/sys/cpu", ". cmd/securesp", "whether AES is fast here"},
	{"golang.org/x/sys/", "trust keys internal/safefile internal/quiccarrier cmd/securesp", "system calls of one system"},
	{"github.com/quic-go/quic-go", "internal/quiccarrier", "UDP"},
	{"go.nanomsg.org/mangos/v3", "spmangos cmd/securesp examples/*", "the library that spmangos is a transport for"},
	{"github.com/schollz/progressbar/v3", "cmd/securesp", "progress of long transfers"},
	{"golang.org/x/term", "cmd/securesp", "whether somebody is watching"},
	{"github.com/matryer/is", "mechanism/mechtest", "tests"},
}

// inTests are the packages that tests may import besides. A test may also
// import any package of the module that does not import the test's own.
var inTests = []string{"github.com/matryer/is", "golang.org/x/net/", "go.nanomsg.org/mangos/v3"}

// onlyTests are packages of the module that nothing but tests may import.
var onlyTests = []string{"internal/leak", "internal/testnet", "internal/lossnet", "internal/zmtp", "mechanism/mechtest"}

// apart must not meet, in tests neither: each is useful without the other.
var apart = [][2]string{{".", "e2e"}, {".", "spmangos"}, {"e2e", "."}, {"e2e", "spmangos"}}

func TestImports(t *testing.T) {
	is := is.New(t)
	files := sources(t)
	is.True(len(files) > 100) // the sources were found
	for _, f := range files {
		for _, imported := range f.imports {
			if why := f.forbids(imported); why != "" {
				t.Errorf("%s: imports %s: %s", f.path, imported, why)
			}
		}
	}
}

// TestPolicyBites makes sure that the rules above can be broken.
func TestPolicyBites(t *testing.T) {
	for _, f := range []source{
		{dir: ".", imports: []string{module + "/e2e"}},
		{dir: ".", imports: []string{"go.nanomsg.org/mangos/v3"}},
		{dir: ".", test: true, imports: []string{module + "/spmangos"}},
		{dir: "e2e", imports: []string{module}},
		{dir: "e2e", test: true, imports: []string{module}},
		{dir: "e2e", imports: []string{module + "/trust"}},
		{dir: "keys", imports: []string{module + "/trust"}},
		{dir: "mechanism", imports: []string{module + "/mechanism/noise"}},
		{dir: "mechanism/curve", imports: []string{module + "/mechanism/noise"}},
		{dir: "mechanism/mechtest", imports: []string{module + "/mechanism/noise"}},
		{dir: "trust", imports: []string{"github.com/quic-go/quic-go"}},
		{dir: "e2e", imports: []string{"github.com/flynn/noise"}},
		{dir: "keys", test: true, imports: []string{"github.com/flynn/noise"}},
		{dir: "newcomer", imports: []string{module + "/keys"}},
		{dir: ".", imports: []string{module + "/internal/leak"}},
	} {
		t.Run(f.dir+" imports "+f.imports[0], func(t *testing.T) {
			is := is.New(t)
			is.True(f.forbids(f.imports[0]) != "")
		})
	}
}

// source is one Go file.
type source struct {
	path, dir string // relative to the module
	test      bool
	imports   []string
}

// sources parses the imports of all Go files of the module, whatever system
// they are for.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if file != root && isApart(file, d) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		f := source{path: filepath.ToSlash(relative), test: strings.HasSuffix(file, "_test.go")}
		f.dir = path.Dir(f.path)
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, name)
		}
		all = append(all, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// isApart reports whether a directory is none of the module's packages.
func isApart(file string, d fs.DirEntry) bool {
	if name := d.Name(); name == "testdata" || name[0] == '.' || name[0] == '_' {
		return true
	}
	_, err := os.Stat(filepath.Join(file, "go.mod"))
	return err == nil
}

// forbids returns why the file must not import the package, or "".
func (f source) forbids(imported string) string {
	first, _, _ := strings.Cut(imported, "/")
	switch {
	case !strings.Contains(first, "."):
		return "" // the standard library
	case imported == module || strings.HasPrefix(imported, module+"/"):
		return f.forbidsOwn(path.Clean("./" + strings.TrimPrefix(imported, module)))
	}
	for _, rule := range foreign {
		if strings.HasPrefix(imported, rule.prefix) && matchesAny(f.dir, rule.dirs) {
			return ""
		}
	}
	if f.test {
		for _, prefix := range inTests {
			if strings.HasPrefix(imported, prefix) && (f.dir != "." || !strings.Contains(prefix, "mangos")) {
				return ""
			}
		}
		// A test may hold the code against the same library.
		for _, rule := range foreign {
			if strings.HasPrefix(imported, rule.prefix) && strings.HasPrefix(rule.prefix, "golang.org/x/") {
				return ""
			}
		}
	}
	return "internal/deps has no reason for it"
}

func (f source) forbidsOwn(imported string) string {
	imported = strings.TrimPrefix(imported, "/")
	if imported == "" {
		imported = "."
	}
	for _, pair := range apart {
		if f.dir == pair[0] && imported == pair[1] {
			return "the two are meant to be apart"
		}
	}
	if f.test {
		return ""
	}
	if slices.Contains(onlyTests, imported) {
		return "it is for tests"
	}
	for _, rule := range own {
		if matches(f.dir, rule.dir) {
			if matchesAny(imported, rule.imports) {
				return ""
			}
			return "internal/deps does not have it among this package's imports"
		}
	}
	return "internal/deps does not know this package"
}

// matchesAny reports whether dir is one of the given patterns.
func matchesAny(dir, patterns string) bool {
	return slices.ContainsFunc(strings.Fields(patterns), func(p string) bool { return matches(dir, p) })
}

func matches(dir, pattern string) bool {
	if parent, ok := strings.CutSuffix(pattern, "/*"); ok {
		return strings.HasPrefix(dir, parent+"/")
	}
	return dir == pattern
}

// budget is how many names the root package may export, fields and methods not
// counted. Who needs one more raises it, and says in docs/DESIGN.md what the
// name is good for.
const budget = 50

func TestExportedNames(t *testing.T) {
	is := is.New(t)
	names := exported(t)
	is.True(slices.Contains(names, "Dial")) // the names were found
	is.True(slices.Contains(names, "Conn"))
	t.Logf("%d names: %s", len(names), strings.Join(names, " "))
	if len(names) > budget {
		t.Errorf("the root package exports %d names, %d more than its budget", len(names), len(names)-budget)
	}
	design, err := os.ReadFile(filepath.Join(root, "docs", "DESIGN.md"))
	is.NoErr(err) // read docs/DESIGN.md
	for _, name := range names {
		if !strings.Contains(string(design), "`"+name+"`") {
			t.Errorf("docs/DESIGN.md does not say what %s is good for", name)
		}
	}
}

// exported returns the names that the root package exports.
func exported(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			for _, name := range declared(d) {
				if token.IsExported(name) {
					names[name] = true
				}
			}
		}
	}
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	return sorted
}

// declared returns the names that a declaration adds to its package.
func declared(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				names = append(names, s.Name.Name)
			case *ast.ValueSpec:
				for _, n := range s.Names {
					names = append(names, n.Name)
				}
			}
		}
	}
	return names
}

// TestReasons makes sure that docs/DESIGN.md has a sentence for each module
// that is imported.
func TestReasons(t *testing.T) {
	is := is.New(t)
	design, err := os.ReadFile(filepath.Join(root, "docs", "DESIGN.md"))
	is.NoErr(err) // read docs/DESIGN.md
	required := requirements(t)
	is.True(len(required) > 0) // go.mod was understood
	var files []string
	for _, f := range sources(t) {
		files = append(files, f.imports...)
	}
	for _, required := range required {
		used := slices.ContainsFunc(files, func(imported string) bool {
			return imported == required || strings.HasPrefix(imported, required+"/")
		})
		if used && !strings.Contains(string(design), "| `"+required+"` |") {
			t.Errorf("docs/DESIGN.md has no sentence for %s", required)
		}
	}
}

// requirements returns the modules that go.mod requires.
func requirements(t *testing.T) (modules []string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(fields) >= 2 && strings.HasPrefix(fields[1], "v") {
			modules = append(modules, fields[0])
		}
	}
	return modules
}
