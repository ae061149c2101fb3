package leak

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Check makes t fail if, after all cleanups that are registered later, there
// are goroutines or, where the system lists them, file descriptors that are
// not there now. t must not run in parallel with other tests.
func Check(t testing.TB) {
	t.Helper()
	goroutines := make(map[string]bool)
	for _, stack := range stacks() {
		goroutines[id(stack)] = true
	}
	files := descriptors()
	t.Cleanup(func() {
		deadline := time.Now().Add(grace)
		for pause := 100 * time.Microsecond; ; pause *= 2 {
			left := newcomers(goroutines, files)
			if len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("leak: %d goroutines or descriptors remain:\n\n%s", len(left), strings.Join(left, "\n\n"))
				return
			}
			// As in remaining: nothing announces these ends.
			runtime.Gosched()
			time.Sleep(min(pause, 100*time.Millisecond))
		}
	})
}

// newcomers returns what has been added.
func newcomers(goroutines map[string]bool, files map[string]int) (left []string) {
	for _, stack := range stacks() {
		if !goroutines[id(stack)] {
			left = append(left, stack)
		}
	}
	for kind, n := range descriptors() {
		for ; n > files[kind]; n-- {
			left = append(left, "descriptor: "+kind)
		}
	}
	return left
}

// id returns the goroutine's number.
func id(stack string) string {
	number, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
	return number
}

// descriptors counts the process's file descriptors by what they are: those of
// sockets are one kind, as are those of the runtime's own poller, which come
// with the first socket and stay.
func descriptors() map[string]int {
	const dir = "/proc/self/fd"
	counts := make(map[string]int)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // another system
	}
	for _, e := range entries {
		kind, err := os.Readlink(dir + "/" + e.Name())
		if err != nil || strings.HasPrefix(kind, "anon_inode:") || strings.HasPrefix(kind, "/proc/") {
			continue
		}
		kind, _, _ = strings.Cut(kind, ":[")
		counts[kind]++
	}
	return counts
}
