package securesp_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
)

// clearPair returns a connected pair on which both sides permit clear records.
func clearPair(t *testing.T) *wired {
	initiator, responder := eachRecord(t, mechanism.XXAESGCM)
	initiator.AllowClear, responder.AllowClear = true, true
	return wire(t, initiator, responder)
}

// TestClear sends unencrypted payloads among sealed messages: third parties
// can read them, Read never returns them, and both keep their order.
func TestClear(t *testing.T) {
	is := is.New(t)
	w := clearPair(t)
	defer w.close()
	var tape testnet.Recorder
	w.near.Tap(tape.Tap())
	is.NoErr(w.a.WriteClear([]byte("in the clear")))
	is.NoErr(w.a.WriteMessage([]byte("sealed one")))
	is.NoErr(w.a.WriteClear(nil))
	is.NoErr(w.a.WriteClear(bytes.Repeat([]byte{'c'}, mechanism.MaxPlaintext)))
	is.NoErr(w.a.WriteMessage([]byte("sealed two")))
	is.NoErr(w.a.Flush())
	is.True(errors.Is(w.a.WriteClear(make([]byte, mechanism.MaxPlaintext+1)), securesp.ErrMessageTooLarge))
	is.True(bytes.Contains(tape.Bytes(), []byte("in the clear"))) // for all to see
	is.True(!bytes.Contains(tape.Bytes(), []byte("sealed")))

	p, err := w.b.ReadClear([]byte("dst "))
	is.NoErr(err)
	is.Equal(string(p), "dst in the clear") // appended
	_, err = w.b.ReadClear(nil)
	is.True(errors.Is(err, securesp.ErrDataPending)) // sealed data comes first
	m, err := w.b.ReadMessage(nil)
	is.NoErr(err)
	is.Equal(string(m), "sealed one") // undisturbed
	p, err = w.b.ReadClear(nil)
	is.NoErr(err)
	is.Equal(len(p), 0)
	m, err = w.b.ReadMessage(nil) // runs past a clear record, which waits
	is.NoErr(err)
	is.Equal(string(m), "sealed two")
	p, err = w.b.ReadClear(nil)
	is.NoErr(err)
	is.Equal(len(p), mechanism.MaxPlaintext)
}

// TestClearNotPermitted: it takes both sides. A clear record that comes
// uninvited ends the connection.
func TestClearNotPermitted(t *testing.T) {
	for _, allow := range [][2]bool{{false, false}, {true, false}, {false, true}} {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		initiator.AllowClear, responder.AllowClear = allow[0], allow[1]
		w := wire(t, initiator, responder)
		for _, c := range []*securesp.Conn{w.a, w.b} {
			is.True(!c.ConnectionState().ClearPermitted)
			is.True(errors.Is(c.WriteClear([]byte("x")), securesp.ErrClearNotPermitted))
			_, err := c.ReadClear(nil)
			is.True(errors.Is(err, securesp.ErrClearNotPermitted))
		}
		w.near.Inject([]byte{0, 2, byte(mechanism.Clear), 'x'})
		_, err := w.b.Read(make([]byte, 1))
		is.True(errors.Is(err, securesp.ErrProtocol))
		w.close()
	}
}

// TestClearIsUnauthenticated injects clear records as anybody on the way can:
// they come out of ReadClear only, and cost a bounded amount of memory.
func TestClearIsUnauthenticated(t *testing.T) {
	is := is.New(t)
	w := clearPair(t)
	defer w.close()
	forged := append([]byte{0x40, 0x01, byte(mechanism.Clear)}, make([]byte, mechanism.MaxPlaintext)...)
	for range 300 { // 5 MB
		w.near.Inject(forged)
	}
	is.NoErr(w.a.WriteMessage([]byte("sealed")))
	m, err := w.b.ReadMessage(nil)
	is.NoErr(err)
	is.Equal(string(m), "sealed") // nothing of it in the stream
	kept := 0
	is.NoErr(w.b.SetReadDeadline(time.Now().Add(-time.Second)))
	for {
		if _, err := w.b.ReadClear(nil); err != nil {
			break
		}
		kept++
	}
	is.True(kept >= 1 && kept <= 4) // 64 KiB are kept, the rest was dropped
}

// TestReadClearBesideRead has one goroutine read sealed messages and another
// clear ones. Each gets its own, whoever of the two takes in the records.
func TestReadClearBesideRead(t *testing.T) {
	is := is.New(t)
	const each = 200
	w := clearPair(t)
	messages := make(chan error, 1)
	go func() {
		for i := range each {
			m, err := w.b.ReadMessage(nil)
			if err != nil || !bytes.Equal(m, messageNumber(i)) {
				messages <- fmt.Errorf("message %d: %q, %w", i, m, err)
				return
			}
		}
		messages <- nil
	}()
	clears := make(chan error, 1)
	go func() {
		for i := 0; i < each; {
			p, err := w.b.ReadClear(nil)
			if errors.Is(err, securesp.ErrDataPending) {
				continue // the other one's turn
			}
			if err != nil || !bytes.Equal(p, messageNumber(-i)) {
				clears <- fmt.Errorf("payload %d: %q, %w", i, p, err)
				return
			}
			i++
		}
		clears <- nil
	}()
	for i := range each {
		is.NoErr(w.a.WriteClear(messageNumber(-i)))
		is.NoErr(w.a.WriteMessage(messageNumber(i)))
	}
	is.NoErr(<-messages)
	is.NoErr(<-clears)

	is.NoErr(w.b.SetReadDeadline(time.Now().Add(10 * time.Millisecond)))
	for range 2 {
		go func() {
			_, err := w.b.ReadClear(nil)
			clears <- err
		}()
		go func() {
			_, err := w.b.ReadMessage(nil)
			messages <- err
		}()
		err := <-clears
		isTimeoutError(t, err)
		isTimeoutError(t, <-messages)
	}
	is.NoErr(w.b.SetReadDeadline(time.Time{}))
	go func() {
		_, err := w.b.ReadClear(nil)
		clears <- err
	}()
	w.close()
	is.True(errors.Is(<-clears, net.ErrClosed)) // Close reaches it
}
