//go:build !windows

package main

// On Windows, mangos' ipc transport means named pipes, and one more module.
import _ "go.nanomsg.org/mangos/v3/transport/ipc"
