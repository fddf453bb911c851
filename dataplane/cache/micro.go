package cache

import (
	"math/bits"

	"baton/dataplane/flow"
)

// microWays is how many keys compete for a bucket: 8 signatures and 8 numbers
// of entries are one cache line.
const microWays = 8

// microBucket is one cache line.
type microBucket struct {
	sig   [microWays]uint32
	entry [microWays]uint32 // number of the megaflow entry
}

// microKey is a whole key, and the life of the entry that it leads to.
type microKey struct {
	key   flow.Key
	stamp uint32 // Entry.stamp; 0: empty
	_     uint32
}

// micro is the exact-match cache.
type micro struct {
	buckets []microBucket
	keys    []microKey // way w of bucket b is keys[b*microWays+w]
	shift   uint       // of a hash, to get a bucket
	turn    uint32     // whom to replace next
}

// init takes memory for the buckets; their number is a power of two.
func (m *micro) init(buckets []microBucket, keys []microKey) {
	m.buckets, m.keys = buckets, keys
	m.shift = uint(64 - bits.Len(uint(len(buckets)-1)))
}

// bucket is the number of the bucket for a hash.
func (m *micro) bucket(hash uint64) uint { return uint(hash >> m.shift) }

// lookup is the entry for a key, nil if the cache has none.
func (m *micro) lookup(k *flow.Key, hash uint64, mg *mega) *Entry {
	n := m.bucket(hash)
	bucket := &m.buckets[n]
	for w := range bucket.sig {
		if bucket.sig[w] != uint32(hash) {
			continue
		}
		mk := &m.keys[n*microWays+uint(w)]
		e := &mg.entries[bucket.entry[w]]
		if mk.stamp != 0 && mk.stamp == e.stamp && *mk.key.Words() == *k.Words() {
			return e
		}
	}
	return nil
}

// insert remembers that key k leads to entry number at.
func (m *micro) insert(k *flow.Key, hash uint64, at, stamp uint32, mg *mega) {
	n := m.bucket(hash)
	bucket := &m.buckets[n]
	way := -1
	for w := range bucket.sig {
		mk := &m.keys[n*microWays+uint(w)]
		if mk.stamp != 0 && bucket.sig[w] == uint32(hash) && *mk.key.Words() == *k.Words() {
			way = w
			break
		}
		if way < 0 && (mk.stamp == 0 || mk.stamp != mg.entries[bucket.entry[w]].stamp) {
			way = w // empty, or its entry has ended
		}
	}
	if way < 0 {
		m.turn++
		way = int(m.turn % microWays)
	}
	bucket.sig[way], bucket.entry[way] = uint32(hash), at
	m.keys[n*microWays+uint(way)] = microKey{key: *k, stamp: stamp}
}
