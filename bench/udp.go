package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"

	"github.com/quic-go/quic-go"
	"github.com/xtaci/kcp-go/v5"
)

// quicConn is one stream of a QUIC connection as a net.Conn.
type quicConn struct {
	*quic.Stream
	conn *quic.Conn
}

func (c quicConn) LocalAddr() net.Addr  { return c.conn.LocalAddr() }
func (c quicConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Read takes the close that every peer here sends for the end.
func (c quicConn) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	if closed, ok := errors.AsType[*quic.ApplicationError](err); ok && closed.ErrorCode == 0 {
		err = io.EOF
	}
	return n, err
}

func (c quicConn) Close() error {
	c.Stream.Close()
	return c.conn.CloseWithError(0, "")
}

type quicListener struct{ *quic.Listener }

// Accept waits for the stream's first byte, which the dialer sends at once.
func (l quicListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept(context.Background())
	if err != nil {
		return nil, err
	}
	s, err := conn.AcceptStream(context.Background())
	if err != nil {
		return nil, err
	}
	return quicConn{s, conn}, awaitByte(s)
}

func awaitByte(s *quic.Stream) error {
	_, err := s.Read(make([]byte, 1))
	return err
}

func listenQUIC(address string, config *tls.Config) (net.Listener, error) {
	l, err := quic.ListenAddr(address, config, nil)
	if err != nil {
		return nil, err
	}
	return quicListener{l}, nil
}

func dialQUIC(address string, config *tls.Config) (net.Conn, error) {
	conn, err := quic.DialAddr(context.Background(), address, config, nil)
	if err != nil {
		return nil, err
	}
	s, err := conn.OpenStreamSync(context.Background())
	if err != nil {
		return nil, err
	}
	_, err = s.Write([]byte{1})
	return quicConn{s, conn}, err
}

// kcp-go with its AES and the settings that its authors call fast.
func kcpCipher() kcp.BlockCrypt {
	block, err := kcp.NewAESBlockCrypt(seed("kcp"))
	if err != nil {
		panic(err)
	}
	return block
}

func tuneKCP(c *kcp.UDPSession) net.Conn {
	//lint:ignore SA1019 it has no successor, and without it each Write is a message
	c.SetStreamMode(true)
	c.SetNoDelay(1, 10, 2, 1)
	c.SetWindowSize(1024, 1024)
	return c
}

type kcpListener struct{ *kcp.Listener }

func (l kcpListener) Accept() (net.Conn, error) {
	c, err := l.AcceptKCP()
	if err != nil {
		return nil, err
	}
	return tuneKCP(c), nil
}

func listenKCP(address string) (net.Listener, error) {
	l, err := kcp.ListenWithOptions(address, kcpCipher(), 0, 0)
	if err != nil {
		return nil, err
	}
	l.SetReadBuffer(4 << 20)
	l.SetWriteBuffer(4 << 20)
	return kcpListener{l}, nil
}

func dialKCP(address string) (net.Conn, error) {
	c, err := kcp.DialWithOptions(address, kcpCipher(), 0, 0)
	if err != nil {
		return nil, err
	}
	c.SetReadBuffer(4 << 20)
	c.SetWriteBuffer(4 << 20)
	return tuneKCP(c), nil
}
