package cache

import (
	"math/bits"

	"baton/dataplane/buf"
)

// microWays is how many keys compete for a bucket: 8 signatures and 8 numbers of
// entries are one cache line.
const microWays = 8

// microBucket is one cache line.
type microBucket struct {
	sig   [microWays]uint32
	entry [microWays]uint32 // number of the megaflow entry
}

// micro leads from the hash of a whole key to the entry that was found for such a
// key. It keeps no keys: whether an entry is the packet's is a question to the
// entry, whose mask and key say it. So whatever stands here, no packet gets a
// wrong entry.
//
// It pays only where entries have many masks, and then only if packets find
// something: adapt decides.
type micro struct {
	buckets []microBucket
	shift   uint              // of a hash, to get a bucket
	turn    uint32            // whom to replace next
	hash    [buf.Burst]uint64 // of the packets that were asked for in this burst

	on     bool
	age    int    // windows for which it is on, or for how many more it stays off
	bursts uint32 // of this window so far
	asked  uint32 // packets in this window
	found  uint32 // of them, here
	probes uint32 // masks asked for packets in this window
}

// init takes memory for the buckets; their number is a power of two.
func (m *micro) init(buckets []microBucket) {
	m.buckets = buckets
	m.shift = uint(64 - bits.Len(uint(len(buckets)-1)))
}

// insert remembers that a key with this hash leads to entry number at.
func (m *micro) insert(hash uint64, at uint32) {
	b := &m.buckets[hash>>m.shift]
	m.turn++
	way := m.turn % microWays
	for w := range b.sig {
		if b.sig[w] == uint32(hash) {
			way = uint32(w)
		}
	}
	b.sig[way], b.entry[way] = uint32(hash), at
}

// What adapt goes by.
const (
	microWindow = 1024 // bursts after which it decides
	microProbes = 3    // masks that a packet costs at the most without micro
	microWarm   = 8    // windows in which it may fill itself: what it has room for by default
	microRest   = 64   // windows after which it is tried again
)

// adapt decides, at the end of a window, whether the next one uses micro: it costs
// about what three masks do, and as much again if it finds nothing.
func (m *micro) adapt() {
	m.bursts = 0
	asked, found, probes := m.asked, m.found, m.probes
	m.asked, m.found, m.probes = 0, 0, 0
	switch {
	case m.on:
		m.age++
		if m.age > microWarm && found < asked/4 {
			m.on, m.age = false, microRest
		}
	case m.age > 0:
		m.age--
	case probes > microProbes*asked:
		m.on = true
	}
}
