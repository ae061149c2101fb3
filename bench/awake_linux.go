package main

import "golang.org/x/sys/unix"

// yieldToAll makes this thread run only when no other wants to.
func yieldToAll() {
	const idle = 5 // SCHED_IDLE
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: idle}, 0)
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19) // where that is not permitted
}
