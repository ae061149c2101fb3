package curve

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"math"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

// Config is what one handshake of CurveZMQ itself is started with, for
// programs that speak it to other implementations. Connections of this module
// use [Mechanism] instead.
type Config struct {
	Role     mechanism.Role     // Initiator is the client, Responder the server
	Identity *keys.CurvePrivate // own static key
	Peer     keys.CurvePublic   // the server's key; the initiator must know it
	Metadata Metadata           // what to tell the peer in INITIATE or READY
	Rand     io.Reader          // nil means crypto/rand; for test vectors only
}

// Handshake is one run of CurveZMQ's handshake (RFC 26). It has no I/O and is
// not safe for concurrent use.
//
// Its script, as tokens: Box[X](A->B) is a NaCl box from the key A to B.
// Capitals are public keys, C of the initiator (client) and S of the responder
// (server), primed ones ephemeral, and t is a key that only the responder has.
//
//	-> HELLO     C', Box[zeros](C'->S)
//	<- WELCOME   Box[S', cookie](S->C')        cookie = Box[C', s'](t)
//	-> INITIATE  cookie, Box[C, vouch, metadata](C'->S')   vouch = Box[C', S](C->S')
//	<- READY     Box[metadata](S'->C')
//
// After it both hold k, the key of boxes between C' and S'.
//
// Between WELCOME and INITIATE the responder has t and nothing else that is
// secret. It has no clock: to forget t in good time, as RFC 26 asks, drop the
// Handshake if no INITIATE comes within a minute.
type Handshake struct {
	role   mechanism.Role
	step   int // commands sent and received so far, 0 to 4
	rand   io.Reader
	static *ecdh.PrivateKey // c or s
	client [keySize]byte    // C; the responder's after INITIATE
	server [keySize]byte    // S

	metadata []byte // own, encoded
	remote   Metadata
	check    func(Metadata) error // may refuse the peer's metadata

	ephemeral       *ecdh.PrivateKey // c'; the responder's s' is in the cookie
	ephemeralClient [keySize]byte    // C'; the responder's until WELCOME
	helloKey        *[32]byte        // of C' and S, until WELCOME
	cookieKey       *[32]byte        // t, from WELCOME to INITIATE
	cookie          [cookieSize]byte // the initiator's, until INITIATE
	ephemeralServer [keySize]byte    // S'; the initiator's, until INITIATE

	shared         *[32]byte // k
	sent, received uint64    // last short nonce of each direction
	transcript     [sha256.Size]byte
	taken          bool // a session was handed out
}

// New starts a handshake. Its error matches mechanism.ErrConfig if a key is
// missing or the metadata is invalid.
func New(config Config) (*Handshake, error) {
	static := config.Identity.ECDH()
	if static == nil || config.Role > mechanism.Responder {
		return nil, fmt.Errorf("%w: CURVE needs a role and a static key", mechanism.ErrConfig)
	}
	metadata, err := config.Metadata.encode()
	if err != nil {
		return nil, err
	}
	h := &Handshake{
		role:       config.Role,
		rand:       config.Rand,
		static:     static,
		metadata:   metadata,
		transcript: sha256.Sum256([]byte("securesp/1 CURVE")),
	}
	if h.rand == nil {
		h.rand = rand.Reader
	}
	if h.role == mechanism.Responder {
		h.server = config.Identity.Public().Bytes()
		return h, nil
	}
	if config.Peer.IsZero() {
		return nil, fmt.Errorf("%w: CURVE needs the responder's key", mechanism.ErrConfig)
	}
	h.client, h.server = config.Identity.Public().Bytes(), config.Peer.Bytes()
	if _, err := boxKey(static, h.server[:]); err != nil {
		return nil, fmt.Errorf("%w: the responder's key is invalid", mechanism.ErrConfig)
	}
	return h, nil
}

// Next says what the handshake needs now.
func (h *Handshake) Next() mechanism.Step {
	switch {
	case h.step == 4:
		return mechanism.Done
	case (h.step%2 == 0) == (h.role == mechanism.Initiator):
		return mechanism.Send
	default:
		return mechanism.Receive
	}
}

