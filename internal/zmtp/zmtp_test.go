package zmtp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/curve"
)

func TestMain(m *testing.M) { leak.Main(m) }

func newKey(t *testing.T) *keys.CurvePrivate {
	is := is.New(t)
	is.Helper()
	key, err := keys.GenerateCurve()
	is.NoErr(err) // generate a key
	return key
}

// carriers returns both ends of a TCP connection over the loopback.
func carriers(t *testing.T) (a, b net.Conn) {
	is := is.New(t)
	is.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err) // listen
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	is.NoErr(err) // dial
	b, err = l.Accept()
	is.NoErr(err) // accept
	for _, c := range []net.Conn{a, b} {
		t.Cleanup(func() { c.Close() })
		is.NoErr(c.SetDeadline(time.Now().Add(20 * time.Second))) // bound the test
	}
	return a, b
}

// configs returns configurations that fit together: the client a REQ, the
// server a REP.
func configs(t *testing.T) (client, server Config) {
	clientKey, serverKey := newKey(t), newKey(t)
	client = Config{
		Role: mechanism.Initiator, Identity: clientKey, Server: serverKey.Public(),
		SocketType: "REQ", RoutingID: []byte("me"), MaxMessageSize: 1 << 20,
	}
	server = Config{
		Role: mechanism.Responder, Identity: serverKey, SocketType: "REP", MaxMessageSize: 1 << 20,
		Authorize: func(key keys.CurvePublic) bool { return key == clientKey.Public() },
	}
	return client, server
}

// handshake runs both sides; each closes its carrier if it fails.
func handshake(t *testing.T, client, server Config) (c, s *Conn, clientErr, serverErr error) {
	a, b := carriers(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s, serverErr = Handshake(b, server); serverErr != nil {
			b.Close()
		}
	}()
	if c, clientErr = Handshake(a, client); clientErr != nil {
		a.Close()
	}
	<-done
	return c, s, clientErr, serverErr
}

func connected(t *testing.T) (client, server *Conn) {
	is := is.New(t)
	is.Helper()
	clientConfig, serverConfig := configs(t)
	client, server, err, serverErr := handshake(t, clientConfig, serverConfig)
	is.NoErr(err)       // client's handshake
	is.NoErr(serverErr) // server's handshake
	return client, server
}

func TestMessages(t *testing.T) {
	is := is.New(t)
	client, server := connected(t)
	is.Equal(client.Peer(), client.config.Server)
	is.Equal(server.Peer(), client.config.Identity.Public())
	id, _ := server.Metadata().Get("Identity")
	is.Equal(string(id), "me")
	for _, parts := range [][][]byte{
		{{}},
		{[]byte("one")},
		{{}, []byte("two"), {}, bytes.Repeat([]byte("x"), 100_000)},
	} {
		for _, way := range [][2]*Conn{{client, server}, {server, client}} {
			sent := make(chan error, 1)
			go func() { sent <- way[0].Send(parts...) }()
			got, err := way[1].Receive()
			is.NoErr(err)    // receive
			is.NoErr(<-sent) // send
			is.Equal(len(got), len(parts))
			for i := range got {
				is.True(bytes.Equal(got[i], parts[i]))
			}
		}
	}
	is.NoErr(client.Close()) // close
	_, err := server.Receive()
	is.True(errors.Is(err, io.EOF))
}

