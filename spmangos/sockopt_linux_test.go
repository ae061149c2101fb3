package spmangos

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	"go.nanomsg.org/mangos/v3/transport"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

// TestTCPOptions asks the kernel for what the options have set, on both sides.
func TestTCPOptions(t *testing.T) {
	is := is.New(t)
	key, err := keys.Generate()
	is.NoErr(err)
	config := &securesp.Config{Identity: key, Trust: trust.Keys(key.Public())}
	sock, err := pair.NewSocket()
	is.NoErr(err)
	defer sock.Close()
	for _, c := range []struct {
		options              map[string]interface{}
		noDelay, alive, idle int
	}{
		{nil, 1, 1, 15}, // net's own
		{map[string]interface{}{mangos.OptionNoDelay: false}, 0, 1, 15},
		{map[string]interface{}{mangos.OptionKeepAlive: false}, 1, 0, 15},
		{map[string]interface{}{mangos.OptionKeepAliveTime: 77 * time.Second}, 1, 1, 77},
	} {
		l, err := TCP.NewListener("securesp+tcp://127.0.0.1:0", sock)
		is.NoErr(err)
		is.NoErr(l.SetOption(OptionConfig, config))
		for name, value := range c.options {
			is.NoErr(l.SetOption(name, value))
		}
		is.NoErr(l.Listen())
		d, err := TCP.NewDialer(l.Address(), sock)
		is.NoErr(err)
		is.NoErr(d.SetOption(OptionConfig, config))
		for name, value := range c.options {
			is.NoErr(d.SetOption(name, value))
		}
		client, err := d.Dial()
		is.NoErr(err)
		server, err := l.Accept()
		is.NoErr(err)
		for _, p := range []transport.Pipe{client, server} {
			raw, err := p.(*pipe).conn.NetConn().(*net.TCPConn).SyscallConn()
			is.NoErr(err)
			is.NoErr(raw.Control(func(fd uintptr) {
				for _, o := range []struct{ level, name, want int }{
					{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, c.noDelay},
					{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, c.alive},
					{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, c.idle},
				} {
					got, err := syscall.GetsockoptInt(int(fd), o.level, o.name)
					if err != nil || got != o.want {
						t.Errorf("%v: option %d is %d, %v; want %d", c.options, o.name, got, err, o.want)
					}
				}
			}))
		}
		closed := make(chan error)
		go func() { closed <- client.Close() }()
		is.NoErr(server.Close())
		is.NoErr(<-closed)
		is.NoErr(l.Close())
	}
}