// AppendCommand appends the next command to dst and returns the extended
// slice. It returns mechanism.ErrOrder unless Next is Send. A responder decides
// between the peer's INITIATE and its own READY whether it wants the peer; see
// [AppendRefusal].
func (h *Handshake) AppendCommand(dst []byte) ([]byte, error) {
	if h.Next() != mechanism.Send {
		return nil, mechanism.ErrOrder
	}
	script := [4]func([]byte) ([]byte, error){h.sendHello, h.sendWelcome, h.sendInitiate, h.sendReady}
	out, err := script[h.step](dst)
	if err != nil {
		return nil, err
	}
	h.advance(out[len(dst):])
	return out, nil
}

// ReadCommand takes one received command, which it neither changes nor keeps.
// After an error the handshake is as it was before. The error matches
// mechanism.ErrMalformed or mechanism.ErrAuthentication; for an initiator it
// may be a [*RefusedError]. It is mechanism.ErrOrder unless Next is Receive.
func (h *Handshake) ReadCommand(command []byte) error {
	if h.Next() != mechanism.Receive {
		return mechanism.ErrOrder
	}
	if h.role == mechanism.Initiator {
		if err := parseError(command); err != nil {
			return err
		}
	}
	script := [4]func([]byte) error{h.readHello, h.readWelcome, h.readInitiate, h.readReady}
	if err := script[h.step](command); err != nil {
		return err
	}
	h.advance(command)
	return nil
}

// advance ends a step: the transcript is a chain of hashes over the commands.
func (h *Handshake) advance(command []byte) {
	h.transcript = sha256.Sum256(append(h.transcript[:], command...))
	h.step++
}

// Peer returns the peer's static key once it is proved, and the zero key
// before. A responder has it after INITIATE, whose vouch it checks in full. An
// initiator has it after READY: WELCOME proves already that the peer holds s,
// but only READY that it also took our INITIATE and agreed to its metadata.
func (h *Handshake) Peer() keys.CurvePublic {
	var proved []byte
	switch {
	case h.role == mechanism.Initiator && h.step == 4:
		proved = h.server[:]
	case h.role == mechanism.Responder && h.step >= 3:
		proved = h.client[:]
	default:
		return keys.CurvePublic{}
	}
	key, err := keys.NewCurvePublic(proved)
	if err != nil {
		panic("curve: a proved key is not one")
	}
	return key
}

// Metadata returns the peer's metadata: a responder has it after INITIATE, an
// initiator after READY. It is authenticated, but still the peer's own words.
func (h *Handshake) Metadata() Metadata { return h.remote }

// Format prints what it is: no verb shows a secret.
func (h *Handshake) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "CURVE %s", h.role) }

// sendHello is -> C', Box[zeros](C'->S).
func (h *Handshake) sendHello(dst []byte) ([]byte, error) {
	ephemeral, err := newKey(h.rand)
	if err != nil {
		return nil, err
	}
	key, err := boxKey(ephemeral, h.server[:])
	if err != nil {
		return nil, err
	}
	h.ephemeral, h.helloKey, h.sent = ephemeral, key, 1
	h.ephemeralClient = [keySize]byte(ephemeral.PublicKey().Bytes())
	return appendHello(dst, hello{client: h.ephemeralClient, nonce: h.sent}, key), nil
}

func (h *Handshake) readHello(command []byte) error {
	m, key, err := parseHello(command, h.static)
	if err != nil {
		return err
	}
	h.ephemeralClient, h.helloKey, h.received = m.client, key, m.nonce
	return nil
}

// sendWelcome is <- Box[S', cookie](S->C'). After it the responder has neither
// C' nor s' but in the cookie.
func (h *Handshake) sendWelcome(dst []byte) ([]byte, error) {
	ephemeral, err := newKey(h.rand)
	if err != nil {
		return nil, err
	}
	var random struct {
		cookieKey            [32]byte
		cookieNonce, welcome [longNonceSize]byte
	}
	for _, b := range [][]byte{random.cookieKey[:], random.cookieNonce[:], random.welcome[:]} {
		if err := fill(h.rand, b); err != nil {
			return nil, err
		}
	}
	w := welcome{
		server: [keySize]byte(ephemeral.PublicKey().Bytes()),
		cookie: sealCookie(h.ephemeralClient, ephemeral, random.cookieNonce, &random.cookieKey),
	}
	dst = appendWelcome(dst, w, random.welcome, h.helloKey)
	h.cookieKey = &random.cookieKey
	h.helloKey = erased(h.helloKey)
	h.ephemeralClient = [keySize]byte{}
	return dst, nil
}

