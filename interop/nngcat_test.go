package interop

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

// bridge is the command securesp, and keys of two that trust each other.
type bridge struct {
	t       *testing.T
	dir     string
	program string
	keys    map[string]string // public, by name
}

// buildProgram builds the command.
func buildProgram(t *testing.T) string {
	t.Helper()
	is := is.New(t)
	if _, err := exec.LookPath("nngcat"); err != nil {
		t.Fatalf("nngcat is missing (%v): on Debian, apt-get install nng-utils", err)
	}
	program := filepath.Join(t.TempDir(), "securesp")
	build := exec.Command("go", "build", "-o", program, "./cmd/securesp")
	build.Dir = ".." // the module that the command belongs to
	build.Stderr = os.Stderr
	is.NoErr(build.Run()) // build the command
	return program
}

func newBridge(t *testing.T, program string) *bridge {
	t.Helper()
	is := is.New(t)
	b := &bridge{t: t, dir: t.TempDir(), program: program, keys: make(map[string]string)}
	for _, name := range []string{"here", "there"} {
		out, err := exec.Command(program, "keygen", b.file(name)).Output()
		is.NoErr(err) // make a key
		b.keys[name] = strings.TrimSpace(string(out))
	}
	return b
}

func (b *bridge) file(name string) string { return filepath.Join(b.dir, name) }

// process is a program under test; what it writes to the watched stream can be
// waited for.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Reader
	seen  strings.Builder
}

// start runs a program until the test ends. It is killed after a while if the
// test waits for something that it never writes.
func start(t *testing.T, watchStderr bool, name string, args ...string) *process {
	t.Helper()
	is := is.New(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	cmd := exec.CommandContext(ctx, name, args...)
	pipe, other := cmd.StdoutPipe, &cmd.Stderr
	if watchStderr {
		pipe, other = cmd.StderrPipe, &cmd.Stdout
	}
	*other = os.Stderr
	stream, err := pipe()
	is.NoErr(err)
	is.NoErr(cmd.Start()) // start the program
	p := &process{t: t, cmd: cmd, lines: bufio.NewReader(stream)}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		io.Copy(io.Discard, p.lines)
		cmd.Wait() // nngcat does not end well when interrupted
		cancel()
	})
	return p
}

// await reads on until the pattern matches and returns what its group, if any,
// matches.
func (p *process) await(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		line, err := p.lines.ReadString('\n')
		p.seen.WriteString(line)
		if match := re.FindStringSubmatch(line); match != nil {
			return match[len(match)-1]
		}
		if err != nil {
			p.t.Fatalf("%v ended (%v) without %q:\n%s", p.cmd.Args[:2], err, pattern, &p.seen)
		}
	}
}

// device runs securesp device as one of the two and returns the address on
// which it listens.
func (b *bridge) device(name, peer string, args ...string) (*process, string) {
	b.t.Helper()
	args = append([]string{"device", "-v", "-i", b.file(name), "--peer", b.keys[peer]}, args...)
	p := start(b.t, true, b.program, args...)
	return p, p.await(`msg=listening address=(\S+)`)
}

// TestNNGCat joins two real programs that know nothing of security through two
// devices, with a sealed connection between these:
//
//	nngcat — device ═ securesp ═ device — nngcat
func TestNNGCat(t *testing.T) {
	program := buildProgram(t)
	for _, sealed := range []string{"securesp+tcp://127.0.0.1:0", "securesp+ipc://{dir}/sealed", "securesp+udp://127.0.0.1:0"} {
		for _, c := range []struct {
			pattern, begins, answers string
			answer                   bool
		}{
			{"reqrep", "--req0", "--rep0", true},
			{"survey", "--surveyor0", "--respondent0", true},
			{"pair", "--pair0", "--pair0", false},
			{"pipeline", "--push0", "--pull0", false},
			{"pubsub", "--pub0", "--sub0", false},
		} {
			t.Run(sealed[:12]+" "+c.pattern, func(t *testing.T) {
				b := newBridge(t, program)
				sealed := strings.ReplaceAll(sealed, "{dir}", b.dir)
				far, near := "ipc://"+b.file("far"), "ipc://"+b.file("near")
				answers := []string{c.answers, "--listen", far, "--quoted"}
				if c.answer {
					answers = append(answers, "--data", "the answer")
				}
				if c.pattern == "pubsub" {
					answers = append(answers, "--subscribe", "")
				}
				answering := start(t, false, "nngcat", answers...)
				there, at := b.device("there", "here", c.pattern, "listen", sealed, "dial", far)
				there.await(`msg=connected address=ipc`)
				here, _ := b.device("here", "there", c.pattern, "listen", near, "dial", at)
				here.await(`msg=connected address=securesp`)
				there.await(`msg=connected address=securesp`)

				// What is sent at first may be lost, as ever in SP, so
				// nngcat sends again and again.
				begins := []string{c.begins, "--dial", near, "--data", "the question", "--interval", "1"}
				if c.answer {
					begins = append(begins, "--quoted") // an error where nothing comes back
				}
				beginning := start(t, false, "nngcat", begins...)
				answering.await(`"the question"`)
				if c.answer {
					beginning.await(`"the answer"`)
				}
			})
		}
	}
}

// TestNNGCatOtherWay has the far program begin, so that messages of one-way
// patterns, too, have gone both ways.
func TestNNGCatOtherWay(t *testing.T) {
	program := buildProgram(t)
	for _, c := range []struct{ pattern, local, remote string }{
		{"pair", "--pair0", "--pair0"},
		{"pipeline", "--pull0", "--push0"},
		{"pubsub", "--sub0", "--pub0"},
	} {
		t.Run(c.pattern, func(t *testing.T) {
			b := newBridge(t, program)
			far, near := "tcp://127.0.0.1:0", "ipc://"+b.file("near")
			there, at := b.device("there", "here", c.pattern, "listen", far, "dial", "securesp+ipc://"+b.file("sealed"))
			here, _ := b.device("here", "there", c.pattern, "listen", "securesp+ipc://"+b.file("sealed"), "dial", near)
			speaks := []string{"--interval", "1", "--data"}
			locals := []string{c.local, "--listen", near, "--quoted"}
			switch c.pattern {
			case "pair":
				locals = append(append(locals, speaks...), "from here")
			case "pubsub":
				locals = append(locals, "--subscribe", "")
			}
			local := start(t, false, "nngcat", locals...)
			here.await(`msg=connected address=ipc`)
			remotes := append([]string{c.remote, "--dial", at}, append(speaks, "from there")...)
			if c.pattern == "pair" {
				remotes = append(remotes, "--quoted")
			}
			remote := start(t, false, "nngcat", remotes...)
			there.await(`msg=connected address=tcp`)
			local.await(`"from there"`)
			if c.pattern == "pair" {
				remote.await(`"from here"`)
			}
		})
	}
}
