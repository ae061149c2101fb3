// Package overlap tells whether byte slices share memory, so that calls which
// seal and open in place can refuse buffers that would overwrite their own
// input.
package overlap

import "unsafe"

// Any reports whether the elements of x and y share memory.
func Any(x, y []byte) bool {
	return len(x) > 0 && len(y) > 0 &&
		uintptr(unsafe.Pointer(&x[0])) <= uintptr(unsafe.Pointer(&y[len(y)-1])) &&
		uintptr(unsafe.Pointer(&y[0])) <= uintptr(unsafe.Pointer(&x[len(x)-1]))
}

// Inexact reports whether x and y share memory at non-corresponding indexes:
// in any other way than by starting at the same byte.
func Inexact(x, y []byte) bool {
	return len(x) > 0 && len(y) > 0 && &x[0] != &y[0] && Any(x, y)
}