func (h *Handshake) readWelcome(command []byte) error {
	m, err := parseWelcome(command, h.helloKey)
	if err != nil {
		return err
	}
	shared, err := boxKey(h.ephemeral, m.server[:])
	if err != nil {
		return err
	}
	h.shared, h.ephemeralServer, h.cookie = shared, m.server, m.cookie
	h.ephemeral = nil
	h.helloKey = erased(h.helloKey)
	return nil
}

// sendInitiate is -> cookie, Box[C, vouch, metadata](C'->S') with the vouch
// Box[C', S](C->S').
func (h *Handshake) sendInitiate(dst []byte) ([]byte, error) {
	var nonce [longNonceSize]byte
	if err := fill(h.rand, nonce[:]); err != nil {
		return nil, err
	}
	key, err := boxKey(h.static, h.ephemeralServer[:])
	if err != nil {
		return nil, err
	}
	defer clear(key[:])
	h.sent++
	return appendInitiate(dst, initiate{
		cookie:   h.cookie,
		nonce:    h.sent,
		client:   h.client,
		vouch:    sealVouch(h.ephemeralClient, h.server, nonce, key),
		metadata: h.metadata,
	}, h.shared), nil
}

func (h *Handshake) readInitiate(command []byte) error {
	m, sealed, err := splitInitiate(command)
	if err != nil {
		return err
	}
	ephemeralClient, ephemeral, err := openCookie(m.cookie[:], h.cookieKey)
	if err != nil {
		return err
	}
	shared, err := boxKey(ephemeral, ephemeralClient[:])
	if err != nil {
		return err
	}
	if m, err = openInitiate(m, sealed, shared); err != nil {
		return err
	}
	if err := h.checkVouch(m, ephemeralClient, ephemeral); err != nil {
		return err
	}
	if h.received == math.MaxUint64 || m.nonce != h.received+1 {
		return mechanism.ErrAuthentication
	}
	remote, err := h.checkMetadata(m.metadata)
	if err != nil {
		return err
	}
	h.client, h.remote, h.shared, h.received = m.client, remote, shared, m.nonce
	h.cookieKey = erased(h.cookieKey)
	return nil
}

// checkVouch checks that C vouches for this C' and for us: for C', or else a
// client's vouch could be put into an INITIATE of somebody else; for S, or else
// a server could pass on to us a vouch that was given to it.
func (h *Handshake) checkVouch(m initiate, ephemeralClient [keySize]byte, ephemeral *ecdh.PrivateKey) error {
	key, err := boxKey(ephemeral, m.client[:])
	if err != nil {
		return err
	}
	defer clear(key[:])
	client, server, err := openVouch(m.vouch[:], key)
	if err != nil {
		return err
	}
	sameClient := subtle.ConstantTimeCompare(client[:], ephemeralClient[:])
	sameServer := subtle.ConstantTimeCompare(server[:], h.server[:])
	if sameClient&sameServer != 1 {
		return mechanism.ErrAuthentication
	}
	return nil
}

// sendReady is <- Box[metadata](S'->C').
func (h *Handshake) sendReady(dst []byte) ([]byte, error) {
	h.sent = 1
	return appendReady(dst, h.sent, h.metadata, h.shared), nil
}

func (h *Handshake) readReady(command []byte) error {
	nonce, metadata, err := parseReady(command, h.shared)
	if err != nil {
		return err
	}
	remote, err := h.checkMetadata(metadata)
	if err != nil {
		return err
	}
	h.remote, h.received = remote, nonce
	return nil
}

func (h *Handshake) checkMetadata(encoded []byte) (Metadata, error) {
	remote, err := parseMetadata(encoded)
	if err == nil && h.check != nil {
		err = h.check(remote)
	}
	return remote, err
}

// binding returns the channel binding.
func (h *Handshake) binding() []byte { return h.derive("securesp/1 CURVE binding", 32) }

// derive returns size bytes that depend on k, both static keys and every byte
// of the handshake (SPEC §8):
//
//	HKDF-SHA256(k, salt = transcript, info = label ‖ C ‖ S)
//
// k itself is a key of boxes; HKDF keeps what is derived from it apart.
func (h *Handshake) derive(label string, size int) []byte {
	info := label + string(h.client[:]) + string(h.server[:])
	out, err := hkdf.Key(sha256.New, h.shared[:], h.transcript[:], info, size)
	if err != nil {
		panic("curve: HKDF refused a constant length")
	}
	return out
}
