package virtq

import (
	"baton/dataplane/buf"
	"baton/vhost/guestmem"
)

// chain is one chain of a ring as the worker read it: a run of the window's
// descriptors, indirect tables resolved, and what the ring's format needs to give the
// chain back.
type chain struct {
	first, num uint16 // window.descs[first:first+num]
	id         uint16 // split: head; packed: buffer id
	slots      uint16 // entries that it takes: of a split ring's available ring, of a packed ring
	head       uint16 // packed: the first slot's flags
	cut        bool   // it goes on: more than maxPieces descriptors
	written    uint32 // bytes that we wrote, for the used element
}

// window is the part of the ring that the worker has read and not given back yet:
// private copies. Every field of a descriptor was read by one load, here and
// nowhere else, so that what is checked is what is used.
//
//	chains:  [ given to frames | read ahead ]
//	descs:   [ .. | ... | . | .............. ]   at most 2*maxPieces
type window struct {
	chains []chain
	descs  []guestmem.Desc
	why    Reason // why the chain behind the last one is bad, or ReasonNone
}

// What a ring has room for at first: what bursts of an ordinary driver need, a sixteenth of what any
// driver may ask for. With all of that for each ring, the heap of a thousand queues would be hundreds
// of megabytes, and garbage would be collected while ports are handed over. A ring whose driver
// needs more grows, a few times in its life.
const (
	fewChains = 4 * buf.Burst
	fewDescs  = 8 * buf.Burst
	fewPieces = 2 * buf.Burst
)

func newWindow() window {
	return window{
		chains: make([]chain, 0, fewChains),
		descs:  make([]guestmem.Desc, 0, fewDescs),
	}
}

// reset forgets all chains; the ring still has them.
func (w *window) reset() {
	w.chains, w.descs, w.why = w.chains[:0], w.descs[:0], ReasonNone
}

// drop takes the first n chains out of the window.
func (w *window) drop(n int) {
	if n == 0 {
		return
	}
	if n == len(w.chains) {
		w.chains, w.descs = w.chains[:0], w.descs[:0]
		return
	}
	gone := w.chains[n].first
	w.descs = w.descs[:copy(w.descs, w.descs[gone:])]
	w.chains = w.chains[:copy(w.chains, w.chains[n:])]
	for i := range w.chains {
		w.chains[i].first -= gone
	}
}

// fold makes the first n chains, all read and none written, one: a driver with
// IN_ORDER needs a single used element for a batch, with the id of its last chain,
// where the first one's would be (virtio 1.2 sections 2.7.9 and 2.8.9). The rest of
// the window is forgotten.
func (w *window) fold(n int) int {
	if n < 2 {
		return n
	}
	c := &w.chains[0]
	for i := range w.chains[1:n] {
		c.slots += w.chains[1+i].slots
	}
	c.id = w.chains[n-1].id
	w.chains = w.chains[:1]
	return 1
}

// room tells whether another chain of any length may be read.
func (w *window) room() bool { return len(w.descs) < maxPieces }

// buffers are the descriptors of c.
func (w *window) buffers(c *chain) []guestmem.Desc {
	return w.descs[c.first : int(c.first)+int(c.num)]
}

// open begins a chain of several descriptors; close ends it.
func (w *window) open() (first int) { return len(w.descs) }

// add appends d to the open chain; false if the chain has maxPieces already.
func (w *window) add(first int, d guestmem.Desc) bool {
	if len(w.descs)-first == maxPieces {
		return false
	}
	w.descs = append(w.descs, d)
	return true
}

func (w *window) close(first int, c chain) {
	c.first, c.num = uint16(first), uint16(len(w.descs)-first)
	w.chains = append(w.chains, c)
}

// indirect adds the entries of the table that d describes to the open chain that
// began at first. num is the ring's size. linked tables are a split ring's: their
// entries form a chain; of a packed ring's all entries count, in order (virtio 1.2
// sections 2.7.5.3.1 and 2.8.7).
func (w *window) indirect(cur *guestmem.Cursor, first int, d *guestmem.Desc, num uint32, linked bool) (cut bool, why Reason) {
	switch {
	case d.Flags&guestmem.DescNext != 0:
		return false, ReasonIndirectNext
	case d.Len == 0 || d.Len%guestmem.DescSize != 0:
		return false, ReasonIndirectLen
	case d.Len/guestmem.DescSize > num:
		return false, ReasonIndirectSize
	}
	t, ok := cur.DescTable(d.Addr, uint16(d.Len/guestmem.DescSize))
	if !ok {
		return false, ReasonBadAddress
	}
	at := uint16(0)
	for range num { // a linked table has loops, but no longer chains than the ring
		e, ok := cur.TableDesc(&t, at)
		if !linked { // a packed ring's descriptors have the id first, then the flags (2.8.13)
			e.Flags, e.Next = e.Next, e.Flags
		}
		switch {
		case !ok:
			return false, ReasonBadAddress
		case e.Flags&guestmem.DescIndirect != 0:
			return false, ReasonIndirectNested
		case !w.add(first, e):
			return true, ReasonNone
		}
		switch {
		case !linked:
			if at++; at == t.Num() {
				return false, ReasonNone
			}
		case e.Flags&guestmem.DescNext == 0:
			return false, ReasonNone
		default:
			if at = e.Next; at >= t.Num() {
				return false, ReasonBadNext
			}
		}
	}
	return false, ReasonChainTooLong
}
