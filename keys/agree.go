package keys

import (
	"crypto/ecdh"
	"sync"
)

// maxAgreements bounds how many agreements a private key keeps, about 100 bytes
// each.
const maxAgreements = 1024

// agreements keeps what X25519 makes of one private key and the public keys
// that it has met: two static keys always agree on the same secret, and it
// costs as much as a tenth of a handshake.
type agreements struct {
	mu     sync.Mutex
	known  map[Public][Size]byte
	recent []Public // in the order of arrival; the oldest makes room
}

// with returns the agreement of key and peer.
func (a *agreements) with(key *ecdh.PrivateKey, peer Public) ([]byte, error) {
	a.mu.Lock()
	secret, ok := a.known[peer]
	a.mu.Unlock()
	if ok {
		return secret[:], nil
	}
	public, err := peer.ECDH()
	if err != nil {
		return nil, err
	}
	b, err := key.ECDH(public)
	if err != nil {
		return nil, &keyError{"the public key is of low order", err}
	}
	a.keep(peer, [Size]byte(b))
	return b, nil
}

func (a *agreements) keep(peer Public, secret [Size]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.known[peer]; ok {
		return
	}
	if a.known == nil {
		a.known = make(map[Public][Size]byte)
	}
	if len(a.recent) == maxAgreements {
		delete(a.known, a.recent[0])
		a.recent = a.recent[1:]
	}
	a.known[peer] = secret
	a.recent = append(a.recent, peer)
}

// Agree returns the 32-byte X25519 shared secret of p and peer, in a slice that
// the caller owns and should clear. The secrets of the last 1,024 different
// peers are kept in memory, as long as p is. The error is not nil if peer is
// zero or of low order, which makes no secret; p must hold a key.
func (p *Private) Agree(peer Public) ([]byte, error) {
	if p.agree == nil {
		panic("securesp: keys.Private holds no key")
	}
	return p.agree(peer)
}
