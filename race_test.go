//go:build race

package securesp_test

// raceEnabled reports that the race detector is on: it makes cryptography ten
// times slower and adds to every allocation.
const raceEnabled = true
