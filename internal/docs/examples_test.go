package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// public are the packages that programs import.
var public = []string{
	".", "keys", "trust", "mechanism", "mechanism/noise", "mechanism/curve", "mechanism/null",
	"mechanism/mechtest", "e2e", "spmangos",
}

// wellKnown are methods that only the standard library calls, through its
// interfaces: an example would show fmt, errors or encoding, not us.
var wellKnown = map[string]string{
	"Error":         "error",
	"Unwrap":        "package errors",
	"Is":            "package errors",
	"Timeout":       "net.Error",
	"Temporary":     "net.Error",
	"String":        "fmt.Stringer",
	"Format":        "fmt.Formatter",
	"LogValue":      "slog.LogValuer",
	"MarshalText":   "encoding.TextMarshaler",
	"UnmarshalText": "encoding.TextUnmarshaler",
	"ReadFrom":      "io.ReaderFrom, for io.Copy",
	"WriteTo":       "io.WriterTo, for io.Copy",
}

// TestEverythingIsShown checks that every exported function and method is used
// in an example or in a program of this repository.
func TestEverythingIsShown(t *testing.T) {
	is := is.New(t)
	used := selectors(t)
	shown := 0
	for _, dir := range public {
		for _, f := range parse(t, dir) {
			for _, s := range symbols(f) {
				if !s.callable || s.method && wellKnown[s.short()] != "" {
					continue
				}
				shown++
				if !used[s.short()] {
					t.Errorf("%s: no example and no program uses %s", dir, s.name)
				}
			}
		}
	}
	is.True(shown > 100) // the functions were found
}

// TestEverythingIsDocumented checks that every exported symbol has a comment.
func TestEverythingIsDocumented(t *testing.T) {
	is := is.New(t)
	documented := 0
	for _, dir := range public {
		packageComment := false
		for _, f := range parse(t, dir) {
			packageComment = packageComment || f.Doc.Text() != ""
			for _, s := range symbols(f) {
				documented++
				if !s.documented {
					t.Errorf("%s: %s has no comment", dir, s.name)
				}
			}
		}
		if !packageComment {
			t.Errorf("%s: the package has no comment", dir)
		}
	}
	is.True(documented > 200) // the symbols were found
}

// TestExamplesAreFound makes sure that the two checks above can fail.
func TestExamplesAreFound(t *testing.T) {
	is := is.New(t)
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
// Documented is.
type Documented struct{}
func (*Documented) Bare() {}
func (hidden) Reached() {}
type Iface interface { Naked() }
const (
	Alone = 1
)
`, parser.ParseComments)
	is.NoErr(err)
	var bare []string
	for _, s := range symbols(f) {
		if !s.documented {
			bare = append(bare, s.name)
		}
	}
	is.Equal(bare, []string{"Documented.Bare", "Iface", "Iface.Naked", "Alone"})
	used := selectors(t)
	is.True(used["Dial"])         // a function that every program uses
	is.True(!used["NoSuchThing"]) // and one that none does
}

// symbol is an exported name of a package.
type symbol struct {
	name                         string // Type.Method for a method
	callable, method, documented bool
}

// short is the name as a selector has it.
func (s symbol) short() string { return s.name[strings.LastIndex(s.name, ".")+1:] }

// symbols returns what a file exports: functions, types, constants, variables,
// and methods of exported types, interfaces included.
func symbols(f *ast.File) (all []symbol) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			s := symbol{name: d.Name.Name, callable: true, documented: d.Doc.Text() != ""}
			if d.Recv != nil {
				receiver := base(d.Recv.List[0].Type)
				if !token.IsExported(receiver) {
					continue
				}
				s.name, s.method = receiver+"."+s.name, true
			}
			if d.Name.IsExported() {
				all = append(all, s)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				all = append(all, specified(d, spec)...)
			}
		}
	}
	return all
}

// specified returns the exported symbols of one line of a declaration. A group
// of constants or variables may have one comment for all.
func specified(d *ast.GenDecl, spec ast.Spec) (all []symbol) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		documented := d.Doc.Text()+spec.Doc.Text()+spec.Comment.Text() != ""
		for _, n := range spec.Names {
			if n.IsExported() {
				all = append(all, symbol{name: n.Name, documented: documented})
			}
		}
	case *ast.TypeSpec:
		if !spec.Name.IsExported() {
			return nil
		}
		all = append(all, symbol{name: spec.Name.Name, documented: d.Doc.Text()+spec.Doc.Text() != ""})
		i, ok := spec.Type.(*ast.InterfaceType)
		if !ok {
			return all
		}
		for _, m := range i.Methods.List {
			for _, n := range m.Names {
				if n.IsExported() {
					all = append(all, symbol{
						name: spec.Name.Name + "." + n.Name, callable: true, method: true,
						documented: m.Doc.Text()+m.Comment.Text() != "",
					})
				}
			}
		}
	}
	return all
}

// base returns the name of a receiver's type.
func base(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return base(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// parse parses a package's sources, tests apart, for whatever system they are.
func parse(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(dir), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// selectors returns every x in y.x of the examples and the programs, their
// tests apart.
func selectors(t *testing.T) map[string]bool {
	t.Helper()
	var files []string
	for _, dir := range public {
		names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(dir), "example*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, names...)
	}
	for _, dir := range []string{"examples", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
				files = append(files, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	used := make(map[string]bool)
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				used[s.Sel.Name] = true
			}
			return true
		})
	}
	return used
}
