package noise

import (
	"crypto/mlkem"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/securesp/securesp/mechanism"
)

// token is one step of a message pattern (Noise §7.1, §9; SPEC §1 for the two
// of hfs).
type token string

const (
	tokenE     token = "e"
	tokenS     token = "s"
	tokenEE    token = "ee"
	tokenES    token = "es"
	tokenSE    token = "se"
	tokenSS    token = "ss"
	tokenPSK   token = "psk"
	tokenE1    token = "e1"    // ML-KEM-768 encapsulation key
	tokenEKEM1 token = "ekem1" // ML-KEM-768 ciphertext
)

// isDH reports whether the token mixes in the result of a Diffie-Hellman
// function.
func (t token) isDH() bool {
	return t == tokenEE || t == tokenES || t == tokenSE || t == tokenSS
}

// Sizes in bytes of what tokens put into a message.
const (
	dhLen  = 32 // X25519 public keys and results
	tagLen = 16
)

// patterns holds the one-way (Noise §7.4) and the fundamental interactive
// handshake patterns (Noise §7.5), written as there.
var patterns = map[string]string{
	"N": "<- s ... -> e es",
	"K": "-> s <- s ... -> e es ss",
	"X": "<- s ... -> e es s ss",

	"NN": "-> e <- e ee",
	"NK": "<- s ... -> e es <- e ee",
	"NX": "-> e <- e ee s es",
	"KN": "-> s ... -> e <- e ee se",
	"KK": "-> s <- s ... -> e es ss <- e ee se",
	"KX": "-> s ... -> e <- e ee se s es",
	"XN": "-> e <- e ee -> s se",
	"XK": "<- s ... -> e es <- e ee -> s se",
	"XX": "-> e <- e ee s es -> s se",
	"IN": "-> e s <- e ee se",
	"IK": "<- s ... -> e es s ss <- e ee se",
	"IX": "-> e s <- e ee se s es",
}

// protocol is a parsed Noise protocol name. It is immutable.
type protocol struct {
	name     string
	messages [][]token // the initiator sends the first, then in turns
	overhead []int     // size of each message without its payload
	known    [2]bool   // by role: its static key is known beforehand
	sent     [2]bool   // by role: it sends its static key
	psk      bool
	hfs      bool
	cipher   cipherKind
	hash     hashKind
}

// parseProtocol parses a protocol name (Noise §8).
func parseProtocol(name string) (*protocol, error) {
	unknown := fmt.Errorf("%w: unknown Noise protocol name", mechanism.ErrConfig)
	part := strings.Split(name, "_")
	if len(part) != 5 || part[0] != "Noise" {
		return nil, unknown
	}
	base := strings.TrimRight(part[1], "abcdefghijklmnopqrstuvwxyz0123456789+")
	script, ok := patterns[base]
	if !ok {
		return nil, unknown
	}
	p := &protocol{name: name}
	p.parseScript(script)
	if modifiers := part[1][len(base):]; modifiers != "" {
		for _, m := range strings.Split(modifiers, "+") {
			if !p.modify(m) {
				return nil, unknown
			}
		}
	}
	wantDH := "25519"
	if p.hfs {
		wantDH = "25519+MLKEM768"
	}
	if p.cipher, ok = ciphers[part[3]]; !ok || part[2] != wantDH {
		return nil, unknown
	}
	if p.hash, ok = hashes[part[4]]; !ok {
		return nil, unknown
	}
	p.measure()
	return p, nil
}

func (p *protocol) parseScript(script string) {
	var sender mechanism.Role
	for _, word := range strings.Fields(script) {
		switch word {
		case "->", "<-":
			sender = mechanism.Initiator
			if word == "<-" {
				sender = mechanism.Responder
			}
			p.messages = append(p.messages, nil)
		case "...": // what came before are the pre-messages
			p.known, p.sent = p.sent, [2]bool{}
			p.messages = nil
		default:
			last := len(p.messages) - 1
			p.messages[last] = append(p.messages[last], token(word))
			if token(word) == tokenS {
				p.sent[sender] = true
			}
		}
	}
}

// modify applies one pattern modifier and reports whether it could.
func (p *protocol) modify(modifier string) bool {
	if modifier == "hfs" {
		return !p.hfs && p.addHFS()
	}
	place, found := strings.CutPrefix(modifier, "psk")
	n, err := strconv.ParseUint(place, 10, 8)
	if !found || err != nil || place != strconv.Itoa(int(n)) || int(n) > len(p.messages) || p.psk {
		return false // one pre-shared key is all that Config can hold
	}
	p.psk = true
	if n == 0 { // at the start of the first message, else at the end of the n-th
		p.messages[0] = slices.Insert(p.messages[0], 0, tokenPSK)
	} else {
		p.messages[n-1] = append(p.messages[n-1], tokenPSK)
	}
	return true
}

// addHFS puts in the tokens of hybrid forward secrecy (SPEC §1): e1 after the
// first e, or after the DH that directly follows it; ekem1 after the first ee.
func (p *protocol) addHFS() bool {
	if len(p.messages) < 2 {
		return false // one-way patterns have no ee
	}
	first, reply := p.messages[0], p.messages[1]
	at := slices.Index(first, tokenE) + 1
	if at < len(first) && first[at].isDH() {
		at++
	}
	p.messages[0] = slices.Insert(first, at, tokenE1)
	p.messages[1] = slices.Insert(reply, slices.Index(reply, tokenEE)+1, tokenEKEM1)
	p.hfs = true
	return true
}

// measure computes the size of each message: encryption adds its tag once
// there is a key.
func (p *protocol) measure() {
	tag := 0
	for _, message := range p.messages {
		n := 0
		for _, t := range message {
			switch t {
			case tokenE:
				n += dhLen
				if p.psk {
					tag = tagLen
				}
			case tokenS:
				n += dhLen + tag
			case tokenE1:
				n += mlkem.EncapsulationKeySize768 + tag
			case tokenEKEM1:
				n += mlkem.CiphertextSize768 + tag
				tag = tagLen
			default: // DH results and the pre-shared key are not sent
				tag = tagLen
			}
		}
		p.overhead = append(p.overhead, n+tag)
	}
}

// oneWay reports whether only the initiator sends, then and ever after.
func (p *protocol) oneWay() bool { return len(p.messages) == 1 }

func (p *protocol) traits() mechanism.Traits {
	return mechanism.Traits{
		Secure:         true,
		InitiatorKey:   p.known[mechanism.Initiator] || p.sent[mechanism.Initiator],
		ResponderKey:   p.known[mechanism.Responder] || p.sent[mechanism.Responder],
		KnownResponder: p.known[mechanism.Responder],
		PSK:            p.psk,
		Hybrid:         p.hfs,
	}
}
