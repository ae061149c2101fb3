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
	"syscall"
	"time"

	"go.nanomsg.org/mangos/v3"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/mechanism"
)

// Entries of the READY record (SPEC §3): the SP protocol numbers, u16.
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
	maxRecvSize int // 0 is unlimited
	keepAlive   time.Duration
	noKeepAlive bool
}

func newEndpoint(t carrier, address string, sock mangos.Socket) *endpoint {
	// mangos writes "*" for all interfaces.
	if t.network != "unix" {
		address = strings.TrimPrefix(address, "*")
	}
	return &endpoint{carrier: t, address: address, info: sock.Info()}
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
	switch name {
	case OptionConfig:
		config, ok := value.(*securesp.Config)
		if !ok || config == nil {
			return mangos.ErrBadValue
		}
		e.config = config
	case mangos.OptionMaxRecvSize:
		size, ok := value.(int)
		if !ok || size < 0 {
			return mangos.ErrBadValue
		}
		e.maxRecvSize = size
	case mangos.OptionKeepAliveTime:
		d, ok := value.(time.Duration)
		if !ok || e.network == "unix" {
			return mangos.ErrBadValue
		}
		e.keepAlive = d
	case mangos.OptionKeepAlive:
		on, ok := value.(bool)
		if !ok {
			return mangos.ErrBadValue
		}
		e.noKeepAlive = !on
	case mangos.OptionNoDelay:
		if _, ok := value.(bool); !ok {
			return mangos.ErrBadValue
		}
	default:
		return mangos.ErrBadOption
	}
	return nil
}

func (e *endpoint) getOption(name string) (interface{}, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch name {
	case mangos.OptionMaxRecvSize:
		return e.maxRecvSize, nil
	case mangos.OptionKeepAliveTime:
		return e.keepAlive, nil
	case mangos.OptionKeepAlive:
		return !e.noKeepAlive, nil
	case mangos.OptionNoDelay:
		return true, nil
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

// check compares the SP protocols of the two sides: both see the same mismatch.
func (e *endpoint) check(state securesp.ConnectionState) error {
	self, peer := state.Extensions[tlvPeerProtocol], state.Extensions[tlvOwnProtocol]
	if len(self) != 2 || len(peer) != 2 ||
		binary.BigEndian.Uint16(self) != e.info.Self || binary.BigEndian.Uint16(peer) != e.info.Peer {
		return mangos.ErrBadProto
	}
	return nil
}

// fromSocket turns errors that mangos has a name for into that very value:
// mangos compares with ==.
func fromSocket(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return mangos.ErrAddrInUse
	case errors.Is(err, syscall.ECONNREFUSED):
		return mangos.ErrConnRefused
	}
	return err
}

// isAuthError reports whether trying again is pointless until somebody changes
// a key or a list.
func isAuthError(err error) bool {
	for _, target := range []error{
		securesp.ErrUntrusted, securesp.ErrRefused, securesp.ErrRejected,
		securesp.ErrAuthentication, securesp.ErrNoCommonSuite, securesp.ErrConfig,
		mechanism.ErrConfig,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
