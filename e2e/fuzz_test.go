package e2e_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

// seeds returns every message of the vectors.
func seeds(f *testing.F) [][]byte {
	v := readVectors(f)
	texts := []string{v.Request, v.Reply, v.TicketRequest, v.TicketReply, v.OneWay, v.Group.Update, v.Group.Card}
	texts = append(texts, v.Group.Messages...)
	texts = append(texts, v.Pair.Messages...)
	texts = append(texts, "e0", "e0636c656172", "ef01", "ef02", "ef03", "ef", "")
	all := make([][]byte, len(texts))
	for i, text := range texts {
		all[i] = must(hex.DecodeString(text))
	}
	if len(all) < 20 {
		f.Fatal("the seed corpus is gone")
	}
	return all
}

// FuzzOpen gives anything to everything that takes messages. What opens
// without being one of the vectors is a forgery; the fuzzer cannot make one, so
// any success beyond those is a failure.
func FuzzOpen(f *testing.F) {
	genuine := make(map[string]bool)
	for _, seed := range seeds(f) {
		f.Add(seed)
		genuine[string(seed)] = true
	}
	v := readVectors(f)
	service := must(keys.ParseServicePrivate(v.Service))
	f.Fuzz(func(t *testing.T, message []byte) {
		kept := bytes.Clone(message)
		worker, err := e2e.NewWorker(e2e.WorkerConfig{
			Keys: []e2e.ServiceKey{{Key: service}}, Authorize: anyone, Now: vectorNow, Seen: e2e.NewMemoryCache(10),
		})
		if err != nil {
			t.Fatal(err)
		}
		client, err := e2e.NewClient(e2e.ClientConfig{
			Identity: must(keys.ParsePrivate(v.Client)), Services: []*keys.ServicePublic{service.Public()}, Now: vectorNow,
		})
		if err != nil {
			t.Fatal(err)
		}
		_, pending, err := client.Seal(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		results := map[string]error{}
		_, results["request"] = worker.Open(nil, message)
		_, results["one way"] = worker.OpenOneWay(nil, message)
		_, results["reply"] = pending.Open(nil, message)
		responder := fuzzResponder(t, v)
		_, results["pair"] = responder.Receive(nil, message)
		for what, err := range results {
			if err == nil && !genuine[string(message)] {
				t.Errorf("%s: forged message opened", what)
			}
		}
		if !bytes.Equal(message, kept) {
			t.Error("the message was changed")
		}
	})
}

func fuzzResponder(t *testing.T, v *vectors) *e2e.Pair {
	alice, bob := must(keys.ParsePrivate(v.Pair.Initiator)), must(keys.ParsePrivate(v.Pair.Responder))
	responder, err := e2e.NewPair(e2e.PairConfig{
		Role: mechanism.Responder, Identity: bob, Peer: alice.Public(), Suites: []mechanism.Suite{mechanism.IKChaChaPoly},
	})
	if err != nil {
		t.Fatal(err)
	}
	return responder
}

// FuzzGroup gives anything to a member.
func FuzzGroup(f *testing.F) {
	genuine := make(map[string]bool)
	for _, seed := range seeds(f) {
		f.Add(seed, []byte(nil))
		genuine[string(seed)] = true
	}
	v := readVectors(f)
	f.Add(must(hex.DecodeString(v.Group.Messages[3])), must(hex.DecodeString(v.Group.Context)))
	first := must(hex.DecodeString(v.Group.Update))
	key := must(keys.ParseServicePrivate(v.Group.Member))
	f.Fuzz(func(t *testing.T, message, context []byte) {
		member, err := e2e.NewMember(e2e.MemberConfig{
			Key: key, Identity: vectorIdentity("bob").Public(),
			Owner: must(keys.ParsePrivate(v.Group.Owner)).Public(), Group: v.Group.Name, Now: vectorNow,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := member.Update(first); err != nil {
			t.Fatal(err)
		}
		if member.Update(message) == nil {
			t.Error("forged or replayed update taken")
		}
		g, err := member.Open(nil, message, context)
		if err == nil && !genuine[string(message)] {
			t.Error("forged message opened")
		}
		if err == nil {
			if _, err := member.Open(nil, message, context); err == nil {
				t.Error("message opened twice")
			}
			if id, err := e2e.IDOf(message); err != nil || id != g.ID {
				t.Error("the id differs")
			}
		}
	})
}

// FuzzTails: what a parser takes, it takes as a whole and in one way.
func FuzzTails(f *testing.F) {
	f.Add([]byte("body\x00\x00\x01\xa3\x18\x4f\x6a\x00\x01"))
	f.Add([]byte("body\x00\x00\x01\xa3\x18\x4f\x6a\x00\x02"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\x00"))
	f.Add([]byte("body\x00\x00\x00"))
	f.Add([]byte("body\x09\x00\x01x\x00\x04\x01"))
	f.Add(append(append([]byte("body\x01\x00\x25"), make([]byte, 37)...), 0, 40, 0))
	f.Add(append(append([]byte("body\x01\x00\x24"), make([]byte, 36)...), 0, 39, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if body, again, err := e2e.RequestTail(b); err == nil && (!bytes.Equal(again, b) || !bytes.HasPrefix(b, body)) {
			t.Errorf("request %x became %x", b, again)
		}
		body, ticket, status, err := e2e.ReplyTail(b)
		if err != nil {
			return
		}
		tlvs := b[len(body) : len(b)-3]
		want := []byte{byte(len(tlvs) >> 8), byte(len(tlvs)), status}
		if !bytes.HasPrefix(b, body) || !bytes.HasSuffix(b, want) || !bytes.Contains(tlvs, ticket) {
			t.Errorf("reply %x became %x, %x, %d", b, body, ticket, status)
		}
		if ticket != nil && len(ticket) <= 36 {
			t.Errorf("ticket of %d bytes", len(ticket))
		}
	})
}

// FuzzGroupState: parsing and making undo each other.
func FuzzGroupState(f *testing.F) {
	state := append([]byte("\x06circle"), make([]byte, 16+8+4+64)...)
	sender := append(bytes.Repeat([]byte{7}, 64), "\x05alice"...)
	f.Add(append(bytes.Clone(state), 0, 0))
	f.Add(append(append(bytes.Clone(state), 0, 1), sender...))
	f.Add(append(append(bytes.Clone(state), 0, 2), sender...))
	f.Add(append(append(bytes.Clone(state), 0xff, 0xff), sender...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, err := e2e.GroupState(b); err == nil && !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// FuzzFraming: likewise for what is parsed before anything is authenticated.
func FuzzFraming(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed, 100)
	}
	f.Fuzz(func(t *testing.T, b []byte, maxBody int) {
		if again, err := e2e.TicketRequest(b, maxBody); err == nil && !bytes.Equal(again, b) {
			t.Errorf("ticket request %x became %x", b, again)
		}
		prefix, again, err := e2e.GroupTrailer(b)
		if err == nil && (!bytes.Equal(again, b) || prefix > len(b)) {
			t.Errorf("group message %x became %x", b, again)
		}
		if card, err := e2e.ParseCard(b); err == nil && !bytes.Equal(card.Bytes(), b) {
			t.Errorf("card %x became %x", b, card.Bytes())
		}
	})
}
