package docs

import (
	"bytes"
	"context"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/internal/testnet"
)

func TestMain(m *testing.M) { leak.Main(m) }

// workplace is where a reader of README stands: a clone of this repository, a
// module of their own beside it, and $GOBIN in $PATH.
type workplace struct {
	dir, app string
	env      []string
}

func newWorkplace(t *testing.T) *workplace {
	t.Helper()
	is := is.New(t)
	is.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	is.NoErr(err)
	w := &workplace{dir: dir, app: filepath.Join(dir, "app")}
	is.NoErr(os.Mkdir(w.app, 0o700))
	is.NoErr(os.WriteFile(filepath.Join(w.app, "go.mod"), []byte("module example.com/app\n\ngo 1.26.0\n"), 0o600))
	bin := filepath.Join(dir, "bin")
	w.env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=",
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return w
}

// run runs one line of README and returns what it prints.
func (w *workplace) run(t *testing.T, line string) string {
	t.Helper()
	clone, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(line, "../securesp", "'"+clone+"'"))
	switch cmd.Env, cmd.Dir = w.env, w.dir; {
	case strings.HasPrefix(line, "go mod "):
		cmd.Dir = w.app
	case strings.HasPrefix(line, "go "):
		cmd.Dir = root
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, stderr.String())
	}
	return stdout.String()
}

// blocks returns README's blocks of code in a language.
func blocks(t *testing.T, language string) (all []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(read(t, "README.md"), -1) {
		all = append(all, m[1])
	}
	return all
}

// TestReadme does what README says: it runs every command, builds both
// programs, and has them talk.
func TestReadme(t *testing.T) {
	is := is.New(t)
	w := newWorkplace(t)
	commands := strings.Split(strings.TrimSpace(strings.Join(blocks(t, "sh"), "")), "\n")
	is.Equal(len(commands), 8) // all commands were found
	const tests = "go test ./..."
	is.True(slices.Contains(commands, tests))
	is.True(strings.Contains(read(t, ".ci/run"), "run "+tests+";")) // this test is among them
	programs := blocks(t, "go")
	is.Equal(len(programs), 4) // server, client, and two fragments
	address := testnet.FreeAddress(t)
	for i, fragment := range programs[2:] {
		w.write(t, "fragment"+string(rune('1'+i)), complete(fragment))
	}
	for i, name := range []string{"server", "client"} {
		source := strings.ReplaceAll(programs[i], "localhost:7000", address)
		is.True(source != programs[i]) // on a free port
		w.write(t, name, source)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	is.NoErr(err) // what is needed is known already
	is.NoErr(os.WriteFile(filepath.Join(w.app, "go.sum"), sums, 0o600))
	for _, command := range commands {
		if command != tests {
			w.run(t, command)
		}
	}
	for _, fragment := range []string{"fragment1", "fragment2"} {
		w.build(t, fragment)
	}
	talk(t, w, address)
}

// complete makes a program of a fragment that uses what README has introduced
// before.
func complete(fragment string) string {
	fragment = regexp.MustCompile("(?m)^import .*$").ReplaceAllString(fragment, "")
	names := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^([a-z, ]+) :?= ").FindAllStringSubmatch(fragment, -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			names[name] = true
		}
	}
	used := strings.Join(slices.Sorted(maps.Keys(names)), ", ")
	return `package main

import (
	"go.nanomsg.org/mangos/v3"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
	"github.com/securesp/securesp/trust"
)

var (
	_        securesp.Config
	_        e2e.Worker
	_        spmangos.SealConfig
	identity *keys.Private
	service  *keys.ServicePrivate
	policy   trust.Policy
	sock     mangos.Socket
)

func use(...any) {}

func main() {
` + fragment + "\tuse(" + used + ")\n}\n"
}

// write makes a program in the reader's module.
func (w *workplace) write(t *testing.T, name, source string) {
	t.Helper()
	is := is.New(t)
	dir := filepath.Join(w.app, name)
	is.NoErr(os.Mkdir(dir, 0o700))
	is.NoErr(os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
}

// build builds a program of the reader's module.
func (w *workplace) build(t *testing.T, name string) {
	t.Helper()
	build := exec.Command("go", "build", "-o", filepath.Join(w.dir, name), "./"+name)
	build.Dir, build.Env = w.app, w.env
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the %s: %v\n%s", name, err, out)
	}
}

// talk runs the server and then the client.
func talk(t *testing.T, w *workplace, address string) {
	t.Helper()
	is := is.New(t)
	for _, name := range []string{"server", "client"} {
		w.build(t, name)
	}
	ctx, stop := context.WithCancel(t.Context())
	server := exec.CommandContext(ctx, filepath.Join(w.dir, "server"))
	server.Dir, server.Env = w.dir, w.env
	var complaints bytes.Buffer
	server.Stderr = &complaints
	is.NoErr(server.Start()) // start the server
	defer func() {
		stop()
		if err := server.Wait(); t.Failed() {
			t.Logf("the server: %v\n%s", err, complaints.String())
		}
	}()
	if err := answers(address); err != nil {
		t.Fatal(err)
	}
	bob := strings.TrimSpace(w.run(t, "securesp pub bob.key"))
	is.Equal(w.run(t, "./client "+bob), "hello, Bob\n") // the client's output
}

// answers returns once somebody listens at address.
func answers(address string) error {
	often, enough := time.NewTicker(10*time.Millisecond), time.NewTimer(30*time.Second)
	defer often.Stop()
	defer enough.Stop()
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-often.C:
		case <-enough.C:
			return err
		}
	}
}
