package virtq

import "baton/vhost/guestmem"

// Dirty logging: whatever the worker writes to guest memory is noted in the view's
// log after the write, so that no sync between the two misses a page.

// logChain notes the bytes that were written to c.
func (q *queue) logChain(vw *view, c *chain) {
	left := c.written
	if left == 0 {
		return
	}
	for _, d := range q.window.buffers(c) {
		n := min(d.Len, left)
		vw.log.Mark(d.Addr, uint64(n))
		if left -= n; left == 0 {
			return
		}
	}
}

// usedLog says where the ring's own parts are in guest addresses.
type usedLog struct {
	on   bool
	ring uint64 // split: used ring; packed: descriptor ring
	area uint64 // packed: device event area
}

// markRing notes n bytes at offset off of the used ring, or of the descriptor ring.
func (vw *view) markRing(off, n uint64) {
	if vw.log != nil && vw.used.on {
		vw.log.Mark(vw.used.ring+off, n)
	}
}

// markEntries notes count entries of size bytes behind offset off, from entry at on,
// of a ring of num entries.
func (vw *view) markEntries(off, size, at, count, num uint64) {
	if vw.log == nil || !vw.used.on {
		return
	}
	count = min(count, num)
	if end := at + count; end > num {
		vw.log.Mark(vw.used.ring+off, (end-num)*size)
		count = num - at
	}
	vw.log.Mark(vw.used.ring+off+at*size, count*size)
}

// logPacked finds the guest addresses of a packed ring's parts. The front end names
// one log address, which cannot stand for two parts that lie apart; where it sees them
// the table knows.
func (vw *view) logPacked(t *guestmem.Table, cfg *Config) {
	ring, ok := t.GuestAddr(cfg.Desc)
	area, ok2 := t.GuestAddr(cfg.Used)
	vw.used = usedLog{on: cfg.LogUsed && ok && ok2, ring: ring, area: area}
}
