package e2e

import (
	"fmt"
	"io"

	"github.com/securesp/securesp/internal/replay"
)

// Reader opens messages with the keys of a [Member], and remembers on its own
// which of them it has opened. A program in which several parts each want every
// message of the group gives each part a Reader. A new one accepts, within the
// time window, messages that its Member or other Readers opened before. It is
// safe for concurrent use.
type Reader struct {
	member  *Member
	windows map[senderID]*replay.Window // guarded by member.mu
}

// NewReader returns a reader that has opened nothing yet.
func (m *Member) NewReader() *Reader {
	return &Reader{member: m, windows: make(map[senderID]*replay.Window)}
}

// Open is as [Member.Open].
func (r *Reader) Open(dst, message, context []byte) (*GroupMessage, error) {
	return r.member.open(dst, message, context, r)
}

// windowLocked returns the window for a sender that the member accepts: the
// member's own, or that of r if it is not nil.
func (s *memberSender) windowLocked(m *Member, id senderID, r *Reader) *replay.Window {
	if r == nil {
		return &s.window
	}
	if w := r.windows[id]; w != nil {
		return w
	}
	for known := range r.windows { // those that have left take no room, once they cannot come back with old messages
		if m.senders[known] == nil && m.gone[known] == nil {
			delete(r.windows, known)
		}
	}
	w := new(replay.Window)
	r.windows[id] = w
	return w
}

// Format prints what it is: no verb shows a secret.
func (r *Reader) Format(f fmt.State, _ rune) { io.WriteString(f, "e2e group reader") }
