package spmangos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.nanomsg.org/mangos/v3"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

// ErrCannotSeal means that there is no way to seal the messages of a socket:
// it is raw, as devices forward messages without opening them, or of a
// protocol unknown here. Test with errors.Is.
var ErrCannotSeal = errors.New("securesp: messages of this socket cannot be sealed")

// Options of sealed sockets and their contexts.
const (
	// OptionSealStats is the SealStats of a sealed socket and all of its
	// contexts. Read-only.
	OptionSealStats = "SECURESP-SEAL-STATS"

	// OptionGroupUpdate takes a []byte: an update from the group's owner,
	// which it gives to the Member, whose errors it returns. A SUB socket
	// then subscribes to what blind topics are called from now on, in all
	// contexts. An empty value does only that, for a Member that has taken
	// the update already. Write-only.
	OptionGroupUpdate = "SECURESP-GROUP-UPDATE"
)

// Options of the Pipe of messages that a sealed socket has received, read-only.
const (
	// OptionSender is the keys.Public of who has sealed the message; see
	// Sender.
	OptionSender = "SECURESP-SENDER"

	// OptionProvenance is the message's Provenance.
	OptionProvenance = "SECURESP-PROVENANCE"
)

// SealConfig is what [Seal] is given. A socket needs that one of Client,
// Worker, Member and Pair that goes with its protocol. Clients, workers and
// members may be shared by any number of sockets.
type SealConfig struct {
	// Client is for REQ and PUSH. Sockets that share one share its tickets.
	// Set mangos.OptionRetryTime of a REQ well below the workers' window:
	// both are a minute by default, and what is repeated later is too late.
	Client *e2e.Client

	// Worker is for REP and PULL. Its Authorize decides who may ask; see
	// Authorize of this package. A REP socket that is asked by REQ sockets,
	// which repeat what is not answered in time, does well with
	// e2e.FlagDuplicates, if its handler can act twice: where duplicates
	// are dropped, an answer that was lost is not given again.
	Worker *e2e.Worker

	// Member is for PUB, SUB, BUS, STAR, SURVEYOR and RESPONDENT.
	Member *e2e.Member

	// Pair is for PAIR, and is the socket's alone: it is closed with it.
	Pair *e2e.Pair

	// Topic says what a message is about, for sockets with a Member that
	// send; nil means the empty topic, in clear mode. The body is not to be
	// kept or changed. It is sealed whole, also if the topic is part of it.
	Topic func(body []byte) e2e.Topic

	// Clear makes REQ and PUSH send clear messages, if the Client allows
	// that: anybody can read and alter them, and the replies, on the way.
	Clear bool

	// HandshakeRetry is how long the initiator of a PAIR waits for an
	// answer before it begins anew, and the least time between handshakes
	// that were not called for by a new connection. It is doubled up to 30
	// seconds while no answer comes. Default 1 second.
	HandshakeRetry time.Duration

	// OnDrop is told of messages that were received and dropped, and why.
	// m is as it came, and only lent; the error matches one of package
	// e2e. It is called by the goroutine that receives, and holds it up; it
	// must not close the socket.
	OnDrop func(m *mangos.Message, err error)
}

// SealStats counts what passed through a sealed socket.
type SealStats struct {
	Sealed  uint64 // messages sealed and handed to the socket
	Opened  uint64 // messages opened and handed to the application
	Dropped uint64 // messages received that could not be opened
	Retried uint64 // how often requests were sealed anew because the service asked for it
}

// Provenance is what is known of a message that a sealed socket has opened.
type Provenance struct {
	// Sender is the proven key of who sealed the message: the client's, the
	// member's, the other end's of a pair, or in replies the X25519 half of
	// the service key. It is zero if Clear is set.
	Sender keys.Public

	// Name is what the policy or the group's owner calls the sender.
	Name string

	// Time is when the message was sealed, by its sender's clock. It is
	// zero in replies, in pairs and if Clear is set.
	Time time.Time

	// Duplicate is set if the message was opened before; see
	// e2e.FlagDuplicates.
	Duplicate bool

	// Resumed is set if a request came with a ticket.
	Resumed bool

	// Clear is set if the message was not sealed at all: nothing is known
	// about who sent it, who read it and what it was on the way.
	Clear bool

	// Topic is the topic of a group's message, and ID its number.
	Topic e2e.Topic
	ID    e2e.MessageID
}

// ProvenanceOf returns what is known of a message that was just received from
// a sealed socket. It is false for messages of other sockets.
func ProvenanceOf(m *mangos.Message) (Provenance, bool) {
	return option[Provenance](m.Pipe, OptionProvenance)
}

