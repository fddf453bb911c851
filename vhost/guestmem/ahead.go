package guestmem

import (
	"sync/atomic"
	"unsafe"

	"baton/dataplane/buf"
)

// Expect starts loading what a run of n chains from free-running index at on will touch: the
// descriptors from head on, and the used ring where used elements will be written. All of it
// comes from the driver's CPU, and to wait for one line after the other is most of what
// a burst costs. head is a guess; a wrong one costs the loads. What lies behind the end of
// a ring's part is not loaded.
//
//	alloc: 0
func (r *SplitRing) Expect(at, head uint16, n, used int) {
	d, u := head&r.mask, at&r.mask
	// SAFETY: both entries are below num, and the ranges end where the parts do.
	prefetchRange(unsafe.Add(r.desc, DescSize*uintptr(d)), DescSize*r.before(d, n), false)
	prefetchRange(unsafe.Add(r.used, 4+8*uintptr(u)), 8*r.before(u, used), true)
	prefetchRange(r.used, 4, true) // flags and index
}

// before is how many of n entries from entry i on lie before the ring's end.
func (r *SplitRing) before(i uint16, n int) uintptr {
	return uintptr(min(n, int(r.mask-i)+1))
}

// Ahead starts loading the buffers of n chains from the available ring's entry at
// free-running index at on, for a write: those which a later Run may read. It keeps nothing
// of what it reads, so that a driver gains nothing by what it changes meanwhile. run's
// spans are lost.
//
//	alloc: 0
func (r *SplitRing) Ahead(cur *Cursor, at uint16, run *Run, n int) {
	e, got := cur.last, 0
	for ; got < min(n, buf.Burst); got++ {
		addr := atomic.LoadUint64((*uint64)(r.descAt(r.AvailEntry(at + uint16(got)))))
		if addr-e.guest >= e.size {
			break
		}
		// SAFETY: inside the region, checked above.
		run.Spans[got] = Span{unsafe.Add(e.host, addr-e.guest), 0}
	}
	Prefetch(run.Spans[:got], true)
}

// Ahead is that of a split ring, for slots from at on, below Num, up to the ring's last:
// as many of n in a row as have the flags that say that a buffer is available.
//
//	alloc: 0
func (r *PackedRing) Ahead(cur *Cursor, at, flags uint16, run *Run, n int) {
	e, got := cur.last, 0
	p := r.slot(at)
	for n = min(n, buf.Burst, int(r.num)-int(at)); got < n; got++ {
		// SAFETY: a slot from at on, below num.
		s := Slot(atomic.LoadUint64((*uint64)(unsafe.Add(p, 8))))
		addr := atomic.LoadUint64((*uint64)(p))
		if s.Flags()&plainMask != flags || addr-e.guest >= e.size {
			break
		}
		p = unsafe.Add(p, DescSize)
		// SAFETY: inside the region, checked above.
		run.Spans[got] = Span{unsafe.Add(e.host, addr-e.guest), 0}
	}
	Prefetch(run.Spans[:got], true)
}
