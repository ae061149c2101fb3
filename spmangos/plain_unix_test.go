//go:build !windows

package spmangos_test

import _ "go.nanomsg.org/mangos/v3/transport/ipc" // plain peers
