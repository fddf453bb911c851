package worker

import (
	"baton/dataplane/buf"
	"baton/dataplane/offload"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// turnSegments is how many segments may be made in one turn of a queue: a burst of
// full super-segments of 512 bytes a segment. It bounds how long all other queues
// wait for this one, to about a millisecond; its debt sees to the fair share.
const turnSegments = 4096

// What finishing frames costs, in steps of a walk (see turnSteps), as measured.
const (
	stepsSegment  = 4
	stepsChecksum = 1
)

// target is where frames go once nothing is left to be done to them.
type target struct {
	out    uint16   // slot of the port
	q      *txQueue // a queue of the worker's own; nil: the ring to helper
	helper int
}

// finish does what is left to be done to the batch's frames, as far as a port that
// offers can does not do it, and sends them on in their order. All packets of t are
// gone then. t is none of work's made.
func (w *Worker) finish(to *target, can port.Offloads, t *batch) {
	m := &w.work.made
	m.begin(t.in)
	for i := range t.n {
		i &= buf.Burst - 1
		b := t.v[i]
		need := offload.Needs(b)
		switch {
		case need&can == need:
			if need != 0 && to.q != nil && b.OlFlags&buf.TxTCPSeg != 0 {
				w.counters.Supers.Add(1)
			}
			w.made(to, b, t.hash[i])
		case b.OlFlags&buf.TxTCPSeg != 0:
			w.cut(to, can, b, t.in, t.hash[i])
		case offload.Complete(b):
			w.counters.Checksums.Add(1)
			w.effort += stepsChecksum
			w.made(to, b, t.hash[i])
		default:
			w.dropped(b, t.in, stats.DropBadOffload)
		}
	}
	if m.n > 0 {
		w.emit(to, m)
	}
}

// made adds a frame to those that go on.
func (w *Worker) made(to *target, b *buf.Buf, hash uint32) {
	m := &w.work.made
	if m.n == buf.Burst {
		w.emit(to, m)
		m.n = 0
	}
	m.add(b, hash)
}

// emit sends a batch of which nothing is left to be done.
func (w *Worker) emit(to *target, m *batch) {
	if to.q != nil {
		bytes, _ := m.sizes()
		w.give(to.out, to.q, m, bytes)
		return
	}
	w.handOver(to.out, to.helper, m)
}

// cut makes segments of super-segment b. One that finds no buffer counts as made and
// dropped, so that what is missing is seen.
func (w *Worker) cut(to *target, can port.Offloads, b *buf.Buf, in uint16, hash uint32) {
	var c offload.Cutter
	reason := c.Start(b, offload.Leaves(b, can))
	num := c.Left()
	if reason == stats.DropNone && w.segments+num > turnSegments {
		reason = stats.DropOverwork
	}
	if reason != stats.DropNone {
		w.dropped(b, in, reason)
		return
	}
	p := &w.ports[in]
	p.Generated.Add(uint64(num - 1))
	for c.Left() > 0 {
		s := c.Next(w.cache)
		if s == nil {
			p.Drops[stats.DropNoBuffer].Add(uint64(c.Left()))
			break
		}
		w.made(to, s, hash)
	}
	w.cache.Free(b)
	num -= c.Left()
	w.segments += num
	w.effort += stepsSegment * uint64(num)
	w.counters.Cut.Add(1)
	w.counters.Segments.Add(uint64(num))
}
