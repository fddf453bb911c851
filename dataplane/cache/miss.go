package cache

import (
	"math/bits"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
)

// walkSteps is what a walk costs beside the tables that it looks into, in the time of
// such a table (about 150 cycles, twice as much with rules that are in no CPU cache): the
// lookups before it, and the new entry. So many tables that it passes are as one that it
// looks into.
const (
	walkSteps  = 5
	walkPasses = 16
)

// Miss walks the pipeline for packet i of the burst, which LookupBurst did not
// find, keeps the result, and sets b.Entries[i] to it. s is the snapshot whose
// generation LookupBurst was given.
//
//	alloc: 0
func (c *Cache) Miss(s *pipeline.Snapshot, b *Burst, i int) *Entry {
	i &= buf.Burst - 1
	if !c.began {
		c.beginMisses(b)
	}
	k, gen := &b.Keys[i], s.Generation()
	c.known = hashed{mask: maxMasks}
	if at, ok := c.findFresh(k, gen); ok { // an earlier packet of the burst made it
		c.Counters.MegaHits.Add(1)
		b.Entries[i] = c.use(at)
		return b.Entries[i]
	}
	c.expect(k)
	s.Walk(k, c.res)
	c.Counters.Steps.Add(uint64(c.res.NumRules-c.res.Passed+c.res.Passed/walkPasses) + walkSteps)
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

// beginMisses is called before the first walk for a burst: it starts loading what tells
// whose place the new entries take, if they will be under the same mask as the last one.
func (c *Cache) beginMisses(b *Burst) {
	c.began, c.missed = true, true
	s, m := &c.search, &c.mega
	m.masks.all[c.last].hashAll(&b.Keys, &s.list, s.num, m.seedOf(c.last), &s.hash)
	prefetchStamps(&m.stamps[0], &s.hash, s.num, m.shift)
}

// hashed is the hash of the packet that Miss is about under a mask.
type hashed struct {
	mask uint32 // maxMasks: none
	hash uint64
}

// hash is the hash of k, the key that Miss is about, under mask number id.
func (c *Cache) hash(k *flow.Key, id uint32) uint64 {
	if c.known.mask != id {
		c.known = hashed{id, c.mega.hash(k, id)}
	}
	return c.known.hash
}

// findFresh is the number of an entry for k that was made in this burst.
func (c *Cache) findFresh(k *flow.Key, gen uint64) (at uint32, ok bool) {
	for n, set := range c.fresh {
		for ; set != 0; set &= set - 1 {
			id := uint32(n*64 + bits.TrailingZeros64(set))
			at, ok := c.mega.find(k, id, c.hash(k, id))
			if ok && c.mega.entries[at].gen == gen {
				return at, true
			}
		}
	}
	return 0, false
}

// expect starts loading the entry that is to make room for that of k, and its rules, if
// it will be under the same mask as the last one: the walk takes as long as memory does.
func (c *Cache) expect(k *flow.Key) {
	m := &c.mega
	if m.masks.all[c.last].num > 0 {
		at, _ := m.oldest(c.hash(k, c.last)>>m.shift, c.now)
		prefetchEntry(&m.entries[at])
		m.refs.prefetch(at, c.res.NumRules)
	}
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
	id := m.masks.use(&c.res.Mask, c.last)
	c.last = id
	c.fresh[id/64] |= 1 << (id % 64)
	kept := &m.masks.all[id]
	if kept.num == 0 {
		c.known.mask = maxMasks // what was hashed before was under another mask of this number
	}
	h := c.hash(k, id)
	kept.num++ // keep the mask while others end
	at, ok := m.find(k, id, h)
	if ok {
		if e := &m.entries[at]; e.Actions == c.res.Actions {
			kept.num--
			c.credit(at)
			m.refs.drop(at)
			m.refs.put(at, c.res.Rules[:c.res.NumRules])
			e.gen = gen
			return c.use(at)
		}
		c.remove(at)
	} else if at, ok = m.victim(h>>m.shift, c.now); !ok {
		kept.num--
		return c.useSpare(id, gen, i)
	} else if m.tag(at) != 0 {
		c.remove(at)
		c.Counters.Evicted.Add(1)
	}
	m.num++
	m.buckets[at/megaWays][at%megaWays] = tagOf(h)
	m.stamps[at/megaWays][at%megaWays] = uint32(c.now)
	c.fill(at, k, id, gen)
	return c.use(at)
}

// fill begins a new life of entry number at.
func (c *Cache) fill(at uint32, k *flow.Key, id uint32, gen uint64) {
	c.mega.refs.put(at, c.res.Rules[:c.res.NumRules])
	c.mega.entries[at] = Entry{
		mask: id, gen: gen, used: c.now,
		Actions: c.res.Actions,
		key:     c.mega.masks.all[id].pack(k),
	}
}

// useSpare gives packet i of the burst an entry outside the buckets, which lasts
// for the burst: all entries of its bucket were used by the same burst.
func (c *Cache) useSpare(id uint32, gen uint64, i int) *Entry {
	c.spare |= 1 << i
	at := uint32(c.Size() + i)
	c.fill(at, new(flow.Key), id, gen)
	if c.mega.masks.all[id].num == 0 {
		c.mega.masks.drop(id)
	}
	return &c.mega.entries[at]
}

// freeSpares ends the spare entries of the last burst.
func (c *Cache) freeSpares() {
	for ; c.spare != 0; c.spare &= c.spare - 1 {
		at := uint32(c.Size() + bits.TrailingZeros32(c.spare))
		c.credit(at)
		c.mega.refs.drop(at)
		c.mega.entries[at].gen = 0
	}
}

// remove ends the life of an entry in a bucket.
func (c *Cache) remove(at uint32) {
	m := &c.mega
	e := &m.entries[at]
	c.credit(at)
	m.refs.drop(at)
	e.gen = 0 // whoever still is led to it sees that it has ended
	m.buckets[at/megaWays][at%megaWays] = 0
	m.num--
	if m.masks.all[e.mask].num--; m.masks.all[e.mask].num == 0 {
		m.masks.drop(e.mask)
	}
}

// credit adds to the rules of entry number at the packets that they do not have yet.
func (c *Cache) credit(at uint32) {
	e := &c.mega.entries[at]
	packets, bytes := e.Packets.Load(), e.Bytes.Load()
	if packets != e.credited {
		c.mega.refs.credit(at, &c.tally, c.rules, packets-e.credited, bytes-e.creditedBytes)
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
		if m.tag(c.evict) == 0 {
			continue
		}
		m.looked++
		if m.entries[c.evict].used != c.now {
			c.remove(c.evict)
			c.Counters.Evicted.Add(1)
		}
	}
}
