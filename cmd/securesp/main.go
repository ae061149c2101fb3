// Command securesp makes keys, joins programs over sealed connections, and
// finds out why a connection fails. "securesp help" says more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	code := run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// stdio is a command's standard input, output and error.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// isTerminal reports whether stream is a terminal. Only files can be.
func isTerminal(stream any) (is bool) {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	raw, err := f.SyscallConn() // Fd would change how the file is read
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) { is = term.IsTerminal(int(fd)) })
	return is && err == nil
}

// logger returns a logger to standard error.
func (s stdio) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: level}))
}

// command is one of the program's subcommands.
type command struct {
	name  string
	usage string
	run   func(ctx context.Context, std stdio, args []string) error
}

func commands() []command {
	return []command{
		{"keygen", keygenUsage, keygen},
		{"pub", pubUsage, pub},
		{"cat", catUsage, cat},
		{"tunnel", tunnelUsage, tunnel},
		{"device", deviceUsage, device},
		{"probe", probeUsage, probe},
		{"demo", demoUsage, demo},
	}
}

// run runs the program with the given arguments, its own name not among them,
// and returns its exit code.
func run(ctx context.Context, args []string, std stdio) int {
	if len(args) == 0 {
		fmt.Fprint(std.err, mainUsage)
		return exitUsage
	}
	name, args := args[0], args[1:]
	if name == "help" {
		name, args = "-h", append(args, "-h")
		if len(args) > 1 {
			name, args = args[0], args[1:]
		}
	}
	switch name {
	case "-h", "-help", "--help":
		fmt.Fprint(std.out, mainUsage)
		return exitOK
	case "version", "-version", "--version":
		fmt.Fprintln(std.out, "securesp", version())
		return exitOK
	}
	for _, c := range commands() {
		if c.name == name {
			return c.exec(ctx, std, args)
		}
	}
	report(std.err, "securesp", usagef("there is no command %q", name))
	return exitUsage
}

// exec runs the command and returns the exit code.
func (c command) exec(ctx context.Context, std stdio, args []string) int {
	err := c.run(ctx, std, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(std.out, c.usage)
		return exitOK
	}
	if ctx.Err() != nil && err != nil {
		err = context.Canceled // whatever it broke is a consequence
	}
	var told toldError
	if err != nil && !errors.As(err, &told) {
		report(std.err, "securesp "+c.name, err)
	}
	return diagnose(err).verdict().code
}

// toldError is an error that the user has been told about already.
type toldError struct{ error }

func (e toldError) Unwrap() error { return e.error }

// version returns what the build says of the program's version.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown version)"
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}

// newFlags returns an empty set of flags that prints nothing by itself.
func newFlags() *flag.FlagSet {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// parse parses flags, which may stand before, between and after the other
// arguments, and returns these. There must be as many as want has words.
func parse(flags *flag.FlagSet, args []string, want string) ([]string, error) {
	var others []string
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, usagef("%v", err)
		}
		args = flags.Args()
		if len(args) == 0 {
			break
		}
		others, args = append(others, args[0]), args[1:]
	}
	if n := len(strings.Fields(want)); len(others) != n {
		return nil, usagef("wants %s, got %d arguments", want, len(others))
	}
	return others, nil
}
