package noise_test

import (
	"fmt"
	"testing"

	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/noise"
)

// BenchmarkHandshake is both sides of a whole handshake, sessions included.
func BenchmarkHandshake(b *testing.B) {
	for _, suite := range mechanism.Suites() {
		m, ok := noise.Mechanism(suite)
		if !ok {
			continue
		}
		b.Run(suite.String(), func(b *testing.B) {
			i, r, psk := newKey(b), newKey(b), newPSK(b)
			ic := mechanism.Config{Role: mechanism.Initiator, Identity: i, Peer: r.Public(), PSK: psk}
			rc := mechanism.Config{Role: mechanism.Responder, Identity: r, PSK: psk}
			b.ReportAllocs()
			for b.Loop() {
				if err := handshake(m, ic, rc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func handshake(m mechanism.Mechanism, ic, rc mechanism.Config) error {
	i, err := m.NewHandshake(ic)
	if err != nil {
		return err
	}
	r, err := m.NewHandshake(rc)
	if err != nil {
		return err
	}
	p := pair{i.(*noise.Handshake), r.(*noise.Handshake)}
	for p[0].Next() != mechanism.Done {
		if err := p.deliver(); err != nil {
			return err
		}
	}
	for _, h := range p {
		if _, err := h.Session(); err != nil {
			return err
		}
	}
	return nil
}

var benchProtocols = map[string]string{"AESGCM": nnAESGCM, "ChaChaPoly": nnChaChaPoly}

var benchSizes = []int{64, 1 << 10, 16 << 10}

func benchSessions(b *testing.B, run func(b *testing.B, s [2]mechanism.Session, plaintext []byte)) {
	for name, protocol := range benchProtocols {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				s := sessions(b, protocol)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				run(b, s, make([]byte, size))
			})
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	benchSessions(b, func(b *testing.B, s [2]mechanism.Session, plaintext []byte) {
		dst := make([]byte, 0, len(plaintext)+s[0].Overhead())
		for b.Loop() {
			if _, err := s[0].Encode(dst, mechanism.Data, plaintext); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkEncodeDecode includes making the records: a record decodes only once.
func BenchmarkEncodeDecode(b *testing.B) {
	benchSessions(b, func(b *testing.B, s [2]mechanism.Session, plaintext []byte) {
		dst := make([]byte, 0, len(plaintext)+s[0].Overhead())
		for b.Loop() {
			record, err := s[0].Encode(dst, mechanism.Data, plaintext)
			if err != nil {
				b.Fatal(err)
			}
			if _, _, err = s[1].Decode(record[s[0].Lead():s[0].Lead()], record); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSealOpen(b *testing.B) {
	for name, protocol := range benchProtocols {
		b.Run(name+"/1200", func(b *testing.B) {
			s := packetSessions(b, protocol)
			plaintext := make([]byte, 1200)
			packet := make([]byte, 0, 1300)
			opened := make([]byte, 0, 1200)
			b.SetBytes(1200)
			b.ReportAllocs()
			for b.Loop() {
				sealed, err := s[0].Seal(packet, plaintext)
				if err != nil {
					b.Fatal(err)
				}
				if _, err = s[1].Open(opened, sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
