package spmangos

import (
	"bytes"
	"slices"
	"sync"

	"go.nanomsg.org/mangos/v3"

	"github.com/securesp/securesp/e2e"
)

// groupPattern is how the members of a group seal and open: PUB, BUS and STAR,
// and most of the others. Each context opens each message once.
type groupPattern struct {
	member  *e2e.Member
	reader  *e2e.Reader
	topic   func([]byte) e2e.Topic
	context []byte // of messages; answers to surveys add to it
}

// groupContexts tie messages of a group to the pattern that they were sent by
// (SPEC §7.5): a device cannot have a published message answered as a survey.
var groupContexts = map[uint16]string{
	mangos.ProtoPub:        "pubsub",
	mangos.ProtoSub:        "pubsub",
	mangos.ProtoBus:        "bus",
	mangos.ProtoStar:       "star",
	mangos.ProtoSurveyor:   "survey",
	mangos.ProtoRespondent: "survey",
}

func (s *sealing) newGroupPattern() *groupPattern {
	return &groupPattern{s.config.Member, s.config.Member.NewReader(), s.config.Topic, []byte(groupContexts[s.protocol])}
}

// answerContext is the context of answers to a survey.
func (p *groupPattern) answerContext(survey e2e.MessageID) []byte {
	return slices.Concat(p.context, survey[:])
}

func (p *groupPattern) send(e *sealedEnd, m *mangos.Message) error {
	return e.transmit(m, func(dst, body []byte) ([]byte, error) { return p.seal(dst, body, p.context) })
}

func (p *groupPattern) open(_ *sealedEnd, m *mangos.Message) (*mangos.Message, error) {
	return p.openFor(m, p.context)
}

func (p *groupPattern) seal(dst, body, context []byte) ([]byte, error) {
	var topic e2e.Topic
	if p.topic != nil {
		topic = p.topic(body)
	}
	return p.member.Seal(dst, topic, body, context)
}

func (p *groupPattern) openFor(m *mangos.Message, context []byte) (*mangos.Message, error) {
	out := mangos.NewMessage(len(m.Body))
	g, err := p.reader.Open(out.Body, m.Body, context)
	if err != nil {
		out.Free()
		return nil, err
	}
	return opened(m, out, g.Body, Provenance{
		Sender: g.Sender, Name: g.Name, Time: g.Time, Topic: g.Topic, ID: g.ID,
	}), nil
}

// surveyorPattern is one SURVEYOR socket or context. Answers are opened for the
// survey that is under way and no other.
type surveyorPattern struct {
	group *groupPattern

	mu     sync.Mutex
	survey e2e.MessageID
}

func (p *surveyorPattern) send(e *sealedEnd, m *mangos.Message) error {
	// SendMsg of a SURVEYOR does not block. An answer that comes before it
	// returns waits to be opened.
	p.mu.Lock()
	defer p.mu.Unlock()
	var id e2e.MessageID
	err := e.transmit(m, func(dst, body []byte) ([]byte, error) {
		sealed, err := p.group.seal(dst, body, p.group.context)
		if err == nil {
			id, err = e2e.IDOf(sealed[len(dst):])
		}
		return sealed, err
	})
	if err == nil {
		p.survey = id
	}
	return err
}

func (p *surveyorPattern) open(_ *sealedEnd, m *mangos.Message) (*mangos.Message, error) {
	p.mu.Lock()
	survey := p.survey
	p.mu.Unlock()
	return p.group.openFor(m, p.group.answerContext(survey))
}

// respondentPattern is one RESPONDENT socket or context.
type respondentPattern struct {
	group *groupPattern

	mu     sync.Mutex
	survey *e2e.MessageID // to be answered, or nil
}

// put sets the survey to be answered and returns the one before.
func (p *respondentPattern) put(id *e2e.MessageID) *e2e.MessageID {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.survey
	p.survey = id
	return before
}

func (p *respondentPattern) send(e *sealedEnd, m *mangos.Message) error {
	survey := p.put(nil)
	if survey == nil {
		return mangos.ErrProtoState
	}
	var sealed bool
	err := e.transmit(m, func(dst, body []byte) ([]byte, error) {
		b, err := p.group.seal(dst, body, p.group.answerContext(*survey))
		sealed = err == nil
		return b, err
	})
	if !sealed {
		p.put(survey) // nothing was sent: a smaller answer may be
	}
	return err
}

