package noise

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

// maxMessage is the size of the largest Noise message (Noise §3).
const maxMessage = 65535

// Handshake is one run of a Noise protocol: the HandshakeState of Noise §5.3.
// It implements [mechanism.Handshake] and is not safe for concurrent use.
type Handshake struct {
	protocol *protocol
	role     mechanism.Role
	s        *ecdh.PrivateKey // own static key
	identity *keys.Private    // which s is
	psk      *keys.Shared
	rand     io.Reader // nil: crypto/rand
	keyLog   func(label string, secret []byte)

	// encapsulate is mlkem's, except in tests of fixed vectors.
	encapsulate func(*mlkem.EncapsulationKey768) (shared, ciphertext []byte)

	handshakeState
	secrets *secrets // once the handshake is done
}

// handshakeState is what messages change: a copy is a snapshot.
type handshakeState struct {
	symmetricState
	step  int // index of the next message
	e     *ecdh.PrivateKey
	kem   *mlkem.DecapsulationKey768
	rs    *ecdh.PublicKey
	re    *ecdh.PublicKey
	rekem *mlkem.EncapsulationKey768

	mixedRS bool // the key depends on the peer's static private key
	proved  bool // and something encrypted with such a key was received
}

// secrets is what remains of a finished handshake.
type secrets struct {
	traffic  [2][keyLen]byte // by sender's role
	packet   [sha256.Size]byte
	binding  []byte
	streamed bool // Session was called
	packeted bool // PacketSession was called
}

func newHandshake(p *protocol, config mechanism.Config) (*Handshake, error) {
	h := &Handshake{
		protocol:    p,
		role:        config.Role,
		rand:        config.Rand,
		keyLog:      config.KeyLog,
		encapsulate: (*mlkem.EncapsulationKey768).Encapsulate,
	}
	if err := h.takeKeys(config); err != nil {
		return nil, err
	}
	h.initialize(p)
	h.mixHash(config.Prologue)
	// The pre-messages: static keys known beforehand, the initiator's first.
	for _, owner := range []mechanism.Role{mechanism.Initiator, mechanism.Responder} {
		switch {
		case !p.known[owner]:
		case owner == h.role:
			h.mixHash(h.s.PublicKey().Bytes())
		default:
			h.mixHash(h.rs.Bytes())
		}
	}
	return h, nil
}

// takeKeys takes from config what the pattern needs.
func (h *Handshake) takeKeys(config mechanism.Config) error {
	lacks := func(what string) error {
		return fmt.Errorf("%w: %s needs %s", mechanism.ErrConfig, h.protocol.name, what)
	}
	p, own, other := h.protocol, h.role, 1-h.role
	if own > mechanism.Responder {
		return lacks("a role")
	}
	if p.known[own] || p.sent[own] {
		if config.Identity == nil || config.Identity.ECDH() == nil {
			return lacks("an identity")
		}
		h.s, h.identity = config.Identity.ECDH(), config.Identity
	}
	if p.known[other] {
		rs, err := config.Peer.ECDH()
		if err != nil {
			return lacks("the peer's key")
		}
		h.rs = rs
	}
	if p.psk {
		if config.PSK == nil {
			return lacks("a pre-shared key")
		}
		h.psk = config.PSK
	}
	return nil
}

// Next says whether to send or receive, or that the handshake is done.
func (h *Handshake) Next() mechanism.Step {
	switch {
	case h.step == len(h.protocol.messages):
		return mechanism.Done
	case h.step%2 == int(h.role):
		return mechanism.Send
	default:
		return mechanism.Receive
	}
}

// AppendMessage appends the next message, carrying payload, to dst. The two
// must not overlap. It is at most 65,535 bytes long, else
// mechanism.ErrMessageTooLong. Noise lets every message carry a payload, but
// early ones have little or no protection: see Noise §7.7. It returns
// mechanism.ErrAuthentication if the peer's key, received or configured, is of
// low order. After an error the handshake is as it was before.
func (h *Handshake) AppendMessage(dst, payload []byte) ([]byte, error) {
	if h.Next() != mechanism.Send {
		return nil, mechanism.ErrOrder
	}
	size := h.protocol.overhead[h.step] + len(payload)
	if size > maxMessage {
		return nil, mechanism.ErrMessageTooLong
	}
	dst = slices.Grow(dst, size)
	before := h.handshakeState
	for _, t := range h.protocol.messages[h.step] {
		var err error
		if dst, err = h.writeToken(dst, t); err != nil {
			h.handshakeState = before
			return nil, err
		}
	}
	dst = h.encryptAndHash(dst, payload)
	h.advance()
	return dst, nil
}

