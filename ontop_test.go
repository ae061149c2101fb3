package securesp_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/rpc"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/mechanism"
)

// onEachTransport runs a law on every transport, with one suite: what is on
// top cannot tell suites apart.
func onEachTransport(t *testing.T, law func(t *testing.T, a, b *securesp.Conn)) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			initiator, responder := configs(t, mechanism.XXAESGCM)
			a, b := connect(t, tr.name, initiator, responder)
			law(t, a, b)
		})
	}
}

// TestHTTP runs the standard library's server and client over connections,
// with keep-alive, a large body each way and several requests at once.
func TestHTTP(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.XXAESGCM)
	l, err := securesp.Listen("tcp", "127.0.0.1:0", responder)
	is.NoErr(err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body) // all of it first, as HTTP/1.1 wants
		if err == nil {
			w.Write(body)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	dialer := &securesp.Dialer{Config: initiator}
	transport := &http.Transport{DialContext: dialer.DialContext}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	results := make(chan error, 8)
	for i := range cap(results) {
		go func() {
			body := noiseBytes(uint64(i), 100+i*100000)
			response, err := client.Post("http://"+l.Addr().String(), "application/octet-stream", bytes.NewReader(body))
			if err == nil {
				var got []byte
				got, err = io.ReadAll(response.Body)
				response.Body.Close()
				if err == nil && !bytes.Equal(got, body) {
					err = errors.New("another body came back")
				}
			}
			results <- err
		}()
	}
	for range cap(results) {
		is.NoErr(<-results)
	}
	transport.CloseIdleConnections()
	is.NoErr(server.Close())
	is.True(errors.Is(<-served, http.ErrServerClosed))
}

// TestLinesAndValues pipes text lines, JSON and gob values.
func TestLinesAndValues(t *testing.T) {
	onEachTransport(t, func(t *testing.T, a, b *securesp.Conn) {
		is := is.New(t)
		type value struct {
			N int
			S string
		}
		sent := make(chan error, 1)
		go func() {
			w := bufio.NewWriter(a)
			for i := range 500 {
				fmt.Fprintf(w, "line %d\n", i)
			}
			err := w.Flush()
			for i := range 100 {
				err = errors.Join(err, json.NewEncoder(a).Encode(value{i, strings.Repeat("s", i)}))
			}
			enc := gob.NewEncoder(a)
			for i := range 100 {
				err = errors.Join(err, enc.Encode(value{i, strings.Repeat("g", i)}))
			}
			sent <- errors.Join(err, a.CloseWrite())
		}()
		r := bufio.NewReader(b)
		for i := range 500 {
			line, err := r.ReadString('\n')
			is.NoErr(err)
			is.Equal(line, fmt.Sprintf("line %d\n", i))
		}
		for i := range 100 {
			line, err := r.ReadBytes('\n')
			is.NoErr(err)
			var v value
			is.NoErr(json.Unmarshal(line, &v))
			is.Equal(v, value{i, strings.Repeat("s", i)})
		}
		dec := gob.NewDecoder(r)
		for i := range 100 {
			var v value
			is.NoErr(dec.Decode(&v))
			is.Equal(v, value{i, strings.Repeat("g", i)})
		}
		_, err := r.ReadByte()
		is.Equal(err, io.EOF)
		is.NoErr(<-sent)
	})
}

// Arith is a service for net/rpc.
type Arith struct{}

// Add is its method.
func (Arith) Add(args [2]int, sum *int) error {
	*sum = args[0] + args[1]
	return nil
}

func TestRPC(t *testing.T) {
	onEachTransport(t, func(t *testing.T, a, b *securesp.Conn) {
		is := is.New(t)
		server := rpc.NewServer()
		is.NoErr(server.Register(Arith{}))
		served := make(chan struct{})
		go func() {
			defer close(served)
			server.ServeConn(b)
		}()
		client := rpc.NewClient(a)
		calls := make(chan *rpc.Call, 100)
		for i := range cap(calls) {
			client.Go("Arith.Add", [2]int{i, 1000}, new(int), calls)
		}
		for range cap(calls) {
			call := <-calls
			is.NoErr(call.Error)
			is.Equal(*call.Reply.(*int), call.Args.([2]int)[0]+1000)
		}
		is.NoErr(client.Close())
		<-served
	})
}

