package securesp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/securesp/securesp/mechanism"
)

// Constants of the connection preface (SPEC §2).
const (
	version    = 1
	maxHello   = 4096
	maxOffer   = 16
	maxTLVs    = 1024
	replyStart = 6 // magic, version and kind of a reply

	kindAccept = 0
	kindRetry  = 1
	kindReject = 2

	rejectVersion   = 1
	rejectNoSuite   = 2
	rejectBusy      = 3
	rejectHandshake = 4

	tlvLocalName  = 0x02
	tlvRemoteName = 0x03

	prologueLabel      = "securesp/1\x00"
	retryPrologueLabel = "securesp/1 retry\x00"
)

var (
	magic = [4]byte{0, 'S', 'P', 'S'}

	errPreface = fmt.Errorf("%w: malformed preface", ErrProtocol)
)

// hello is a HELLO (SPEC §2):
//
//	magic 4 | version 1 | flags 1 | n 1 | n × suite 2 | xlen 2 | TLVs | mlen 2 | M1
type hello struct {
	whole   []byte // as sent
	head    []byte // whole, up to but excluding mlen
	suites  []mechanism.Suite
	local   string // what the initiator calls itself
	remote  string // and the responder
	message []byte // M1
}

// appendHelloHead appends a HELLO up to but excluding mlen.
func appendHelloHead(dst []byte, suites []mechanism.Suite, local, remote string) []byte {
	dst = append(dst, magic[:]...)
	dst = append(dst, version, 0, byte(len(suites)))
	for _, s := range suites {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s))
	}
	var tlvs []byte
	if local != "" {
		tlvs = appendTLV(tlvs, tlvLocalName, []byte(local))
	}
	if remote != "" {
		tlvs = appendTLV(tlvs, tlvRemoteName, []byte(remote))
	}
	return appendBlock(dst, tlvs)
}

// appendBlock appends b after its length as a u16.
func appendBlock(dst, b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(b))), b...)
}

// readHello reads a HELLO. A peer that speaks something else is told apart
// from the first four bytes on.
func readHello(r *prefaceReader) (*hello, error) {
	start, err := r.takeMagic()
	if err != nil {
		return nil, err
	}
	if start[4] != version {
		return nil, ErrVersion
	}
	h := &hello{whole: slices.Clone(start)}
	take := func(n int) ([]byte, error) {
		if len(h.whole)+n > maxHello {
			return nil, errPreface
		}
		b, err := r.take(n)
		h.whole = append(h.whole, b...)
		return b, err
	}
	block := func(limit int) ([]byte, error) {
		size, err := take(2)
		if err != nil {
			return nil, err
		}
		n := int(binary.BigEndian.Uint16(size))
		if n > limit {
			return nil, errPreface
		}
		b, err := take(n)
		return slices.Clone(b), err
	}

	n, err := take(1)
	if err != nil {
		return nil, err
	}
	if n[0] < 1 || n[0] > maxOffer {
		return nil, errPreface
	}
	offer, err := take(2 * int(n[0]))
	if err != nil {
		return nil, err
	}
	for ; len(offer) > 0; offer = offer[2:] {
		h.suites = append(h.suites, mechanism.Suite(binary.BigEndian.Uint16(offer)))
	}
	tlvs, err := block(maxTLVs)
	if err != nil {
		return nil, err
	}
	if err := h.parseTLVs(tlvs); err != nil {
		return nil, err
	}
	head := len(h.whole)
	if h.message, err = block(maxHello); err != nil {
		return nil, err
	}
	h.head = h.whole[:head:head]
	return h, nil
}

func (h *hello) parseTLVs(p []byte) error {
	return eachTLV(p, func(t byte, value []byte) error {
		if len(value) > maxNameLen && (t == tlvLocalName || t == tlvRemoteName) {
			return errPreface
		}
		switch t {
		case tlvLocalName:
			h.local = string(value)
		case tlvRemoteName:
			h.remote = string(value)
		}
		return nil
	})
}

// appendTLV appends type:u8 | len:u16 | value.
func appendTLV(dst []byte, t byte, value []byte) []byte {
	return appendBlock(append(dst, t), value)
}

// eachTLV calls f for each entry of p. No type may appear twice.
func eachTLV(p []byte, f func(t byte, value []byte) error) error {
	var seen [256]bool
	for len(p) > 0 {
		if len(p) < 3 {
			return errPreface
		}
		t, n := p[0], int(binary.BigEndian.Uint16(p[1:]))
		if n > len(p)-3 || seen[t] {
			return errPreface
		}
		seen[t] = true
		if err := f(t, p[3:3+n]); err != nil {
			return err
		}
		p = p[3+n:]
	}
	return nil
}

// appendReply appends the start of a reply of the given kind.
func appendReply(dst []byte, kind byte) []byte {
	return append(append(dst, magic[:]...), version, kind)
}

// reply is what a responder answers a HELLO with (SPEC §2):
//
//	magic 4 | version 1 | kind 1 | ACCEPT: mlen 2, M2; RETRY: suite 2; REJECT: code 1
type reply struct {
	kind    byte
	message []byte          // ACCEPT: M2, valid until the next read
	suite   mechanism.Suite // RETRY
	code    byte            // REJECT
}

