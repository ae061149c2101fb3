// Package spmangos makes mangos sockets secure: importing it adds the
// transports securesp+tcp, securesp+ipc and securesp+udp, which are used like
// tcp and ipc but authenticate and encrypt.
//
//	sock.DialOptions("securesp+tcp://host:4000", spmangos.Options(config))
//
// Every connection belongs to a peer that has proved its key and was
// authorised before mangos sees it, so a message's Pipe says who sent it: see
// [PeerKey]. The SP protocol numbers and the largest acceptable message are
// exchanged inside the authenticated handshake.
//
// mangos creates a pipe only after the handshake, so a policy belongs into
// Config.Trust. A program that closes pipes in its event hook must do so on
// mangos.PipeEventAttached: mangos v3.4.2 deadlocks if one is closed while
// attaching.
//
// mangos cannot stop a dial in progress either, so one may outlive its socket's
// Close, by at most Config.HandshakeTimeout; its connection is then closed.
//
// All options are listed in docs/MANGOS.md.
package spmangos

import (
	"sync/atomic"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/transport"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
)

// Options of dialers and listeners.
const (
	// OptionConfig is a *securesp.Config: who we are and whom we trust. It
	// cannot be read back. MaxMessageSize in it is replaced by mangos'
	// own OptionMaxRecvSize.
	OptionConfig = "SECURESP-CONFIG"

	// OptionOnDrop is a DropHook. It cannot be read back.
	OptionOnDrop = "SECURESP-ON-DROP"

	// OptionStopOnAuthError is a bool for dialers: if set, a dialer gives
	// up once authentication or authorisation has failed, on either side,
	// instead of trying again for ever. The reason goes to
	// Config.OnHandshakeError. Some of these failures can be brought about
	// by whoever alters what is on its way.
	OptionStopOnAuthError = "SECURESP-STOP-ON-AUTH-ERROR"
)

// DropHook is told of a message that was not sent because it is larger than
// the peer accepts, which mangos has no way of reporting to the sender: a REQ
// socket, say, would wait in vain. The connection lives on. m is only lent and
// must not be changed; state is that of the connection, with the peer and its
// PeerMaxMessageSize. The hook is called by the goroutine that sends, and
// holds it up.
type DropHook = func(m *mangos.Message, state securesp.ConnectionState)

// Options of pipes, read-only.
const (
	// OptionPeerKey is the keys.Public that the peer has proved.
	OptionPeerKey = "SECURESP-PEER-KEY"

	// OptionState is the pipe's securesp.ConnectionState.
	OptionState = "SECURESP-STATE"

	// OptionCloseError is the error that ended the pipe, or nil. It is set
	// when the event hook is told that the pipe is detached.
	OptionCloseError = "SECURESP-CLOSE-ERROR"
)

// Options returns the map that DialOptions, ListenOptions, NewDialer and
// NewListener of a mangos socket take to use config.
func Options(config *securesp.Config) map[string]interface{} {
	return map[string]interface{}{OptionConfig: config}
}

var defaultConfig atomic.Pointer[securesp.Config]

// SetDefault sets the config of dialers and listeners that are not given
// OptionConfig, for the whole program. Without it those fail, and a dialer in
// the background, which has nobody to tell, says so once to slog.Default.
func SetDefault(config *securesp.Config) { defaultConfig.Store(config) }

// PeerKey returns the key that the pipe's peer has proved: of the sender, if
// it is a received message's Pipe. It is false for pipes of other transports
// and for suites in which the peer proves none.
func PeerKey(p mangos.Pipe) (keys.Public, bool) {
	key, ok := option[keys.Public](p, OptionPeerKey)
	return key, ok && !key.IsZero()
}

// State returns the state of the pipe's connection, or false for pipes of
// other transports.
func State(p mangos.Pipe) (securesp.ConnectionState, bool) {
	return option[securesp.ConnectionState](p, OptionState)
}

func option[T any](p mangos.Pipe, name string) (value T, ok bool) {
	if p == nil {
		return value, false
	}
	v, err := p.GetOption(name)
	if err != nil {
		return value, false
	}
	value, ok = v.(T)
	return value, ok
}

// The transports, for programs that register under other names or test them.
var (
	TCP transport.Transport = carrier{scheme: "securesp+tcp", network: "tcp"}
	IPC transport.Transport = carrier{scheme: "securesp+ipc", network: "unix"}
	UDP transport.Transport = carrier{scheme: "securesp+udp", network: "udp"}
)

func init() {
	for _, t := range []transport.Transport{TCP, IPC, UDP} {
		transport.RegisterTransport(t)
	}
}

// carrier is a transport over one of securesp's networks.
type carrier struct{ scheme, network string }

func (t carrier) Scheme() string { return t.scheme }

func (t carrier) NewDialer(url string, sock mangos.Socket) (transport.Dialer, error) {
	address, err := transport.StripScheme(t, url)
	if err != nil {
		return nil, err
	}
	if err := t.checkAddress(address); err != nil {
		return nil, err
	}
	return &dialer{endpoint: newEndpoint(t, address, sock)}, nil
}

func (t carrier) NewListener(url string, sock mangos.Socket) (transport.Listener, error) {
	address, err := transport.StripScheme(t, url)
	if err != nil {
		return nil, err
	}
	if err := t.checkAddress(address); err != nil {
		return nil, err
	}
	return newListener(newEndpoint(t, address, sock)), nil
}
