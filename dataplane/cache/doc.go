// Package cache has a worker's flow caches: what the slow path once found out,
// kept for the packets that follow.
//
//	key --Micro--> entry          exact match, one bucket (a cache line) and one key
//	      | miss
//	      +-Mega--> entry         key under each mask in use, one bucket a mask
//	          | miss or stale
//	          +-walk--> new entry
//
// Both have a fixed size. Among the entries that compete for a bucket, Mega
// forgets the one that was not used for longest, Micro any: any number of flows
// fits, for the price of walking again, or of asking Mega. All of it lies outside
// Go's heap.
//
// An entry is of one generation of the pipeline. LookupBurst hands out entries
// of the asked generation only, so no packet goes by a rule that a barrier said
// is gone. A stale entry is walked again when it is met.
//
// All methods are called by the one worker that owns the Cache; there are no
// locks. Who wants to see the entries asks the worker to call Dump.
package cache
