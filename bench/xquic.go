package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/net/quic"
)

// xquicConn is one stream of a golang.org/x/net/quic connection as a net.Conn
// without deadlines.
type xquicConn struct {
	*quic.Stream
	conn     *quic.Conn
	endpoint *quic.Endpoint // nil if others use it, too
}

func (c xquicConn) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(c.conn.LocalAddr()) }
func (c xquicConn) RemoteAddr() net.Addr             { return net.UDPAddrFromAddrPort(c.conn.RemoteAddr()) }
func (c xquicConn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c xquicConn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c xquicConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// Read takes the close that every peer here sends for the end.
func (c xquicConn) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	if closed, ok := errors.AsType[*quic.ConnectionCloseError](err); ok && closed.Code == 0 {
		err = io.EOF
	}
	return n, err
}

// Write leaves nothing in the stream's buffer.
func (c xquicConn) Write(p []byte) (int, error) {
	n, err := c.Stream.Write(p)
	if err != nil {
		return n, err
	}
	return n, c.Flush()
}

func (c xquicConn) Close() error {
	c.conn.Abort(&quic.ConnectionCloseError{})
	if c.endpoint == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return c.endpoint.Close(ctx)
}

type xquicListener struct{ *quic.Endpoint }

func (l xquicListener) Addr() net.Addr { return net.UDPAddrFromAddrPort(l.LocalAddr()) }
func (l xquicListener) Close() error   { return l.Endpoint.Close(context.Background()) }

// Accept waits for the stream, whose first byte the dialer sends at once.
func (l xquicListener) Accept() (net.Conn, error) {
	conn, err := l.Endpoint.Accept(context.Background())
	if err != nil {
		return nil, err
	}
	s, err := conn.AcceptStream(context.Background())
	if err != nil {
		return nil, err
	}
	_, err = s.ReadByte()
	return xquicConn{Stream: s, conn: conn}, err
}

func xquicConfig(c *tls.Config) *quic.Config {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	return &quic.Config{TLSConfig: c, MaxStreamReadBufferSize: 4 << 20, MaxStreamWriteBufferSize: 4 << 20, MaxConnReadBufferSize: 8 << 20}
}

func listenXQUIC(address string, config *tls.Config) (net.Listener, error) {
	e, err := quic.Listen("udp", address, xquicConfig(config))
	if err != nil {
		return nil, err
	}
	return xquicListener{e}, nil
}

func dialXQUIC(address string, config *tls.Config) (net.Conn, error) {
	e, err := quic.Listen("udp", "127.0.0.1:0", nil)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	conn, err := e.Dial(ctx, "udp", address, xquicConfig(config))
	if err != nil {
		return nil, err
	}
	s, err := conn.NewStream(ctx)
	if err != nil {
		return nil, err
	}
	c := xquicConn{s, conn, e}
	_, err = c.Write([]byte{1})
	return c, err
}
