// Package allocs counts allocations for tests.
package allocs

import "runtime"

// PerRun returns how often f allocates, on average over so many runs. Unlike
// testing.AllocsPerRun it does not round down, and lets goroutines run in
// parallel, whose allocations it counts as well.
func PerRun(runs int, f func()) float64 {
	for range runs / 10 { // pools fill
		f()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(runs)
}

// Few is what counts as none: now and then the runtime allocates for itself.
const Few = 0.01
