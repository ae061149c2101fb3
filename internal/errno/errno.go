// Package errno recognises the system's errors by what they mean. On Windows
// package net returns the numbers of Winsock, which are not equal to the
// constants that package syscall has made up there.
package errno

import (
	"errors"
	"syscall"
)

// Winsock's numbers. No other system has any as large.
const (
	wsaAddrInUse   syscall.Errno = 10048
	wsaConnReset   syscall.Errno = 10054
	wsaConnRefused syscall.Errno = 10061
)

// IsAddrInUse reports whether somebody else has the address.
func IsAddrInUse(err error) bool { return either(err, syscall.EADDRINUSE, wsaAddrInUse) }

// IsConnReset reports whether the peer has broken the connection off.
func IsConnReset(err error) bool { return either(err, syscall.ECONNRESET, wsaConnReset) }

// IsConnRefused reports whether nobody listens.
func IsConnRefused(err error) bool { return either(err, syscall.ECONNREFUSED, wsaConnRefused) }

func either(err error, unix, windows syscall.Errno) bool {
	return errors.Is(err, unix) || errors.Is(err, windows)
}
