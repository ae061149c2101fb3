package e2e_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
)

// The owner of a group takes members in and hands out keys; a publisher seals
// for all, under a topic that only members can recognise.
func ExampleGroup() {
	owner, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	group, err := e2e.NewGroup(e2e.GroupConfig{Name: "weather", Identity: owner})
	if err != nil {
		log.Fatal(err)
	}

	// Each member makes a key for the group and gives the owner its card,
	// for example in a request, which proves whose card it is.
	members := make(map[keys.Public]*e2e.Member)
	for _, identity := range []*keys.Private{alice, bob} {
		key, err := keys.GenerateService()
		if err != nil {
			log.Fatal(err)
		}
		members[identity.Public()], err = e2e.NewMember(e2e.MemberConfig{
			Key: key, Identity: identity.Public(), Owner: owner.Public(), Group: "weather",
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	publisher, subscriber := members[alice.Public()], members[bob.Public()]
	updates, err := group.Invite(
		e2e.Invitation{Member: alice.Public(), Name: "alice", Card: publisher.Card(), Sends: true},
		e2e.Invitation{Member: bob.Public(), Name: "bob", Card: subscriber.Card()},
	)
	if err != nil {
		log.Fatal(err)
	}
	for _, u := range updates {
		if err := members[u.Member].Update(u.Message); err != nil {
			log.Fatal(err)
		}
	}

	topic := e2e.Topic{Mode: e2e.TopicBlind, Name: []byte("berlin")}
	prefixes, err := subscriber.Prefixes(topic) // subscribe to these
	if err != nil {
		log.Fatal(err)
	}
	message, err := publisher.Seal(nil, topic, []byte("sunny"), nil)
	if err != nil {
		log.Fatal(err)
	}
	news, err := subscriber.Open(nil, message, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(prefixes), string(message[:16]) == string(prefixes[0]))
	fmt.Printf("%s: %s, says %s\n", news.Topic.Name, news.Body, news.Name)

	// Bob leaves: those who remain get a fresh key.
	if updates, err = group.Remove(bob.Public()); err != nil {
		log.Fatal(err)
	}
	if err := publisher.Update(updates[0].Message); err != nil {
		log.Fatal(err)
	}
	if message, err = publisher.Seal(nil, topic, []byte("rain"), nil); err != nil {
		log.Fatal(err)
	}
	_, err = subscriber.Open(nil, message, nil)
	fmt.Println(errors.Is(err, e2e.ErrUnknownKey))
	// Output:
	// 1 true
	// berlin: sunny, says alice
	// true
}

// A member's card travels as bytes. From time to time the owner goes on to the
// next key, so that a thief of today's cannot open what was sealed yesterday;
// and to an altogether new one when a key may have got into wrong hands.
func ExampleGroup_Ratchet() {
	owner, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	group, err := e2e.NewGroup(e2e.GroupConfig{Name: "weather", Identity: owner})
	if err != nil {
		log.Fatal(err)
	}
	key, err := keys.GenerateService()
	if err != nil {
		log.Fatal(err)
	}
	member, err := e2e.NewMember(e2e.MemberConfig{
		Key: key, Identity: alice.Public(), Owner: owner.Public(), Group: "weather",
	})
	if err != nil {
		log.Fatal(err)
	}
	card, err := e2e.ParseCard(member.Card().Bytes())
	if err != nil {
		log.Fatal(err)
	}
	invite := func() ([]e2e.Update, error) {
		return group.Invite(e2e.Invitation{Member: alice.Public(), Name: "alice", Card: card, Sends: true})
	}
	for _, step := range []func() ([]e2e.Update, error){invite, group.Ratchet, group.Rollover} {
		updates, err := step()
		if err != nil {
			log.Fatal(err)
		}
		for _, u := range updates {
			if err := member.Update(u.Message); err != nil {
				log.Fatal(err)
			}
		}
		fmt.Println(len(updates), "update for", len(group.Members()), "member")
	}
	// Output:
	// 1 update for 1 member
	// 1 update for 1 member
	// 1 update for 1 member
}

// An answer to a survey is tied to it by the survey's id.
func ExampleMember_Seal() {
	surveyor, respondent := exampleMembers()
	survey, err := surveyor.Seal(nil, e2e.Topic{}, []byte("Who is there?"), nil)
	if err != nil {
		log.Fatal(err)
	}
	id, err := e2e.IDOf(survey)
	if err != nil {
		log.Fatal(err)
	}

	// At the respondent:
	question, err := respondent.Open(nil, survey, nil)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := respondent.Seal(nil, e2e.Topic{}, []byte("It is me."), question.ID[:])
	if err != nil {
		log.Fatal(err)
	}

	// Back at the surveyor:
	_, err = surveyor.Open(nil, answer, []byte("another survey"))
	fmt.Println(err)
	got, err := surveyor.Open(nil, answer, id[:])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", got.Name, got.Body)
	// Output:
	// securesp: message authentication failed
	// bob: It is me.
}

// Two parts of a program each want all messages of the group.
func ExampleMember_NewReader() {
	sender, receiver := exampleMembers()
	message, err := sender.Seal(nil, e2e.Topic{}, []byte("to all"), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, part := range []*e2e.Reader{receiver.NewReader(), receiver.NewReader()} {
		got, err := part.Open(nil, message, nil)
		if err != nil {
			log.Fatal(err)
		}
		_, again := part.Open(nil, message, nil)
		fmt.Printf("%s: %v\n", got.Body, again)
	}
	// Output:
	// to all: securesp: replayed message
	// to all: securesp: replayed message
}

// exampleMembers returns two members of a group.
func exampleMembers() (first, second *e2e.Member) {
	owner, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	group, err := e2e.NewGroup(e2e.GroupConfig{Name: "example", Identity: owner})
	if err != nil {
		log.Fatal(err)
	}
	members := make(map[keys.Public]*e2e.Member)
	var invitations []e2e.Invitation
	for name, identity := range map[string]*keys.Private{"alice": alice, "bob": bob} {
		key, err := keys.GenerateService()
		if err != nil {
			log.Fatal(err)
		}
		m, err := e2e.NewMember(e2e.MemberConfig{
			Key: key, Identity: identity.Public(), Owner: owner.Public(), Group: "example",
		})
		if err != nil {
			log.Fatal(err)
		}
		members[identity.Public()] = m
		invitations = append(invitations, e2e.Invitation{
			Member: identity.Public(), Name: name, Card: m.Card(), Sends: true,
		})
	}
	updates, err := group.Invite(invitations...)
	if err != nil {
		log.Fatal(err)
	}
	for _, u := range updates {
		if err := members[u.Member].Update(u.Message); err != nil {
			log.Fatal(err)
		}
	}
	return members[alice.Public()], members[bob.Public()]
}

// Two ends do a handshake by passing messages, and then talk.
func ExamplePair() {
	here, err := e2e.NewPair(e2e.PairConfig{
		Role: mechanism.Initiator, Identity: alice, Peer: bob.Public(),
	})
	if err != nil {
		log.Fatal(err)
	}
	there, err := e2e.NewPair(e2e.PairConfig{
		Role: mechanism.Responder, Identity: bob, Authorize: authorize,
	})
	if err != nil {
		log.Fatal(err)
	}

	message, err := here.Start(nil)
	if err != nil {
		log.Fatal(err)
	}
	for from, to := here, there; message != nil; from, to = to, from {
		event, err := to.Receive(nil, message)
		if err != nil {
			log.Fatal(err)
		}
		message = event.Answer
	}

	if message, err = here.Seal(nil, []byte("Hello, Bob.")); err != nil {
		log.Fatal(err)
	}
	event, err := there.Receive(nil, message)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", event.Name, event.Body)
	// Output: alice: Hello, Bob.
}
