// Package slice keeps Go's scheduler from taking the processor (a P, in the scheduler's
// words) of a poll loop that has used up its time slice.
//
// Go's monitor (sysmon, runtime/proc.go) looks at each processor every 10 ms or sooner, and
// asks the goroutine on it to yield if the processor's count of scheduler calls (schedtick)
// has not changed for 10 ms. A goroutine that is locked to its thread yields dearly: its
// thread must give the processor to another one, wake that, and sleep until it is handed a
// processor back. That is two wake-ups of threads by the kernel, some 50 times a second,
// each of tens of microseconds and more where a CPU has to leave its idle state first; and
// if the control side keeps all other processors busy, the loop gets its turn among its
// goroutines, which is milliseconds later.
//
//	sysmon   every <= 10 ms: schedtick as it was 10 ms ago?  ──yes──> preempt
//	                              ▲
//	loop     every 4 ms:      Renew: schedtick++
//
// So a loop that does not want that adds to the count itself. It is the count of its own
// processor, which only the goroutine on that processor writes, and nothing but the monitor
// and the scheduler's fairness (each 61st call looks at the global queue first) reads.
// Nothing is held back or disabled: requests of the garbage collector (stop the world, scan
// a stack, a safe point of all processors) reach the loop as before, it may block and make
// system calls where it likes, and one that hangs is preempted after 10 ms like any other.
//
// What the monitor is there for is left to the loop: that no goroutine waits for ever for the
// processor that it keeps. Others steal from the processor's queue and fire its timers as
// long as any of them has nothing else to do. If none has for long (Waiting), the loop lets
// go of the processor (Yield) in the way a blocking system call does: for 0.3 us where
// another one is free, for as long as the scheduler wants where none is.
//
// Goroutines that were preempted, come back from a system call or are woken by the monitor
// wait in a queue that all processors share, and the loop takes none from it: the others do,
// when they have none of their own left and on each 61st call of the scheduler besides
// (findRunnable, runtime/proc.go). That is soon enough while there is one of them: what else it
// runs is preempted every 10 ms (TestRenew_othersTurns). If every processor has such a loop, who
// waits there waits for ever. So whoever renews sees to it that there are more processors than
// loops (worker.Pool.Start).
//
// Where the count lies is known of one release of Go at a time (layout_go126.go, held to
// the runtime's own debug information by TestLayout); Check looks once more at run time
// before anything is written. With another release, on another architecture, or with the
// build tag purego, nothing of this is there: Check says so, and the loop is preempted.
//
// Callers: worker, loops that are locked to a thread which nothing else is to run on.
package slice
