package cache

import "baton/dataplane/buf"

// Sweep looks at the next num entries in turn: it credits their packets to the
// rules and removes those without a packet for more than maxIdle ticks. A worker
// calls it between bursts with a small num, so that rule statistics are never
// older than one turn through all entries (Size), and a few calls. An entry is in
// no CPU cache when its turn comes: places without a tag are passed over, and the
// next entry is loaded until the next call.
//
//	alloc: 0
func (c *Cache) Sweep(num int, maxIdle uint32) {
	size := uint32(c.Size())
	m := &c.mega
	for range min(num, int(size)) {
		at := c.hand
		if c.hand++; c.hand >= size {
			c.hand = 0
		}
		if m.tag(at) == 0 {
			continue
		}
		e := &m.entries[at]
		c.credit(at)
		if c.idle(e) > maxIdle {
			c.remove(at)
		}
	}
	c.tally.settle(sweepRules*num, c.rules)
	if m.tag(c.hand) != 0 {
		prefetchEntry(&m.entries[c.hand])
	}
}

// sweepRules is how many rules are told of their packets for each entry that is swept:
// one call for 16 entries tells all.
const sweepRules = tallySlots / 16

// Size is the number of entries that there is room for.
func (c *Cache) Size() int { return len(c.mega.entries) - buf.Burst }

// idle is the ticks since the entry's last packet.
func (c *Cache) idle(e *Entry) uint32 { return uint32(c.now>>32) - uint32(e.used>>32) }

// Dump copies entries, from place at on (first 0), into out until it is full. It
// returns the place to go on at, -1 after the last one, and how many it copied.
// It is for the worker to call, between bursts, for whoever wants to see the
// flows: some at a time, so that no packet waits for it.
//
//	alloc: 0
func (c *Cache) Dump(at int, out []Flow) (next, num int) {
	for ; at < c.Size(); at++ {
		if c.mega.tag(uint32(at)) == 0 {
			continue
		}
		e := &c.mega.entries[at]
		if num == len(out) {
			return at, num
		}
		out[num] = Flow{
			Key: c.mega.masks.all[e.mask].unpack(&e.key), Mask: c.mega.masks.all[e.mask].key, Actions: e.Actions,
			Packets: e.Packets.Load(), Bytes: e.Bytes.Load(), Generation: e.gen, Idle: c.idle(e),
		}
		num++
	}
	return -1, num
}
