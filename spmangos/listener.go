package spmangos

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/transport"

	"github.com/securesp/securesp"
)

// mangos' own names for the options of socket files. Importing its ipc package
// would register that transport.
const (
	optionSocketMode  = "UNIX-IPC-CHMOD"
	optionSocketOwner = "UNIX-IPC-OWNER"
	optionSocketGroup = "UNIX-IPC-GROUP"
)

type listener struct {
	*endpoint

	// Under mu.
	socketMode   fs.FileMode
	owner, group int // -1: unchanged
	inner        *securesp.Listener
	inUse        *securesp.Config // inner's
	closed       bool

	accepts sync.WaitGroup // connections being turned away
}

func newListener(e *endpoint) *listener {
	return &listener{endpoint: e, owner: -1, group: -1}
}

func (l *listener) Listen() error {
	config, err := l.securespConfig()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return mangos.ErrClosed
	case l.inner != nil:
		return mangos.ErrAddrInUse
	}
	if l.socketMode != 0 {
		config.SocketMode = l.socketMode
	}
	inner, err := securesp.Listen(l.network, l.address, config)
	if err != nil {
		return fromSocket(err)
	}
	if l.owner >= 0 || l.group >= 0 {
		if err := os.Chown(l.address, l.owner, l.group); err != nil {
			inner.Close()
			return err
		}
	}
	l.inner, l.inUse = inner, config
	return nil
}

// Accept returns pipes only: core sleeps after every error, so one stranger
// would hold up the others.
func (l *listener) Accept() (transport.Pipe, error) {
	l.mu.Lock()
	inner, config := l.inner, l.inUse
	l.mu.Unlock()
	if inner == nil {
		return nil, mangos.ErrClosed
	}
	for {
		conn, err := inner.AcceptConn()
		if errors.Is(err, net.ErrClosed) {
			return nil, mangos.ErrClosed
		}
		if err != nil {
			return nil, err
		}
		if err := l.check(conn.ConnectionState()); err != nil {
			l.turnAway(conn, config, err)
			continue
		}
		return newPipe(conn, l.maxRecv(), config), nil
	}
}

// turnAway closes a connection that cannot become a pipe, in the background,
// and reports why.
func (l *listener) turnAway(conn *securesp.Conn, config *securesp.Config, err error) {
	l.accepts.Go(func() { conn.CloseWithCode(securesp.CloseProtocolError) })
	if f := config.OnHandshakeError; f != nil {
		f(&securesp.HandshakeError{
			Remote: conn.RemoteAddr(),
			Stage:  "verdict",
			Peer:   peerOf(conn),
			Err:    err,
		})
	}
}

func (l *listener) Close() error {
	l.mu.Lock()
	inner := l.inner
	l.closed = true
	l.mu.Unlock()
	if inner == nil {
		return nil
	}
	err := inner.Close()
	l.accepts.Wait()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

// Address shows the port that the system has chosen, once there is one.
func (l *listener) Address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner != nil {
		return l.scheme + "://" + l.inner.Addr().String()
	}
	return l.scheme + "://" + l.address
}

func (l *listener) SetOption(name string, value interface{}) error {
	if l.network != "unix" || name != optionSocketMode && name != optionSocketOwner && name != optionSocketGroup {
		return l.setOption(name, value)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	number, ok := socketNumber(value)
	if !ok {
		return mangos.ErrBadValue
	}
	switch name {
	case optionSocketMode:
		if number&^int(fs.ModePerm) != 0 {
			return mangos.ErrBadValue
		}
		l.socketMode = fs.FileMode(number)
	case optionSocketOwner:
		l.owner = number
	case optionSocketGroup:
		l.group = number
	}
	return nil
}

// socketNumber accepts the types that mangos' ipc transport does.
func socketNumber(value interface{}) (int, bool) {
	switch v := value.(type) {
	case int:
		return v, v >= 0
	case uint32:
		return int(v), true
	case fs.FileMode:
		return int(v), true
	}
	return 0, false
}

func (l *listener) GetOption(name string) (interface{}, error) { return l.getOption(name) }
