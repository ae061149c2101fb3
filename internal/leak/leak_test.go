package leak

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// leakEnv makes this test binary leak a goroutine.
const leakEnv = "SECURESP_TEST_LEAK"

func TestMain(m *testing.M) {
	if os.Getenv(leakEnv) != "" {
		grace = 0
		forget(make(chan struct{}))
	}
	Main(m)
}

// forget leaves a goroutine behind that runs until release is closed.
func forget(release <-chan struct{}) {
	started := make(chan struct{})
	go forgotten(started, release)
	<-started
}

func forgotten(started chan<- struct{}, release <-chan struct{}) {
	close(started)
	<-release
}

func TestRemaining(t *testing.T) {
	is := is.New(t)
	is.Equal(remaining(grace), []string(nil)) // nothing runs yet

	release := make(chan struct{})
	forget(release)
	left := remaining(0)
	is.Equal(len(left), 1)                                // one goroutine is left
	is.True(strings.Contains(left[0], "leak.forgotten(")) // and its stack says which

	close(release)
	is.Equal(remaining(grace), []string(nil)) // it ended within the grace period
}

func TestMainFails(t *testing.T) {
	is := is.New(t)
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), leakEnv+"=1")
	out, err := child.CombinedOutput()
	is.True(err != nil)                                      // a leak fails the run
	is.True(strings.Contains(string(out), "leak.forgotten")) // and is shown
}
