package relay

import (
	"sync/atomic"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// States of a Valve.
const (
	valveShut uint32 = iota
	valveHold
	valveOpen
)

// maxKept is how many packets a shut valve keeps for each queue: 4 ms of a million a second.
const maxKept = 4096

// Valve stands before the new process' NIC while the traffic still goes to the other
// one's: what it receives is a copy of what that one has, and dropped. From Hold on packets
// are its own, and wait until Open; so older ones, which the other process has, come first.
// Where the traffic changes over bit by bit, they go on by portions before that: see Pass.
// It sends all the while.
//
//	conc: as port.Port; Hold, Pass and Open from any goroutine
type Valve struct {
	port.Port
	state  atomic.Uint32
	passes atomic.Uint64
	queues []*valveQueue
}

// NewValve is a shut valve before nic, which has the same name and queues.
func NewValve(nic port.Port) *Valve {
	v := &Valve{Port: nic}
	for i := range nic.NumQueues() {
		v.queues = append(v.queues, &valveQueue{inner: newInner(nic.Queue(i)), valve: v})
	}
	return v
}

// Queue implements port.Port.
func (v *Valve) Queue(i int) port.Queue { return v.queues[i] }

// Shut drops what comes from now on, and what waits.
func (v *Valve) Shut() { v.state.Store(valveShut) }

// Hold keeps what comes from now on.
func (v *Valve) Hold() { v.state.Store(valveHold) }

// Pass lets go on what a holding valve had kept at the last Pass, and no more: what has come since
// goes on with the next one. A queue does so when it is polled next.
func (v *Valve) Pass() { v.passes.Add(1) }

// Open lets what was kept go on, and what comes.
func (v *Valve) Open() { v.state.Store(valveOpen) }

// Lost is the number of packets that there was no room for while it held.
func (v *Valve) Lost() (n uint64) {
	for _, q := range v.queues {
		n += q.lost.Load()
	}
	return n
}

// Settle waits until the workers have taken all that waits behind an open valve, or until limit.
func (v *Valve) Settle(limit time.Duration) { Until(limit, false, v.Empty) }

// Drop frees what waits, by a cache of the pool that its buffers came from. No worker has the
// valve any more.
func (v *Valve) Drop(c *buf.Cache) {
	for _, q := range v.queues {
		for _, b := range q.kept {
			c.Free(b)
		}
		q.keep(nil)
	}
}

// Empty reports whether nothing waits.
func (v *Valve) Empty() bool {
	for _, q := range v.queues {
		if q.waiting.Load() > 0 {
			return false
		}
	}
	return true
}

// valveQueue is one queue of a Valve.
type valveQueue struct {
	*inner
	valve   *Valve
	kept    []*buf.Buf // their memory is not Go's
	passes  uint64     // that it has seen
	marked  int        // of kept: what the next pass lets go on
	free    int        // of kept: what goes on
	waiting atomic.Int64
	lost    stats.Counter
}

var (
	_ port.Queue         = (*valveQueue)(nil)
	_ port.Enabler       = (*valveQueue)(nil)
	_ port.Offloader     = (*valveQueue)(nil)
	_ port.LateDropper   = (*valveQueue)(nil)
	_ port.TooBigDropper = (*valveQueue)(nil)
	_ port.Settler       = (*valveQueue)(nil)
)

// Rx implements port.Queue.
func (q *valveQueue) Rx(c *buf.Cache, v *buf.Vec) int {
	state := q.valve.state.Load()
	if state != valveHold {
		q.free, q.marked = 0, 0
	}
	if state == valveOpen && len(q.kept) > 0 {
		n := copy(v[:], q.kept)
		q.keep(q.kept[:copy(q.kept, q.kept[n:])])
		return n
	}
	n := q.q.Rx(c, v)
	switch state {
	case valveOpen:
		return n
	case valveShut:
		c.FreeAll(v, n)
		for _, b := range q.kept {
			c.Free(b)
		}
		q.keep(q.kept[:0])
		return 0
	}
	return q.hold(c, v, n)
}

// hold keeps the n packets in v and puts those that may go on there.
func (q *valveQueue) hold(c *buf.Cache, v *buf.Vec, n int) int {
	if seen := q.valve.passes.Load(); seen != q.passes {
		q.passes = seen
		q.free, q.marked = q.marked, len(q.kept) // but what has just come
	}
	took := min(n, maxKept-len(q.kept))
	q.keep(append(q.kept, v[:took]...))
	for _, b := range v[took:n] {
		c.Free(b)
	}
	q.lost.Add(uint64(n - took))
	if q.free == 0 {
		return 0
	}
	n = copy(v[:], q.kept[:q.free])
	q.free, q.marked = q.free-n, q.marked-n
	q.keep(q.kept[:copy(q.kept, q.kept[n:])])
	return n
}

func (q *valveQueue) keep(all []*buf.Buf) {
	q.kept = all
	q.waiting.Store(int64(len(all)))
}

// Tx implements port.Queue.
func (q *valveQueue) Tx(c *buf.Cache, v *buf.Vec, n int) int { return q.q.Tx(c, v, n) }

// Attach implements port.Queue.
func (q *valveQueue) Attach(w port.Waker) { q.q.Attach(w) }

// Arm implements port.Queue.
func (q *valveQueue) Arm() port.Armed {
	if len(q.kept) > 0 {
		return port.ArmReady
	}
	return q.q.Arm()
}

// Disarm implements port.Queue.
func (q *valveQueue) Disarm() { q.q.Disarm() }