// Sender returns the proven key of who sealed a message that was just received
// from a sealed socket, whatever devices it went through. It is false for
// clear messages and for messages of other sockets. It is not the peer at the
// other end of the connection, which [PeerKey] tells.
func Sender(m *mangos.Message) (keys.Public, bool) {
	key, ok := option[keys.Public](m.Pipe, OptionSender)
	return key, ok && !key.IsZero()
}

// openedPipe is the Pipe of an opened message.
type openedPipe struct {
	mangos.Pipe // that the message came through
	provenance  Provenance
}

func (p *openedPipe) GetOption(name string) (interface{}, error) {
	switch name {
	case OptionSender:
		return p.provenance.Sender, nil
	case OptionProvenance:
		return p.provenance, nil
	}
	return p.Pipe.GetOption(name)
}

// authorizeTimeout bounds how long a policy may take to decide.
const authorizeTimeout = 10 * time.Second

// Authorize returns what e2e.WorkerConfig and e2e.PairConfig need to have
// policy decide who may send. The policy sees the sender's proven key and
// nothing else, since where a message comes from says nothing behind a device.
// It is asked for every message, so whoever it refuses from now on is out at
// once. The name is the policy's, if it is a trust.Namer. policy must not be
// nil. As there is no address and no credential to look at, restrictions of a
// trust file to either, from= and uid=, are never met.
func Authorize(policy trust.Policy) func(keys.Public) (name string, err error) {
	if policy == nil {
		panic("securesp: Authorize needs a policy")
	}
	namer, _ := policy.(trust.Namer)
	return func(sender keys.Public) (name string, err error) {
		ctx, cancel := context.WithTimeout(context.Background(), authorizeTimeout)
		defer cancel()
		if err := policy.Authorize(ctx, trust.Peer{Key: sender}); err != nil {
			return "", err
		}
		if namer != nil {
			name = namer.NameOf(sender)
		}
		return name, nil
	}
}

// Seal returns a socket that seals what it sends and opens what it receives
// with sock, from end to end: devices in between forward what they can neither
// read nor alter nor answer for. Both ends must use it. It works over any
// transport, also those that are not secure; what devices and others on the
// way still see is said in package e2e.
//
// It is used like sock, which belongs to it from then on and must be used no
// more. Seal a PAIR before it is connected. Messages are handed over as ever:
// SendMsg takes the message if it succeeds and leaves it as it was if not;
// RecvMsg returns a message that is the caller's, and whose [Sender] is proved.
//
//   - REQ returns the errors of package e2e for replies that cannot be opened,
//     and the request is over. When the service says that it must be sealed
//     anew, that is done, once, within the receive deadline.
//   - The others drop what they cannot open, count it and tell OnDrop, and go
//     on waiting; OptionRecvDeadline is for the whole of it. A REP answers
//     those whom it can help on.
//   - Messages of a group are tied to their pattern: what a PUB has sent is
//     for SUB sockets alone, what a BUS has sent for BUS sockets, and so on.
//     Each socket and each context accepts a message once, also where several
//     share a Member.
//   - SURVEYOR and RESPONDENT tie answers to the survey.
//   - SUB takes, besides []byte and string for clear topics, an e2e.Topic as
//     the value of OptionSubscribe and OptionUnsubscribe. Clear and hidden
//     topics are prefixes, blind ones are compared whole. The empty string
//     subscribes to all messages of whatever mode.
//   - PAIR starts a handshake when it is connected, if its Pair is the
//     initiator; until it is done Send waits, within OptionSendDeadline.
//
// Contexts, where the protocol has them, are independent of each other.
//
// A body above the MaxBody of the Client, Worker, Member or Pair is
// e2e.ErrTooLarge. A sealed message is longer than its body, by up to 1,300
// bytes: OptionMaxRecvSize of all sockets on the way, 1 MiB by default, must
// leave room.
//
// The error matches ErrCannotSeal if the socket is raw or of a protocol that
// is not named above, or e2e.ErrConfig if config lacks what the protocol
// needs; the socket is as before then.
func Seal(sock mangos.Socket, config SealConfig) (mangos.Socket, error) {
	if raw, err := sock.GetOption(mangos.OptionRaw); err != nil || raw != false {
		return nil, fmt.Errorf("%w: it is raw", ErrCannotSeal)
	}
	if config.HandshakeRetry == 0 {
		config.HandshakeRetry = time.Second
	}
	if config.HandshakeRetry < 0 {
		return nil, fmt.Errorf("%w: HandshakeRetry is negative", e2e.ErrConfig)
	}
	s := &sealing{config: config, protocol: sock.Info().Self, subs: make(map[*subPattern]struct{})}
	if err := s.check(sock.Info().SelfName); err != nil {
		return nil, err
	}
	if s.protocol == mangos.ProtoPair {
		return newPairSocket(sock, s), nil
	}
	return &sealedSocket{plain: sock, Context: s.newEnd(sock), inner: sock, sealing: s}, nil
}
