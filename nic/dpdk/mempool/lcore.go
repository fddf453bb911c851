package mempool

/*
#include <stddef.h>
#include <rte_mempool.h>

enum {
	OFF_SIZE = offsetof(struct rte_mempool_cache, size),
	OFF_LEN = offsetof(struct rte_mempool_cache, len),
	OFF_OBJS = offsetof(struct rte_mempool_cache, objs),
	MOST_OBJS = RTE_MEMPOOL_CACHE_MAX_SIZE * 2,
};

static struct rte_mempool_cache *baton_lcore_cache(struct rte_mempool *mp, unsigned int lcore)
{
	return rte_mempool_default_cache(mp, lcore);
}
*/
import "C"

import (
	"unsafe"

	"baton/dataplane/buf"
	"baton/nic/dpdk/eal"
)

// lcoreCache is struct rte_mempool_cache, as far as it is used here.
type lcoreCache struct {
	size, flushthresh uint32
	num               uint32 // its len
	_                 [C.OFF_OBJS - C.OFF_LEN - 4]byte
	objs              [C.MOST_OBJS]*buf.Buf // the first num are there, the last in comes out first
}

// The layouts agree, or this does not compile.
const (
	_ = -(uint(unsafe.Offsetof(lcoreCache{}.size)) ^ C.OFF_SIZE)
	_ = -(uint(unsafe.Offsetof(lcoreCache{}.num)) ^ C.OFF_LEN)
	_ = -(uint(unsafe.Offsetof(lcoreCache{}.objs)) ^ C.OFF_OBJS)
)

// Stock is a pool's cache of one lcore id, which Go looks into itself: it lets what the
// driver of a queue frees be what the queue's worker takes next, and the other way round.
// Without it such buffers would go through the pool's ring, which gives those that were
// free for the longest: each packet would meet memory that no CPU cache has.
//
//	conc: one goroutine at a time, the one that polls the queue with the id
type Stock struct {
	pool uintptr
	low  int
	high int
	// SAFETY: DPDK's memory, alive as long as the pool; only C calls with the id use it
	// besides, and those are the same goroutine's.
	c *lcoreCache
}

// Stock is the pool's cache of an id from eal.AllocLcore; nil if it has none.
func (p *Pool) Stock(lcore int) *Stock {
	if lcore == eal.NoLcore {
		return nil
	}
	c := (*lcoreCache)(unsafe.Pointer(C.baton_lcore_cache(p.mp, C.uint(lcore))))
	if c == nil || c.size < 4*buf.Burst {
		return nil
	}
	return &Stock{pool: p.Identity(), low: int(c.size) / 4, high: int(c.size) * 3 / 4, c: c}
}

// Even moves buffers between the stock and a worker's cache of the same pool, if the stock
// has many or few: after it a driver finds a burst and room for one, if the worker has them.
//
//	alloc: 0
func (s *Stock) Even(w *buf.Cache) {
	n := int(s.c.num)
	if n >= s.low && n <= s.high || w.Identity() != s.pool {
		return
	}
	half := (s.low + s.high) / 2
	if n > s.high {
		s.c.num -= uint32(w.Give(s.c.objs[half:n]))
		return
	}
	s.c.num += uint32(w.Take(s.c.objs[n:half]))
}
