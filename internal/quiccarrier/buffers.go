package quiccarrier

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// wantedBuffer is what QUIC asks the kernel for, in each direction. Only tests
// change it.
var wantedBuffer = 7 << 20

// silenceBufferWarning keeps package quic-go from printing, once a process and
// to the standard logger, that the kernel gives it smaller socket buffers than
// it would like: what a library has to say goes to the logger it was given,
// see reportBuffers. An environment variable is all that turns the line off,
// so it is set, the line provoked with a transport that has no socket, and the
// variable put back.
var silenceBufferWarning = sync.OnceFunc(func() {
	const variable = "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"
	before, was := os.LookupEnv(variable)
	os.Setenv(variable, "true")
	newSocket(deadSocket{}).close()
	if was {
		os.Setenv(variable, before)
	} else {
		os.Unsetenv(variable)
	}
})

// deadSocket is a net.PacketConn on which everything fails.
type deadSocket struct{ net.PacketConn }

func (deadSocket) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, net.ErrClosed }
func (deadSocket) LocalAddr() net.Addr                    { return &net.UDPAddr{} }
func (deadSocket) SetReadDeadline(time.Time) error        { return net.ErrClosed }
func (deadSocket) Close() error                           { return net.ErrClosed }

var buffersReported sync.Once

// reportBuffers tells logger, once a process, if the kernel limits conn's
// buffers. That costs no correctness but, on fast and long paths, speed.
func reportBuffers(conn net.PacketConn, logger *slog.Logger) {
	if logger == nil {
		return
	}
	receive, send, err := bufferSizes(conn)
	if err != nil || receive >= wantedBuffer && send >= wantedBuffer {
		return
	}
	buffersReported.Do(func() {
		logger.Warn("securesp: the kernel limits UDP socket buffers, which costs speed; see net.core.rmem_max and wmem_max",
			"wanted", wantedBuffer, "receive", receive, "send", send)
	})
}

var errNoSizes = errors.New("securesp: the sizes of the socket's buffers are not known")
