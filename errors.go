package securesp

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/securesp/securesp/internal/quiccarrier"
	"github.com/securesp/securesp/mechanism"
)

// Why a handshake or a connection ended. Each is wrapped, in a
// [HandshakeError] or a [net.OpError], so test with errors.Is.
var (
	// ErrConfig means that a Config is missing, incomplete or contradicts
	// itself. Nothing was sent.
	ErrConfig = errors.New("securesp: invalid configuration")

	// ErrNotSecureSP means that the other side does not speak this
	// protocol.
	ErrNotSecureSP = errors.New("securesp: the peer does not speak securesp")

	// ErrPlainSP means that the other side is a Scalability Protocols
	// program without security. It matches ErrNotSecureSP, too.
	ErrPlainSP = fmt.Errorf("%w but plain SP: it uses no security", ErrNotSecureSP)

	// ErrVersion means that the two sides have no protocol version in
	// common.
	ErrVersion = errors.New("securesp: no common protocol version")

	// ErrNoCommonSuite means that the two sides have no suite in common.
	ErrNoCommonSuite = errors.New("securesp: no common suite")

	// ErrBusy means that the peer has no room for another handshake now.
	ErrBusy = errors.New("securesp: the peer is busy")

	// ErrAuthentication means that something received did not
	// authenticate: it was altered on the way, or made with another key
	// than the configured one.
	ErrAuthentication = mechanism.ErrAuthentication

	// ErrRejected means that the peer broke the handshake off without
	// saying more; above all, that its key is not the one we expected or
	// that the pre-shared keys differ. The rejection itself is not
	// authenticated.
	ErrRejected = errors.New("securesp: the peer rejected the handshake")

	// ErrRefused means that the peer authenticated us and then refused us:
	// our key is not on its list.
	ErrRefused = errors.New("securesp: the peer does not trust our key")

	// ErrUntrusted means that the peer proved its key and that our own
	// trust policy refused it. The policy's error is wrapped beside it.
	ErrUntrusted = errors.New("securesp: our trust policy refuses the peer")

	// ErrProtocolMismatch means that the two sides were configured with
	// different application protocols.
	ErrProtocolMismatch = errors.New("securesp: application protocols differ")

	// ErrProtocol means that an authenticated peer violated the protocol.
	ErrProtocol = errors.New("securesp: protocol violation by the peer")

	// ErrMessageTooLarge means that a message exceeds what its receiver
	// accepts, see Config.MaxMessageSize.
	ErrMessageTooLarge = errors.New("securesp: message too large")

	// ErrRevoked means that the peer's key ceased to be trusted while the
	// connection was open, or at the address to which the peer has moved.
	ErrRevoked = errors.New("securesp: the peer's key is no longer trusted")

	// ErrPeerSilent means that the peer did not answer keepalives. It is
	// final, so it is not a timeout in the sense of net.Error.
	ErrPeerSilent = quiccarrier.ErrSilent

	// ErrClearNotPermitted means that WriteClear or ReadClear was called
	// although not both sides set AllowClear.
	ErrClearNotPermitted = errors.New("securesp: clear records are not permitted on this connection")

	// ErrDataPending means that ReadClear met sealed data first: call Read
	// or ReadMessage, then try again.
	ErrDataPending = errors.New("securesp: sealed data comes before the next clear record")
)

// HandshakeError says why a handshake failed. It is what Dial and
// HandshakeContext return for every failure after the carrier stood, and what
// Config.OnHandshakeError is given.
type HandshakeError struct {
	Initiator bool           // our own side
	Remote    net.Addr       // the carrier's remote address; may be nil
	Stage     string         // "configuration", "preface", "key exchange", "trust" or "verdict"
	Peer      mechanism.Peer // the peer's key, if it was proved by then
	Err       error          // the reason
}

// Error names the peer's address and the reason. It never contains a byte the
// peer chose, apart from its address and its public key.
func (e *HandshakeError) Error() string {
	where := ""
	if e.Remote != nil && e.Remote.String() != "" {
		where = " with " + e.Remote.String()
	}
	return "securesp: handshake" + where + " failed (" + e.Stage + "): " + unprefixed(e.Err)
}

// Unwrap returns the reason.
func (e *HandshakeError) Unwrap() error { return e.Err }

// Timeout reports whether the handshake took too long. It makes HandshakeError
// a net.Error.
func (e *HandshakeError) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary is part of net.Error and always false: a failed handshake ends its
// connection.
func (e *HandshakeError) Temporary() bool { return false }

// CloseCode says why a side ended the connection (SPEC §4).
type CloseCode uint16

// The close codes (SPEC §4). Codes from CloseApplication up are the
// application's own.
const (
	CloseNormal        CloseCode = 0
	CloseGoingAway     CloseCode = 1
	CloseProtocolError CloseCode = 2
	CloseNotAuthorized CloseCode = 3
	CloseTooLarge      CloseCode = 4
	CloseLimits        CloseCode = 5
	CloseInternal      CloseCode = 6
	CloseRevoked       CloseCode = 7
	CloseApplication   CloseCode = 0x4000
)

// String describes the code.
func (c CloseCode) String() string {
	names := [...]string{"normal", "going away", "protocol error", "not authorised", "message too large", "limits", "internal error", "revoked"}
	if int(c) < len(names) {
		return names[c]
	}
	return "code " + strconv.Itoa(int(c))
}

// CloseError is what Read and Write return once the peer has ended the
// connection with a code other than CloseNormal.
type CloseError struct {
	Code CloseCode
	// Reason is the peer's own text, at most 255 bytes. It is not part of
	// Error; treat it as untrusted input.
	Reason string
}

// Error names the code.
func (e *CloseError) Error() string {
	return "securesp: the peer closed the connection: " + e.Code.String()
}

// Is reports that a peer that closed with CloseNotAuthorized refused us, that
// one that closed with CloseTooLarge found a message too large, and so on.
func (e *CloseError) Is(target error) bool {
	switch e.Code {
	case CloseNotAuthorized:
		return target == ErrRefused
	case CloseTooLarge:
		return target == ErrMessageTooLarge
	}
	return false
}

// unprefixed returns err's text without our prefix, for use inside another of
// our texts.
func unprefixed(err error) string {
	const prefix = "securesp: "
	text := err.Error()
	if len(text) > len(prefix) && text[:len(prefix)] == prefix {
		return text[len(prefix):]
	}
	return text
}
