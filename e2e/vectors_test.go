package e2e_test

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

var update = flag.Bool("update", false, "write the test vectors instead of comparing them")

const vectorsPath = "testdata/vectors.json"

// vectors is testdata/vectors.json. Binary values are in hexadecimal.
//
// Everything random comes, in the order in which it is drawn, from the stream
// SHA-256(name ‖ 0:u64) ‖ SHA-256(name ‖ 1:u64) ‖ …, where name is that of the
// vector's part. A message in an envelope draws the 32 bytes of the
// encapsulation (FIPS 203's m), the ephemeral key, the content key. A reply
// draws the ticket's resumption secret and nonce, if it has one, the content
// key, the ephemeral key.
type vectors struct {
	Comment string
	Time    int64  // unix-ms, of everything
	Service string // sdk1:
	KeyID   string
	Client  string // ssk1:
	Body    string

	Request       string
	Reply         string // to Request, with a ticket
	TicketRequest string // with that ticket
	TicketReply   string // to TicketRequest
	OneWay        string

	Group struct {
		Name     string
		Owner    string // ssk1:
		Sender   string // sdk1: of the member that sends
		Card     string // the sender's
		Member   string // sdk1: of the member that opens
		Context  string // of Messages[3] alone
		Update   string // for the member that opens
		Topic    string
		Messages []string // clear, blind, hidden, and clear with Context
		Digests  []string // SHA-256 that each one's signature is of
	}

	Pair struct {
		Suite     string
		Initiator string   // ssk1:
		Responder string   // ssk1:
		Messages  []string // 1, 2, confirmation, data of I, data of R
	}
}

// stream is the vectors' source of randomness.
type stream struct {
	name string
	n    uint64
	rest []byte
}

func (s *stream) Read(b []byte) (int, error) {
	for len(s.rest) < len(b) {
		block := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.name), s.n))
		s.rest = append(s.rest, block[:]...)
		s.n++
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stream) bytes(n int) []byte {
	b := make([]byte, n)
	must(s.Read(b))
	return b
}

func vectorRandomness(name string) e2e.Randomness {
	source := &stream{name: name}
	return e2e.Randomness{
		Source: source,
		Encapsulate: func(key *mlkem.EncapsulationKey768) (secret, ciphertext []byte) {
			secret, ciphertext, err := mlkemtest.Encapsulate768(key, source.bytes(32))
			if err != nil {
				panic(err)
			}
			return secret, ciphertext
		},
	}
}

var vectorTime = time.UnixMilli(1_800_000_000_123)

func vectorNow() time.Time { return vectorTime }

func vectorIdentity(name string) *keys.Private {
	return must(keys.NewPrivate((&stream{name: name}).bytes(keys.Size)))
}

func vectorService(name string) *keys.ServicePrivate {
	return must(keys.NewServicePrivate((&stream{name: name}).bytes(keys.ServiceSeedSize)))
}

// makeVectors makes all vectors anew.
func makeVectors(t *testing.T) *vectors {
	v := &vectors{
		Comment: "Made by go test ./e2e -run TestVectors -update; see vectors_test.go for what is what.",
		Time:    vectorTime.UnixMilli(),
		Body:    hex.EncodeToString([]byte("The magic words")),
	}
	makeExchangeVectors(t, v)
	makeGroupVectors(t, v)
	makePairVectors(t, v)
	return v
}

func makeExchangeVectors(t *testing.T, v *vectors) {
	is := is.New(t)
	service, identity := vectorService("service"), vectorIdentity("client")
	v.Service, v.KeyID, v.Client = service.Reveal(), service.Public().IDString(), identity.Reveal()
	client, err := e2e.NewClient(e2e.ClientConfig{
		Identity: identity, Services: []*keys.ServicePublic{service.Public()}, Now: vectorNow,
	})
	is.NoErr(err) // make a client
	e2e.SetRandomness(client, vectorRandomness("client messages"))
	worker, err := e2e.NewWorker(e2e.WorkerConfig{
		Keys: []e2e.ServiceKey{{Key: service}}, Authorize: anyone, Now: vectorNow,
	})
	is.NoErr(err) // make a worker
	e2e.SetRandomness(worker, vectorRandomness("worker messages"))
	body := must(hex.DecodeString(v.Body))
	for _, into := range [][2]*string{{&v.Request, &v.Reply}, {&v.TicketRequest, &v.TicketReply}} {
		message, pending, err := client.Seal(nil, body)
		is.NoErr(err) // seal a request
		r, err := worker.Open(nil, message)
		is.NoErr(err) // open it
		reply, err := r.Reply(nil, body)
		is.NoErr(err) // seal a reply
		_, err = pending.Open(nil, reply)
		is.NoErr(err) // open it
		*into[0], *into[1] = hex.EncodeToString(message), hex.EncodeToString(reply)
	}
	message, err := client.SealOneWay(nil, body)
	is.NoErr(err) // seal one way
	v.OneWay = hex.EncodeToString(message)
}

