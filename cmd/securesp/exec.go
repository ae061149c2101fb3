package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/securesp/securesp"
)

// execute joins conn to a shell command, and closes conn. What the peer sends
// is the command's input; if the connection is cut the command is killed
// before it could mistake that for the end of its input.
func (c *catter) execute(ctx context.Context, conn *securesp.Conn) error {
	ctx, kill := context.WithCancelCause(ctx)
	defer kill(nil)
	cmd := shell(ctx, c.command)
	cmd.Env = append(os.Environ(), peerEnvironment(conn)...)
	cmd.Stderr = c.err
	in, out, err := start(cmd)
	if err != nil {
		_ = conn.CloseWithCode(closeCommand)
		return &localError{"cannot run the command", err}
	}
	defer context.AfterFunc(ctx, func() { out.Close() })() // others may hold its other end
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		feed(in, conn, kill)
	}()
	if _, err := io.Copy(conn, out); err != nil {
		kill(err)
	}
	err = cmd.Wait()
	if cause := context.Cause(ctx); cause != nil { // why it was killed
		_ = conn.CloseWithCode(closeBroken)
		<-fed
		return cause
	}
	if err != nil {
		_ = conn.CloseWithCode(closeCommand)
		<-fed
		return &localError{"the command failed", err}
	}
	// Let a peer finish that has not noticed yet that nobody listens. Our
	// direction ends with the connection: after a mere end of it the peer
	// would not look for one.
	_ = conn.SetReadDeadline(time.Now().Add(lastWords))
	<-fed
	return conn.Close()
}

// start starts cmd and returns its input and output.
func start(cmd *exec.Cmd) (in io.WriteCloser, out io.ReadCloser, err error) {
	if in, err = cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	if out, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, err
	}
	return in, out, cmd.Start()
}

// feed copies what the peer sends to a command. What the command does not want
// is dropped; a connection that breaks is the command's end.
func feed(in io.WriteCloser, conn *securesp.Conn, kill context.CancelCauseFunc) {
	err := receive(in, conn)
	var local *localError
	if errors.As(err, &local) {
		in.Close()
		_, err = io.Copy(io.Discard, conn)
	}
	if err != nil {
		kill(err)
		return // Wait closes in, once the command is dead
	}
	in.Close()
}

// peerEnvironment tells a command whom it talks to.
func peerEnvironment(conn *securesp.Conn) []string {
	state := conn.ConnectionState()
	key := ""
	if !state.Peer.Key.IsZero() {
		key = state.Peer.Key.String()
	}
	return []string{
		"SECURESP_PEER_KEY=" + key,
		"SECURESP_PEER_NAME=" + state.Peer.Name,
		"SECURESP_REMOTE_ADDR=" + conn.RemoteAddr().String(),
	}
}
