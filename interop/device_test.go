package interop

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/matryer/is"
)

// deviceLibraries are the libraries that the devices in device/ are made with.
var deviceLibraries = []string{"nng", "nanomsg"}

// buildDevice compiles the device that uses a library.
func buildDevice(t *testing.T, library string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), library)
	out, err := exec.Command("gcc", "-Wall", "-o", program, "device/"+library+".c", "-l"+library, "-lpthread").CombinedOutput()
	if err != nil {
		t.Fatalf("cannot compile device/%s.c (%v): on Debian, apt-get install gcc libc6-dev libnng-dev libnanomsg-dev\n%s", library, err, out)
	}
	return program
}

// middle is a running device, and taps on the connections to its two sides.
type middle struct {
	front, back *tap
}

// startMiddle runs a device for a pattern until the test ends.
func startMiddle(t *testing.T, program, pattern string) *middle {
	t.Helper()
	is := is.New(t)
	dir, err := os.MkdirTemp("", "device") // paths of sockets must be short
	is.NoErr(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	front, back := filepath.Join(dir, "front"), filepath.Join(dir, "back")
	cmd := exec.Command(program, pattern, "ipc://"+front, "ipc://"+back)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	is.NoErr(err)
	output, err := cmd.StdoutPipe()
	is.NoErr(err)
	is.NoErr(cmd.Start()) // start the device
	t.Cleanup(func() {
		input.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			t.Errorf("the device failed: %v", err)
		}
	})
	ready := make([]byte, len("ready\n"))
	_, err = io.ReadFull(output, ready)
	is.NoErr(err) // it listens
	return &middle{newTap(t, front), newTap(t, back)}
}

// tap stands between mangos, which connects to it over TCP, and one side of a
// device, to which it connects over a UNIX socket. It records all messages.
type tap struct {
	t    *testing.T
	url  string // where mangos connects
	path string // where the device listens

	wires sync.WaitGroup

	mu                 sync.Mutex
	toDevice, toMangos func(message []byte) [][]byte // or nil; see alter
	seen               []byte
	conns              map[net.Conn]bool // nil once closed
}

// alter has two functions, one for each direction, say what arrives of a
// message. It must be called before anybody connects.
func (p *tap) alter(toDevice, toMangos func(message []byte) [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.toDevice, p.toMangos = toDevice, toMangos
}

func newTap(t *testing.T, path string) *tap {
	t.Helper()
	is := is.New(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	p := &tap{t: t, url: "tcp://" + l.Addr().String(), path: path, conns: make(map[net.Conn]bool)}
	p.wires.Go(func() { p.accept(l) })
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for c := range p.conns {
			c.Close()
		}
		p.conns = nil
		p.mu.Unlock()
		p.wires.Wait()
	})
	return p
}

func (p *tap) accept(l net.Listener) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("unix", p.path)
		if err != nil {
			p.t.Errorf("the device does not listen: %v", err)
			near.Close()
			return
		}
		p.mu.Lock()
		if p.conns == nil {
			near.Close()
			far.Close()
		} else {
			p.conns[near], p.conns[far] = true, true
		}
		toDevice, toMangos := p.toDevice, p.toMangos
		p.mu.Unlock()
		p.wires.Go(func() { p.wire(near, far, 0, 1, toDevice) })
		p.wires.Go(func() { p.wire(far, near, 1, 0, toMangos) })
	}
}

// wire is one direction of a connection; when it ends, so does the other. SP
// begins with 8 bytes; then each message has 8 bytes for its length in front,
// and on UNIX sockets a byte 1 in front of these.
func (p *tap) wire(from, to net.Conn, extraIn, extraOut int, meddle func([]byte) [][]byte) {
	defer from.Close()
	defer to.Close()
	if _, err := io.CopyN(to, from, 8); err != nil {
		return
	}
	for {
		header := make([]byte, extraIn+8)
		if _, err := io.ReadFull(from, header); err != nil {
			return
		}
		size := binary.BigEndian.Uint64(header[extraIn:])
		if size > 1<<20 {
			p.t.Errorf("a message of %d bytes", size)
			return
		}
		message := make([]byte, size)
		if _, err := io.ReadFull(from, message); err != nil {
			return
		}
		p.mu.Lock()
		p.seen = append(p.seen, message...)
		p.mu.Unlock()
		arrives := [][]byte{message}
		if meddle != nil {
			arrives = meddle(message)
		}
		for _, m := range arrives {
			frame := []byte{1}[1-extraOut:]
			frame = binary.BigEndian.AppendUint64(frame, uint64(len(m)))
			if _, err := to.Write(append(frame, m...)); err != nil {
				return
			}
		}
	}
}

// errHeader means that a message has no header of a request or reply.
var errHeader = errors.New("no SP header")

// splitHeader returns the header that REQ, REP and devices give a message, of
// which the last word has its highest bit set, and the rest.
func splitHeader(message []byte) (header, body []byte, err error) {
	for i := 0; i+4 <= len(message); i += 4 {
		if message[i]&0x80 != 0 {
			return message[: i+4 : i+4], message[i+4:], nil
		}
	}
	return nil, nil, errHeader
}