func TestRefusals(t *testing.T) {
	var refused *curve.RefusedError
	for _, tt := range []struct {
		name     string
		change   func(client, server *Config)
		expected func(clientErr, serverErr error) bool
	}{
		{"wrong server key", func(client, _ *Config) { client.Server = client.Identity.Public() },
			func(_, err error) bool { return errors.Is(err, mechanism.ErrAuthentication) }},
		{"unauthorised", func(_, server *Config) { server.Authorize = func(keys.CurvePublic) bool { return false } },
			func(clientErr, err error) bool {
				return errors.Is(err, ErrUnauthorized) && errors.As(clientErr, &refused) && refused.Status == curve.StatusDenied
			}},
		{"nobody is authorised", func(_, server *Config) { server.Authorize = nil },
			func(_, err error) bool { return errors.Is(err, ErrUnauthorized) }},
		{"socket types", func(client, _ *Config) { client.SocketType = "PUSH" },
			func(_, err error) bool { return errors.Is(err, ErrSocketType) }},
		{"two servers", func(client, server *Config) { client.Role = mechanism.Responder },
			func(clientErr, err error) bool {
				return errors.Is(clientErr, ErrProtocol) || errors.Is(err, ErrProtocol)
			}},
		{"two clients", func(client, server *Config) {
			server.Role, server.Server = mechanism.Initiator, client.Identity.Public()
		}, func(clientErr, err error) bool {
			return errors.Is(clientErr, mechanism.ErrMalformed) || errors.Is(err, mechanism.ErrMalformed)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			client, server := configs(t)
			tt.change(&client, &server)
			_, _, clientErr, serverErr := handshake(t, client, server)
			is.True(clientErr != nil)
			is.True(serverErr != nil)
			is.True(tt.expected(clientErr, serverErr))
		})
	}
}

// TestGreetings sends a client greetings of other protocols.
func TestGreetings(t *testing.T) {
	genuine := appendGreeting(nil, mechanism.Responder)
	changed := func(at int, b string) []byte {
		g := bytes.Clone(genuine)
		copy(g[at:], b)
		return g
	}
	for _, tt := range []struct {
		name     string
		greeting []byte
		want     error
	}{
		{"HTTP", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), ErrProtocol},
		{"no signature", changed(signatureEnd, "\x00"), ErrProtocol},
		{"version 2", changed(versionAt, "\x02"), ErrProtocol},
		{"NULL", changed(mechanismAt, "NULL\x00"), ErrProtocol},
		{"CURVE2", changed(mechanismAt, "CURVE2"), ErrProtocol},
		{"cut", genuine[:63], io.ErrUnexpectedEOF},
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"only greeting", genuine, io.ErrUnexpectedEOF},
		{"not a command", append(bytes.Clone(genuine), 0, 1, 0), ErrProtocol},
		{"reserved flag", append(bytes.Clone(genuine), 8|flagCommand, 1, 0), ErrProtocol},
		{"long command", append(bytes.Clone(genuine), flagCommand|flagLong, 0, 0, 0, 0, 0, 0, 16, 1), ErrTooLarge},
		{"huge command", append(bytes.Clone(genuine), flagCommand|flagLong, 255, 255, 255, 255, 255, 255, 255, 255), ErrTooLarge},
		{"cut length", append(bytes.Clone(genuine), flagCommand|flagLong, 0), io.ErrUnexpectedEOF},
		{"cut command", append(bytes.Clone(genuine), flagCommand, 168, 7), io.ErrUnexpectedEOF},
		{"empty command", append(bytes.Clone(genuine), flagCommand, 0), mechanism.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			client, _ := configs(t)
			_, err := Handshake(&script{in: bytes.NewReader(tt.greeting)}, client)
			is.True(errors.Is(err, tt.want))
		})
	}
}

// TestLimits has an authenticated peer send more than we take.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name  string
		parts [][]byte
	}{
		{"one part", [][]byte{make([]byte, 1<<20+1)}},
		{"parts", [][]byte{make([]byte, 1<<19), make([]byte, 1<<19+1)}},
		{"empty parts", make([][]byte, 1<<16)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			client, server := connected(t)
			sent := make(chan error, 1)
			go func() { sent <- client.Send(tt.parts...) }()
			_, err := server.Receive()
			is.True(errors.Is(err, ErrTooLarge))
			is.NoErr(server.Close()) // give up
			<-sent                   // whatever became of it
		})
	}
}

