package e2e

import "strings"

// textError is an error with a text of its own that matches others.
type textError struct {
	text  string
	kinds []error
}

func (e *textError) Error() string { return errorPrefix + e.text }

func (e *textError) Unwrap() []error { return e.kinds }

const errorPrefix = "securesp: "

func configError(text string) error {
	return &textError{"invalid end-to-end configuration: " + text, []error{ErrConfig}}
}

// notAuthorized wraps what the user's own policy said.
func notAuthorized(err error) error {
	text := "not authorised: " + strings.TrimPrefix(err.Error(), errorPrefix)
	return &textError{text, []error{ErrNotAuthorized, err}}
}

// retryError says that the request can be sealed anew, once.
func retryError(cause error) error {
	text := strings.TrimPrefix(cause.Error(), errorPrefix) + "; the request must be sealed anew"
	return &textError{text, []error{ErrRetry, cause}}
}

// hintError refuses a request for a reason that a fresh request may overcome.
func hintError(err error, code byte) error {
	return &RequestError{Err: err, Answer: []byte{formHint, code}}
}
