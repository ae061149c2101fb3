// Package interop holds securesp against implementations of the same protocols
// by others. It has no code of its own but its tests, and is a module of its
// own so that users of securesp never depend on what is needed here.
//
// The tests need programs that are not Go's; one that is missing fails its test
// with a message that says how to install it.
package interop
