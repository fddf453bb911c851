package guestmem

import (
	"sync/atomic"
	"unsafe"

	"baton/dataplane/buf"
)

// Run is what a ring offers nearly always: plain chains in a row, of one descriptor
// each, whose buffer lies in one region and is for reading, or for writing. It is a
// private copy: every field of a descriptor was read by one load, here and nowhere
// else. What is not plain, whatever is right or wrong with it, ends a run.
type Run struct {
	Spans [buf.Burst]Span   // the buffers
	IDs   [buf.Burst]uint16 // split: heads; packed: buffer ids
}

// plainMask are the bits of a packed slot's flags that say whether its chain is plain.
const plainMask = DescAvail | DescUsed | DescMeaning

// Run appends plain chains to run, which has from, until it has to: those from slot at
// on, which is below Num, and none behind the ring's last slot. Their flags are those
// of flags, as far as these say what a buffer is and whether it is available. It starts
// loading the buffers.
//
//	out: how many run has; whether an available chain that is not plain ended it
//	alloc: 0
func (r *PackedRing) Run(cur *Cursor, at, flags uint16, run *Run, from, to int) (n int, odd bool) {
	n = from
	to = min(to, buf.Burst, from+int(r.num)-int(at))
	p := r.slot(at)
	e := cur.last
	for ; n < to; n++ {
		// SAFETY: a slot from at on, below num. Its first half is read after the second,
		// whose flags say whether it is there.
		s := Slot(atomic.LoadUint64((*uint64)(unsafe.Add(p, 8))))
		if s.Flags()&plainMask != flags {
			odd = (s.Flags()^flags)&(DescAvail|DescUsed) == 0
			break
		}
		addr := atomic.LoadUint64((*uint64)(p))
		p = unsafe.Add(p, DescSize)
		off := addr - e.guest
		if off >= e.size || uint64(s.Len()) > e.size-off {
			if odd = !cur.whole(addr, s.Len()); odd {
				break
			}
			e = cur.last
			off = addr - e.guest
		}
		// SAFETY: off+Len <= size of the region, checked above.
		run.Spans[n] = Span{unsafe.Add(e.host, off), s.Len()}
		run.IDs[n] = s.ID()
	}
	Prefetch(run.Spans[from:n], flags&DescWrite != 0)
	return n, odd
}

// Run reads plain chains from the available ring's entry at free-running index at on,
// at most to of them, which the driver has published. Their descriptors have those of
// the flags DescNext, DescWrite and DescIndirect that flags has. It starts loading the
// buffers.
//
//	out: how many; whether a chain that is not plain ended it    alloc: 0
func (r *SplitRing) Run(cur *Cursor, at, flags uint16, run *Run, to int) (n int, odd bool) {
	to = min(to, buf.Burst)
	e := cur.last
	for ; n < to; n++ {
		head := r.AvailEntry(at + uint16(n))
		if head > r.mask {
			break
		}
		d := r.Desc(head)
		if d.Flags&DescMeaning != flags {
			break
		}
		off := d.Addr - e.guest
		if off >= e.size || uint64(d.Len) > e.size-off {
			if !cur.whole(d.Addr, d.Len) {
				break
			}
			e = cur.last
			off = d.Addr - e.guest
		}
		// SAFETY: off+Len <= size of the region, checked above.
		run.Spans[n] = Span{unsafe.Add(e.host, off), d.Len}
		run.IDs[n] = head
	}
	Prefetch(run.Spans[:n], flags&DescWrite != 0)
	return n, n < to
}

// whole tells whether one region holds all n bytes at guest address addr: then it is
// the cursor's.
func (c *Cursor) whole(addr uint64, n uint32) bool {
	s, ok := c.spanSlow(addr, n)
	return ok && s.n == n
}
