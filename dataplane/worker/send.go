package worker

import (
	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

// resolveSlots is how many output ports a worker remembers; a host has few
// hundred ports, and two that collide cost a look into the maps each time.
const (
	resolveBits  = 10
	resolveSlots = 1 << resolveBits
)

// resolved is the slot of a logical port, as far as this snapshot and layout go.
type resolved struct {
	number flow.PortNo // PortNone: free
	slot   uint16
}

// resolve is the slot of a logical port of this host, or slotUnbound or slotDown.
func (w *Worker) resolve(number flow.PortNo) uint16 {
	r := &w.known[uint64(number)*0x9e3779b97f4a7c15>>(64-resolveBits)]
	if r.number != number {
		r.number, r.slot = number, w.find(number)
	}
	return r.slot
}

// find is resolve by the maps.
func (w *Worker) find(number flow.PortNo) uint16 {
	b, ok := w.snap.BindingOf(number)
	if !ok {
		return slotUnbound
	}
	s, ok := w.lay.names[b.Name]
	if !ok || w.lay.slots[s].underlay { // no logical port is the wire, whatever its name
		return slotDown
	}
	return s
}

// send sends the batch to the port in slot out: by a queue of the worker's own,
// or by the hands of the worker who owns one. All packets of t are gone then.
func (w *Worker) send(out uint16, t *batch) {
	if out >= MaxPorts {
		reason := stats.DropPortDown
		if out == slotUnbound {
			reason = stats.DropUnknownPort
		}
		w.dropRest(t, 0, reason)
		return
	}
	o := &w.outs[out]
	if w.deliver(out, o, t) {
		return
	}
	helper, can, ok := o.helper(w.id)
	if !ok {
		w.dropRest(t, 0, stats.DropPortDown)
		return
	}
	if _, flags := t.sizes(); flags&buf.TxWork != 0 {
		w.finish(&target{out: out, helper: helper}, can, t)
		return
	}
	w.handOver(out, helper, t)
}

// handOver gives the batch to worker helper, who owns a queue of the port in slot out.
func (w *Worker) handOver(out uint16, helper int, t *batch) {
	n := w.to[helper].put(t, out)
	w.told |= 1 << helper
	w.counters.Handoffs.Add(uint64(n))
	w.dropRest(t, n, stats.DropHandoffFull)
}

// deliver sends the batch by the worker's own queues of the port; false, and
// nothing done, if none is enabled.
func (w *Worker) deliver(out uint16, o *output, t *batch) bool {
	if len(o.own) == 1 && o.own[0].enabled() {
		w.transmit(out, &o.own[0], t)
		return true
	}
	// Queues that come and go are asked once: a flow stays with one queue for
	// the whole batch.
	var live [MaxQueues]uint8
	num := 0
	for i := range o.own {
		if o.own[i].enabled() {
			live[num&(MaxQueues-1)] = uint8(i)
			num++
		}
	}
	switch num {
	case 0:
		return false
	case 1:
		w.transmit(out, &o.own[live[0]], t)
		return true
	}
	s := &w.work.split
	for turn := range num {
		s.begin(t.in)
		for i := range t.n {
			if int(t.hash[i&(buf.Burst-1)]>>8)%num == turn {
				s.add(t.v[i&(buf.Burst-1)], t.hash[i&(buf.Burst-1)])
			}
		}
		if s.n > 0 {
			w.transmit(out, &o.own[live[turn&(MaxQueues-1)]], s)
		}
	}
	return true
}

// transmit sends the batch by queue q of the port in slot out, and finishes before
// what the port does not take unfinished.
func (w *Worker) transmit(out uint16, q *txQueue, t *batch) {
	bytes, flags := t.sizes()
	if flags&buf.TxWork != 0 {
		w.finish(&target{out: out, q: q}, q.offloads(), t)
		return
	}
	w.give(out, q, t, bytes)
}

// give gives the batch to queue q of the port in slot out, as it is. bytes is the sum of
// the frames' lengths: the buffers are not ours to look into afterwards, but for those that
// the queue did not take.
func (w *Worker) give(out uint16, q *txQueue, t *batch, bytes uint64) {
	n := q.q.Tx(w.cache, &t.v, t.n)
	for i := n; i < t.n; i++ {
		bytes -= uint64(t.v[i&(buf.Burst-1)].PktLen)
	}
	c := &w.ports[out]
	c.TxPackets.Add(uint64(n))
	c.TxBytes.Add(bytes)
	if n < t.n {
		w.untaken(out, q, t, n)
	}
}

// untaken is told that queue q of the port in slot out took only the first n packets of
// t. A queue can go off between the choice of it and the packets' coming: then the rest
// goes by another one, as it is, since a port's queues take the same.
func (w *Worker) untaken(out uint16, q *txQueue, t *batch, n int) {
	if q.enabled() {
		w.dropRest(t, n, stats.DropTxFull)
		return
	}
	t.cut(n)
	o := &w.outs[out]
	for i := range o.own {
		if other := &o.own[i]; other.enabled() {
			bytes, _ := t.sizes()
			w.give(out, other, t, bytes) // ends: each time round, a queue went off
			return
		}
	}
	helper, _, ok := o.helper(w.id)
	if !ok {
		w.dropRest(t, 0, stats.DropPortDown)
		return
	}
	w.handOver(out, helper, t)
}

// dropRest drops the packets of t from number n on.
func (w *Worker) dropRest(t *batch, n int, reason stats.DropReason) {
	for i := n; i < t.n; i++ {
		w.dropped(t.v[i&(buf.Burst-1)], t.in, reason)
	}
}

// drain sends what other workers handed over, up to what is there now. Those have
// finished it for the ports; it is finished again if a guest changed its mind meanwhile.
func (w *Worker) drain() (moved int) {
	w.segments = 0
	for _, r := range w.from {
		if r == nil {
			continue
		}
		from, to := r.span()
		if from == to {
			continue
		}
		moved += int(to - from)
		t := &w.work.tx
		for at := from; at < to; {
			out, in := r.at(at).out, r.at(at).in
			for t.begin(in); at < to && t.n < buf.Burst && r.at(at).out == out && r.at(at).in == in; at++ {
				p := r.at(at)
				t.add(p.b, p.hash)
			}
			w.send(out, t) // by others again, if its own queues went off meanwhile
		}
		r.release(to)
	}
	return moved
}

// tell wakes the workers that were handed packets, if they sleep.
func (w *Worker) tell() {
	for i := 0; w.told != 0; i++ {
		if w.told&1 != 0 {
			if p := w.pool.workers[i]; p.state.Load() == stateAsleep {
				p.waker.wake()
			}
		}
		w.told >>= 1
	}
}
