package spmangos

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/transport"

	"github.com/securesp/securesp"
)

// pipe is one connection as mangos sees it. One SP message is one message of
// the connection, which batches those that follow each other closely.
type pipe struct {
	conn    *securesp.Conn
	log     *slog.Logger
	onDrop  DropHook
	maxRecv int
	dropped atomic.Uint64

	// What Recv receives into. One Recv runs at a time.
	receiving *mangos.Message
	receive   func(size int) []byte // p.memory, bound once

	mu  sync.Mutex
	err error // what ended the pipe
}

// Send sends one message: header and body are copied into the connection's
// buffer, so the message, which others may share, is only read. It is freed on
// success.
//
// A message that the peer has said it would not accept is dropped, and the
// drop reported. Failing would make mangos reconnect, and a REQ socket send it
// again, for ever.
func (p *pipe) Send(m *mangos.Message) error {
	err := p.conn.WriteMessage(m.Header, m.Body)
	if err == securesp.ErrMessageTooLarge { // as it is: before anything was sent
		p.drop(m)
		err = nil
	}
	if err != nil {
		return p.fail(err)
	}
	m.Free()
	return nil
}

// drop reports that m will not be sent. The log hears of the first such message
// and each time that their number has doubled, the hook of all.
func (p *pipe) drop(m *mangos.Message) {
	state := p.conn.ConnectionState()
	if n := p.dropped.Add(1); p.log != nil && n&(n-1) == 0 {
		p.log.Warn("securesp: dropped a message larger than the peer accepts",
			"remote", p.conn.RemoteAddr().String(), "dropped", n, "size", len(m.Header)+len(m.Body), "limit", state.PeerMaxMessageSize)
	}
	if p.onDrop != nil {
		p.onDrop(m, state)
	}
}

// Recv returns the next message, all of it in Body.
func (p *pipe) Recv() (*mangos.Message, error) {
	body, err := p.conn.ReadMessageFunc(p.receive)
	m := p.receiving
	p.receiving = nil
	if err != nil {
		m.Free() // it may be nil
		return nil, p.fail(err)
	}
	m.Body = body
	return m, nil
}

// memory returns the memory of a message from mangos' pools: only when there
// is something to put into it, for pipes may be many and mostly idle. A message
// too large for the pools grows as it comes, since its size is only claimed.
func (p *pipe) memory(size int) []byte {
	p.receiving = mangos.NewMessage(min(size, maxPooled))
	return p.receiving.Body
}

// maxPooled is the size of the largest message whose memory mangos pools.
const maxPooled = 65535

// fail records the first error and returns what mangos should see of it.
func (p *pipe) fail(err error) error {
	p.mu.Lock()
	if p.err == nil && !errors.Is(err, net.ErrClosed) && err != io.EOF {
		p.err = err
	}
	p.mu.Unlock()
	switch {
	case err == io.EOF || errors.Is(err, net.ErrClosed):
		return mangos.ErrClosed
	case errors.Is(err, securesp.ErrMessageTooLarge):
		return mangos.ErrTooLong
	}
	return err
}

// Close lets what was sent reach the peer, within a bound.
func (p *pipe) Close() error {
	if err := p.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return p.fail(err)
	}
	return nil
}

func (p *pipe) GetOption(name string) (interface{}, error) {
	switch name {
	case mangos.OptionLocalAddr:
		return p.conn.LocalAddr(), nil
	case mangos.OptionRemoteAddr:
		return p.conn.RemoteAddr(), nil
	case mangos.OptionMaxRecvSize:
		return p.maxRecv, nil
	case OptionState:
		return p.conn.ConnectionState(), nil
	case OptionPeerKey:
		return p.conn.ConnectionState().Peer.Key, nil
	case OptionCloseError:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.err, nil
	}
	if c := p.conn.ConnectionState().Peer.Credentials; c != nil {
		switch name {
		case mangos.OptionPeerPID:
			return c.PID, nil
		case mangos.OptionPeerUID:
			return int(c.UID), nil
		case mangos.OptionPeerGID:
			return int(c.GID), nil
		}
	}
	return nil, mangos.ErrBadOption // core asks the dialer or listener then
}

var _ transport.Pipe = (*pipe)(nil)
