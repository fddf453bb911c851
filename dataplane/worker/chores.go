package worker

import (
	"time"

	"baton/dataplane/worker/slice"
)

// Go's scheduler takes the processor of a goroutine that ran for 10 ms, and handing it back
// wakes two threads (package slice): a worker renews its time slice before. It lets go only
// if somebody has waited for that processor for so long that all others must be busy.
const (
	choreEvery = 4 * time.Millisecond
	patience   = 100 * time.Millisecond
)

// chores does what is to be done now and then, however busy the worker is.
func (w *Worker) chores(now uint64) {
	w.nextChore = now + toCycles(choreEvery)
	if now >= w.nextTick {
		w.nextTick = now + toCycles(time.Second)
		w.flows.Tick()
	}
	if w.keeps {
		w.keepProcessor()
	}
}

// keepProcessor renews the time slice.
func (w *Worker) keepProcessor() {
	if !slice.Waiting() {
		w.waited = 0
	} else if w.waited++; w.waited >= int(patience/choreEvery) {
		w.waited = 0
		slice.Yield()
	}
	slice.Renew()
}
