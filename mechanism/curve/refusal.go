package curve

import (
	"bytes"
	"fmt"

	"github.com/securesp/securesp/mechanism"
)

// Status is why a CurveZMQ server refuses a client: a status code of ZAP
// (RFC 27), which libzmq sends as the reason in its ERROR command.
type Status int

// The status codes of ZAP that mean refusal (RFC 27).
const (
	StatusTemporary Status = 300 // try again later
	StatusDenied    Status = 400 // not authorised
	StatusInternal  Status = 500 // the server could not decide
)

// RefusedError is what an initiator's ReadCommand returns when the server
// answered with ERROR. Nothing authenticates an ERROR: it is a hint. It matches
// mechanism.ErrAuthentication.
type RefusedError struct {
	Status Status // 0 if the server gave no reason that RFC 27 knows
}

// Error names the status.
func (e *RefusedError) Error() string {
	if e.Status == 0 {
		return "securesp: the CURVE server refused us"
	}
	return fmt.Sprintf("securesp: the CURVE server refused us with ZAP status %d", int(e.Status))
}

// Unwrap returns mechanism.ErrAuthentication.
func (e *RefusedError) Unwrap() error { return mechanism.ErrAuthentication }

// AppendRefusal appends an ERROR command (RFC 26) to dst, by which a server
// tells a client that it is not wanted before it closes the connection. It
// panics if status is not one of the three constants.
func AppendRefusal(dst []byte, status Status) []byte {
	if !status.valid() {
		panic("curve: no such status")
	}
	reason := fmt.Sprint(int(status))
	dst = append(dst, nameError...)
	dst = append(dst, byte(len(reason)))
	return append(dst, reason...)
}

func (s Status) valid() bool {
	return s == StatusTemporary || s == StatusDenied || s == StatusInternal
}

// parseError returns nil if command is not an ERROR command:
//
//	"\x05ERROR" | len:u8 | reason
func parseError(command []byte) error {
	reason, ok := bytes.CutPrefix(command, []byte(nameError))
	if !ok {
		return nil
	}
	if len(reason) == 0 || len(reason) != 1+int(reason[0]) {
		return mechanism.ErrMalformed
	}
	refused := new(RefusedError)
	for _, s := range []Status{StatusTemporary, StatusDenied, StatusInternal} {
		if string(reason[1:]) == fmt.Sprint(int(s)) {
			refused.Status = s
		}
	}
	return refused
}
