//go:build unix

package securesp

import (
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

// rawConn returns the carrier's descriptor if it is a kernel stream that can
// be read without waiting, so that a waiting connection holds no buffer.
func rawConn(carrier io.Reader) syscall.RawConn {
	var raw syscall.RawConn
	var err error
	switch c := carrier.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	}
	if err != nil {
		return nil
	}
	return raw
}

// readNonblocking reads once into the buffer, or gives the buffer back and
// reports false to wait until the descriptor is readable.
func (r *carrierReader) readNonblocking(fd uintptr) bool {
	r.grow()
	var spinUntil time.Time
	for {
		n, err := syscall.Read(int(fd), r.store.b[len(r.buf):])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN && r.busyPoll > 0 && spinUntil.IsZero():
			spinUntil = time.Now().Add(r.busyPoll)
			continue
		case err == syscall.EAGAIN && time.Now().Before(spinUntil):
			runtime.Gosched()
			continue
		case err == syscall.EAGAIN:
			r.shrink()
			return false
		case err != nil:
			r.n, r.rerr = 0, os.NewSyscallError("read", err)
		case n == 0:
			r.n, r.rerr = 0, io.EOF
		default:
			r.n, r.rerr = n, nil
			r.took(n)
		}
		return true
	}
}
