package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal: what a program writes to or reads from
// program, a user sees on screen and types on keyboard.
type terminal struct {
	program *os.File
	keys    *os.File
	screen  *console
}

// newTerminal returns a new pseudo terminal (pty(7)).
func newTerminal(t *testing.T) *terminal {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var number uint32
	control(t, user, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetUint32(fd, unix.TIOCGPTN)
		}
		return err
	})
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	control(t, program, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	})
	term := &terminal{program, user, newConsole()}
	go func() {
		io.Copy(term.screen, user) // until nobody has the terminal open any more
		term.screen.close()
	}()
	t.Cleanup(func() {
		term.close()
		user.Close()
	})
	return term
}

// close ends the program's side and waits until all of it is on the screen.
func (term *terminal) close() {
	term.program.Close()
	<-term.screen.closed
}

// control calls f with f's descriptor.
func control(t *testing.T, file *os.File, f func(fd int) error) {
	t.Helper()
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ctlErr error
	if err := raw.Control(func(fd uintptr) { ctlErr = f(int(fd)) }); err != nil || ctlErr != nil {
		t.Fatal(err, ctlErr)
	}
}

// transferTo runs alice's cat with the given input and errors, against a bob
// that only receives.
func transferTo(t *testing.T, in io.Reader, errs io.Writer) int {
	t.Helper()
	c := newCast(t)
	_, at := listening(t, nil, c.asBob("cat", "listen", "127.0.0.1:0", "--recv-only")...)
	return run(context.Background(), c.asAlice("cat", "dial", at), stdio{in, io.Discard, errs})
}

// TestProgress sees that a long transfer shows how far it is on a terminal, a
// short one nothing, and that elsewhere neither does.
func TestProgress(t *testing.T) {
	long, short := bytes.Repeat([]byte("x"), 8<<20), []byte("x")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, long, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(t *testing.T) io.Reader {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for name, c := range map[string]struct {
		in   func(t *testing.T) io.Reader
		want []string
	}{
		"file":  {open, []string{"%", "/s", "sent 8.0 MiB in "}},
		"pipe":  {func(*testing.T) io.Reader { return bytes.NewReader(long) }, []string{"/s", "sent 8.0 MiB in "}},
		"short": {func(*testing.T) io.Reader { return bytes.NewReader(short) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			term := newTerminal(t)
			is.Equal(transferTo(t, c.in(t), term.program), exitOK)
			term.close()
			for _, want := range c.want {
				is.True(strings.Contains(term.screen.String(), want)) // shown on the terminal
			}
			if c.want == nil {
				is.Equal(term.screen.String(), "")
			}
			var piped bytes.Buffer
			is.Equal(transferTo(t, c.in(t), &piped), exitOK)
			is.Equal(piped.String(), "") // nothing elsewhere
		})
	}
}

// TestProgressOfReceiver is for a receiver at a terminal.
func TestProgressOfReceiver(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	text := randomText(8 << 20)
	bob, at := listening(t, strings.NewReader(text), c.asBob("cat", "listen", "127.0.0.1:0")...)
	term := newTerminal(t)
	var got bytes.Buffer
	is.Equal(run(context.Background(), c.asAlice("cat", "dial", at), stdio{strings.NewReader(""), &got, term.program}), exitOK)
	is.True(got.String() == text)
	term.close()
	is.True(strings.Contains(term.screen.String(), "received 8.0 MiB in "))
	is.Equal((<-bob.done).code, exitOK)
}

// TestTerminalInput sees that nobody has to end the input of a terminal by
// hand once the peer has ended.
func TestTerminalInput(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	bobIn, bobTypes := io.Pipe()
	bob, at := listening(t, bobIn, c.asBob("cat", "listen", "127.0.0.1:0")...)
	term := newTerminal(t)
	alice := launch(context.Background(), term.program, c.asAlice("cat", "dial", at)...)
	_, err := term.keys.WriteString("typed\n")
	is.NoErr(err)
	bob.out.await(t, "(typed)\n")
	is.NoErr(bobTypes.Close())
	is.Equal((<-alice.done).code, exitOK)
	got := <-bob.done
	is.Equal(got.code, exitOK)
	is.Equal(got.out, "typed\n")
}
