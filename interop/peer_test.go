package interop

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// peer is another implementation of Noise, at one handshake at a time.
type peer interface {
	start(setup setup) error
	write(payload []byte) (message []byte, err error)
	read(message []byte) (payload []byte, err error)
	// finish ends the handshake and returns its hash and our static key as
	// the peer has it.
	finish() (hash, remote []byte, err error)
	encrypt(ad, plaintext []byte) (ciphertext []byte, err error)
	decrypt(ad, ciphertext []byte) (plaintext []byte, err error)
	// rekey replaces the receiving key and goes on with the given nonce.
	rekey(nonce uint64) error
}

// setup is what a peer starts a handshake with. What its side does not have is
// nil.
type setup struct {
	protocol  string
	initiator bool
	prologue  []byte
	s, rs     []byte // own secret and remote public static key
	psk       []byte
}

// program is a peer in a process of its own. It takes one request a line, a
// JSON object with an "op" and hexadecimal arguments, and answers each with
// such an object, which has "error" if the peer refuses.
type program struct {
	in  io.Writer
	out *bufio.Scanner
}

// errRefused is an error that a peer's own implementation reported.
var errRefused = errors.New("refused")

// startNode starts a script that needs a package of npm's, which is in
// node_modules here or in a directory of $NODE_PATH.
func startNode(t *testing.T, needs, script string) *program {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("NODE_PATH")), "node_modules") {
		if _, err := os.Stat(filepath.Join(dir, needs)); err == nil {
			return startProgram(t, installNode, "node", script)
		}
	}
	t.Fatalf("the package %s is missing: %s", needs, installNode)
	return nil
}

// startProgram starts a program, which ends with the test. hint says how to
// install what it needs.
func startProgram(t *testing.T, hint string, command ...string) *program {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints tail
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: %s", err, hint)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v; its last words: %s (%s)", command, err, complaints, hint)
		}
	})
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 1<<20)
	return &program{in, scanner}
}

// tail keeps the end of what is written to it.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if n := len(*t); n > 2048 {
		*t = (*t)[n-2048:]
	}
	return len(p), nil
}

// ask sends one request and returns the fields of the answer.
func (p *program) ask(op string, args map[string]any) (map[string][]byte, error) {
	request := map[string]any{"op": op}
	for name, value := range args {
		if b, ok := value.([]byte); ok {
			value = hex.EncodeToString(b)
		}
		request[name] = value
	}
	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	if !p.out.Scan() {
		return nil, fmt.Errorf("the program has ended: %w", errors.Join(p.out.Err(), io.ErrUnexpectedEOF))
	}
	var answer map[string]string
	if err := json.Unmarshal(p.out.Bytes(), &answer); err != nil {
		return nil, err
	}
	if text, failed := answer["error"]; failed {
		return nil, fmt.Errorf("%w: %s", errRefused, text)
	}
	fields := make(map[string][]byte)
	for name, value := range answer {
		if fields[name], err = hex.DecodeString(value); err != nil {
			return nil, err
		}
	}
	return fields, nil
}

func (p *program) start(s setup) error {
	args := map[string]any{"protocol": s.protocol, "initiator": s.initiator, "prologue": s.prologue}
	for name, value := range map[string][]byte{"s": s.s, "rs": s.rs, "psk": s.psk} {
		if value != nil {
			args[name] = value
		}
	}
	_, err := p.ask("start", args)
	return err
}

func (p *program) write(payload []byte) ([]byte, error) {
	answer, err := p.ask("write", map[string]any{"payload": payload})
	return answer["message"], err
}

func (p *program) read(message []byte) ([]byte, error) {
	answer, err := p.ask("read", map[string]any{"message": message})
	return answer["payload"], err
}

func (p *program) finish() (hash, remote []byte, err error) {
	answer, err := p.ask("finish", nil)
	return answer["hash"], answer["remote"], err
}

func (p *program) encrypt(ad, plaintext []byte) ([]byte, error) {
	answer, err := p.ask("encrypt", map[string]any{"ad": ad, "plaintext": plaintext})
	return answer["ciphertext"], err
}

func (p *program) decrypt(ad, ciphertext []byte) ([]byte, error) {
	answer, err := p.ask("decrypt", map[string]any{"ad": ad, "ciphertext": ciphertext})
	return answer["plaintext"], err
}

func (p *program) rekey(nonce uint64) error {
	_, err := p.ask("rekey", map[string]any{"nonce": nonce})
	return err
}
