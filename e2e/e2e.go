// Package e2e seals messages from end to end, so that brokers, devices and
// other middlemen forward what they can neither read nor alter nor answer for.
// It works on buffers alone: it does no I/O, starts no goroutine, and knows no
// messaging library. How it looks on the wire is SPEC §7.
//
// # Patterns
//
//   - Request and reply: a [Client] seals requests to a service, any [Worker]
//     that holds the service's key opens them and seals replies. The first
//     exchange costs public-key operations; with the ticket that comes back
//     the following ones cost a few microseconds, at any worker.
//   - One way (PUSH and PULL): [Client.SealOneWay] and [Worker.OpenOneWay].
//   - Many to many (PUB and SUB, BUS, SURVEY): a [Group] decides who is in and
//     hands out keys, each [Member] seals, signs and opens.
//   - Pairs: two ends keep a session, [Pair].
//
// What is opened always comes with the proven key of whoever sealed it. Nothing
// is opened for a sender that the receiver's own policy does not admit. Clear
// messages exist for those who need them; both ends must opt in, and they are
// marked.
//
// # Keys
//
// A service key (keys.ServicePrivate, keys.ServicePublic) combines X25519 and
// ML-KEM-768: a recorded message stays secret as long as either holds. Proof of
// who sealed it rests on X25519, in groups on Ed25519.
//
// # Limits
//
//   - A request has no forward secrecy against the service's own key: whoever
//     steals that key later opens the requests, and the replies to ticket
//     requests, that were recorded while it was in use. Replies to full
//     requests stay closed. Rotating the service key bounds the loss
//     ([Worker.SetKeys]); so does refusing tickets for what they open
//     (WorkerConfig.TicketLifetime).
//   - Who has stolen the service's key can also forge requests from anyone.
//   - One worker opens a request once, or flags the repetition. Between workers
//     delivery is at least once, unless they share a [SeenCache].
//   - Middlemen see which service key a message is for, how long it is, when
//     it passes, which requests use the same ticket, and topics in clear mode.
//   - A worker that misbehaves is still a worker: it can answer as it likes.
package e2e

import (
	"errors"
	"time"

	"github.com/securesp/securesp/mechanism"
)

// Errors of this package. Each may be wrapped; test with errors.Is. None
// contains a secret, nor anything that came from a peer.
var (
	// ErrMalformed means that a message has an impossible length or
	// structure, or is not of a form that the call accepts.
	ErrMalformed = mechanism.ErrMalformed

	// ErrAuthentication means that a message did not authenticate: it was
	// altered, made with other keys, or meant for another place. It is
	// deliberately no more precise than that.
	ErrAuthentication = mechanism.ErrAuthentication

	// ErrReplay means that a message was opened before.
	ErrReplay = errors.New("securesp: replayed message")

	// ErrExpired means that a message is too old, or its sender's clock too
	// far off, or that its ticket is no longer good.
	ErrExpired = errors.New("securesp: message outside the time it is good for")

	// ErrUnknownKey means that a message is sealed under a key that the
	// opener does not have: it is not for us, or the key was replaced.
	ErrUnknownKey = errors.New("securesp: message sealed under an unknown key")

	// ErrNotAuthorized means that the sender is not admitted.
	ErrNotAuthorized = errors.New("securesp: not authorised")

	// ErrTooLarge means that a body is above the configured maximum.
	ErrTooLarge = errors.New("securesp: message too large")

	// ErrRetry goes with ErrUnknownKey or ErrExpired when Pending.Retry may
	// be called.
	ErrRetry = errors.New("securesp: request must be sealed anew")

	// ErrExhausted means that keys have sealed as much as they may.
	ErrExhausted = mechanism.ErrExhausted

	// ErrConfig means that a configuration lacks something or contradicts
	// itself.
	ErrConfig = mechanism.ErrConfig
)

// Defaults and bounds of configurations.
const (
	// DefaultMaxBody is the largest body, in bytes, that is sealed and
	// opened unless configured otherwise.
	DefaultMaxBody = 16 << 20

	// DefaultWindow is how far a message's time may be from the opener's.
	DefaultWindow = 60 * time.Second

	// MaxWindow is the largest window that can be configured.
	MaxWindow = time.Hour

	// DefaultTicketLifetime is how long a ticket is good.
	DefaultTicketLifetime = time.Hour

	// MaxTicketLifetime is the longest that can be configured.
	MaxTicketLifetime = 24 * time.Hour
)

// Forms: the first byte of every message, but of a group's the last (SPEC §7).
const (
	formClear         = 0xE0
	formRequest       = 0xE1
	formReply         = 0xE2
	formTicketRequest = 0xE3
	formTicketReply   = 0xE4
	formOneWay        = 0xE5
	formGroup         = 0xE6
	formPairHandshake = 0xE7
	formPairPacket    = 0xE8
	formGroupUpdate   = 0xE9
	formHint          = 0xEF
)

// suiteOne is the only suite so far (SPEC §7): X25519 and ML-KEM-768,
// ChaCha20-Poly1305, XChaCha20-Poly1305, SHA-256.
const suiteOne = 1

// Hints: what the second byte of formHint says (SPEC §7).
const (
	hintUnknownKey     = 1
	hintUnusableTicket = 2
	hintUnknownSession = 3
)

// within reports whether t is at most window away from now.
func within(t, now time.Time, window time.Duration) bool {
	return !t.Before(now.Add(-window)) && !t.After(now.Add(window))
}