// readReply reads a reply.
func readReply(r *prefaceReader) (*reply, error) {
	start, err := r.takeMagic()
	if err != nil {
		return nil, err
	}
	rep := &reply{kind: start[5]}
	// A REJECT is understood whatever the version: it may be the answer to
	// ours.
	if start[4] != version && rep.kind != kindReject {
		return nil, ErrVersion
	}
	switch rep.kind {
	case kindAccept:
		rep.message, err = r.takeMessage()
	case kindRetry:
		var b []byte
		if b, err = r.take(2); err == nil {
			rep.suite = mechanism.Suite(binary.BigEndian.Uint16(b))
		}
	case kindReject:
		var b []byte
		if b, err = r.take(1); err == nil {
			rep.code = b[0]
		}
	default:
		err = errPreface
	}
	return rep, err
}

// rejection returns the error that a REJECT code stands for. Nobody vouches
// for it.
func rejection(code byte) error {
	switch code {
	case rejectVersion:
		return fmt.Errorf("%w (unauthenticated hint)", ErrVersion)
	case rejectNoSuite:
		return fmt.Errorf("%w (unauthenticated hint)", ErrNoCommonSuite)
	case rejectBusy:
		return fmt.Errorf("%w (unauthenticated hint)", ErrBusy)
	default:
		return ErrRejected
	}
}

// prefaceReader reads the handshake from the carrier, never holding more than
// one buffer.
type prefaceReader struct {
	carrier io.Reader
	store   *buffer
	buf     []byte // received, not yet taken
}

// take returns the next n bytes, which stay valid until the next call.
func (r *prefaceReader) take(n int) ([]byte, error) {
	for len(r.buf) < n {
		old := r.store
		if old == nil || len(old.b) < n {
			r.store = getBuffer(n)
		}
		r.buf = r.store.b[:copy(r.store.b, r.buf)]
		if old != r.store {
			old.release()
		}
		got, err := r.carrier.Read(r.store.b[len(r.buf):])
		r.buf = r.store.b[:len(r.buf)+got]
		if err != nil && len(r.buf) < n {
			if err == io.EOF {
				err = errHungUp
			}
			return nil, err
		}
	}
	b := r.buf[:n:n]
	r.buf = r.buf[n:]
	return b, nil
}

var errHungUp = fmt.Errorf("securesp: the peer closed the connection during the handshake: %w", io.ErrUnexpectedEOF)

// takeMagic takes the first six bytes of a HELLO or a reply. Magic is checked
// as soon as it is there: a peer that speaks something else may send no more.
func (r *prefaceReader) takeMagic() ([]byte, error) {
	b, err := r.take(len(magic))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(b, magic[:]) {
		if bytes.Equal(b, []byte{0, 'S', 'P', 0}) {
			return nil, ErrPlainSP
		}
		return nil, ErrNotSecureSP
	}
	rest, err := r.take(replyStart - len(magic))
	if err != nil {
		return nil, err
	}
	return append(magic[:], rest...), nil
}

// takeMessage takes mlen:u16 and a handshake message.
func (r *prefaceReader) takeMessage() ([]byte, error) {
	size, err := r.take(2)
	if err != nil {
		return nil, err
	}
	return r.takeSized(int(binary.BigEndian.Uint16(size)))
}

// takeSized takes a handshake message of n bytes.
func (r *prefaceReader) takeSized(n int) ([]byte, error) {
	if n > mechanism.MaxHandshakeMessage {
		return nil, errPreface
	}
	return r.take(n)
}

// takeLaterMessage takes a handshake message after the first, or the REJECT
// that may come in its place, which it returns as an error. No mechanism has a
// later message of 83 bytes, so REJECT's first two bytes are no mlen.
func (r *prefaceReader) takeLaterMessage() ([]byte, error) {
	start, err := r.take(2)
	if err != nil {
		return nil, err
	}
	size := [2]byte(start)
	if !bytes.HasPrefix(magic[:], size[:]) {
		return r.takeSized(int(binary.BigEndian.Uint16(size[:])))
	}
	rest, err := r.take(replyStart + 1 - len(size))
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(rest, magic[len(size):]) || rest[len(rest)-2] != kindReject {
		return nil, errPreface
	}
	return nil, rejection(rest[len(rest)-1])
}

// takeRecord takes one whole record, or the REJECT that may come in its place:
// its magic is no possible record header.
func (r *prefaceReader) takeRecord(overhead int) ([]byte, error) {
	header, err := r.take(mechanism.HeaderSize)
	if err != nil {
		return nil, err
	}
	start := [mechanism.HeaderSize]byte(header)
	_, size, err := parseRecord(start[:], overhead)
	if bytes.HasPrefix(magic[:], start[:]) {
		size, err = replyStart+1, nil
	}
	if err != nil {
		return nil, err
	}
	rest, err := r.take(size - mechanism.HeaderSize)
	if err != nil {
		return nil, err
	}
	return append(start[:], rest...), nil
}
