//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestExec(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	const command = `echo "$SECURESP_PEER_NAME $SECURESP_PEER_KEY"; cat`
	bob, at := listening(t, endlessInput{}, c.asBob("cat", "listen", "127.0.0.1:0", "--exec", command)...)
	text := randomText(1 << 20)
	alice := invoke(text, c.asAlice("cat", "dial", at)...)
	is.Equal(alice.code, exitOK)
	is.True(alice.out == "alice "+c.alice+"\n"+text)
	got := <-bob.done
	is.Equal(got.code, exitOK)
	is.Equal(got.out, "") // standard output is not the command's

	// The same the other way round.
	bob, at = listening(t, strings.NewReader("3\n1\n2\n"), c.asBob("cat", "listen", "127.0.0.1:0")...)
	is.Equal(invoke("", c.asAlice("cat", "dial", at, "--exec", "sort")...).code, exitOK)
	is.Equal((<-bob.done).out, "1\n2\n3\n")
}

// TestExecFails sees that both sides learn that a command failed, although it
// ended its output like any other.
func TestExecFails(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	bob, at := listening(t, endlessInput{}, c.asBob("cat", "listen", "127.0.0.1:0", "--exec", "cat; echo complaint >&2; exit 3")...)
	alice := invoke("hello", c.asAlice("cat", "dial", at)...)
	is.Equal(alice.out, "hello")
	is.Equal(alice.code, exitCut)
	is.True(strings.Contains(alice.err, "has failed"))
	got := <-bob.done
	is.Equal(got.code, exitFailure)
	is.True(strings.Contains(got.err, "exit status 3"))
	is.True(strings.Contains(got.err, "complaint"))
}

// TestExecUnreadInput sees that a command need not read what it is sent, as
// long as that is little.
func TestExecUnreadInput(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	_, at := listening(t, endlessInput{}, c.asBob("cat", "listen", "127.0.0.1:0", "--exec", "echo done")...)
	is.Equal(invoke("please\n", c.asAlice("cat", "dial", at)...), result{exitOK, "done\n", ""})
}

// TestExecCut sees that a command whose connection is cut is killed rather
// than shown an end of its input.
func TestExecCut(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	stored := filepath.Join(c.dir, "stored")
	command := "echo ready; cat > /dev/null; touch " + stored
	in, typed := io.Pipe()
	defer typed.Close()
	bob, at := listening(t, endlessInput{}, c.asBob("cat", "listen", "127.0.0.1:0", "--exec", command)...)
	way := newWay(t, at)
	alice := launch(context.Background(), in, c.asAlice("cat", "dial", way.address())...)
	_, err := io.WriteString(typed, "half of it")
	is.NoErr(err)
	alice.out.await(t, "(ready)")
	way.cut()
	is.Equal((<-alice.done).code, exitCut)
	is.Equal((<-bob.done).code, exitCut)
	_, err = os.Stat(stored)
	is.True(errors.Is(err, fs.ErrNotExist)) // the command did not get that far
}

// TestExecKeep serves several at once, and ends them all when told to.
func TestExecKeep(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	bob := launch(ctx, endlessInput{}, c.asBob("cat", "listen", "127.0.0.1:0", "-v", "-k", "--exec", "echo ready; cat")...)
	at := bob.err.await(t, `msg=listening address=(\S+)`)
	stray := invoke("", "cat", "dial", at, "-i", c.strayKey, "--peer", c.bob)
	is.Equal(stray.code, exitRefused)
	var all []*running
	for range 5 {
		in, typed := io.Pipe()
		defer typed.Close()
		all = append(all, launch(context.Background(), in, c.asAlice("cat", "dial", at)...))
	}
	for _, alice := range all {
		alice.out.await(t, "(ready)") // although none of them has ended
	}
	is.Equal(invoke("", c.asAlice("cat", "dial", at)...), result{exitOK, "ready\n", ""})
	cancel()
	is.Equal((<-bob.done).code, exitOK) // to be ended is a service's normal end
	for _, alice := range all {
		is.Equal((<-alice.done).code, exitCut)
	}
}

// TestExecMax sees that one more than --max waits for its turn.
func TestExecMax(t *testing.T) {
	is := is.New(t)
	c := newCast(t)
	diary := filepath.Join(c.dir, "diary")
	command := "echo begin >> " + diary + "; echo ready; cat; echo end >> " + diary
	_, at := listening(t, endlessInput{}, c.asBob("cat", "listen", "127.0.0.1:0", "-k", "--max", "1", "--exec", command)...)
	in, typed := io.Pipe()
	first := launch(context.Background(), in, c.asAlice("cat", "dial", at)...)
	first.out.await(t, "(ready)")
	var others []*running
	for range 3 {
		others = append(others, launch(context.Background(), strings.NewReader(""), c.asAlice("cat", "dial", at, "-v")...))
	}
	for _, r := range others {
		r.err.await(t, "msg=(connected)")
	}
	is.NoErr(typed.Close())
	for _, r := range append(others, first) {
		is.Equal((<-r.done).code, exitOK)
	}
	content, err := os.ReadFile(diary)
	is.NoErr(err)
	is.Equal(string(content), strings.Repeat("begin\nend\n", 4)) // never two at once
}
