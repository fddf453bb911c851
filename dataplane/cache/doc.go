// Package cache has a worker's flow caches: what the slow path once found out,
// kept for the packets that follow.
//
//	keys of a burst
//	   +--same---> entry       the one that the last packet from there went by
//	   | rest
//	   +--Micro--> entry       hash of the whole key to an entry; only while masks are many and it finds something
//	   | rest
//	   +--Mega---> entry       mask by mask, all packets at once: one bucket a mask
//	       | rest, or stale
//	       +--walk--> new entry
//
// Under each mask only the words that it covers are hashed and compared, so that with few
// masks, as usual, a masked lookup is as cheap as an exact one and any number of flows
// shares an entry. A burst goes through hashing, buckets and entries together, each step
// loading what the next one needs.
//
// Both have a fixed size. Among the entries that compete for a bucket, Mega forgets one
// that was not used for long, Micro any: any number of flows fits, for the price of walking
// again, or of asking Mega. All of it lies outside Go's heap, and is there from Populate on:
// flows are spread over it by their hashes, so the first few would take most of it anyway,
// and make their packets wait for it.
//
// An entry is of one generation of the pipeline. LookupBurst hands out entries
// of the asked generation only, so no packet goes by a rule that a barrier said
// is gone. A stale entry is walked again when it is met.
//
// All methods are called by the one worker that owns the Cache; there are no
// locks. Who wants to see the entries asks the worker to call Dump.
package cache