// TestTLSOverIt runs a whole other secure channel on top, which is particular
// about deadlines, half-close and the sizes of its records.
func TestTLSOverIt(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{
		Certificates:       []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		InsecureSkipVerify: true, // the connection below has proved who it is
	}
	for _, transport := range []string{"tcp", "pipe"} {
		t.Run(transport, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, mechanism.XXAESGCM)
			a, b := connect(t, transport, initiator, responder)
			client, server := tls.Client(a, config), tls.Server(b, config)
			want := noiseBytes(1, 1<<20)
			sent := make(chan error, 1)
			go func() {
				_, err := server.Write(want)
				sent <- errors.Join(err, server.CloseWrite())
			}()
			got, err := io.ReadAll(client)
			is.NoErr(err)
			is.True(bytes.Equal(got, want))
			is.NoErr(<-sent)
		})
	}
}

// TestOneInTheOther runs a secure connection over a secure connection.
func TestOneInTheOther(t *testing.T) {
	is := is.New(t)
	outerA, outerB := configs(t, mechanism.XXAESGCM)
	a, b := connect(t, "unix", outerA, outerB)
	initiator, responder := configs(t, mechanism.NNhfsPSK0AESGCM)
	o := meet(a, b, initiator, responder)
	is.NoErr(errors.Join(o.aErr, o.bErr))
	go func() {
		o.a.Write(noiseBytes(1, 300000))
		o.a.Close()
	}()
	got, err := io.ReadAll(o.b)
	is.NoErr(err)
	is.True(bytes.Equal(got, noiseBytes(1, 300000)))
	o.b.Close()
}

// TestIOCopy uses ReadFrom and WriteTo, as io.Copy does: from a file through
// two connections into another file, with a relay in between.
func TestIOCopy(t *testing.T) {
	onEachTransport(t, func(t *testing.T, a, b *securesp.Conn) {
		is := is.New(t)
		initiator, responder := configs(t, mechanism.XXAESGCM)
		c, d := connect(t, "unix", initiator, responder)
		want := noiseBytes(1, 1<<20+5)
		path := filepath.Join(t.TempDir(), "f")
		is.NoErr(os.WriteFile(path, want, 0o600))
		source, err := os.Open(path)
		is.NoErr(err)
		defer source.Close()
		errs := make(chan error, 2)
		go func() {
			n, err := io.Copy(a, source)
			if n != int64(len(want)) {
				err = errors.Join(err, fmt.Errorf("copied %d bytes", n))
			}
			errs <- errors.Join(err, a.CloseWrite())
		}()
		go func() { // the relay: from one connection straight into another
			_, err := io.Copy(c, b)
			errs <- errors.Join(err, c.CloseWrite())
		}()
		var got bytes.Buffer
		n, err := io.Copy(&got, d)
		is.NoErr(err)
		is.Equal(n, int64(len(want)))
		is.True(bytes.Equal(got.Bytes(), want))
		is.NoErr(<-errs)
		is.NoErr(<-errs)
	})
}

// TestReadFromKeepsMessages: each Read of the source is a message.
func TestReadFromKeepsMessages(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.XXAESGCM)
	a, b := connect(t, "unix", initiator, responder)
	r, w := io.Pipe()
	go func() {
		for i := range 10 {
			w.Write(messageNumber(i))
		}
		w.Close()
	}()
	n, err := a.ReadFrom(r)
	is.NoErr(err)
	is.True(n > 0)
	for i := range 10 {
		m, err := b.ReadMessage(nil)
		is.NoErr(err)
		is.Equal(string(m), string(messageNumber(i)))
	}
}

// TestWriteToFails: an error of the Writer is returned, and what it did not
// take is not lost track of.
func TestWriteToFails(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.XXAESGCM)
	a, b := connect(t, "unix", initiator, responder)
	is.NoErr(a.WriteMessage([]byte("first")))
	full := errors.New("disk full")
	n, err := b.WriteTo(failingWriter{full})
	is.Equal(n, int64(0))
	is.True(errors.Is(err, full))
	is.NoErr(a.WriteMessage([]byte("second"))) // the connection itself is fine
	m, err := b.ReadMessage(nil)
	is.NoErr(err)
	is.Equal(string(m), "second")
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
