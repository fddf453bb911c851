// Package mempool has DPDK's pools of packet buffers as a buf.Source.
//
//	worker: buf.Cache <──bulk──> Pool (rte_mempool, a lock-free ring) <──> NIC queue
//	                                                         per-lcore cache, one a queue
//
// Go threads are no lcores, so what they take and give goes to the ring of the
// pool itself, in bulk, past DPDK's per-lcore caches: buf.Cache is their cache.
// A NIC's queue brings an lcore id of its own (eal.AllocLcore) and uses the cache
// of that id, as drivers allocate and free packet by packet. A Stock
// evens out what that cache and the worker's hold.
//
// Invariants: the pool's ring is safe for any number of producers and consumers;
// a per-lcore cache is used by one queue only. Buffers come from one pool for
// the whole process, so that a buffer may leave by any port.
//
// Callers: cmd makes the pool; workers use it through buf.Cache.
package mempool
