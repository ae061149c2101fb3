package errno

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestMeanings(t *testing.T) {
	all := []func(error) bool{IsAddrInUse, IsConnReset, IsConnRefused}
	for number, meaning := range map[syscall.Errno]int{
		syscall.EADDRINUSE: 0, 10048: 0,
		syscall.ECONNRESET: 1, 10054: 1,
		syscall.ECONNREFUSED: 2, 10061: 2,
		syscall.EPERM: -1, 10060: -1, // others
	} {
		is := is.New(t)
		wrapped := fmt.Errorf("wrapped: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", number)})
		for i, f := range all {
			is.Equal(f(number), i == meaning)
			is.Equal(f(wrapped), i == meaning)
		}
	}
	for _, f := range all {
		is := is.New(t)
		is.True(!f(nil) && !f(io.EOF))
	}
}