func vectorMember(t *testing.T, name string, key *keys.ServicePrivate, v *vectors) *e2e.Member {
	m, err := e2e.NewMember(e2e.MemberConfig{
		Key: key, Identity: vectorIdentity(name).Public(),
		Owner: must(keys.ParsePrivate(v.Group.Owner)).Public(), Group: v.Group.Name, Now: vectorNow,
	})
	is.New(t).NoErr(err) // make a member
	return m
}

func makeGroupVectors(t *testing.T, v *vectors) {
	is := is.New(t)
	g := &v.Group
	owner := vectorIdentity("owner")
	sender, member := vectorService("sender"), vectorService("member")
	g.Name, g.Owner, g.Sender, g.Member = "circle", owner.Reveal(), sender.Reveal(), member.Reveal()
	g.Topic, g.Context = hex.EncodeToString([]byte("weather")), hex.EncodeToString([]byte("context"))
	group, err := e2e.NewGroupWith(e2e.GroupConfig{Name: g.Name, Identity: owner, Now: vectorNow}, vectorRandomness("group"))
	is.NoErr(err) // make a group
	sending, opening := vectorMember(t, "alice", sender, v), vectorMember(t, "bob", member, v)
	e2e.SetRandomness(sending, vectorRandomness("sender messages"))
	g.Card = hex.EncodeToString(sending.Card().Bytes())
	alice := e2e.Invitation{Member: vectorIdentity("alice").Public(), Name: "alice", Card: sending.Card(), Sends: true}
	bob := e2e.Invitation{Member: vectorIdentity("bob").Public(), Card: opening.Card()}
	updates, err := group.Invite(alice, bob)
	is.NoErr(err) // invite
	for _, u := range updates {
		if u.Member == alice.Member {
			is.NoErr(sending.Update(u.Message)) // take the update
		} else {
			g.Update = hex.EncodeToString(u.Message)
		}
	}
	for i := range 4 {
		topic := e2e.Topic{Mode: e2e.TopicMode(i % 3), Name: must(hex.DecodeString(g.Topic))}
		var context []byte
		if i == 3 {
			context = must(hex.DecodeString(g.Context))
		}
		message, err := sending.Seal(nil, topic, must(hex.DecodeString(v.Body)), context)
		is.NoErr(err) // seal
		g.Messages = append(g.Messages, hex.EncodeToString(message))
		g.Digests = append(g.Digests, hex.EncodeToString(e2e.Digest(sending, message, context)))
	}
}

func vectorPair(t *testing.T, v *vectors) (initiator, responder *e2e.Pair) {
	suite, err := mechanism.ParseSuite(v.Pair.Suite)
	is.New(t).NoErr(err) // the suite's name
	alice, bob := must(keys.ParsePrivate(v.Pair.Initiator)), must(keys.ParsePrivate(v.Pair.Responder))
	config := e2e.PairConfig{Identity: alice, Peer: bob.Public(), Suites: []mechanism.Suite{suite}}
	initiator, err = e2e.NewPair(config)
	is.New(t).NoErr(err) // make the initiator
	config.Role, config.Identity, config.Peer = mechanism.Responder, bob, alice.Public()
	responder, err = e2e.NewPair(config)
	is.New(t).NoErr(err) // make the responder
	e2e.SetRandomness(initiator, vectorRandomness("initiator messages"))
	e2e.SetRandomness(responder, vectorRandomness("responder messages"))
	return initiator, responder
}

