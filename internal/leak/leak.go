// Package leak fails a test binary that leaves goroutines behind.
package leak

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// grace is how long goroutines that were told to end may take to do so. The
// longest is a dial that mangos has under way when its socket is closed: nothing
// can interrupt it, and over UDP it takes ten seconds to find nobody there. It
// is a variable only for this package's own test.
var grace = 15 * time.Second

// Main runs the tests of a package and exits. It is all that a TestMain needs
// to call. If the tests pass but goroutines remain that are neither the
// runtime's nor the testing package's own, it prints their stacks and fails.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 && !fuzzing() {
		if left := remaining(grace); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "leak: %d goroutines remain after the tests:\n\n%s\n",
				len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// fuzzing reports whether this run fuzzes, in which case package testing keeps
// goroutines of its own.
func fuzzing() bool {
	for _, name := range []string{"test.fuzz", "test.fuzzworker"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" && f.Value.String() != "false" {
			return true
		}
	}
	return false
}

// remaining returns the stacks of the goroutines that are still there after
// at most the given time. It returns as soon as there are none.
func remaining(grace time.Duration) []string {
	deadline := time.Now().Add(grace)
	for pause := 100 * time.Microsecond; ; pause *= 2 {
		left := stacks()
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		// Nothing announces the end of a goroutine: look again, ever
		// less often.
		runtime.Gosched()
		time.Sleep(min(pause, 100*time.Millisecond))
	}
}

// stacks returns the stack of every goroutine but the caller's and those that
// are part of the machinery.
func stacks() []string {
	buf := make([]byte, 1<<16)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	all := strings.Split(strings.TrimSpace(string(buf[:n])), "\n\n")
	var left []string
	for _, stack := range all[1:] { // the first is this goroutine
		if !machinery(stack) {
			left = append(left, stack)
		}
	}
	return left
}

// machinery reports whether a goroutine belongs to package testing or the
// runtime. Such goroutines wait in, or were started by, these functions.
func machinery(stack string) bool {
	_, frames, _ := strings.Cut(stack, "\n")
	for _, own := range []string{
		"testing.(*T).Run(",            // a test that waits for its subtest
		"testing.(*M).",                // the test run itself
		"testing.runTests(",            // likewise
		"os/signal.signal_recv(",       // stays once signal.Notify was called
		"runtime.ensureSigM",           // likewise
		"runtime/pprof.profileWriter(", // go test -cpuprofile
		"runtime/trace.Start.",         // go test -trace
	} {
		if strings.Contains(frames, own) {
			return true
		}
	}
	return false
}
