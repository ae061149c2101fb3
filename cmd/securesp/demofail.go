package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/trust"
)

// failures tries what must fail.
func (d *demonstration) failures(ctx context.Context) error {
	fmt.Fprintf(d.out, "\nWhat must fail, and does\n")
	for _, try := range []struct {
		what string
		run  func(context.Context) (outcome string, err error)
	}{
		{"mallory dials bob", d.stranger},
		{"mallory answers instead of bob", d.impostor},
		{"a bit is flipped on the way", d.flippedBit},
		{"alice leaves bob's trust file", d.revocation},
		{"alice dials again", d.afterRevocation},
	} {
		outcome, err := try.run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", try.what, err)
		}
		fmt.Fprintf(d.out, "  %-31s %s\n", try.what, outcome)
	}
	return nil
}

// expect returns a short text for err if it is what must come, and an error if
// it is not.
func expect(who string, err error, want diagnosis) (string, error) {
	if err == nil {
		return "", fmt.Errorf("%s met no error", who)
	}
	if diagnose(err) != want {
		return "", fmt.Errorf("%s met the wrong error: %w", who, err)
	}
	short, _, _ := strings.Cut(want.verdict().what, ": ")
	return who + ": " + short, nil
}

// stranger has mallory dial bob.
func (d *demonstration) stranger(ctx context.Context) (string, error) {
	return d.refused(ctx, func() error {
		conn, err := dial(ctx, d.tcp.at, d.mallory, d.bob)
		if err == nil {
			conn.Close()
		}
		return err
	}, "mallory")
}

// refused expects that who cannot connect to bob over TCP, and that both get
// to know why.
func (d *demonstration) refused(ctx context.Context, connect func() error, who string) (string, error) {
	text, err := expect(who, connect(), isRefused)
	if err != nil {
		return "", err
	}
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case err := <-d.tcp.refused:
		_, err = expect("bob", err, isUntrusted)
		return text, err
	}
}

// impostor has mallory listen where alice expects bob.
func (d *demonstration) impostor(ctx context.Context) (string, error) {
	mallory, err := serveHashes(endpoint{"tcp", "127.0.0.1:0"}, d.mallory, trust.Anyone())
	if err != nil {
		return "", err
	}
	defer mallory.close()
	conn, err := dial(ctx, mallory.at, d.alice, d.bob)
	if err == nil {
		conn.Close()
	}
	return expect("alice", err, isRejected)
}

// flippedBit has somebody on the way between alice and bob change one bit.
func (d *demonstration) flippedBit(ctx context.Context) (string, error) {
	const at = 1 << 20
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	ended := make(chan error, 1)
	go func() { ended <- tamper(l, d.tcp.at.address, at) }()
	conn, err := dial(ctx, endpoint{"tcp", l.Addr().String()}, d.alice, d.bob)
	if err != nil {
		return "", err
	}
	defer closeOn(ctx, conn)()
	_, err = io.CopyN(conn, &endless{content: make([]byte, 4096)}, 2*at)
	if err == nil {
		err = conn.CloseWrite()
	}
	_, readErr := conn.ReadMessage(nil) // bob's answer, were there one
	conn.Close()
	if err := <-ended; err != nil {
		return "", err
	}
	if err == nil && readErr == nil {
		return "", errors.New("alice met no error")
	}
	got := d.tcp.result()
	if got.bytes >= at {
		return "", errors.New("bob was given data that nobody vouches for")
	}
	text, err := expect("bob", got.err, isUnauthentic)
	return text, err
}

// tamper takes one connection from l to the given address, and flips one bit
// of what it sends.
func tamper(l net.Listener, to string, at int64) error {
	near, err := l.Accept()
	if err != nil {
		return err
	}
	defer near.Close()
	far, err := net.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer far.Close()
	back := make(chan struct{})
	go func() {
		defer close(back)
		io.Copy(near, far)
		near.(*net.TCPConn).CloseWrite()
	}()
	one := make([]byte, 1)
	if _, err = io.CopyN(far, near, at); err == nil {
		if _, err = io.ReadFull(near, one); err == nil {
			one[0] ^= 1
			_, err = far.Write(one)
		}
	}
	if err != nil {
		return err
	}
	io.Copy(far, near) // until bob hangs up on it
	io.Copy(io.Discard, near)
	<-back
	return nil
}

// revocation takes alice off bob's trust file while she is connected.
func (d *demonstration) revocation(ctx context.Context) (string, error) {
	conn, err := dial(ctx, d.tcp.at, d.alice, d.bob)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer closeOn(ctx, conn)()
	if _, err := conn.Write([]byte("bob takes this")); err != nil {
		return "", err
	}
	if err := d.rewriteTrust("# nobody\n"); err != nil {
		return "", err
	}
	start := time.Now()
	_, err = conn.Read(make([]byte, 1))
	elapsed := time.Since(start)
	var closed *securesp.CloseError
	if !errors.As(err, &closed) || closed.Code != securesp.CloseRevoked {
		return "", fmt.Errorf("alice met the wrong error: %w", err)
	}
	if _, err := expect("bob", d.tcp.result().err, isRevoked); err != nil {
		return "", err
	}
	return "her open connection is cut after " + formatTime(elapsed), nil
}

// afterRevocation has alice dial once more.
func (d *demonstration) afterRevocation(ctx context.Context) (string, error) {
	return d.refused(ctx, func() error {
		conn, err := dial(ctx, d.tcp.at, d.alice, d.bob)
		if err == nil {
			conn.Close()
		}
		return err
	}, "alice")
}
