package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// serveEach calls serve, in a goroutine of its own, for each connection that l
// accepts, for at most max at the same time. When ctx ends it waits until all
// have returned, and returns nil. It closes l.
func serveEach(ctx context.Context, l net.Listener, max int, log *slog.Logger, serve func(net.Conn)) error {
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	places := make(chan struct{}, max)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := accept(ctx, l, log)
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return err
		}
		running.Go(func() {
			defer func() { <-places }()
			serve(conn)
		})
	}
}

// accept is l.Accept, but for errors that pass, such as a lack of file
// descriptors.
func accept(ctx context.Context, l net.Listener, log *slog.Logger) (net.Conn, error) {
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		conn, err := l.Accept()
		var passing interface{ Temporary() bool }
		if err == nil || !errors.As(err, &passing) || !passing.Temporary() {
			return conn, err
		}
		log.Warn("cannot accept connections at the moment", "err", err)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
