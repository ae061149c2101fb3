package quiccarrier

import (
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// socket is a UDP socket with its QUIC transport. It belongs to a dialed
// connection, or to a listener and all the connections it has accepted, and is
// closed when the last of them is.
type socket struct {
	conn      net.PacketConn
	outages   outages
	transport *quic.Transport
	gone      chan struct{} // closed when the socket is

	mu    sync.Mutex
	users int
	until time.Time // a peer may still need to hear that its connection is closed
}

// newSocket takes charge of conn.
func newSocket(conn net.PacketConn) *socket {
	s := &socket{conn: conn, gone: make(chan struct{}), users: 1}
	s.transport = &quic.Transport{Conn: s.outages.over(conn), ConnectionIDLength: connectionIDLength}
	return s
}

// acquire adds a user.
func (s *socket) acquire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
}

// stayFor keeps the socket open for the given time even without users.
func (s *socket) stayFor(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := time.Now().Add(d); until.After(s.until) {
		s.until = until
	}
}

// release removes a user. The last one closes the socket, at once or when its
// time has come; if wait is set, release returns only then.
func (s *socket) release(wait bool) {
	s.mu.Lock()
	s.users--
	last, left := s.users == 0, time.Until(s.until)
	s.mu.Unlock()
	switch {
	case !last:
		return
	case left <= 0:
		s.close()
	default:
		time.AfterFunc(left, s.close)
	}
	if wait {
		<-s.gone
	}
}

// close closes the socket. QUIC tells no peer, so all connections must have
// been closed before.
func (s *socket) close() {
	_ = s.transport.Close() // there is nothing to be done about an error
	_ = s.conn.Close()
	close(s.gone)
}
