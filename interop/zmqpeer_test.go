package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
)

// systemPython is the interpreter for which distributions package pyzmq.
const systemPython = "/usr/bin/python3"

// zmqPeer is a socket of libzmq in a process of its own, run by
// peers/libzmq.py.
type zmqPeer struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func startZMQ(t *testing.T) *zmqPeer {
	t.Helper()
	is := is.New(t)
	if err := exec.Command(systemPython, "-c", "import zmq").Run(); err != nil {
		t.Fatalf("pyzmq is missing (%v): on Debian, apt-get install python3-zmq", err)
	}
	cmd := exec.Command(systemPython, filepath.Join("peers", "libzmq.py"))
	in, err := cmd.StdinPipe()
	is.NoErr(err) // pipe to the script
	out, err := cmd.StdoutPipe()
	is.NoErr(err) // pipe from the script
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	is.NoErr(cmd.Start()) // start the script
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, &stderr)
		}
	})
	return &zmqPeer{t: t, in: in, out: bufio.NewReader(out)}
}

// zmqReply is what the script may answer.
type zmqReply struct {
	Port    int
	Parts   [][]byte
	Event   string
	Value   int
	Version string
}

// do has the script run one command.
func (p *zmqPeer) do(command string, arguments map[string]any) (reply zmqReply) {
	p.t.Helper()
	is := is.New(p.t)
	if arguments == nil {
		arguments = make(map[string]any)
	}
	arguments["do"] = command
	line, err := json.Marshal(arguments)
	is.NoErr(err) // encode the command
	_, err = p.in.Write(append(line, '\n'))
	is.NoErr(err) // give the command
	line, err = p.out.ReadBytes('\n')
	is.NoErr(err)                          // wait for the answer
	is.NoErr(json.Unmarshal(line, &reply)) // decode the answer
	return reply
}

func (p *zmqPeer) send(parts ...[]byte) {
	p.t.Helper()
	p.do("send", map[string]any{"parts": parts})
}

func (p *zmqPeer) receive() [][]byte {
	p.t.Helper()
	return p.do("receive", nil).Parts
}

// event waits for the next handshake to succeed or fail on libzmq's side.
func (p *zmqPeer) event() string {
	p.t.Helper()
	reply := p.do("event", nil)
	return fmt.Sprint(reply.Event, " ", reply.Value)
}
