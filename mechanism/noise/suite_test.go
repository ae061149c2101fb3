package noise_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

func TestSmoke(t *testing.T) {
	for _, s := range mechanism.Suites() {
		m, ok := noise.Mechanism(s)
		if !ok {
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			is := is.New(t)
			a, _ := keys.Generate()
			b, _ := keys.Generate()
			psk, _ := keys.GenerateShared()
			i, err := m.NewHandshake(mechanism.Config{Role: mechanism.Initiator, Identity: a, Peer: b.Public(), PSK: psk})
			is.NoErr(err)
			r, err := m.NewHandshake(mechanism.Config{Role: mechanism.Responder, Identity: b, PSK: psk})
			is.NoErr(err)
			for i.Next() != mechanism.Done {
				msg, err := i.AppendMessage(nil, nil)
				is.NoErr(err)
				t.Log(len(msg))
				_, err = r.ReadMessage(nil, msg)
				is.NoErr(err)
				i, r = r, i
			}
			is.Equal(r.Next(), mechanism.Done)
			si, err := i.Session()
			is.NoErr(err)
			sr, err := r.Session()
			is.NoErr(err)
			is.Equal(si.Binding(), sr.Binding())
			rec, err := si.Encode(nil, 1, []byte("hello"))
			is.NoErr(err)
			ty, p, err := sr.Decode(nil, rec)
			is.NoErr(err)
			is.Equal(ty, mechanism.Type(1))
			is.Equal(string(p), "hello")
		})
	}
}
