package cache

import (
	"baton/dataplane/action"
	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

// Entry is one megaflow: packets whose key agrees with its key in the bits of its
// mask get Actions. It is four cache lines, of which a packet that only leaves, by
// a port or in a tunnel, touches the first and the third:
//
//	0  counters, where the packet goes
//	1  edits
//	2  generation, mask, key: nothing here is written by a hit
//	3  the rest of a long key, bookkeeping
//
//	owner: the cache; valid until the next LookupBurst
type Entry struct {
	Packets stats.Counter // since the entry was made
	Bytes   stats.Counter // since the entry was made
	used    uint64        // Cache.now at the last hit

	Actions action.List

	gen  uint64 // of the pipeline; 0: not in use
	mask uint32 // number of the mask
	_    uint32
	key  packed // under the mask

	credited, creditedBytes uint64 // of the counters: what the rules were credited with
	_                       [2]uint64
}

// entrySize is the size of an Entry in bytes; the assembly relies on it.
const entrySize = 256

// Hit counts packets that go by the entry.
//
//	alloc: 0
func (e *Entry) Hit(packets, bytes uint64) {
	e.Packets.Add(packets)
	e.Bytes.Add(bytes)
}

// Flow is an entry as Dump shows it.
type Flow struct {
	Key, Mask      flow.Key
	Actions        action.List
	Packets, Bytes uint64
	Generation     uint64 // of the pipeline that the entry is right for
	Idle           uint32 // ticks since the last packet
}

// live reports whether the entry is in a bucket, or lent as a spare one.
// Generations of a pipeline are never 0.
func (e *Entry) live() bool { return e.gen != 0 }
