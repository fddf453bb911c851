package mempool

import "baton/dataplane/buf"

// Share is a pool seen through the cache of one lcore id: the buffers that the driver of a
// queue has just freed are the next that Get gives, while they are still in the CPU's
// caches. The pool's own ring gives those that were free for the longest.
//
//	conc: one goroutine at a time, the one that polls the queue with the id
type Share struct {
	*Pool
	lcore int
}

var _ buf.Source = Share{}

// shareChunk is how many buffers are taken at a time: DPDK gives out of a cache only what
// is less than all that it may hold.
const shareChunk = DefaultCache / 4

// Share is the pool through the cache of an id from eal.AllocLcore; of eal.NoLcore it is
// the pool itself.
func (p *Pool) Share(lcore int) Share { return Share{p, lcore} }

// Get implements buf.Source.
//
//	alloc: 0
func (s Share) Get(bufs []*buf.Buf) bool { return s.get(bufs, shareChunk, s.lcore) }

// Put implements buf.Source.
//
//	alloc: 0
func (s Share) Put(bufs []*buf.Buf) { s.put(bufs, s.lcore) }
