//go:build unix

package main

import (
	"context"
	"os/exec"
	"syscall"
)

// shell returns a command for the shell, in a process group of its own, all of
// which is killed when ctx ends: otherwise its children would live on and see
// an end of their input.
func shell(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}
