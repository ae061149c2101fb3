package quiccarrier

import (
	"bytes"
	"log"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/leak"
)

// standardLog is all that anything has written to the standard logger.
var standardLog bytes.Buffer

func TestMain(m *testing.M) {
	log.SetOutput(&standardLog)
	leak.Main(m)
}

// Small socket buffers are reported once, to the logger we were given, and
// never to the standard one, where package quic-go would write.
func TestBufferWarning(t *testing.T) {
	is := is.New(t)
	const variable = "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"
	_, before := os.LookupEnv(variable)
	silenceBufferWarning()
	newSocket(deadSocket{}).close() // QUIC finds fault with its buffers
	is.Equal(standardLog.String(), "")
	_, after := os.LookupEnv(variable)
	is.Equal(before, after) // the environment is as it was

	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, nil))
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	is.NoErr(err) // listen
	defer conn.Close()
	is.NoErr(conn.(*net.UDPConn).SetReadBuffer(16 << 10))
	if _, _, err := bufferSizes(conn); err != nil {
		is.True(err == errNoSizes) // not Linux: there is nothing to report
		return
	}
	buffersReported = sync.Once{}
	reportBuffers(conn, nil)
	is.Equal(out.Len(), 0)
	reportBuffers(conn, logger)
	reportBuffers(conn, logger)
	is.Equal(strings.Count(out.String(), "rmem_max"), 1) // once

	// Listen and Dial do so on their own.
	defer func(was int) { wantedBuffer = was }(wantedBuffer)
	wantedBuffer = 1 << 30 // which no kernel gives
	reported := func() int {
		defer out.Reset()
		buffersReported = sync.Once{}
		return strings.Count(out.String(), "rmem_max")
	}
	reported()
	o := Options{MaxPending: 1, Logger: logger}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	is.NoErr(err)
	l, err := Listen(socket, o)
	is.NoErr(err)
	defer l.Close()
	is.Equal(reported(), 1)
	c, err := Dial(t.Context(), &net.Dialer{}, "udp", l.Addr().String(), o)
	is.NoErr(err)
	is.Equal(reported(), 1)
	c.CloseWithin(0) // nobody has accepted it
}
