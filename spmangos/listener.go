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

	leaving sync.WaitGroup // connections being turned away
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
		return toMangos(err)
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
		if err != nil {
			// It is final. mangos would ask for ever.
			if l := config.Logger; l != nil && !errors.Is(err, net.ErrClosed) {
				l.Error("securesp: listening ended", "address", inner.Addr().String(), "err", err)
			}
			return nil, mangos.ErrClosed
		}
		if l.checkProtocols(conn, config) == nil {
			return l.newPipe(conn, config), nil
		}
		l.turnAway(conn)
	}
}

// turnAway closes a connection in the background: the peer may take its time.
func (l *listener) turnAway(conn *securesp.Conn) {
	hangUp := func() { conn.CloseWithCode(securesp.CloseProtocolError) }
	l.mu.Lock()
	if !l.closed {
		l.leaving.Go(hangUp)
		hangUp = func() {}
	}
	l.mu.Unlock()
	hangUp()
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
	l.leaving.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
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
	var ok bool
	switch name {
	case optionSocketMode:
		var mode fs.FileMode
		if mode, ok = value.(fs.FileMode); !ok {
			var number uint32
			ok = setIf(&number, value, nil)
			mode = fs.FileMode(number)
		}
		ok = ok && mode != 0 && mode&^fs.ModePerm == 0 // nobody connects with 0
		if ok {
			l.socketMode = mode
		}
	case optionSocketOwner:
		ok = setIf(&l.owner, value, nil)
	case optionSocketGroup:
		ok = setIf(&l.group, value, nil)
	}
	if !ok {
		return mangos.ErrBadValue
	}
	return nil
}

func (l *listener) GetOption(name string) (interface{}, error) { return l.getOption(name) }
