package cache

import (
	"math/bits"
	"unsafe"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
)

// megaWays is how many entries compete for a bucket.
const megaWays = 16

// megaBucket is half a cache line of tags. A tag is odd; 0 is an empty way.
type megaBucket [megaWays]uint16

// tagOf is the tag of a hash.
func tagOf(hash uint64) uint16 { return uint16(hash) | 1 }

// mega is the masked cache: a tuple space over one hash table. The entry of way
// w of bucket b is entries[b*megaWays+w], so that it needs no memory to be found.
type mega struct {
	masks   masks
	buckets []megaBucket
	stamps  []stamps
	entries []Entry
	refs    refPool // of the entries by their numbers
	shift   uint
	seed    uint64
	num     int    // entries in use
	looked  uint64 // entries that were looked at to make room for others, for tests
}

// init takes memory for the buckets; their number is a power of two.
func (m *mega) init(buckets []megaBucket, stamps []stamps, entries []Entry, seed uint64) {
	m.buckets, m.stamps, m.entries, m.seed = buckets, stamps, entries, seed
	m.shift = uint(64 - bits.Len(uint(len(buckets)-1)))
	m.masks.init()
}

// seedOf is the seed for mask number id.
func (m *mega) seedOf(id uint32) uint64 { return m.seed + uint64(id)*mix[1] }

// hash is the hash of k under mask number id.
func (m *mega) hash(k *flow.Key, id uint32) uint64 { return m.masks.all[id].hash(k, m.seedOf(id)) }

// find is the number of the entry with mask id that k, whose hash under it is h,
// agrees with; there is one at the most. It is the plain version of candidates.
func (m *mega) find(k *flow.Key, id uint32, h uint64) (at uint32, ok bool) {
	n, tag := h>>m.shift, tagOf(h)
	for w, t := range &m.buckets[n] {
		if t != tag {
			continue
		}
		i := uint32(n*megaWays) + uint32(w)
		if e := &m.entries[i]; e.mask == id && m.masks.all[id].equal(k, &e.key) {
			return i, true
		}
	}
	return 0, false
}

// tag is the tag of an entry's place; 0: there is none.
func (m *mega) tag(at uint32) uint16 { return m.buckets[at/megaWays][at%megaWays] }

// number is the number of an entry.
func (m *mega) number(e *Entry) uint32 {
	return uint32((uintptr(unsafe.Pointer(e)) - uintptr(unsafe.Pointer(&m.entries[0]))) / entrySize)
}

// search is what a search through the masks works with.
type search struct {
	list [buf.Burst]uint8  // packets that are not found yet
	num  int               // of them
	hash [buf.Burst]uint64 // of those in list; in lookupSame: in what they differ
	ways [buf.Burst]uint32 // of those in list: ways of the bucket with its tag
}

// all makes the search one for all of num packets.
func (s *search) all(num int) {
	s.num = num
	for i := range num {
		s.list[i&(buf.Burst-1)] = uint8(i)
	}
}

// candidates finds out, for each packet of the list, which ways of its bucket have
// its tag under mask id, and starts loading what comes next.
func (m *mega) candidates(s *search, keys *[buf.Burst]flow.Key, id uint32) {
	m.masks.all[id].hashAll(keys, &s.list, s.num, m.seedOf(id), &s.hash)
	prefetchMega(&m.buckets[0], &s.hash, s.num, m.shift)
	matchMega(&m.buckets[0], &m.entries[0], &s.hash, &s.ways, s.num, m.shift)
}
