package noise

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"fmt"
	"io"
)

// generateDH makes the ephemeral X25519 key. Package ecdh does not read a given
// source of randomness, so vectors go the way of importing a private key.
func (h *Handshake) generateDH() (*ecdh.PrivateKey, error) {
	if h.rand == nil {
		return ecdh.X25519().GenerateKey(rand.Reader)
	}
	seed := make([]byte, dhLen)
	defer clear(seed)
	if err := readSeed(h.rand, seed); err != nil {
		return nil, err
	}
	return ecdh.X25519().NewPrivateKey(seed)
}

// generateKEM makes the ephemeral ML-KEM-768 key; its seed is d || z of FIPS
// 203.
func (h *Handshake) generateKEM() (*mlkem.DecapsulationKey768, error) {
	if h.rand == nil {
		return mlkem.GenerateKey768()
	}
	seed := make([]byte, mlkem.SeedSize)
	defer clear(seed)
	if err := readSeed(h.rand, seed); err != nil {
		return nil, err
	}
	return mlkem.NewDecapsulationKey768(seed)
}

func readSeed(source io.Reader, seed []byte) error {
	if _, err := io.ReadFull(source, seed); err != nil {
		return fmt.Errorf("securesp: cannot generate an ephemeral key: %w", err)
	}
	return nil
}
