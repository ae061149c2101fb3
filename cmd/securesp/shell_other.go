//go:build !unix

package main

import (
	"context"
	"os/exec"
)

// shell returns a command for the system's shell, which is killed when ctx
// ends.
func shell(ctx context.Context, line string) *exec.Cmd {
	return exec.CommandContext(ctx, "cmd", "/C", line)
}
