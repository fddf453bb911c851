package worker

import (
	"sync/atomic"

	"baton/dataplane/buf"
)

// parcel is a packet on its way to the worker that owns its output port.
type parcel struct {
	b    *buf.Buf
	hash uint32
	in   uint16 // slot of the ingress port: whose drop it is if it comes to that
	out  uint16 // slot of the output port
}

// ring carries parcels from one worker to one other.
//
//	conc: one producer (put), one consumer (end, at, release); empty from anywhere
type ring struct {
	_     [64]byte
	head  atomic.Uint64 // next place to write; written by the producer
	_     [56]byte
	tail  atomic.Uint64 // next place to read; written by the consumer
	_     [56]byte
	seen  uint64 // the producer's last look at tail
	mask  uint64
	slots []parcel
}

// newRing is a ring of at least size places.
func newRing(size int) *ring {
	n := 1
	for n < size {
		n *= 2
	}
	return &ring{mask: uint64(n - 1), slots: make([]parcel, n)}
}

// put appends the batch's packets, all for slot out, and returns how many found a place.
func (r *ring) put(b *batch, out uint16) int {
	head := r.head.Load()
	if uint64(len(r.slots))-(head-r.seen) < uint64(b.n) {
		r.seen = r.tail.Load()
	}
	n := min(b.n, int(uint64(len(r.slots))-(head-r.seen)))
	for i := range n {
		r.slots[(head+uint64(i))&r.mask] = parcel{b: b.v[i], hash: b.hash[i], in: b.in, out: out}
	}
	if n > 0 {
		r.head.Store(head + uint64(n))
	}
	return n
}

// span is the range of parcels that wait: read with at, then release.
func (r *ring) span() (from, to uint64) { return r.tail.Load(), r.head.Load() }

// at is the parcel at place i of the span.
func (r *ring) at(i uint64) *parcel { return &r.slots[i&r.mask] }

// release gives the places before i back to the producer.
func (r *ring) release(i uint64) { r.tail.Store(i) }

// empty reports whether no parcel waits.
func (r *ring) empty() bool { return r.head.Load() == r.tail.Load() }

// held is the number of parcels that wait.
func (r *ring) held() int {
	tail := r.tail.Load()
	return int(r.head.Load() - tail)
}
