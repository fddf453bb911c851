package cache

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// Burst is the keys of a burst and what was found for them. It is large: keep
// one and use it again. It may lie outside the heap.
type Burst struct {
	Num     int                 // packets, 0..buf.Burst
	Keys    [buf.Burst]flow.Key // set by the caller
	Hashes  [buf.Burst]uint64   // set by Cache.Hash: flow.PathHash
	Entries [buf.Burst]*Entry   // set by LookupBurst and Miss
}

// Config is the sizes of a Cache.
type Config struct {
	// MicroFlows is how many keys the exact-match cache knows: 8 bytes each; rounded
	// up to a power of two. 0: 8192.
	MicroFlows int
	// MegaFlows is how many entries the masked cache holds: 600 bytes each, their rules
	// included, from Populate on, 730 where walks are very long; rounded up to a power of
	// two. 0: 65536.
	MegaFlows int
	// Seed of the hashes: random for each process.
	Seed uint64
}

// Counters of a Cache.
type Counters struct {
	MicroHits stats.Counter
	MegaHits  stats.Counter
	Misses    stats.Counter // walks for keys that no entry matched
	Stale     stats.Counter // walks for entries of another generation
	Evicted   stats.Counter // entries that made room for others
	Steps     stats.Counter // what the walks cost, in tables looked into
}

// Cache is a worker's flow caches.
//
//	conc: one goroutine; Counters from any
type Cache struct {
	Counters Counters

	micro micro
	mega  mega
	tally tally
	rules *pipeline.Counters
	res   *pipeline.Result
	now   uint64 // ticks in the upper half, bursts in the lower
	hand  uint32 // where Sweep goes on
	evict uint32 // where room goes on
	last  uint32 // mask of the entry that Miss made last
	spare uint32 // set of the spare entries that this burst uses
	maps  [][]byte
	wide  [][]byte // of maps: memory that flows use here and there, from the first ones on

	same   [maxHints]same        // by hintOf
	search search                // LookupBurst's
	missed bool                  // fresh or stale are of meaning
	began  bool                  // Miss was called for this burst
	fresh  [maxMasks / 64]uint64 // set of the masks under which Miss made entries in this burst
	known  hashed                // of the packet that Miss is about
	stale  [buf.Burst]uint32     // entry of an older generation that a packet found, +1; 0: none
}

// Limits of Config: below one bucket a cache makes no sense, above, the numbers
// of entries would not fit in 32 bits with room to spare.
const (
	minFlows = 64
	maxFlows = 1 << 26
)

// New is an empty cache. Rules are credited to rules.
//
//	error: a size is out of range, no memory; nothing is kept
func New(cfg Config, rules *pipeline.Counters) (*Cache, error) {
	if cfg.MicroFlows == 0 {
		cfg.MicroFlows = 8192
	}
	if cfg.MegaFlows == 0 {
		cfg.MegaFlows = 65536
	}
	for _, n := range []int{cfg.MicroFlows, cfg.MegaFlows} {
		if n < minFlows || n > maxFlows {
			return nil, fmt.Errorf("cache: size of %d flows: want %d to %d", n, minFlows, maxFlows)
		}
	}
	numMicro, numMega := power2(cfg.MicroFlows), power2(cfg.MegaFlows)
	c := &Cache{rules: rules, res: new(pipeline.Result)}
	microBuckets, err1 := offHeap[microBucket](c, numMicro/microWays, true)
	megaBuckets, err2 := offHeap[megaBucket](c, numMega/megaWays, true)
	// Besides the entries in buckets, a spare one for each packet of a burst.
	entries, err3 := offHeap[Entry](c, numMega+buf.Burst, true)
	stamps, err4 := offHeap[stamps](c, numMega/megaWays, true)
	lists, err5 := offHeap[refs](c, len(entries), true)
	// One block an entry, and enough for a burst of the longest walks; used one after the other.
	blocks, err6 := offHeap[block](c, numMega+buf.Burst*int(need(pipeline.MaxSteps))+1, false)
	for _, err := range []error{err1, err2, err3, err4, err5, err6} {
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("cache: %d microflows and %d megaflows: %w", numMicro, numMega, err)
		}
	}
	c.micro.init(microBuckets)
	c.mega.init(megaBuckets, stamps, entries, cfg.Seed)
	c.mega.refs.init(lists, blocks)
	return c, nil
}

// power2 is the smallest power of two that is not below n.
func power2(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}

// offHeap maps memory for n values of T, which must not hold pointers into the heap; wide
// says that they are used here and there, not one after the other.
func offHeap[T any](c *Cache, n int, wide bool) ([]T, error) {
	var zero T
	mem, err := unix.Mmap(-1, 0, n*int(unsafe.Sizeof(zero)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	c.maps = append(c.maps, mem)
	advice := unix.MADV_NOHUGEPAGE // the less is taken at a time, the less a worker waits for it
	if wide {
		c.wide = append(c.wide, mem)
		advice = unix.MADV_HUGEPAGE // fewer misses of the TLB
	}
	_ = unix.Madvise(mem, advice) // where the kernel has no huge pages, ordinary ones do
	// SAFETY: the mapping is n*Sizeof(T) long, page aligned, zeroed, and kept until Close.
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), n), nil
}

// Populate has the kernel give the cache, at once, all memory that scattered flows would
// take a piece of in turn, each while a packet waits. The first ten flows or so hit most of
// the huge pages, and to clear one takes 0.1 ms, many times that on a virtual machine
// whose host must find the memory first. The memory is then near the CPU that this is
// called on. Rules of walks so long that entries have no room for them take theirs as
// they come, little by little. Kernels before 5.14 do nothing here.
func (c *Cache) Populate() {
	for _, mem := range c.wide {
		_ = unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
	}
}

// Close credits the rules and unmaps the memory; no Entry may be used afterwards.
func (c *Cache) Close() {
	m := &c.mega
	c.freeSpares()
	for n := range m.buckets {
		for w, tag := range &m.buckets[n] {
			if tag != 0 {
				c.credit(uint32(n*megaWays + w))
			}
		}
	}
	c.tally.settle(tallySlots, c.rules)
	c.mega, c.micro = mega{}, micro{}
	for _, mem := range c.maps {
		// Unmap fails only for memory that is not mapped; there is nothing to do about it.
		_ = unix.Munmap(mem)
	}
	c.maps, c.wide = nil, nil
}

// Tick advances the clock by which Flow.Idle counts. What a tick is, is the
// caller's choice: about a second does.
func (c *Cache) Tick() { c.now += 1 << 32 }

// Len is the number of megaflow entries, NumMasks of different masks among them.
func (c *Cache) Len() int { return c.mega.num }

// NumMasks is the number of masks in use.
func (c *Cache) NumMasks() int { return c.mega.masks.num }
