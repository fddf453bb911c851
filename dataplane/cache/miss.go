package cache

import (
	"math/bits"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
)

// walkSteps is what a walk costs beside its tables, in the time of a table (about
// 100 ns): the lookups before it, and the new entry.
const walkSteps = 4

// Miss walks the pipeline for packet i of the burst, which LookupBurst did not
// find, keeps the result, and sets b.Entries[i] to it. s is the snapshot whose
// generation LookupBurst was given.
//
//	alloc: 0
func (c *Cache) Miss(s *pipeline.Snapshot, b *Burst, i int) *Entry {
	i &= buf.Burst - 1
	c.missed = true
	k, gen := &b.Keys[i], s.Generation()
	if at, ok := c.findFresh(k, gen); ok { // an earlier packet of the burst made it
		c.Counters.MegaHits.Add(1)
		b.Entries[i] = c.use(at)
		return b.Entries[i]
	}
	s.Walk(k, c.res)
	c.Counters.Steps.Add(uint64(c.res.NumRules) + walkSteps)
	stale := c.stale[i]
	if stale != 0 {
		c.Counters.Stale.Add(1)
	} else {
		c.Counters.Misses.Add(1)
	}
	b.Entries[i] = c.install(k, gen, i)
	if stale != 0 {
		c.dropStale(stale-1, gen)
	}
	return b.Entries[i]
}

// findFresh is the number of an entry for k that was made in this burst.
func (c *Cache) findFresh(k *flow.Key, gen uint64) (at uint32, ok bool) {
	for n, set := range c.fresh {
		for ; set != 0; set &= set - 1 {
			at, ok := c.mega.find(k, uint32(n*64+bits.TrailingZeros64(set)))
			if ok && c.mega.entries[at].gen == gen {
				return at, true
			}
		}
	}
	return 0, false
}

// use marks an entry as used now.
func (c *Cache) use(at uint32) *Entry {
	e := &c.mega.entries[at]
	e.used = c.now
	return e
}

// dropStale removes the entry if it still is of another generation.
func (c *Cache) dropStale(at uint32, gen uint64) {
	if e := &c.mega.entries[at]; e.live() && e.gen != gen {
		c.remove(at)
	}
}

// install keeps the result of the walk for key k, packet i of the burst. If an
// entry from an older generation says the same it is made valid again and keeps
// its counters.
func (c *Cache) install(k *flow.Key, gen uint64, i int) *Entry {
	m := &c.mega
	c.room(need(c.res.NumRules))
	id := m.masks.use(&c.res.Mask)
	c.fresh[id/64] |= 1 << (id % 64)
	kept := &m.masks.all[id]
	at, ok := m.find(k, id)
	if ok {
		if e := &m.entries[at]; e.Actions == c.res.Actions {
			c.credit(e)
			m.refs.drop(e.refs)
			e.refs = m.refs.put(c.res.Rules[:c.res.NumRules])
			e.gen = gen
			return c.use(at)
		}
		kept.num++ // keep the mask while its last entry is replaced
		c.remove(at)
		kept.num--
	}
	h := m.hash(k, id)
	bucket := h >> m.shift
	at, ok = m.victim(bucket, c.now)
	if !ok {
		return c.useSpare(id, gen, i)
	}
	if m.entries[at].live() {
		kept.num++
		c.remove(at)
		kept.num--
		c.Counters.Evicted.Add(1)
	}
	m.buckets[bucket][at%megaWays] = tagOf(h)
	c.fill(&m.entries[at], k, id, gen)
	m.num++
	kept.num++
	return c.use(at)
}

// fill begins a new life of an entry.
func (c *Cache) fill(e *Entry, k *flow.Key, id uint32, gen uint64) {
	*e = Entry{
		mask: id, gen: gen, used: c.now,
		refs:    c.mega.refs.put(c.res.Rules[:c.res.NumRules]),
		Actions: c.res.Actions,
		key:     c.mega.masks.all[id].pack(k),
	}
}

// useSpare gives packet i of the burst an entry outside the buckets, which lasts
// for the burst: all entries of its bucket were used by the same burst.
func (c *Cache) useSpare(id uint32, gen uint64, i int) *Entry {
	c.spare |= 1 << i
	e := &c.mega.entries[len(c.mega.entries)-buf.Burst+i]
	c.fill(e, new(flow.Key), id, gen)
	if c.mega.masks.all[id].num == 0 {
		c.mega.masks.drop(id)
	}
	return e
}

// freeSpares ends the spare entries of the last burst.
func (c *Cache) freeSpares() {
	for ; c.spare != 0; c.spare &= c.spare - 1 {
		e := &c.mega.entries[len(c.mega.entries)-buf.Burst+bits.TrailingZeros32(c.spare)]
		c.credit(e)
		c.mega.refs.drop(e.refs)
		e.refs, e.gen = 0, 0
	}
}

// remove ends the life of an entry in a bucket.
func (c *Cache) remove(at uint32) {
	m := &c.mega
	e := &m.entries[at]
	c.credit(e)
	m.refs.drop(e.refs)
	e.refs = 0
	e.gen = 0 // whoever still is led to it sees that it has ended
	m.buckets[at/megaWays][at%megaWays] = 0
	m.num--
	if m.masks.all[e.mask].num--; m.masks.all[e.mask].num == 0 {
		m.masks.drop(e.mask)
	}
}

// credit tells the rules of an entry of the packets that they do not know yet.
func (c *Cache) credit(e *Entry) {
	packets, bytes := e.Packets.Load(), e.Bytes.Load()
	if packets != e.credited {
		c.mega.refs.credit(e.refs, c.rules, packets-e.credited, bytes-e.creditedBytes)
		e.credited, e.creditedBytes = packets, bytes
	}
}

// room evicts entries until there are num free blocks for rules. There always
// are enough entries that the burst does not use: New saw to it.
func (c *Cache) room(num uint32) {
	m := &c.mega
	for range c.Size() {
		if m.refs.num >= num {
			return
		}
		c.evict = (c.evict + 1) % uint32(c.Size())
		if e := &m.entries[c.evict]; e.live() && e.used != c.now {
			c.remove(c.evict)
			c.Counters.Evicted.Add(1)
		}
	}
}
