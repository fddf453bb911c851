package relay

import (
	"sync/atomic"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// maxWaiting bounds the packets that wait in a queue of a gate: 2 ms of two million a second.
const maxWaiting = 4096

// gateQueue is one pair of a Gate.
//
//	conc: as port.Queue
type gateQueue struct {
	gate  *Gate
	num   int
	inner atomic.Pointer[inner]
	takes atomic.Bool // packets, while the port is away
	first atomic.Int64

	waker port.Waker // guarded by gate.mu, as lane and far
	lane  int        // of the worker that polls the queue; -1: none
	far   int        // of the other process' worker that polls the queue of this number
	out   atomic.Pointer[ring]

	held    []*buf.Buf // wait, in order; their memory is not Go's
	scratch buf.Vec    // of flush
	waiting atomic.Int64
	stuck   atomic.Int32

	sent, arrived, waited, lost stats.Counter
}

var (
	_ port.Queue         = (*gateQueue)(nil)
	_ port.Enabler       = (*gateQueue)(nil)
	_ port.Settler       = (*gateQueue)(nil)
	_ port.Offloader     = (*gateQueue)(nil)
	_ port.LateDropper   = (*gateQueue)(nil)
	_ port.TooBigDropper = (*gateQueue)(nil)
)

// Rx implements port.Queue.
func (q *gateQueue) Rx(c *buf.Cache, v *buf.Vec) int {
	state := q.gate.state.Load()
	if len(q.held) > 0 && state != stateHold {
		q.flush(c, v, state)
	}
	// The state first: what is behind is known before it is Direct.
	in := q.inner.Load()
	if state != stateDirect || in == nil || q.behind() {
		return 0
	}
	n := in.q.Rx(c, v)
	if q.first.Load() == 0 {
		q.first.Store(Now())
	}
	return n
}

// behind reports whether older packets of the guest are still under way from the other process.
func (q *gateQueue) behind() bool {
	m := q.gate.behind.Load()
	if m == nil {
		return false
	}
	if !q.gate.link.area.passed(m) {
		return true
	}
	q.gate.behind.CompareAndSwap(m, nil)
	return false
}

// flush sends what waits as far as there is room. v is scratch.
//
//	out: stuck counts the calls in a row that found none
func (q *gateQueue) flush(c *buf.Cache, v *buf.Vec, state uint32) {
	if state == stateAway && q.gate.spill.Load() {
		q.lose(c, q.held)
		q.held = q.held[:0]
	}
	for len(q.held) > 0 {
		n := copy(v[:], q.held)
		took := q.put(c, v, n, state)
		q.held = q.held[:copy(q.held, q.held[took:])]
		if took > 0 {
			q.stuck.Store(0)
		}
		if took < n {
			q.stuck.Add(1)
			break
		}
	}
	q.waiting.Store(int64(len(q.held)))
}

// put gives v[:n] to the device or to the ring.
func (q *gateQueue) put(c *buf.Cache, v *buf.Vec, n int, state uint32) int {
	if state == stateDirect {
		in := q.inner.Load()
		if in == nil {
			return 0
		}
		return in.q.Tx(c, v, n)
	}
	out := q.out.Load()
	if out == nil {
		return 0
	}
	took := out.push(uint16(q.gate.index), uint16(q.num), v, n)
	c.FreeAll(v, took)
	q.sent.Add(uint64(took))
	return took
}

// Tx implements port.Queue.
func (q *gateQueue) Tx(c *buf.Cache, v *buf.Vec, n int) int {
	state := q.gate.state.Load()
	if len(q.held) > 0 && state != stateHold {
		q.flush(c, &q.scratch, state)
	}
	switch {
	case state == stateHold:
		return q.wait(v, n)
	case len(q.held) > 0:
		return 0 // there is no room for those before
	}
	return q.put(c, v, n, state)
}

// wait keeps v[:n] until it is settled whose the port is, as far as there is room.
func (q *gateQueue) wait(v *buf.Vec, n int) int {
	n = min(n, maxWaiting-len(q.held))
	q.held = append(q.held, v[:n]...)
	q.waited.Add(uint64(n))
	q.waiting.Store(int64(len(q.held)))
	return n
}

// arrive takes v[:n], all of them, which came out of a ring. What the guest has no room for
// is lost, as in any switch.
func (q *gateQueue) arrive(c *buf.Cache, v *buf.Vec, n int) {
	q.arrived.Add(uint64(n))
	took := 0
	if q.gate.state.Load() != stateAway { // else it would go in a circle
		took = q.Tx(c, v, n)
	}
	q.lose(c, v[took:n])
}

// lose frees packets that have no place to go.
func (q *gateQueue) lose(c *buf.Cache, all []*buf.Buf) {
	for _, b := range all {
		c.Free(b)
	}
	q.lost.Add(uint64(len(all)))
}

// Attach implements port.Queue.
func (q *gateQueue) Attach(w port.Waker) {
	q.gate.mu.Lock()
	defer q.gate.mu.Unlock()
	q.waker, q.lane = w, q.gate.link.lane(w)
	q.aim()
	if in := q.inner.Load(); in != nil {
		in.q.Attach(q.hears())
	}
}

// hears is the waker that the device's queue is to have. Caller holds gate.mu.
func (q *gateQueue) hears() port.Waker {
	if !q.gate.heard {
		return nil
	}
	return q.waker
}

// aim finds the ring to the other process. Caller holds gate.mu.
func (q *gateQueue) aim() {
	if q.lane < 0 || q.far < 0 {
		q.out.Store(nil)
		return
	}
	l := q.gate.link
	r := l.area.ring(l.side, q.lane, q.far)
	q.out.Store(&r)
}

// Arm implements port.Queue.
func (q *gateQueue) Arm() port.Armed {
	if len(q.held) > 0 {
		return port.ArmReady
	}
	if in := q.inner.Load(); in != nil {
		return in.q.Arm()
	}
	return port.ArmSet
}

// Disarm implements port.Queue.
func (q *gateQueue) Disarm() {
	if in := q.inner.Load(); in != nil {
		in.q.Disarm()
	}
}

// Settle implements port.Settler. A port that is away owes its guest nothing.
func (q *gateQueue) Settle() {
	if q.gate.state.Load() != stateDirect {
		return
	}
	if in := q.inner.Load(); in != nil {
		in.Settle()
	}
}

// Enabled implements port.Enabler: as the device, or as it was in the other process.
func (q *gateQueue) Enabled() bool {
	if q.gate.state.Load() != stateDirect {
		return q.takes.Load()
	}
	in := q.inner.Load()
	return in != nil && in.Enabled()
}

// Offloads implements port.Offloader.
func (q *gateQueue) Offloads() port.Offloads {
	if in := q.inner.Load(); in != nil {
		return in.Offloads()
	}
	return 0
}

// Dropped implements port.LateDropper.
func (q *gateQueue) Dropped() uint64 {
	if in := q.inner.Load(); in != nil {
		return in.Dropped()
	}
	return 0
}

// TooBig implements port.TooBigDropper.
func (q *gateQueue) TooBig() uint64 {
	if in := q.inner.Load(); in != nil {
		return in.TooBig()
	}
	return 0
}
