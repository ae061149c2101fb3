package e2e

import (
	"crypto/mlkem"
	"crypto/rand"
	"io"
)

// randomness is where everything random comes from. The zero value is
// crypto/rand; only tests of fixed vectors set anything.
type randomness struct {
	source      io.Reader
	encapsulate func(*mlkem.EncapsulationKey768) (secret, ciphertext []byte)
}

func (r randomness) read(b []byte) {
	source := r.source
	if source == nil {
		source = rand.Reader
	}
	if _, err := io.ReadFull(source, b); err != nil {
		panic("securesp: no randomness: " + err.Error()) // crypto/rand never fails
	}
}

func (r randomness) encapsulateTo(key *mlkem.EncapsulationKey768) (secret, ciphertext []byte) {
	if r.encapsulate != nil {
		return r.encapsulate(key)
	}
	return key.Encapsulate()
}
