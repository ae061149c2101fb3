// Package allocs counts allocations for tests.
package allocs

import (
	"math"
	"runtime"
)

// PerRun returns how often f allocates, on average over so many runs. Unlike
// testing.AllocsPerRun it does not round down, and lets goroutines run in
// parallel, whose allocations it counts as well. Of three averages it returns
// the least: what the runtime allocates meanwhile is not f's. With the race
// detector, which makes sync.Pool forget at random, it does round down.
func PerRun(runs int, f func()) float64 {
	for range runs / 10 { // pools fill
		f()
	}
	least := math.Inf(1)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			f()
		}
		runtime.ReadMemStats(&after)
		least = min(least, float64(after.Mallocs-before.Mallocs)/float64(runs))
	}
	if raceEnabled {
		return math.Floor(least)
	}
	return least
}

// Few is what counts as none: now and then the runtime allocates for itself.
const Few = 0.01