// writeToken performs one token of a message being sent.
func (h *Handshake) writeToken(dst []byte, t token) ([]byte, error) {
	switch t {
	case tokenE: // MixHash(e.public_key)
		e, err := h.generateDH()
		if err != nil {
			return nil, err
		}
		h.e = e
		public := e.PublicKey().Bytes()
		h.mixE(public)
		return append(dst, public...), nil
	case tokenS: // EncryptAndHash(s.public_key)
		return h.encryptAndHash(dst, h.s.PublicKey().Bytes()), nil
	case tokenE1: // EncryptAndHash(e1's encapsulation key)
		kem, err := h.generateKEM()
		if err != nil {
			return nil, err
		}
		h.kem = kem
		return h.encryptAndHash(dst, kem.EncapsulationKey().Bytes()), nil
	case tokenEKEM1: // EncryptAndHash(ciphertext), MixKey(shared key)
		shared, ciphertext := h.encapsulate(h.rekem)
		defer clear(shared)
		dst = h.encryptAndHash(dst, ciphertext)
		h.mixKey(shared)
		return dst, nil
	default:
		return dst, h.mixToken(t)
	}
}

// ReadMessage takes the next message and appends its payload to dst, which
// must not overlap message. A message that is too short or too long is
// mechanism.ErrMalformed; one with an impossible key is that or, like one that
// does not decrypt, mechanism.ErrAuthentication. After an error the handshake
// is as it was before.
func (h *Handshake) ReadMessage(dst, message []byte) ([]byte, error) {
	return h.ReadMessageIf(dst, message, nil)
}

// ReadMessageIf is ReadMessage for a message whose payload vouches for
// something else: if check, which gets the payload, returns an error,
// ReadMessageIf returns that error and the handshake is as it was before.
func (h *Handshake) ReadMessageIf(dst, message []byte, check func(payload []byte) error) ([]byte, error) {
	if h.Next() != mechanism.Receive {
		return nil, mechanism.ErrOrder
	}
	if len(message) < h.protocol.overhead[h.step] || len(message) > maxMessage {
		return nil, mechanism.ErrMalformed
	}
	before, start := h.handshakeState, len(dst)
	dst, err := h.readMessage(dst, message)
	if err == nil && check != nil {
		if err = check(dst[start:]); err != nil {
			clear(dst[start:])
		}
	}
	if err != nil {
		h.handshakeState = before
		return nil, err
	}
	h.proved = h.mixedRS
	h.advance()
	return dst, nil
}

func (h *Handshake) readMessage(dst, message []byte) ([]byte, error) {
	for _, t := range h.protocol.messages[h.step] {
		var err error
		if message, err = h.readToken(message, t); err != nil {
			return nil, err
		}
	}
	return h.decryptAndHash(dst, message)
}

// readToken performs one token of a received message, whose length was
// checked, and returns what follows it.
func (h *Handshake) readToken(message []byte, t token) (rest []byte, err error) {
	switch t {
	case tokenE: // MixHash(re.public_key)
		h.re, err = ecdh.X25519().NewPublicKey(message[:dhLen])
		if err != nil {
			return nil, mechanism.ErrMalformed
		}
		h.mixE(message[:dhLen])
		return message[dhLen:], nil
	case tokenS: // rs = DecryptAndHash
		var public []byte
		if public, message, err = h.readEncrypted(message, dhLen); err != nil {
			return nil, err
		}
		if h.rs, err = ecdh.X25519().NewPublicKey(public); err != nil {
			return nil, mechanism.ErrMalformed
		}
		return message, nil
	case tokenE1: // re1 = DecryptAndHash
		var key []byte
		if key, message, err = h.readEncrypted(message, mlkem.EncapsulationKeySize768); err != nil {
			return nil, err
		}
		if h.rekem, err = mlkem.NewEncapsulationKey768(key); err != nil {
			return nil, mechanism.ErrMalformed
		}
		return message, nil
	case tokenEKEM1: // MixKey(Decapsulate(DecryptAndHash))
		var ciphertext []byte
		if ciphertext, message, err = h.readEncrypted(message, mlkem.CiphertextSize768); err != nil {
			return nil, err
		}
		shared, err := h.kem.Decapsulate(ciphertext)
		if err != nil {
			return nil, mechanism.ErrMalformed
		}
		defer clear(shared)
		h.mixKey(shared)
		return message, nil
	default:
		return message, h.mixToken(t)
	}
}

// readEncrypted decrypts size bytes, if there is a key already, and returns
// them and what follows.
func (h *Handshake) readEncrypted(message []byte, size int) (plain, rest []byte, err error) {
	n := size
	if h.aead != nil {
		n += tagLen
	}
	plain, err = h.decryptAndHash(make([]byte, 0, size), message[:n])
	return plain, message[n:], err
}

