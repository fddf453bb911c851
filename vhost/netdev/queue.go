package netdev

import (
	"runtime/debug"
	"sync"
	"sync/atomic"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/dataplane/stats"
	"baton/vhost/virtq"
)

// slot is what a worker sees of a ring. It never changes; the control side replaces it.
type slot struct {
	ring    virtq.Ring
	enabled bool          // frames pass; a started ring that is not enabled is drained
	poll    bool          // no kick descriptor: the guest cannot wake us
	takes   port.Offloads // of a guest's RX ring
}

// queue is one pair of rings: rx is guest TX ring 2i+1, tx is guest RX ring 2i.
//
//	conc: as port.Queue; wakeMu is shared with the control side
type queue struct {
	rx, tx atomic.Pointer[slot]
	owed   int // the call for what Tx gave the guest is decided in so many Rx; 0: none is owed

	wakeMu sync.Mutex
	waker  port.Waker
	kick   int // of the guest's TX ring, -1 none
	deaf   atomic.Bool

	announce announcement // only of pair 0

	tooBig  stats.Counter // frames that no buffer of the guest's had room for, over all rings
	refused stats.Counter // frames that asked for what the guest did not negotiate
}

var (
	_ port.Queue   = (*queue)(nil)
	_ port.Enabler = (*queue)(nil)
	_ port.Settler = (*queue)(nil)

	_ port.LateDropper   = (*queue)(nil)
	_ port.TooBigDropper = (*queue)(nil)
	_ port.Offloader     = (*queue)(nil)
)

// leave ends a burst: it restores the goroutine's fault mode and turns a fault in
// guest memory into a broken ring. Deferred once a burst.
func leave(old bool, s *slot, c *buf.Cache, v *buf.Vec) {
	debug.SetPanicOnFault(old)
	if p := recover(); p != nil && !s.ring.Fault(p, c, v) {
		panic(p)
	}
}

// Rx implements port.Queue.
func (q *queue) Rx(c *buf.Cache, v *buf.Vec) int {
	if q.owed > 0 {
		q.settle(1)
	}
	if q.announce.due() {
		return q.announce.take(c, v)
	}
	s := q.rx.Load()
	if s == nil {
		return 0
	}
	defer leave(debug.SetPanicOnFault(true), s, c, v)
	if !s.enabled {
		s.ring.Discard()
		return 0
	}
	return s.ring.Dequeue(c, v)
}

// Tx implements port.Queue.
func (q *queue) Tx(c *buf.Cache, v *buf.Vec, n int) int {
	s := q.tx.Load()
	if s == nil || !s.enabled || n == 0 {
		return 0
	}
	defer leave(debug.SetPanicOnFault(true), s, c, v)
	stats := s.ring.Stats()
	big, refused := stats.TooBig.Load(), stats.Unfinished.Load()
	took := s.ring.Enqueue(c, v, n)
	q.owed = settleAfter
	if now := stats.TooBig.Load(); now != big { // after a fault nothing counts as taken
		q.tooBig.Add(now - big)
	}
	if now := stats.Unfinished.Load(); now != refused {
		q.refused.Add(now - refused)
	}
	return took
}

// settleAfter is the number of Rx after which a call for what Tx gave the guest is
// decided. The first may follow at once, before the stores have reached the guest; the second
// comes an iteration later.
const settleAfter = 2

// Settle implements port.Settler: the calls that Rx would decide on are decided on.
func (q *queue) Settle() {
	if q.owed > 0 {
		q.settle(1)
	}
	if s := q.rx.Load(); s != nil {
		defer leave(debug.SetPanicOnFault(true), s, nil, nil)
		s.ring.Settle()
	}
}

// settle is told that num Rx of those that a call waits for are over.
func (q *queue) settle(num int) {
	if q.owed -= min(num, q.owed); q.owed > 0 {
		return
	}
	if s := q.tx.Load(); s != nil {
		defer leave(debug.SetPanicOnFault(true), s, nil, nil)
		s.ring.Settle()
	}
}

// Dropped implements port.LateDropper: frames that asked for work which the guest does
// not do. The worker finishes such frames before, so that this stays 0.
func (q *queue) Dropped() uint64 { return q.refused.Load() }

// TooBig implements port.TooBigDropper.
func (q *queue) TooBig() uint64 { return q.tooBig.Load() }

// Enabled implements port.Enabler: the guest's RX ring runs, is enabled and not broken.
func (q *queue) Enabled() bool {
	s := q.tx.Load()
	return s != nil && s.enabled && s.ring.Broken() == virtq.ReasonNone
}

// Offloads implements port.Offloader. A ring that starts with other features comes in a
// slot of its own, and only after every worker has left the iteration that saw the old one.
func (q *queue) Offloads() port.Offloads {
	s := q.tx.Load()
	if s == nil {
		return 0
	}
	return s.takes
}

// Attach implements port.Queue.
func (q *queue) Attach(w port.Waker) {
	q.wakeMu.Lock()
	defer q.wakeMu.Unlock()
	if q.waker != nil && q.kick >= 0 {
		q.waker.Remove(q.kick)
	}
	q.waker = w
	q.listen()
}

// listen registers the kick descriptor. Caller holds wakeMu.
func (q *queue) listen() {
	q.deaf.Store(q.waker != nil && q.kick >= 0 && q.waker.Add(q.kick) != nil)
}

// setKick replaces the descriptor that wakes the worker. Afterwards the old one may be closed.
func (q *queue) setKick(fd int) {
	q.wakeMu.Lock()
	defer q.wakeMu.Unlock()
	if q.waker != nil && q.kick >= 0 {
		q.waker.Remove(q.kick)
	}
	q.kick = fd
	q.listen()
}

// Arm implements port.Queue. Where no ring is, there is nothing to wait for: a ring
// that starts kicks its own descriptor.
func (q *queue) Arm() (a port.Armed) {
	if q.owed > 0 {
		q.settle(settleAfter)
	}
	if q.announce.due() {
		return port.ArmReady
	}
	s := q.rx.Load()
	if s == nil {
		return port.ArmSet
	}
	defer leave(debug.SetPanicOnFault(true), s, nil, nil)
	switch {
	case s.ring.Arm():
		return port.ArmReady
	case s.poll || q.deaf.Load():
		return port.ArmPoll
	}
	return port.ArmSet
}

// Disarm implements port.Queue.
func (q *queue) Disarm() {
	s := q.rx.Load()
	if s == nil {
		return
	}
	defer leave(debug.SetPanicOnFault(true), s, nil, nil)
	s.ring.Disarm()
}
