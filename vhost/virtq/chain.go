package virtq

import "baton/vhost/guestmem"

// chain walks one descriptor chain. next gives its buffers in order.
type chain struct {
	table    guestmem.DescTable // indirect
	left     int                // descriptors that the chain may still have
	idx      uint16
	loaded   bool // next's first descriptor was read by begin
	indirect bool
	end      bool
}

// begin reads the entry at available index i and the chain's first descriptor, into
// d; false, and the ring is broken, if the entry is bad. Most chains are this one
// descriptor, so the caller looks at it before it sets up a walk.
func (q *Split) begin(vw *view, i uint16, d *guestmem.Desc) (head uint16, ok bool) {
	head = vw.ring.AvailEntry(i)
	if uint32(head) >= q.num {
		return head, q.bad(ReasonBadHead)
	}
	*d = vw.ring.Desc(head)
	return head, true
}

// walk is a chain whose first descriptor begin has read.
func (q *Split) walk(head uint16) chain {
	return chain{left: int(q.num), idx: head, loaded: true}
}

// next gives the chain's next buffer in d, which holds the first one already. It
// returns false at the chain's end, and after breaking the ring.
func (q *Split) next(vw *view, it *chain, d *guestmem.Desc) bool {
	if it.end {
		return false
	}
	if it.left == 0 {
		return q.bad(ReasonChainTooLong)
	}
	it.left--
	q.walked++
	if !it.indirect {
		if uint32(it.idx) >= q.num {
			return q.bad(ReasonBadNext)
		}
		if !it.loaded {
			*d = vw.ring.Desc(it.idx)
		}
		it.loaded = false
		if d.Flags&guestmem.DescIndirect != 0 && !q.enter(vw, it, d) {
			return false
		}
	} else if !q.entry(vw, it, d) {
		return false
	}
	if d.Flags&guestmem.DescNext != 0 {
		it.idx = d.Next
	} else {
		it.end = true
	}
	return true
}

// enter goes into the indirect table that d describes and reads its first entry into d.
func (q *Split) enter(vw *view, it *chain, d *guestmem.Desc) bool {
	switch {
	case !q.indirect:
		return q.bad(ReasonIndirectOff)
	case d.Flags&guestmem.DescNext != 0:
		return q.bad(ReasonIndirectNext)
	case d.Len == 0 || d.Len%guestmem.DescSize != 0:
		return q.bad(ReasonIndirectLen)
	case d.Len/guestmem.DescSize > q.num:
		return q.bad(ReasonIndirectSize)
	}
	t, ok := vw.cursor.DescTable(d.Addr, uint16(d.Len/guestmem.DescSize))
	if !ok {
		return q.bad(ReasonBadAddress)
	}
	it.table, it.indirect, it.idx = t, true, 0
	return q.entry(vw, it, d)
}

// entry reads the indirect table's entry at the chain's position.
func (q *Split) entry(vw *view, it *chain, d *guestmem.Desc) bool {
	if it.idx >= it.table.Num() {
		return q.bad(ReasonBadNext)
	}
	var ok bool
	if *d, ok = vw.cursor.TableDesc(&it.table, it.idx); !ok {
		return q.bad(ReasonBadAddress)
	}
	if d.Flags&guestmem.DescIndirect != 0 {
		return q.bad(ReasonIndirectNested)
	}
	return true
}

// bad breaks the ring and returns false.
func (q *Split) bad(r Reason) bool {
	q.Break(r)
	return false
}
