package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/securesp/securesp"
)

// relay copies between a sealed and a plain connection until both directions
// have ended, or one of them or ctx breaks off, and closes both. The end of a
// direction is passed on; so is a break, as far as a plain connection can tell
// one from an end.
func relay(ctx context.Context, sealed *securesp.Conn, plain net.Conn) error {
	release := closeOn(ctx, sealed)
	defer release()
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		broken  error
	)
	start := func(direction func() error) {
		running.Go(func() {
			err := direction()
			if err == nil {
				return
			}
			mu.Lock()
			// The first error brings about the other, unless that is
			// the peer's reason.
			if broken == nil || isCloseError(err) && !isCloseError(broken) {
				broken = err
			}
			mu.Unlock()
			reset(plain)
			_ = sealed.CloseWithCode(closeBroken)
		})
	}
	received := make(chan struct{})
	start(func() error {
		err := send(sealed, plain)
		var local *localError
		if err != nil && !errors.As(err, &local) {
			awaitReason(received)
		}
		return err
	})
	start(func() error {
		defer close(received)
		if err := receive(plain, sealed); err != nil {
			return err
		}
		return closeWrite(plain)
	})
	running.Wait()
	if broken != nil {
		return broken
	}
	plain.Close()
	return sealed.Close()
}

// awaitReason lets the receiving direction find out why the peer takes nothing
// any more: it may have said so, and that says more than "broken pipe".
func awaitReason(received <-chan struct{}) {
	patience := time.NewTimer(lastWords)
	defer patience.Stop()
	select {
	case <-received:
	case <-patience.C:
	}
}

func isCloseError(err error) bool {
	var closed *securesp.CloseError
	return errors.As(err, &closed)
}

// closeWrite ends our direction of a plain connection.
func closeWrite(plain net.Conn) error {
	half, ok := plain.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := half.CloseWrite(); err != nil {
		return &localError{"cannot end the output", err}
	}
	return nil
}

// reset closes a plain connection so that its peer takes it for broken, where
// there is such a thing: in TCP, and on a UNIX socket if input is unread.
func reset(plain io.Closer) {
	if t, ok := plain.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	plain.Close()
}
