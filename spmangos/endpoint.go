package spmangos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	"go.nanomsg.org/mangos/v3"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/errno"
	"github.com/securesp/securesp/mechanism"
)

// Entries of the READY record (SPEC §4.8): the SP protocol numbers, u16.
const (
	tlvOwnProtocol  = 0x10
	tlvPeerProtocol = 0x11
)

// endpoint is what a dialer and a listener have in common: where, as what, and
// with which options.
type endpoint struct {
	carrier
	address string
	info    mangos.ProtocolInfo

	mu          sync.Mutex
	config      *securesp.Config
	onDrop      DropHook
	maxRecvSize int // 0 is unlimited
	keepAlive   time.Duration
	noKeepAlive bool
	noDelay     bool
}

func newEndpoint(t carrier, address string, sock mangos.Socket) *endpoint {
	// mangos writes "*" for all interfaces.
	if t.network != "unix" {
		address = strings.TrimPrefix(address, "*")
	}
	return &endpoint{carrier: t, address: address, info: sock.Info(), noDelay: true}
}

// checkAddress refuses what can never be dialed or listened on. It looks
// nothing up: names may resolve later.
func (t carrier) checkAddress(address string) error {
	if t.network == "unix" {
		if address == "" {
			return fmt.Errorf("securesp: %s needs a path", t.scheme)
		}
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort(t.network, port)
	}
	if err != nil {
		return fmt.Errorf("securesp: %s needs host:port: %w", t.scheme, err)
	}
	return nil
}

// setOption handles the common options. Values of the wrong type are
// mangos.ErrBadValue.
func (e *endpoint) setOption(name string, value interface{}) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ok bool
	switch name {
	case OptionConfig:
		ok = setIf(&e.config, value, func(c *securesp.Config) bool { return c != nil })
	case OptionOnDrop:
		ok = setIf(&e.onDrop, value, nil)
	case mangos.OptionMaxRecvSize:
		ok = setIf(&e.maxRecvSize, value, func(n int) bool { return n >= 0 })
	default:
		return e.setTCPOption(name, value)
	}
	if !ok {
		return mangos.ErrBadValue
	}
	return nil
}

// setTCPOption handles the options that only TCP has.
func (e *endpoint) setTCPOption(name string, value interface{}) error {
	if e.network != "tcp" {
		return mangos.ErrBadOption
	}
	var ok bool
	switch name {
	case mangos.OptionKeepAliveTime:
		ok = setIf(&e.keepAlive, value, func(d time.Duration) bool { return d >= 0 })
	case mangos.OptionKeepAlive:
		var on bool
		if ok = setIf(&on, value, nil); ok {
			e.noKeepAlive = !on
		}
	case mangos.OptionNoDelay:
		ok = setIf(&e.noDelay, value, nil)
	default:
		return mangos.ErrBadOption
	}
	if !ok {
		return mangos.ErrBadValue
	}
	return nil
}

// setIf sets *to to value if that has the type and passes the check.
func setIf[T any](to *T, value interface{}, check func(T) bool) bool {
	v, ok := value.(T)
	if !ok || check != nil && !check(v) {
		return false
	}
	*to = v
	return true
}

func (e *endpoint) getOption(name string) (interface{}, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if name == mangos.OptionMaxRecvSize {
		return e.maxRecvSize, nil
	}
	if e.network == "tcp" {
		switch name {
		case mangos.OptionKeepAliveTime:
			return e.keepAlive, nil
		case mangos.OptionKeepAlive:
			return !e.noKeepAlive, nil
		case mangos.OptionNoDelay:
			return e.noDelay, nil
		}
	}
	return nil, mangos.ErrBadOption
}

