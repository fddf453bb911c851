package worker

import (
	"time"

	"baton/dataplane/worker/slice"
)

// A worker that shares its CPU with one of another process (Share) sleeps when it finds nothing. With
// hundreds of queues a turn takes so long that it always finds something: then both would poll all the
// time, until the kernel takes the CPU from one for the other, for milliseconds. So they doze between
// turns.
const (
	dozeQueues = 128 // fewer are looked at in a few microseconds
	dozeShare  = 2   // a doze is as long as so many iterations
	maxDoze    = 300 * time.Microsecond
)

// light reports whether the worker may doze after an iteration that moved so many packets: it shares its
// CPU, has many queues, few packets wait in all of them, and in none a whole burst.
func (w *Worker) light(moved int) bool {
	return w.pool.shared.Load() && len(w.rxqs) >= dozeQueues && moved <= len(w.rxqs)/4 && !w.full
}

// doze sleeps after an iteration that moved packets, if it was a light one, for up to twice as long as that
// took, so that two workers have room on their CPU, or until somebody wants something.
//
//	in:  when the iteration began and ended, in cycles
//	out: now
func (w *Worker) doze(moved int, began, ended uint64) uint64 {
	if !w.light(moved) {
		return ended
	}
	if !w.settleAll() {
		return cycles()
	}
	limit := time.Duration(float64(dozeShare*(ended-began)) / cyclesPerSecond() * float64(time.Second))
	from := cycles()
	w.state.Store(stateAsleep)
	if !w.pending() {
		w.rest(min(limit, maxDoze))
	}
	w.state.Store(stateRunning)
	now := cycles()
	w.counters.SleepCycles.Add(now - from)
	return now
}

// settleTurns is how often the underlay is polled for what it leaves for the next poll.
const settleTurns = 4

// settleAll does what queues leave for the next poll: devices send, and guests are called. It reports
// whether nothing is left.
func (w *Worker) settleAll() bool {
	for i := 0; ; i++ {
		before := w.between
		w.poll(func(r *rxQueue) bool { return r.underlay })
		if w.between == before {
			break // what was sent before is gone, and nothing new came that might be sent
		}
		if i == settleTurns {
			return false
		}
	}
	for i := range w.rxqs {
		if i%turnQueues == turnQueues-1 {
			w.pass()
		}
		if r := &w.rxqs[i]; r.settler != nil {
			r.settler.Settle() // as for a turn that is missed
			r.settler.Settle() // and for another one: a call may be decided on in the second
		}
	}
	if w.told != 0 {
		w.tell()
	}
	return true
}

// maxNap is how long a worker keeps its processor without a look at what that does to others.
const maxNap = choreEvery

// rest waits until a descriptor has something, or for limit; limit < 0 is for ever. It reports whether a
// descriptor had something. A worker that shares its CPU rests often, beside a control side that has much to
// do: it keeps its processor, for as long as it is woken again soon. One that is not, as a standby's, sleeps
// in the ordinary way.
func (w *Worker) rest(limit time.Duration) (woken bool) {
	long := limit < 0 || limit > maxNap
	if !w.keeps || !w.pool.shared.Load() || long && w.bored {
		w.nextChore, w.waited = 0, 0 // it may have another processor then
		woken = w.waker.wait(limit)
	} else {
		if long {
			limit = maxNap
		}
		slice.Renew()
		woken = w.waker.nap(limit)
	}
	if long {
		w.bored = !woken
	}
	return woken
}
