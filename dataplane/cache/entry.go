package cache

import (
	"baton/dataplane/action"
	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

// Entry is one megaflow: packets whose key agrees with Key in the bits of Mask
// get Actions.
//
//	owner: the cache; valid until the next LookupBurst
type Entry struct {
	Packets stats.Counter // since the entry was made
	Bytes   stats.Counter // since the entry was made
	used    uint64        // Cache.now at the last hit
	gen     uint64        // of the pipeline
	stamp   uint32        // grows with each new life of the entry; 0: never used
	mask    uint32        // number of the mask
	refs    uint32        // first block of the rules used, 0: none

	Actions action.List
	Key     flow.Key // under the mask

	credited, creditedBytes uint64 // of the counters: what the rules were told
}

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
