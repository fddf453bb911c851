package cache

import (
	"math/bits"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
)

// Hash sets b.Hashes of the first b.Num keys.
//
//	alloc: 0
func (c *Cache) Hash(b *Burst) {
	for i := range min(b.Num, buf.Burst) {
		b.Hashes[i] = flow.PathHash(&b.Keys[i], c.mega.seed)
	}
}

// LookupBurst sets b.Entries[i] for each of the first b.Num keys that an entry
// of generation gen is there for, and returns the set of the others: bit i is
// packet i. The caller passes each of them to Miss, lowest first.
//
//	in:    b.Num, b.Keys
//	alloc: 0
func (c *Cache) LookupBurst(b *Burst, gen uint64) (miss uint32) {
	c.begin()
	s := &c.search
	s.all(min(b.Num, buf.Burst))
	num := s.num
	if num == 0 {
		return 0
	}
	same := &c.same[hintOf(&b.Keys[0])]
	if same.rest > 0 {
		same.rest--
	} else {
		c.lookupSame(b, gen, same)
	}
	rest := s.num
	if rest == 0 {
		c.Counters.MegaHits.Add(uint64(num))
		return 0
	}
	c.Counters.MegaHits.Add(uint64(num - rest))
	if c.micro.on {
		c.lookupMicro(b, gen)
		c.Counters.MicroHits.Add(uint64(rest - s.num))
	}
	rest = s.num
	c.lookupMega(b, gen)
	c.Counters.MegaHits.Add(uint64(rest - s.num))
	c.micro.asked += uint32(num)
	if c.micro.bursts++; c.micro.bursts == microWindow {
		c.micro.adapt()
	}
	for _, i := range s.list[:s.num] {
		miss |= 1 << i
	}
	if last := num - 1; miss>>last&1 == 0 {
		same.entry = c.mega.number(b.Entries[last&(buf.Burst-1)])
	}
	return miss
}

// same is the entry that the last packet of a group of ingress ports went by.
type same struct {
	entry uint32
	rest  uint32 // bursts for which it is not asked, because it was no packet's
}

// sameRest is that number: packets of many entries in turn lose little by asking.
const sameRest = 15

// lookupSame takes the packets off the list that go by the same entry as the last one:
// guests send trains, and flows share entries. It costs neither a hash nor a bucket.
func (c *Cache) lookupSame(b *Burst, gen uint64, last *same) {
	s, m := &c.search, &c.mega
	e := &m.entries[last.entry]
	if e.gen != gen {
		return
	}
	k := &m.masks.all[e.mask%maxMasks]
	k.differAll(&b.Keys, s.num, &e.key, &s.hash)
	left := 0
	for i := range min(s.num, buf.Burst) {
		if s.hash[i] == 0 {
			b.Entries[i] = e
			continue
		}
		s.list[left&(buf.Burst-1)] = uint8(i)
		left++
	}
	if left == s.num {
		last.rest = sameRest
		return
	}
	e.used = c.now
	s.num = left
}

// begin ends the last burst: what lived for it only.
func (c *Cache) begin() {
	c.now++
	if c.spare != 0 {
		c.freeSpares()
	}
	if c.missed {
		c.missed, c.began = false, false
		c.fresh = [maxMasks / 64]uint64{}
		c.stale = [buf.Burst]uint32{}
	}
}

// lookupMicro takes the packets off the list that micro leads to an entry of
// generation gen.
func (c *Cache) lookupMicro(b *Burst, gen uint64) {
	s, m, mg := &c.search, &c.micro, &c.mega
	wide.hashAll(&b.Keys, &s.list, s.num, mg.seed, &s.hash)
	prefetchMicro(&m.buckets[0], &s.hash, s.num, m.shift)
	matchMicro(&m.buckets[0], &mg.entries[0], &s.hash, &s.ways, s.num, m.shift)
	left := 0
	for j := range s.num {
		i := s.list[j&(buf.Burst-1)] & (buf.Burst - 1)
		hash := s.hash[j&(buf.Burst-1)]
		m.hash[i] = hash
		found := false
		for w := s.ways[j&(buf.Burst-1)]; w != 0; w &= w - 1 {
			e := &mg.entries[m.buckets[hash>>m.shift].entry[bits.TrailingZeros32(w)%microWays]]
			if e.gen == gen && mg.masks.all[e.mask%maxMasks].equal(&b.Keys[i], &e.key) {
				e.used = c.now
				b.Entries[i] = e
				found = true
				break
			}
		}
		if !found {
			s.list[left&(buf.Burst-1)] = i
			left++
		}
	}
	m.found += uint32(s.num - left)
	s.num = left
}

// lookupMega takes the packets off the list that there is an entry of generation
// gen for: mask by mask, all packets at once.
func (c *Cache) lookupMega(b *Burst, gen uint64) {
	s, m := &c.search, &c.mega.masks
	if m.num == 1 {
		c.micro.probes += uint32(s.num)
		c.lookupMask(b, gen, m.order[0])
		return
	}
	if m.num == 0 || s.num == 0 {
		return
	}
	hint := &m.hints[hintOf(&b.Keys[s.list[0]&(buf.Burst-1)])]
	first, best := *hint, 0
	if m.all[first].num == 0 {
		first = m.order[0]
	}
	for o := -1; o < m.num && s.num > 0; o++ {
		id := first
		if o >= 0 {
			if id = m.order[o]; id == first {
				continue
			}
		}
		c.micro.probes += uint32(s.num)
		found := c.lookupMask(b, gen, id)
		if found > best {
			*hint, best = id, found
		}
		if found > 0 {
			m.hit(id, found)
		}
	}
}

// lookupMask takes the packets off the list that mask id has an entry of generation
// gen for, and returns how many these are. Of those with an older entry it notes
// that one.
func (c *Cache) lookupMask(b *Burst, gen uint64, id uint32) (found int) {
	s, m := &c.search, &c.mega
	k := &m.masks.all[id%maxMasks]
	m.candidates(s, &b.Keys, id)
	num, left := s.num, 0
	for j := range num {
		i := s.list[j&(buf.Burst-1)] & (buf.Burst - 1)
		ok := false
		for w := s.ways[j&(buf.Burst-1)]; w != 0; w &= w - 1 {
			at := s.hash[j&(buf.Burst-1)]>>m.shift*megaWays + uint64(bits.TrailingZeros32(w))
			e := &m.entries[at]
			if e.mask != id || !k.equal(&b.Keys[i], &e.key) {
				continue
			}
			if e.gen != gen {
				c.stale[i], c.missed = uint32(at)+1, true
				break
			}
			e.used = c.now
			b.Entries[i] = e
			ok = true
			if c.micro.on {
				c.micro.insert(c.micro.hash[i], uint32(at))
			}
			break
		}
		if !ok {
			s.list[left&(buf.Burst-1)] = i
			left++
		}
	}
	s.num = left
	return num - left
}
