package quiccarrier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/quic-go/quic-go"

	"github.com/securesp/securesp/mechanism"
)

// Errors that callers tell apart.
var (
	// ErrSilent means that nothing was heard from the peer for the idle
	// time. It is final, so it is not a timeout in the sense of net.Error.
	ErrSilent = errors.New("securesp: the peer is silent")

	// ErrForeign means that the other side speaks QUIC, but another
	// protocol within.
	ErrForeign = errors.New("securesp: the peer speaks another protocol over QUIC")

	// ErrRefused means that a listener is there but takes no connection
	// now.
	ErrRefused = fmt.Errorf("securesp: the peer takes no connection now: %w", syscall.ECONNREFUSED)

	// ErrUnconfirmed means that the peer did not confirm in time that all
	// data sent before Close has arrived.
	ErrUnconfirmed = errors.New("securesp: closed, but the peer did not confirm that it has all data")

	// ErrDatagramTooLarge means that a datagram does not fit the path.
	ErrDatagramTooLarge = fmt.Errorf("%w: datagram", mechanism.ErrMessageTooLong)

	// ErrNoDatagrams means that the peer does not take datagrams.
	ErrNoDatagrams = fmt.Errorf("%w: the peer does not take datagrams", mechanism.ErrUnsupported)
)

var (
	errReset     = fmt.Errorf("securesp: the peer has closed the connection: %w", syscall.ECONNRESET)
	errAborted   = fmt.Errorf("securesp: the peer has broken the connection off: %w", syscall.ECONNRESET)
	errRestarted = fmt.Errorf("securesp: the peer has forgotten the connection: %w", syscall.ECONNRESET)
)

// errNoAnswer is what dialing an address returns where nobody answers. UDP has
// no reliable refusal.
type errNoAnswer struct{}

func (errNoAnswer) Error() string   { return "securesp: nobody answers" }
func (errNoAnswer) Timeout() bool   { return true }
func (errNoAnswer) Temporary() bool { return true }

// failure puts an error of a stream or connection into words, without any of
// the peer's, and remembers that the user was told of a final one.
func (c *Conn) failure(err error) error {
	switch {
	case err == nil:
		return nil
	case c.closed.Load():
		return net.ErrClosed
	case isDeadline(err):
		return os.ErrDeadlineExceeded
	}
	c.reported.Store(true)
	return translate(err)
}

func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// translate returns the error that stands for one of QUIC's. QUIC's own are
// not wrapped: they claim to be net.ErrClosed, or timeouts.
func translate(err error) error {
	var (
		application *quic.ApplicationError
		transport   *quic.TransportError
		stream      *quic.StreamError
		idle        *quic.IdleTimeoutError
		handshake   *quic.HandshakeTimeoutError
		reset       *quic.StatelessResetError
		tooLarge    *quic.DatagramTooLargeError
		limit       *quic.StreamLimitReachedError
	)
	switch {
	case err == io.EOF:
		return io.EOF
	case errors.As(err, &application) && !application.Remote:
		return net.ErrClosed
	case errors.As(err, &application) && application.ErrorCode == codeDone:
		return io.EOF
	case errors.As(err, &application):
		return errAborted
	case errors.As(err, &stream), errors.Is(err, quic.ErrStreamClosed):
		return errReset
	case errors.As(err, &idle), errors.As(err, &handshake):
		return ErrSilent
	case errors.As(err, &reset):
		return errRestarted
	case errors.As(err, &tooLarge):
		return ErrDatagramTooLarge
	case errors.As(err, &transport) && transport.Remote && transport.ErrorCode == quic.ConnectionRefused:
		return ErrRefused
	case errors.As(err, &transport) && transport.ErrorCode == noApplicationProtocol,
		errors.As(err, &limit): // we open one stream, which every peer permits
		return ErrForeign
	case errors.As(err, &transport):
		return fmt.Errorf("securesp: QUIC transport error %#x", uint64(transport.ErrorCode))
	case errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	}
	return errors.New("securesp: the QUIC connection has failed")
}

// noApplicationProtocol is the TLS alert no_application_protocol, 120, as a
// QUIC error code (RFC 9001 §4.8).
const noApplicationProtocol quic.TransportErrorCode = 0x100 + 120

// dialFailure returns the error of a failed dial, given what the system last
// had against sending, if anything.
func dialFailure(ctx context.Context, err, unsent error) error {
	var idle *quic.IdleTimeoutError
	var handshake *quic.HandshakeTimeoutError
	var transport *quic.TransportError
	var sys syscall.Errno
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &idle), errors.As(err, &handshake):
		return errNoAnswer{}
	case errors.As(err, &sys):
		return sys
	case errors.As(err, &transport) && !transport.Remote && transport.ErrorCode == quic.InternalError && errors.As(unsent, &sys):
		return sys
	}
	return translate(err)
}