// mixToken performs the tokens that put nothing into a message: they are the
// same for both sides, up to whose key is whose.
func (h *Handshake) mixToken(t token) error {
	switch t {
	case tokenPSK:
		psk := h.psk.Bytes()
		defer clear(psk)
		h.mixKeyAndHash(psk)
		return nil
	case tokenEE:
		return h.mixDH(h.e, h.re)
	case tokenSS:
		h.mixedRS = true
		return h.mixStatic()
	}
	// es and se name the initiator's key first, so it is in es of the
	// initiator and in se of the responder that our e meets the peer's s.
	if (t == tokenES) == (h.role == mechanism.Initiator) {
		h.mixedRS = true
		return h.mixDH(h.e, h.rs)
	}
	return h.mixDH(h.s, h.re)
}

// mixDH is MixKey(DH(own, other)).
func (h *Handshake) mixDH(own *ecdh.PrivateKey, other *ecdh.PublicKey) error {
	result, err := dh(own, other)
	if err != nil {
		return err
	}
	defer clear(result)
	h.mixKey(result)
	return nil
}

// mixStatic is MixKey(DH(s, rs)): the one result that does not differ from
// handshake to handshake, so the identity keeps it.
func (h *Handshake) mixStatic() error {
	peer, err := keys.NewPublic(h.rs.Bytes())
	if err != nil {
		return mechanism.ErrAuthentication
	}
	result, err := h.identity.Agree(peer)
	if err != nil {
		return mechanism.ErrAuthentication
	}
	defer clear(result)
	h.mixKey(result)
	return nil
}

// dh is X25519. It refuses keys of low order, with which the result would be
// zero, whatever our own key is; package ecdh finds them.
func dh(own *ecdh.PrivateKey, other *ecdh.PublicKey) ([]byte, error) {
	result, err := own.ECDH(other)
	if err != nil {
		return nil, mechanism.ErrAuthentication
	}
	return result, nil
}

// mixE mixes in an ephemeral public key. In psk patterns it also makes keys
// depend on it, so that a pre-shared key never encrypts two messages with the
// same key (Noise §9.2).
func (h *Handshake) mixE(public []byte) {
	h.mixHash(public)
	if h.protocol.psk {
		h.mixKey(public)
	}
}

// advance goes to the next message; after the last one it derives what the
// sessions need and forgets the rest.
func (h *Handshake) advance() {
	h.step++
	if h.step < len(h.protocol.messages) {
		return
	}
	s := &secrets{binding: slices.Clone(h.h())}
	s.traffic[mechanism.Initiator], s.traffic[mechanism.Responder] = h.split()
	copy(s.packet[:], must(hkdf.Extract(sha256.New, h.ck(), []byte(packetLabel))))
	h.secrets = s
	h.handshakeState = handshakeState{step: h.step, rs: h.rs, proved: h.proved}
	h.s, h.identity, h.psk, h.rand = nil, nil, nil, nil
}

// Peer returns the peer's static key once it is proved: once a message was
// read that decrypts with a key that depends on the static private key. That
// is message 2 for the initiator of every pattern in which the responder has a
// static key, and message 3 for the responder of XX, XK and XN.
//
// The responder of IK, KK, K and X has it from message 1 on, with a reservation
// (Noise §7.7): that message may be a replay, or forged by a thief of the
// responder's own private key. What dispels both is the first record, or
// packet, that opens. Where nothing proves the initiator's key but that record
// (IN, IX, KN and KX), Peer never returns it.
func (h *Handshake) Peer() mechanism.Peer {
	if !h.proved {
		return mechanism.Peer{}
	}
	key, err := keys.NewPublic(h.rs.Bytes())
	if err != nil { // a zero key fails its DH
		panic("securesp: proved an impossible key")
	}
	return mechanism.Peer{Key: key}
}

// Session returns the session for ordered streams; see [mechanism.Handshake].
func (h *Handshake) Session() (mechanism.Session, error) {
	if h.secrets == nil || h.secrets.streamed {
		return nil, mechanism.ErrOrder
	}
	h.secrets.streamed = true
	h.log("I2R_TRAFFIC_SECRET", h.secrets.traffic[mechanism.Initiator][:])
	h.log("R2I_TRAFFIC_SECRET", h.secrets.traffic[mechanism.Responder][:])
	return newSession(h), nil
}

// PacketSession returns the session for datagrams; see [mechanism.Handshake].
func (h *Handshake) PacketSession() (mechanism.PacketSession, error) {
	if h.secrets == nil || h.secrets.packeted {
		return nil, mechanism.ErrOrder
	}
	h.secrets.packeted = true
	return newPacketSession(h), nil
}

func (h *Handshake) log(label string, secret []byte) {
	if h.keyLog != nil {
		h.keyLog(label, slices.Clone(secret))
	}
}

// Format prints the protocol and the role: no verb shows a secret.
func (h *Handshake) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%s %s", h.protocol.name, h.role)
}
