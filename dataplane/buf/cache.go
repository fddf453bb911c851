package buf

// Source is a pool of buffers that any number of workers share. It is called in
// bulk, never once a packet. nic/dpdk's mempool is one, Pool is another.
//
//	conc: all methods are safe for concurrent use
type Source interface {
	// Get fills bufs with buffers of one segment each, RefCnt 1; all or nothing. They are
	// as they were put back: who takes them resets them, as Cache does.
	Get(bufs []*Buf) bool
	// Put takes back single-segment buffers of this pool with RefCnt 1.
	Put(bufs []*Buf)
	// Release frees a buffer of any kind with all its segments: chained, shared, or
	// of another pool.
	Release(b *Buf)
	// Identity is the value of Buf.Pool for this pool's buffers.
	Identity() uintptr
	// Size is the number of buffers the pool was made with.
	Size() int
	// Available is the number of buffers in the pool; those in caches do not count.
	Available() int
}

// cacheSize is how many free buffers a worker keeps at the most, refill how many
// it fetches when it has none: 8 bursts, so that the shared pool is called once
// in 8 bursts or less.
const (
	cacheSize = 512
	refill    = 256
)

// notDirect are the flags of a buffer whose data room is not its own:
// RTE_MBUF_F_INDIRECT and RTE_MBUF_F_EXTERNAL (rte_mbuf_core.h).
const notDirect = 1<<62 | 1<<61

// Cache is one worker's stock of free buffers.
//
//	conc: one goroutine    alloc: 0 after NewCache
type Cache struct {
	src  Source
	pool uintptr
	num  int
	bufs [cacheSize]*Buf

	// Failed counts Alloc calls that found no buffer.
	Failed uint64
}

// NewCache is an empty cache before src.
func NewCache(src Source) *Cache { return &Cache{src: src, pool: src.Identity()} }

// Held is the number of free buffers in the cache.
func (c *Cache) Held() int { return c.num }

// Alloc is a fresh buffer, as after Reset but for TxOffload, or nil when the pool is exhausted.
func (c *Cache) Alloc() *Buf {
	if c.num == 0 && !c.fill() {
		c.Failed++
		return nil
	}
	c.num--
	b := c.bufs[c.num]
	b.renew()
	return b
}

// AllocBurst fills v[:n] with fresh buffers; it returns how many there were, and counts
// one failure if not n.
func (c *Cache) AllocBurst(v *Vec, n int) (got int) {
	for got < n {
		if c.num == 0 && !c.fill() {
			c.Failed++
			break
		}
		k := min(n-got, c.num)
		c.num -= k
		for i, b := range c.bufs[c.num : c.num+k] {
			b.renew()
			v[got+i] = b
		}
		got += k
	}
	return got
}

// fill fetches as many buffers as the source will give: refill, or a burst, or one.
func (c *Cache) fill() bool {
	for _, n := range [...]int{refill, Burst, 1} {
		if c.src.Get(c.bufs[:n]) {
			c.num = n
			return true
		}
	}
	return false
}

// Identity is the pool of the buffers in the cache, Source.Identity.
func (c *Cache) Identity() uintptr { return c.pool }

// Give puts as many of bufs, the last first, into the cache as it has room for, and returns
// how many: free buffers of the cache's pool, as Source.Put wants them.
func (c *Cache) Give(bufs []*Buf) int {
	n := min(len(bufs), cacheSize-c.num)
	copy(c.bufs[c.num:], bufs[len(bufs)-n:])
	c.num += n
	return n
}

// Take fills bufs from the cache as far as it has free buffers, and returns how many. They
// are as Source.Get gives them.
func (c *Cache) Take(bufs []*Buf) int {
	n := min(len(bufs), c.num)
	c.num -= n
	copy(bufs, c.bufs[c.num:c.num+n])
	return n
}

// AllocSegment is Alloc of a buffer that becomes a further segment of a chain: all
// its data room is tailroom.
func (c *Cache) AllocSegment() *Buf {
	b := c.Alloc()
	if b != nil {
		b.DataOff = 0
	}
	return b
}

// Free takes back b with all its segments; b may be nil.
func (c *Cache) Free(b *Buf) {
	if b == nil {
		return
	}
	if !c.own(b) || b.NbSegs != 1 {
		c.freeChain(b)
		return
	}
	if c.num == cacheSize {
		c.spill()
	}
	c.bufs[c.num] = b
	c.num++
}

// own reports whether b is a buffer of this pool that nobody else holds.
func (c *Cache) own(b *Buf) bool {
	return uintptr(b.Pool) == c.pool && b.RefCnt == 1 && b.OlFlags&notDirect == 0
}

// freeChain frees segment by segment, and from the first that is shared or of
// another pool on by the source, which knows what those are.
func (c *Cache) freeChain(b *Buf) {
	for b != nil {
		if !c.own(b) {
			c.src.Release(b)
			return
		}
		next := b.Next
		b.Next, b.NbSegs = nil, 1
		c.Free(b)
		b = next
	}
}

// spill gives part of a full cache back to the source.
func (c *Cache) spill() {
	c.num -= refill
	c.src.Put(c.bufs[c.num : c.num+refill])
}

// FreeAll frees the first n buffers of v.
func (c *Cache) FreeAll(v *Vec, n int) {
	if c.num+n > cacheSize {
		c.spill()
	}
	num := c.num
	for i := range n {
		b := v[i&(Burst-1)]
		if b != nil && c.own(b) && b.NbSegs == 1 {
			c.bufs[num&(cacheSize-1)] = b
			num++
			continue
		}
		c.num = num
		c.Free(b)
		if c.num+n > cacheSize { // it was a chain
			c.spill()
		}
		num = c.num
	}
	c.num = num
}

// Flush gives all cached buffers back to the source.
func (c *Cache) Flush() {
	if c.num > 0 {
		c.src.Put(c.bufs[:c.num])
		c.num = 0
	}
}
