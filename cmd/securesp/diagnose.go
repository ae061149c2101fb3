package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/errno"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// Exit codes. They are documented in mainUsage and do not change.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2
	exitNobody       = 3
	exitForeign      = 4
	exitUntrusted    = 5
	exitRefused      = 6
	exitTimeout      = 7
	exitIncompatible = 8
	exitCut          = 9
	exitInterrupted  = 130 // as shells have it: 128 + SIGINT
)

// Close codes with which this program tells the other side that not the
// connection but something behind it failed.
const (
	closeBroken  = securesp.CloseApplication     // the local side of a tunnel or of cat
	closeCommand = securesp.CloseApplication + 1 // the command that -exec started
)

// diagnosis is what is wrong, as far as an error tells.
type diagnosis int

const (
	isOK diagnosis = iota
	isFailure
	isUsage
	isConfig
	isNobody
	isForbidden
	isForeign
	isHungUp
	isPlainSP
	isVersion
	isSuite
	isProtocol
	isRejected
	isUnauthentic
	isUntrusted
	isKeyChanged
	isRefused
	isRevoked
	isConnectTimeout
	isHandshakeTimeout
	isBusy
	isCut
	isClosedEarly
	isBrokenBehind
	isCommandFailed
	isInterrupted
)

// usageError is a mistake in the arguments.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return usageError{strings.TrimPrefix(fmt.Sprintf(format, args...), "securesp: ")}
}

// localError is a failure of a local stream, file or command, as opposed to
// one of the connection.
type localError struct {
	what string
	err  error
}

func (e *localError) Error() string { return e.what + ": " + e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// diagnose finds out what err means.
func diagnose(err error) diagnosis {
	var usage usageError
	var local *localError
	switch {
	case err == nil:
		return isOK
	case errors.As(err, &usage):
		return isUsage
	case errors.Is(err, context.Canceled):
		return isInterrupted
	case errors.As(err, &local):
		return isFailure
	}
	for _, find := range []func(error) diagnosis{ofConfig, ofTrust, ofEnd, ofHandshake, ofCarrier} {
		if d := find(err); d != isFailure {
			return d
		}
	}
	return isFailure
}

// ofConfig recognises mistakes on our own side. isFailure means none.
func ofConfig(err error) diagnosis {
	var file *trust.FileError
	var unknown net.UnknownNetworkError
	switch {
	case errors.Is(err, securesp.ErrConfig), errors.Is(err, keys.ErrFormat), errors.Is(err, keys.ErrChecksum),
		errors.Is(err, keys.ErrPermissions), errors.Is(err, mechanism.ErrConfig),
		errors.As(err, &file), errors.As(err, &unknown):
		return isConfig
	}
	return isFailure
}

// ofTrust recognises decisions about keys, the peer's and ours.
func ofTrust(err error) diagnosis {
	switch {
	case errors.Is(err, securesp.ErrRefused):
		return isRefused
	case errors.Is(err, trust.ErrKeyChanged):
		return isKeyChanged
	case errors.Is(err, securesp.ErrUntrusted):
		return isUntrusted
	case errors.Is(err, securesp.ErrRevoked):
		return isRevoked
	}
	return isFailure
}

// ofEnd recognises the ways in which an open connection ends.
func ofEnd(err error) diagnosis {
	var closed *securesp.CloseError
	if !errors.As(err, &closed) {
		return isFailure
	}
	switch closed.Code {
	case securesp.CloseRevoked:
		return isRefused
	case securesp.CloseNormal:
		return isClosedEarly
	case closeBroken:
		return isBrokenBehind
	case closeCommand:
		return isCommandFailed
	}
	if errors.Is(err, securesp.ErrProtocolMismatch) {
		return isProtocol
	}
	return isCut
}

// ofHandshake recognises why two sides did not come together.
func ofHandshake(err error) diagnosis {
	var handshake *securesp.HandshakeError
	preface := errors.As(err, &handshake) && handshake.Stage == "preface"
	switch {
	case errors.Is(err, securesp.ErrPlainSP):
		return isPlainSP
	case errors.Is(err, securesp.ErrNotSecureSP):
		return isForeign
	case errors.Is(err, securesp.ErrVersion):
		return isVersion
	case errors.Is(err, securesp.ErrNoCommonSuite):
		return isSuite
	case errors.Is(err, securesp.ErrProtocolMismatch):
		return isProtocol
	case errors.Is(err, securesp.ErrBusy):
		return isBusy
	case errors.Is(err, securesp.ErrRejected):
		return isRejected
	case errors.Is(err, securesp.ErrAuthentication):
		return isUnauthentic
	case preface && errors.Is(err, securesp.ErrProtocol), errors.Is(err, mechanism.ErrMalformed):
		return isForeign
	case preface && (errors.Is(err, io.ErrUnexpectedEOF) || errno.IsConnReset(err)):
		return isHungUp
	}
	return isFailure
}

// ofCarrier recognises what happened to the connection below ours.
func ofCarrier(err error) diagnosis {
	var handshake *securesp.HandshakeError
	var netError net.Error
	var op *net.OpError
	switch {
	case errors.As(err, &netError) && netError.Timeout():
		if errors.As(err, &handshake) {
			return isHandshakeTimeout
		}
		return isConnectTimeout
	case errors.As(err, &op) && op.Op == "dial":
		switch {
		case errors.Is(err, fs.ErrPermission):
			return isForbidden
		case errno.IsConnReset(err): // the peer was quicker than we
			return isHungUp
		}
		return isNobody
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, securesp.ErrPeerSilent),
		errno.IsConnReset(err), errors.Is(err, syscall.EPIPE):
		return isCut
	}
	return isFailure
}
