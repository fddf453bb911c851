package cache

import (
	"math/bits"

	"baton/dataplane/flow"
)

// megaWays is how many entries compete for a bucket: 16 signatures are one cache line.
const megaWays = 16

// maxMasks bounds the masks in use, and so the time of a miss. Each mask costs
// one bucket to look at; the pipeline's rules decide how many there are.
const maxMasks = 128

// megaBucket is one cache line. A signature is never 0; 0 is an empty way.
type megaBucket [megaWays]uint32

// mask is a mask in use.
type mask struct {
	mask flow.Key
	num  uint32 // entries with it
	hits uint64 // since the order was last made
}

// mega is the masked cache: a tuple space over one hash table. The entry of way
// w of bucket b is entries[b*megaWays+w], so that it needs no memory to be found.
type mega struct {
	buckets []megaBucket
	entries []Entry
	refs    refPool
	shift   uint
	seed    uint64

	masks    [maxMasks]mask
	order    [maxMasks]uint32 // masks in use, most hits first
	numMasks int
	num      int // entries in use
	lookups  uint32
}

// init takes memory for the buckets; their number is a power of two.
func (m *mega) init(buckets []megaBucket, entries []Entry, seed uint64) {
	m.buckets, m.entries, m.seed = buckets, entries, seed
	m.shift = uint(64 - bits.Len(uint(len(buckets)-1)))
	for i := range m.masks {
		m.order[i] = uint32(i)
	}
}

// hash is the hash of k under mask number id: its bucket and its signature.
func (m *mega) hash(k *flow.Key, id uint32) (bucket uint, sig uint32) {
	h := flow.HashMasked(k, &m.masks[id].mask, m.seed+uint64(id))
	return uint(h >> m.shift), uint32(h) | 1
}

// lookup is the number of an entry that k agrees with, of generation gen; if
// there is only one of another generation, that one; else false.
func (m *mega) lookup(k *flow.Key, gen uint64) (at uint32, ok bool) {
	for o := range m.numMasks {
		id := m.order[o]
		i, found := m.find(k, id)
		if !found {
			continue
		}
		if m.entries[i].gen == gen {
			m.hit(id)
			return i, true
		}
		if !ok {
			at, ok = i, true
		}
	}
	return at, ok
}

// find is the number of the entry with mask id that k agrees with; there is one at the most.
func (m *mega) find(k *flow.Key, id uint32) (at uint32, ok bool) {
	n, sig := m.hash(k, id)
	for w, s := range &m.buckets[n] {
		if s != sig {
			continue
		}
		i := uint32(n*megaWays + uint(w))
		e := &m.entries[i]
		if e.mask == id && k.EqualMasked(&e.Key, &m.masks[id].mask) {
			return i, true
		}
	}
	return 0, false
}

// hit counts a hit of a mask; now and then the masks are put in order, so that
// those with most hits are asked first.
func (m *mega) hit(id uint32) {
	m.masks[id].hits++
	if m.lookups++; m.lookups%4096 != 0 {
		return
	}
	used := m.order[:m.numMasks]
	for i := 1; i < len(used); i++ {
		for j := i; j > 0 && m.masks[used[j]].hits > m.masks[used[j-1]].hits; j-- {
			used[j], used[j-1] = used[j-1], used[j]
		}
	}
	for _, id := range used {
		m.masks[id].hits /= 2
	}
}

// findMask is the number of a mask in use; false if it is not in use.
func (m *mega) findMask(k *flow.Key) (id uint32, ok bool) {
	for _, id := range m.order[:m.numMasks] {
		if m.masks[id].mask == *k {
			return id, true
		}
	}
	return 0, false
}

// useMask is the number of mask k, put in use if it was not. If all are in use
// it is the exact mask instead: an entry may always depend on more bits.
func (m *mega) useMask(k *flow.Key) uint32 {
	if id, ok := m.findMask(k); ok {
		return id
	}
	if m.numMasks >= maxMasks-1 {
		// The last place is the exact mask's.
		if id, ok := m.findMask(&exact); ok {
			return id
		}
		k = &exact
	}
	id := m.order[m.numMasks]
	m.masks[id] = mask{mask: *k}
	m.numMasks++
	return id
}

// exact is the mask of all bits.
var exact = func() (k flow.Key) {
	w := k.Words()
	for i := range w {
		w[i] = ^uint64(0)
	}
	return k
}()

// dropMask puts a mask out of use.
func (m *mega) dropMask(id uint32) {
	for o := range m.numMasks {
		if m.order[o] == id {
			copy(m.order[o:m.numMasks], m.order[o+1:m.numMasks])
			m.numMasks--
			m.order[m.numMasks] = id
			return
		}
	}
}

// victim is the place in a bucket for a new entry: an empty one, or that of the
// entry that was not used for longest. False if all were used just now.
func (m *mega) victim(bucket uint, now uint64) (at uint32, ok bool) {
	first := uint32(bucket * megaWays)
	oldest := now
	for w := range uint32(megaWays) {
		if m.buckets[bucket][w] == 0 {
			return first + w, true
		}
		if used := m.entries[first+w].used; used < oldest {
			at, ok, oldest = first+w, true, used
		}
	}
	return at, ok
}
