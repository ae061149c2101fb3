package quiccarrier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
	"github.com/quic-go/quic-go"
)

func TestTranslate(t *testing.T) {
	for _, c := range []struct {
		err, want error
	}{
		{io.EOF, io.EOF},
		{&quic.ApplicationError{Remote: true}, io.EOF},
		{&quic.ApplicationError{Remote: true, ErrorCode: codeAborted}, syscall.ECONNRESET},
		{&quic.ApplicationError{}, net.ErrClosed},
		{&quic.StreamError{Remote: true}, syscall.ECONNRESET},
		{&quic.IdleTimeoutError{}, ErrSilent},
		{&quic.StatelessResetError{}, syscall.ECONNRESET},
		{&quic.TransportError{Remote: true, ErrorCode: quic.ConnectionRefused}, syscall.ECONNREFUSED},
		{&quic.TransportError{Remote: true, ErrorCode: noApplicationProtocol}, ErrForeign},
		{&quic.DatagramTooLargeError{}, ErrDatagramTooLarge},
		{&quic.StreamLimitReachedError{}, ErrForeign},
	} {
		is := is.New(t)
		got := translate(fmt.Errorf("wrapped: %w", c.err))
		if c.err == io.EOF {
			got = translate(c.err)
		}
		is.True(errors.Is(got, c.want)) // the error that callers test for
		// QUIC's errors say that they are net.ErrClosed, which is for what
		// we have closed ourselves, or timeouts, which could be retried.
		is.Equal(errors.Is(got, net.ErrClosed), c.want == net.ErrClosed)
		var timeout net.Error
		is.True(!errors.As(got, &timeout) || !timeout.Timeout())
	}
}

func TestErrorsEchoNothing(t *testing.T) {
	is := is.New(t)
	const text = "\x1b[2J the peer's own words"
	for _, err := range []error{
		&quic.ApplicationError{Remote: true, ErrorMessage: text},
		&quic.ApplicationError{Remote: true, ErrorCode: 77, ErrorMessage: text},
		&quic.TransportError{Remote: true, ErrorCode: 7, ErrorMessage: text},
		errors.New(text),
	} {
		is.True(!strings.Contains(fmt.Sprintf("%v %+v", translate(err), translate(err)), "peer's own"))
	}
}

func TestResetKeyDependsOnAddress(t *testing.T) {
	is := is.New(t)
	secret := []byte("secret")
	here, there := &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 2}
	is.Equal(*resetKey(secret, here), *resetKey(secret, here))   // it survives a restart
	is.True(*resetKey(secret, here) != *resetKey(secret, there)) // but serves one address
	is.True(*resetKey(secret, here) != *resetKey([]byte("another"), here))
	is.True(!bytes.Contains(resetKey(secret, here)[:], secret))
	is.True(resetKey(nil, here) == nil) // without a secret there are no resets
	for _, wildcard := range []*net.UDPAddr{{Port: 1}, {IP: net.IPv4zero, Port: 1}, {IP: net.IPv6zero, Port: 1}} {
		is.True(resetKey(secret, wildcard) == nil) // nor on an address that other hosts have, too
	}
}

// The error of a name with several addresses is the preferred one's, whichever
// fails first.
func TestDialErrorIsThePreferredAddress(t *testing.T) {
	is := is.New(t)
	preferred, other := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1")
	errPreferred, errOther := errors.New("preferred"), errors.New("other")
	failed := make(chan struct{})
	_, err := race(t.Context(), []netip.AddrPort{preferred, other}, 0, func(_ context.Context, a netip.AddrPort) (*Conn, error) {
		if a == other {
			close(failed)
			return nil, errOther
		}
		<-failed
		return nil, errPreferred
	})
	is.Equal(err, errPreferred)
}
