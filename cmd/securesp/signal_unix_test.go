//go:build unix

package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
)

// program is a command that runs this program as a process of its own, with its
// errors on a console. The test's end is the program's.
func program(t *testing.T, name string, args ...string) (*exec.Cmd, *console) {
	cmd, errs := exec.Command(name, args...), newConsole()
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = errs
	t.Cleanup(func() {
		if cmd.Process != nil {
			cmd.Process.Kill()
		}
	})
	return cmd, errs
}

// process starts the program as a process of its own.
func process(t *testing.T, in io.Reader, args ...string) (*exec.Cmd, *console) {
	t.Helper()
	cmd, errs := program(t, os.Args[0], args...)
	cmd.Stdin = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, errs
}

// TestSignals sees that a process that is told to end closes its connections
// properly.
func TestSignals(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			is := is.New(t)
			c := newCast(t)
			target := plainServer(t, "tcp", func(conn net.Conn) { io.Copy(conn, conn) })
			tunnel, errs := process(t, nil, c.asBob("tunnel", "listen", "127.0.0.1:0", target, "-v")...)
			at := errs.await(t, `msg=listening address=(\S+)`)
			in, typed := io.Pipe()
			defer typed.Close()
			alice := launch(t.Context(), in, c.asAlice("cat", "dial", at)...)
			errs.await(t, "msg=(connected)")
			is.NoErr(tunnel.Process.Signal(signal))
			is.NoErr(tunnel.Wait()) // exit code 0
			got := <-alice.done
			is.Equal(got.code, exitCut)
			is.True(strings.Contains(got.err, "going away")) // a sealed farewell
		})
	}
}

// TestExitCode sees that the process ends with what run returns.
func TestExitCode(t *testing.T) {
	is := is.New(t)
	cmd, errs := process(t, nil, "probe", "127.0.0.1:1", "-bogus")
	err := cmd.Wait()
	is.True(err != nil)
	is.Equal(cmd.ProcessState.ExitCode(), exitUsage)
	is.True(strings.Contains(errs.String(), "-bogus"))
	cmd, _ = process(t, nil, "cat", "listen", "127.0.0.1:0")
	is.True(cmd.Wait() != nil)
	is.Equal(cmd.ProcessState.ExitCode(), exitUsage)
}
