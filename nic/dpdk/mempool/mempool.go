package mempool

/*
#cgo pkg-config: libdpdk
#cgo noescape baton_mempool_get
#cgo nocallback baton_mempool_get
#cgo noescape baton_mempool_put
#cgo nocallback baton_mempool_put
#cgo noescape baton_mempool_avail
#cgo nocallback baton_mempool_avail
#include <stdlib.h>
#include "mempool.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"unsafe"

	"baton/dataplane/buf"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/mbuf"

	"golang.org/x/sys/unix"
)

// chunk is how many addresses are handed to C at once: buf.Cache's largest bulk.
const chunk = 256

// DefaultCache is the size of each per-lcore cache, in buffers: 8 bursts.
const DefaultCache = 256

// maxName is the longest name of a pool, in bytes (RTE_MEMPOOL_NAMESIZE).
const maxName = 24

// Options is how a pool is made. Num must be given.
type Options struct {
	Num      int // buffers
	DataRoom int // bytes of a buffer with its headroom; 0 = buf.DefaultDataRoom
	// Cache is the size of the cache that each NIC queue uses, in buffers; up to
	// one and a half times as many rest in it. 0 = DefaultCache, negative = none.
	Cache int
}

// Pool is a pool of packet buffers in DPDK's memory.
//
//	conc: safe for concurrent use, except Free
type Pool struct {
	mp   *C.struct_rte_mempool
	name string
	num  int

	mu    sync.Mutex
	freed bool
}

var _ buf.Source = (*Pool)(nil)

// ErrInUse is returned when a pool cannot be freed.
var ErrInUse = errors.New("buffers are still in use")

// CreateMbufPool makes a pool (rte_pktmbuf_pool_create). The name is unique in
// the process.
//
//	error: bad options; eal.ErrMemory if DPDK's memory is too small, with the size
//	       that is needed; eal.ErrNotInitialized
func CreateMbufPool(name string, opts Options) (*Pool, error) {
	if opts.DataRoom == 0 {
		opts.DataRoom = buf.DefaultDataRoom
	}
	switch {
	case opts.Cache == 0:
		opts.Cache = DefaultCache
	case opts.Cache < 0:
		opts.Cache = 0
	}
	if name == "" || len(name) > maxName {
		return nil, fmt.Errorf("mempool %q: the name must have 1 to %d bytes", name, maxName)
	}
	if opts.Num < 1 || opts.Num < 2*opts.Cache || opts.DataRoom < buf.Headroom+64 || opts.DataRoom > 65535 {
		return nil, fmt.Errorf("mempool %s: %d buffers of %d bytes, cache %d: want at least 1 buffer and twice the cache, of %d to 65535 bytes",
			name, opts.Num, opts.DataRoom, opts.Cache, buf.Headroom+64)
	}
	p := &Pool{name: name, num: opts.Num}
	err := eal.Do(func() error {
		cname := C.CString(name)
		defer C.free(unsafe.Pointer(cname))
		var errno C.int
		p.mp = C.baton_mempool_create(cname, C.uint(opts.Num), C.uint(opts.Cache), C.uint16_t(opts.DataRoom), -1, &errno)
		if p.mp != nil {
			return nil
		}
		return createError(eal.Errno(errno), opts)
	})
	if err != nil {
		return nil, fmt.Errorf("mempool %s: %w", name, err)
	}
	return p, nil
}

// MemoryNeed is about how much of DPDK's memory a pool takes, in bytes. DPDK lets
// no object cross a page unless it is larger than one, and gives a larger one
// whole pages: of 4096 bytes, each default buffer takes one.
func MemoryNeed(num, dataRoom, pageSize int) int {
	const overhead = 64 + 128 // mempool's header; padding that spreads objects over memory channels
	object := buf.HeaderSize + dataRoom + overhead
	ring := 8 << bits.Len(uint(num))
	if object > pageSize {
		return num*((object+pageSize-1)/pageSize*pageSize) + ring
	}
	perPage := pageSize / object
	return (num+perPage-1)/perPage*pageSize + ring
}

// createError says what to do about a pool that could not be made.
func createError(errno eal.Errno, opts Options) error {
	why := eal.Problems()
	if !errors.Is(errno, unix.ENOMEM) {
		return fmt.Errorf("%w%s", errno, why)
	}
	info, _ := eal.Running()
	need := (MemoryNeed(opts.Num, opts.DataRoom, info.PageSize) + 1<<20 - 1) >> 20
	return fmt.Errorf("%d buffers of %d bytes need about %d MiB, DPDK has %d MiB in all: %w: give it more or make fewer buffers%s",
		opts.Num, opts.DataRoom, need, info.MemoryMiB, eal.ErrMemory, why)
}

// Name is the pool's name.
func (p *Pool) Name() string { return p.name }

// Handle is the C pool, for packages of this binding.
func (p *Pool) Handle() unsafe.Pointer { return unsafe.Pointer(p.mp) }

// Identity implements buf.Source.
func (p *Pool) Identity() uintptr { return uintptr(unsafe.Pointer(p.mp)) }

// Size implements buf.Source.
func (p *Pool) Size() int { return p.num }

// Available implements buf.Source. Buffers in the caches of NIC queues count as
// available; the number is exact when no queue is polled.
func (p *Pool) Available() int { return int(C.baton_mempool_avail(p.mp)) }

// Get implements buf.Source: one C call for each 256 buffers.
//
//	alloc: 0
func (p *Pool) Get(bufs []*buf.Buf) bool {
	// Addresses as numbers: cgo would walk an array of pointers, 200 ns for 32.
	var addrs [chunk]uintptr
	for done := 0; done < len(bufs); {
		n := min(chunk, len(bufs)-done)
		if C.baton_mempool_get(p.mp, (*C.uintptr_t)(unsafe.Pointer(&addrs[0])), C.uint(n)) == 0 {
			p.Put(bufs[:done])
			return false
		}
		// SAFETY: the numbers are addresses of C memory, which the collector ignores.
		copy(bufs[done:], (*[chunk]*buf.Buf)(unsafe.Pointer(&addrs))[:n])
		done += n
	}
	return true
}

// Put implements buf.Source: one C call for each 256 buffers.
//
//	alloc: 0
func (p *Pool) Put(bufs []*buf.Buf) {
	var addrs [chunk]uintptr
	for len(bufs) > 0 {
		n := min(chunk, len(bufs))
		for i, b := range bufs[:n] {
			addrs[i] = uintptr(unsafe.Pointer(b))
		}
		C.baton_mempool_put(p.mp, (*C.uintptr_t)(unsafe.Pointer(&addrs[0])), C.uint(n))
		bufs = bufs[n:]
	}
}

// Release implements buf.Source.
func (p *Pool) Release(b *buf.Buf) { mbuf.PktMbufFree(b) }

// FlushLcore gives back what the cache of an lcore id holds. Nobody may use the
// id during the call.
func (p *Pool) FlushLcore(lcore int) {
	if lcore >= 0 {
		C.baton_mempool_flush(p.mp, C.uint(lcore))
	}
}

// Free gives the pool's memory back to DPDK; a second call does nothing.
//
//	error: ErrInUse with the number of buffers that are out; nothing was done
func (p *Pool) Free() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.freed {
		return nil
	}
	if out := p.num - p.Available(); out != 0 {
		return fmt.Errorf("mempool %s: %d of %d %w", p.name, out, p.num, ErrInUse)
	}
	err := eal.Do(func() error { C.baton_mempool_free(p.mp); return nil })
	p.freed = err == nil
	return err
}
