package worker

import (
	"baton/dataplane/buf"
	"baton/dataplane/flow"
)

// Punt is a copy of a frame for the control plane.
type Punt struct {
	Reason uint32   // of the rule that asked for it
	Key    flow.Key // ingress port, tunnel metadata and headers
	Frame  []byte   // as it came in, without tunnel headers
}

// frameOf is a copy of b's bytes, over all segments.
func frameOf(b *buf.Buf) []byte {
	f := make([]byte, b.Len())
	b.CopyOut(0, f)
	return f
}

// punt gives the control plane a copy; false if its queue is full. It allocates,
// but no more than fits into the queue: a guest cannot make it run on.
func (w *Worker) punt(b *buf.Buf, key *flow.Key, reason uint32) bool {
	if len(w.pool.punts) == cap(w.pool.punts) {
		w.counters.PuntsFull.Add(1)
		return false
	}
	select {
	case w.pool.punts <- Punt{Reason: reason, Key: *key, Frame: frameOf(b)}:
		w.counters.Punts.Add(1)
		return true
	default: // another worker took the last place
		w.counters.PuntsFull.Add(1)
		return false
	}
}