func (p *respondentPattern) open(_ *sealedEnd, m *mangos.Message) (*mangos.Message, error) {
	p.put(nil) // mangos has forgotten where its answer would go
	out, err := p.group.openFor(m, p.group.context)
	if err != nil {
		return nil, err
	}
	from, _ := ProvenanceOf(out)
	p.put(&from.ID)
	return out, nil
}

// subPattern is one SUB socket or context. It subscribes at the inner one to
// the prefixes that the topics have on the way, and compares topics once
// messages are open.
type subPattern struct {
	*groupPattern
	inner mangos.Context

	mu       sync.Mutex
	topics   []e2e.Topic
	prefixes [][]byte // subscribed to at inner
}

func (p *subPattern) send(e *sealedEnd, m *mangos.Message) error {
	return e.inner.SendMsg(m) // which refuses
}

func (p *subPattern) open(_ *sealedEnd, m *mangos.Message) (*mangos.Message, error) {
	out, err := p.openFor(m, p.context)
	if err != nil {
		return nil, err
	}
	if from, _ := ProvenanceOf(out); !p.wants(from.Topic) {
		out.Free()
		return nil, nil
	}
	return out, nil
}

// wants reports whether a topic is subscribed to.
func (p *subPattern) wants(t e2e.Topic) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.topics, func(sub e2e.Topic) bool {
		switch {
		case sub.Mode == e2e.TopicClear && len(sub.Name) == 0:
			return true
		case sub.Mode != t.Mode:
			return false
		case sub.Mode == e2e.TopicBlind:
			return bytes.Equal(t.Name, sub.Name)
		default:
			return bytes.HasPrefix(t.Name, sub.Name)
		}
	})
}

func (p *subPattern) setOption(name string, value interface{}) error {
	var t e2e.Topic
	switch v := value.(type) {
	case e2e.Topic:
		t = v
	case []byte:
		t.Name = v
	case string:
		t.Name = []byte(v)
	default:
		return mangos.ErrBadValue
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.IndexFunc(p.topics, func(sub e2e.Topic) bool {
		return sub.Mode == t.Mode && bytes.Equal(sub.Name, t.Name)
	})
	topics := slices.Clone(p.topics)
	switch {
	case name == mangos.OptionSubscribe && at >= 0:
		return nil
	case name == mangos.OptionSubscribe:
		topics = append(topics, e2e.Topic{Mode: t.Mode, Name: bytes.Clone(t.Name)})
	case at < 0:
		return mangos.ErrBadValue
	default:
		topics = slices.Delete(topics, at, at+1)
	}
	return p.subscribeLocked(topics)
}

// refresh subscribes to what the topics are called now.
func (p *subPattern) refresh() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.subscribeLocked(p.topics)
}

// subscribeLocked makes topics the ones that are subscribed to.
func (p *subPattern) subscribeLocked(topics []e2e.Topic) error {
	var prefixes [][]byte
	for _, t := range topics {
		switch t.Mode {
		case e2e.TopicClear:
			prefixes = append(prefixes, t.Name)
		case e2e.TopicHidden:
			prefixes = append(prefixes, []byte{})
		default:
			some, err := p.member.Prefixes(t)
			if err != nil {
				return err
			}
			prefixes = append(prefixes, some...)
		}
	}
	for _, prefix := range prefixes { // again does no harm
		if err := p.inner.SetOption(mangos.OptionSubscribe, prefix); err != nil {
			return err
		}
	}
	for _, prefix := range p.prefixes {
		if !containsBytes(prefixes, prefix) {
			_ = p.inner.SetOption(mangos.OptionUnsubscribe, prefix) // listed, but perhaps twice
		}
	}
	p.topics, p.prefixes = topics, prefixes
	return nil
}

func containsBytes(list [][]byte, b []byte) bool {
	return slices.ContainsFunc(list, func(other []byte) bool { return bytes.Equal(other, b) })
}
