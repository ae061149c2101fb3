package securesp_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
)

// spellings returns the ways in which secret bytes may show up in a text.
func spellings(secret []byte) []string {
	list := fmt.Sprint(secret)
	syntax := fmt.Sprintf("%#v", secret)
	return []string{
		string(secret),
		hex.EncodeToString(secret),
		strings.ToUpper(hex.EncodeToString(secret)),
		base64.StdEncoding.EncodeToString(secret[:30]),
		base64.RawURLEncoding.EncodeToString(secret[:30]),
		list[1 : len(list)-1],
		syntax[strings.Index(syntax, "{")+1 : len(syntax)-1],
	}
}

// TestSecretsDoNotPrint formats everything a program may print in every way it
// may, and searches it for secrets.
func TestSecretsDoNotPrint(t *testing.T) {
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, s.suite)
			var keyLog bytes.Buffer
			responder.KeyLogWriter = &keyLog // which says what the traffic secrets are
			var logged bytes.Buffer
			responder.Logger = slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
			initiator.Logger = responder.Logger
			w := wire(t, initiator, responder)
			is.NoErr(w.a.WriteMessage([]byte("some traffic")))
			_, err := w.b.ReadMessage(nil)
			is.NoErr(err)

			var secrets [][]byte
			add := func(b []byte) { secrets = append(secrets, b) }
			for _, c := range []*securesp.Config{initiator, responder} {
				if c.Identity != nil {
					add(c.Identity.ECDH().Bytes())
				}
				if c.PSK != nil {
					b := c.PSK.Bytes()
					add(b[:])
				}
				if c.CurveIdentity != nil {
					b := c.CurveIdentity.Bytes()
					add(b[:])
				}
			}
			for _, line := range strings.Split(keyLog.String(), "\n") {
				if fields := strings.Fields(line); len(fields) == 4 {
					b, err := hex.DecodeString(fields[3])
					is.NoErr(err)
					add(b)
				}
			}
			is.True(len(secrets) >= 2)
			initiator.Logger, responder.Logger = nil, nil // their buffer would print with them
			keyLog.Reset()

			// Errors of many kinds, about these keys.
			var failures []error
			wrong := responder.Clone()
			wrong.Identity = newParty(t).identity
			wrong.Trust = nil
			wrong.KeyLogWriter, wrong.Protocol = nil, "other"
			near, far := testnet.Pipe(64 << 10)
			o := meet(near, far, initiator, wrong)
			failures = append(failures, o.aErr, o.bErr)
			o.close()
			w.near.Inject(make([]byte, 40))
			_, err = w.b.Read(make([]byte, 1))
			failures = append(failures, err)

			var out strings.Builder
			for _, v := range append([]any{
				initiator, *initiator, responder, w.a.ConnectionState(), w.a.Stats(), errors.Join(failures...),
			}, anys(failures)...) {
				for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
					fmt.Fprintf(&out, verb+"\n", v)
				}
				if b, err := json.Marshal(v); err == nil {
					out.Write(b)
				}
				slog.New(slog.NewTextHandler(&out, nil)).Info("it", "v", v)
				slog.New(slog.NewJSONHandler(&out, nil)).Info("it", "v", v)
			}
			w.close()
			for _, c := range []*securesp.Conn{w.a, w.b} {
				for _, verb := range []string{"%v", "%+v", "%#v"} {
					fmt.Fprintf(&out, verb+"\n", c)
				}
			}
			text := out.String() + logged.String()
			is.True(len(text) > 10000) // there was something to search
			for i, secret := range secrets {
				for _, spelled := range spellings(secret) {
					if strings.Contains(text, spelled) {
						t.Errorf("secret %d shows as %q", i, spelled)
					}
				}
			}
		})
	}
}

func anys(errs []error) (list []any) {
	for _, err := range errs {
		list = append(list, err)
	}
	return list
}

// TestOpenConnDoesNotPrint formats a Conn while it has its keys.
func TestOpenConnDoesNotPrint(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.XXhfsChaChaPoly)
	var keyLog syncBuffer
	initiator.KeyLogWriter = &keyLog
	w := wire(t, initiator, responder)
	initiator.KeyLogWriter = nil
	text := fmt.Sprintf("%v %+v %#v", w.a, w.a, w.b)
	is.True(len(text) > 20)
	found := 0
	for _, line := range strings.Split(keyLog.String(), "\n") {
		if fields := strings.Fields(line); len(fields) == 4 {
			secret, err := hex.DecodeString(fields[3])
			is.NoErr(err)
			found++
			for _, spelled := range spellings(secret) {
				is.True(!strings.Contains(text, spelled))
			}
		}
	}
	is.True(found >= 2)
	for _, secret := range [][]byte{initiator.Identity.ECDH().Bytes(), responder.Identity.ECDH().Bytes()} {
		for _, spelled := range spellings(secret) {
			is.True(!strings.Contains(text, spelled))
		}
	}
	w.close()
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestMechanismNamesPrint is the other half: what may be known is shown.
func TestMechanismNamesPrint(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.XXAESGCM)
	w := wire(t, initiator, responder)
	defer w.close()
	text := fmt.Sprintf("%+v", w.a.ConnectionState())
	is.True(strings.Contains(text, responder.Identity.Public().String()))
	is.True(strings.Contains(text, "Noise_XX_25519_AESGCM_SHA256"))
}
