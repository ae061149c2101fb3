//go:build !race

package securesp_test

const raceEnabled = false
