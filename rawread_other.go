//go:build !unix

package securesp

import (
	"io"
	"syscall"
)

func rawConn(io.Reader) syscall.RawConn { return nil }

func (r *carrierReader) readNonblocking(uintptr) bool { return true }
