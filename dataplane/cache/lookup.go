package cache

import (
	"math/bits"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
)

// LookupBurst sets b.Entries[i] for each of the first b.Num keys that an entry
// of generation gen is there for, and returns the set of the others: bit i is
// packet i. The caller passes each of them to Miss, lowest first.
//
//	in:    b.Num, b.Keys, b.Hashes (by Hash)
//	alloc: 0
func (c *Cache) LookupBurst(b *Burst, gen uint64) (miss uint32) {
	c.now++
	if c.spare != 0 {
		c.freeSpares()
	}
	num := min(b.Num, buf.Burst)
	for i := range num {
		e := c.micro.lookup(&b.Keys[i], b.Hashes[i], &c.mega)
		if e == nil || e.gen != gen {
			miss |= 1 << i
			continue
		}
		e.used = c.now
		b.Entries[i] = e
	}
	c.Counters.MicroHits.Add(uint64(num - bits.OnesCount32(miss)))
	if miss == 0 {
		return 0
	}
	return c.lookupMega(b, gen, miss)
}

// lookupMega is LookupBurst for the packets in rest.
func (c *Cache) lookupMega(b *Burst, gen uint64, rest uint32) (miss uint32) {
	num := bits.OnesCount32(rest)
	for ; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros32(rest) & (buf.Burst - 1)
		at, ok := c.mega.lookup(&b.Keys[i], gen)
		if !ok || c.mega.entries[at].gen != gen {
			miss |= 1 << i
			continue
		}
		b.Entries[i] = c.use(&b.Keys[i], b.Hashes[i], at)
	}
	c.Counters.MegaHits.Add(uint64(num - bits.OnesCount32(miss)))
	return miss
}

// use marks an entry as used now and lets the key lead to it.
func (c *Cache) use(k *flow.Key, hash uint64, at uint32) *Entry {
	e := &c.mega.entries[at]
	e.used = c.now
	c.micro.insert(k, hash, at, e.stamp, &c.mega)
	return e
}

// walkSteps is what a walk costs beside its tables, in the time of a table (about
// 100 ns): the lookups before it, and the new entry.
const walkSteps = 4

// Miss walks the pipeline for packet i of the burst, which LookupBurst did not
// find, keeps the result, and sets b.Entries[i] to it. s is the snapshot whose
// generation LookupBurst was given.
//
//	alloc: 0
func (c *Cache) Miss(s *pipeline.Snapshot, b *Burst, i int) *Entry {
	k, gen := &b.Keys[i], s.Generation()
	at, known := c.mega.lookup(k, gen)
	if known && c.mega.entries[at].gen == gen { // an earlier packet of the burst made it
		c.Counters.MegaHits.Add(1)
		b.Entries[i] = c.use(k, b.Hashes[i], at)
		return b.Entries[i]
	}
	s.Walk(k, c.res)
	c.Counters.Steps.Add(uint64(c.res.NumRules) + walkSteps)
	if known {
		c.Counters.Stale.Add(1)
	} else {
		c.Counters.Misses.Add(1)
	}
	b.Entries[i] = c.install(k, b.Hashes[i], gen, i)
	if known {
		c.dropStale(at, gen)
	}
	return b.Entries[i]
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
func (c *Cache) install(k *flow.Key, hash, gen uint64, i int) *Entry {
	m := &c.mega
	c.room(need(c.res.NumRules))
	id := m.useMask(&c.res.Mask)
	at, ok := m.find(k, id)
	if ok {
		if e := &m.entries[at]; e.Actions == c.res.Actions {
			c.credit(e)
			m.refs.drop(e.refs)
			e.refs = m.refs.put(c.res.Rules[:c.res.NumRules])
			e.gen = gen
			return c.use(k, hash, at)
		}
		m.masks[id].num++ // keep the mask while its last entry is replaced
		c.remove(at)
		m.masks[id].num--
	}
	bucket, sig := m.hash(k, id)
	at, ok = m.victim(bucket, c.now)
	if !ok {
		return c.useSpare(id, gen, i)
	}
	if m.entries[at].live() {
		m.masks[id].num++
		c.remove(at)
		m.masks[id].num--
		c.Counters.Evicted.Add(1)
	}
	m.buckets[bucket][at%megaWays] = sig
	c.fill(&m.entries[at], k, id, gen)
	m.num++
	m.masks[id].num++
	return c.use(k, hash, at)
}

// fill begins a new life of an entry.
func (c *Cache) fill(e *Entry, k *flow.Key, id uint32, gen uint64) {
	stamp := e.stamp + 1
	if stamp == 0 {
		stamp = 1
	}
	*e = Entry{
		stamp: stamp, mask: id, gen: gen, used: c.now,
		refs:    c.mega.refs.put(c.res.Rules[:c.res.NumRules]),
		Actions: c.res.Actions,
		Key:     k.Masked(&c.mega.masks[id].mask),
	}
}

// useSpare gives packet i of the burst an entry outside the buckets, which lasts
// for the burst: all entries of its bucket were used by the same burst.
func (c *Cache) useSpare(id uint32, gen uint64, i int) *Entry {
	c.spare |= 1 << i
	e := &c.mega.entries[len(c.mega.entries)-buf.Burst+i]
	var k flow.Key
	c.fill(e, &k, id, gen)
	if c.mega.masks[id].num == 0 {
		c.mega.dropMask(id)
	}
	return e
}

// freeSpares ends the spare entries of the last burst.
func (c *Cache) freeSpares() {
	for ; c.spare != 0; c.spare &= c.spare - 1 {
		e := &c.mega.entries[len(c.mega.entries)-buf.Burst+bits.TrailingZeros32(c.spare)]
		c.credit(e)
		c.mega.refs.drop(e.refs)
		e.refs = 0
	}
}

// remove ends the life of an entry in a bucket.
func (c *Cache) remove(at uint32) {
	m := &c.mega
	e := &m.entries[at]
	c.credit(e)
	m.refs.drop(e.refs)
	e.refs = 0
	e.gen = 0
	e.stamp++ // no key leads to it any more
	m.buckets[at/megaWays][at%megaWays] = 0
	m.num--
	if m.masks[e.mask].num--; m.masks[e.mask].num == 0 {
		m.dropMask(e.mask)
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
	inBuckets := uint32(len(m.entries) - buf.Burst)
	for range inBuckets {
		if m.refs.num >= num {
			return
		}
		c.evict = (c.evict + 1) % inBuckets
		if e := &m.entries[c.evict]; e.live() && e.used != c.now {
			c.remove(c.evict)
			c.Counters.Evicted.Add(1)
		}
	}
}