// securespConfig returns the config for this endpoint's connections.
func (e *endpoint) securespConfig() (*securesp.Config, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	config := e.config
	if config == nil {
		config = defaultConfig.Load()
	}
	if config == nil {
		return nil, fmt.Errorf("%w: set spmangos.OptionConfig or call spmangos.SetDefault", securesp.ErrConfig)
	}
	config = config.Clone()
	config.MaxMessageSize = math.MaxInt
	if e.maxRecvSize > 0 {
		config.MaxMessageSize = e.maxRecvSize
	}
	extensions := maps.Clone(config.Extensions)
	if extensions == nil {
		extensions = make(map[uint8][]byte)
	}
	extensions[tlvOwnProtocol] = binary.BigEndian.AppendUint16(nil, e.info.Self)
	extensions[tlvPeerProtocol] = binary.BigEndian.AppendUint16(nil, e.info.Peer)
	config.Extensions = extensions
	return config, nil
}

// checkProtocols compares the SP protocols of the two sides. Both see a
// mismatch, and each reports it; the connection is then to be closed with
// CloseProtocolError.
func (e *endpoint) checkProtocols(conn *securesp.Conn, config *securesp.Config) error {
	state := conn.ConnectionState()
	if e.matches(state.Extensions) {
		return nil
	}
	e.report(config, &securesp.HandshakeError{
		Initiator: state.Initiator,
		Remote:    conn.RemoteAddr(),
		Stage:     "verdict",
		Peer:      mechanism.Peer{Key: state.Peer.Key, CurveKey: state.Peer.CurveKey},
		Err:       mangos.ErrBadProto,
	})
	return mangos.ErrBadProto
}

// newPipe makes conn a pipe.
func (e *endpoint) newPipe(conn *securesp.Conn, config *securesp.Config) *pipe {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t, ok := conn.NetConn().(*net.TCPConn); ok {
		// Failures change nothing but what happens in silence.
		if e.noKeepAlive {
			_ = t.SetKeepAlive(false)
		} else if e.keepAlive > 0 {
			_ = t.SetKeepAlivePeriod(e.keepAlive)
		}
		_ = t.SetNoDelay(e.noDelay)
	}
	p := &pipe{conn: conn, log: config.Logger, onDrop: e.onDrop, maxRecv: e.maxRecvSize}
	p.receive = p.memory
	return p
}

// matches compares the SP protocols that the peer has stated with ours.
func (e *endpoint) matches(theirs map[uint8][]byte) bool {
	own, peer := theirs[tlvOwnProtocol], theirs[tlvPeerProtocol]
	return len(own) == 2 && len(peer) == 2 &&
		binary.BigEndian.Uint16(own) == e.info.Peer && binary.BigEndian.Uint16(peer) == e.info.Self
}

// report tells the user of a failure that package securesp does not know of,
// in the way in which it tells of the others.
func (e *endpoint) report(config *securesp.Config, err *securesp.HandshakeError) {
	if l := config.Logger; l != nil {
		l.Warn("securesp: handshake failed", "url", e.scheme+"://"+e.address, "stage", err.Stage, "err", err)
	}
	if f := config.OnHandshakeError; f != nil {
		f(err)
	}
}

// toMangos gives errors that mangos has a name for that very value, as mangos
// programs compare with ==, unless ours says more: then it matches both.
func toMangos(err error) error {
	switch {
	case errno.IsAddrInUse(err):
		return mangos.ErrAddrInUse
	case errno.IsConnRefused(err):
		return mangos.ErrConnRefused
	case errors.Is(err, securesp.ErrNotSecureSP):
		return alsoError{err, mangos.ErrBadHeader}
	case errors.Is(err, securesp.ErrVersion):
		return alsoError{err, mangos.ErrBadVersion}
	}
	return err
}

// alsoError is an error that matches another one, too.
type alsoError struct {
	error
	also error
}

func (e alsoError) Unwrap() []error { return []error{e.error, e.also} }

// isAuthError reports whether trying again is pointless until somebody changes
// a key or a list.
func isAuthError(err error) bool {
	for _, target := range []error{
		securesp.ErrUntrusted, securesp.ErrRefused, securesp.ErrRejected,
		securesp.ErrAuthentication, securesp.ErrNoCommonSuite, securesp.ErrConfig,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