// TestPing answers a PING between two parts, and only a proper one.
func TestPing(t *testing.T) {
	is := is.New(t)
	client, server := connected(t)
	send := func(flags byte, content string) {
		is.Helper()
		client.mu.Lock()
		defer client.mu.Unlock()
		client.out = client.out[:0]
		is.NoErr(client.appendLocked(flags, []byte(content))) // encode
		_, err := client.carrier.Write(client.out)
		is.NoErr(err) // send
	}
	send(curve.More, "one")
	send(curve.Command, "\x04PING\x00\x0Acontext")
	send(curve.Command, "\x09SUBSCRIBEx")
	send(0, "two")
	parts, err := server.Receive()
	is.NoErr(err) // receive the message
	is.Equal(len(parts), 2)
	frame, err := readFrame(client.r, 0, 1000)
	is.NoErr(err) // receive the answer
	flags, content, err := client.messages.Decode(nil, frame)
	is.NoErr(err) // decode the answer
	is.Equal(flags, curve.Command)
	is.Equal(string(content), "\x04PONGcontext")
	send(curve.Command, "\x04PING\x00")
	_, err = server.Receive()
	is.True(errors.Is(err, ErrProtocol))
}

// script is a carrier that reads what was written down beforehand.
type script struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (s *script) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *script) Write(b []byte) (int, error) { return s.out.Write(b) }

// TestLibzmqRecordings replays connections with libzmq that the module interop
// has recorded: from the same randomness we must send the same bytes and
// understand the answers.
func TestLibzmqRecordings(t *testing.T) {
	for _, role := range []mechanism.Role{mechanism.Initiator, mechanism.Responder} {
		t.Run(role.String(), func(t *testing.T) {
			is := is.New(t)
			text, err := os.ReadFile(filepath.Join("testdata", "libzmq-"+role.String()+".json"))
			is.NoErr(err) // read the recording
			var r struct{ Libzmq, Identity, Peer, Random, Sent, Received string }
			is.NoErr(json.Unmarshal(text, &r)) // decode the recording
			key, err := keys.ParseCurvePrivate(r.Identity)
			is.NoErr(err) // our key
			peer, err := keys.ParseCurvePublic(r.Peer)
			is.NoErr(err) // libzmq's key
			received := unhex(t, r.Received)
			carrier := &script{in: bytes.NewReader(received)}
			config := Config{
				Role: role, Identity: key, Server: peer, SocketType: "REQ",
				Authorize:      func(client keys.CurvePublic) bool { return client == peer },
				MaxMessageSize: 100, Rand: bytes.NewReader(unhex(t, r.Random)),
			}
			message := [][]byte{{}, []byte("hello"), []byte("world")}
			if role == mechanism.Responder {
				config.SocketType = "REP"
			}
			c, err := Handshake(carrier, config)
			is.NoErr(err) // handshake with the recording
			if role == mechanism.Initiator {
				is.NoErr(c.Send(message...)) // the request
			}
			got, err := c.Receive()
			is.NoErr(err) // libzmq's message
			is.Equal(string(bytes.Join(got, []byte("|"))), "|hello|world")
			if role == mechanism.Responder {
				is.NoErr(c.Send(message...)) // the reply
			}
			is.Equal(hex.EncodeToString(carrier.out.Bytes()), r.Sent)
			_, err = c.Receive()
			is.Equal(err, io.EOF) // nothing is left
		})
	}
}

func unhex(t *testing.T, text string) []byte {
	is := is.New(t)
	is.Helper()
	b, err := hex.DecodeString(text)
	is.NoErr(err) // decode hexadecimal text
	return b
}

// FuzzFrame has the law that what readFrame accepts is what appendFrame makes,
// but for short bodies in long frames.
func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, flagCommand, []byte("hello")))
	f.Add(appendFrame(nil, flagCommand, make([]byte, 300)))
	f.Add([]byte{flagCommand | flagLong, 0, 0, 0, 0, 0, 0, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		body, err := readFrame(r, flagCommand, 1000)
		if err != nil {
			return
		}
		if len(body) > 1000 {
			t.Errorf("%d bytes", len(body))
		}
		frame := b[:len(b)-r.Len()]
		if frame[0]&flagLong != 0 && len(body) <= 255 {
			frame = append([]byte{frame[0] &^ flagLong, byte(binary.BigEndian.Uint64(frame[1:]))}, body...)
		}
		if again := appendFrame(nil, flagCommand, body); !bytes.Equal(again, frame) {
			t.Errorf("%x became %x", frame, again)
		}
	})
}
