package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed zmq.c.txt
var zmqSource []byte

// buildZMQ compiles the libzmq side, which takes the same arguments as child.
func buildZMQ(dir string) (string, error) {
	source, program := filepath.Join(dir, "zmq.c"), filepath.Join(dir, "zmq")
	if err := os.WriteFile(source, zmqSource, 0o600); err != nil {
		return "", err
	}
	out, err := exec.Command("cc", "-O2", "-o", program, source, "-lzmq").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot build against libzmq (Debian: libzmq3-dev): %w\n%s", err, out)
	}
	return program, nil
}