// makePairVectors uses a classical suite: encapsulations of a hybrid one cannot
// be fixed from here. The handshakes have vectors of their own in
// mechanism/noise.
func makePairVectors(t *testing.T, v *vectors) {
	is := is.New(t)
	v.Pair.Suite = mechanism.IKChaChaPoly.String()
	v.Pair.Initiator = vectorIdentity("initiator").Reveal()
	v.Pair.Responder = vectorIdentity("responder").Reveal()
	initiator, responder := vectorPair(t, v)
	message, err := initiator.Start(nil)
	is.NoErr(err) // start
	for _, end := range []*e2e.Pair{responder, initiator, responder} {
		v.Pair.Messages = append(v.Pair.Messages, hex.EncodeToString(message))
		event, err := end.Receive(nil, message)
		is.NoErr(err) // receive
		message = event.Answer
	}
	for _, end := range []*e2e.Pair{initiator, responder} {
		message, err := end.Seal(nil, must(hex.DecodeString(v.Body)))
		is.NoErr(err) // seal data
		v.Pair.Messages = append(v.Pair.Messages, hex.EncodeToString(message))
	}
}

// TestVectors makes the vectors anew and compares: nothing on the wire changes
// unnoticed.
func TestVectors(t *testing.T) {
	is := is.New(t)
	made, err := json.MarshalIndent(makeVectors(t), "", "\t")
	is.NoErr(err) // to JSON
	made = append(made, '\n')
	if *update {
		is.NoErr(os.MkdirAll(filepath.Dir(vectorsPath), 0o755)) // make the directory
		is.NoErr(os.WriteFile(vectorsPath, made, 0o644))        // write the vectors
	}
	want, err := os.ReadFile(vectorsPath)
	is.NoErr(err) // read the vectors
	if !bytes.Equal(made, want) {
		t.Error("the vectors have changed; see what in the difference that -update makes")
	}
}

func readVectors(t testing.TB) *vectors {
	is := is.New(t)
	is.Helper()
	content, err := os.ReadFile(vectorsPath)
	is.NoErr(err) // read the vectors
	v := new(vectors)
	is.NoErr(json.Unmarshal(content, v)) // from JSON
	return v
}

// TestVectorsOpen opens the messages of the file as their receivers do, with
// what is in the file alone.
func TestVectorsOpen(t *testing.T) {
	is := is.New(t)
	v := readVectors(t)
	body := must(hex.DecodeString(v.Body))
	service, client := must(keys.ParseServicePrivate(v.Service)), must(keys.ParsePrivate(v.Client))
	worker, err := e2e.NewWorker(e2e.WorkerConfig{Keys: []e2e.ServiceKey{{Key: service}}, Authorize: anyone, Now: vectorNow})
	is.NoErr(err) // make a worker
	for i, message := range []string{v.Request, v.TicketRequest} {
		r, err := worker.Open(nil, must(hex.DecodeString(message)))
		is.NoErr(err) // open a request
		is.True(bytes.Equal(r.Body, body))
		is.Equal(r.Sender, client.Public())
		is.Equal(r.Resumed, i == 1)
	}
	one, err := worker.OpenOneWay(nil, must(hex.DecodeString(v.OneWay)))
	is.NoErr(err) // open one way
	is.True(bytes.Equal(one.Body, body))

	member := vectorMember(t, "bob", must(keys.ParseServicePrivate(v.Group.Member)), v)
	is.NoErr(member.Update(must(hex.DecodeString(v.Group.Update)))) // take the update
	for i, message := range v.Group.Messages {
		var context []byte
		if i == 3 {
			context = must(hex.DecodeString(v.Group.Context))
		}
		g, err := member.Open(nil, must(hex.DecodeString(message)), context)
		is.NoErr(err) // open a message
		is.True(bytes.Equal(g.Body, body))
		is.Equal(hex.EncodeToString(g.Topic.Name), v.Group.Topic)
		is.Equal(g.Name, "alice")
	}

	_, responder := vectorPair(t, v)
	for _, i := range []int{0, 2, 3} {
		event, err := responder.Receive(nil, must(hex.DecodeString(v.Pair.Messages[i])))
		is.NoErr(err) // receive
		is.Equal(event.Data, i == 3)
		is.True(!event.Data || bytes.Equal(event.Body, body))
	}
}
