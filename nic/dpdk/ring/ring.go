package ring

/*
#cgo pkg-config: libdpdk
#cgo noescape baton_ring_enqueue
#cgo nocallback baton_ring_enqueue
#cgo noescape baton_ring_dequeue
#cgo nocallback baton_ring_dequeue
#cgo noescape baton_ring_count
#cgo nocallback baton_ring_count
#include <stdlib.h>
#include "ring.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"baton/dataplane/buf"
	"baton/nic/dpdk/eal"
)

// maxName is the longest name of a ring, in bytes (RTE_RING_NAMESIZE).
const maxName = 28

// maxSize is the largest ring (RTE_RING_SZ_MASK), in buffers.
const maxSize = 0x7fffffff

// Ring carries buffers from one producer to one consumer, in order.
//
//	conc: one goroutine puts in, one takes out; Count and Capacity from any
type Ring struct {
	r *C.struct_rte_ring
}

// Create makes a ring that holds size buffers. The name is unique in the process.
//
//	error: name or size out of range, an eal.Errno (name in use, no memory), eal.ErrNotInitialized
func Create(name string, size int) (*Ring, error) {
	if name == "" || len(name) > maxName {
		return nil, fmt.Errorf("ring %q: the name must have 1 to %d bytes", name, maxName)
	}
	if size < 1 || size >= maxSize {
		return nil, fmt.Errorf("ring %s: size %d: want 1 to %d", name, size, maxSize-1)
	}
	r := &Ring{}
	err := eal.Do(func() error {
		cname := C.CString(name)
		defer C.free(unsafe.Pointer(cname))
		var errno C.int
		if r.r = C.baton_ring_create(cname, C.uint(size), &errno); r.r == nil {
			return eal.Errno(errno)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ring %s of %d: %w", name, size, err)
	}
	return r, nil
}

// SpEnqueueBurst puts in the first n buffers of v, or as many as fit, and returns
// how many: those belong to the consumer. 0 <= n <= buf.Burst.
//
//	alloc: 0
func (r *Ring) SpEnqueueBurst(v *buf.Vec, n int) int {
	var addrs [buf.Burst]uintptr
	for i, b := range v[:n] {
		addrs[i] = uintptr(unsafe.Pointer(b))
	}
	return int(C.baton_ring_enqueue(r.r, (*C.uintptr_t)(unsafe.Pointer(&addrs[0])), C.uint(n)))
}

// ScDequeueBurst fills v with up to n buffers from v[0] on and returns their
// number: they belong to the caller. 0 <= n <= buf.Burst.
//
//	alloc: 0
func (r *Ring) ScDequeueBurst(v *buf.Vec, n int) int {
	var addrs [buf.Burst]uintptr
	n = int(C.baton_ring_dequeue(r.r, (*C.uintptr_t)(unsafe.Pointer(&addrs[0])), C.uint(min(n, buf.Burst))))
	// SAFETY: the numbers are addresses of C memory, which the collector ignores.
	copy(v[:], (*buf.Vec)(unsafe.Pointer(&addrs))[:n])
	return n
}

// Count is the number of buffers in the ring.
func (r *Ring) Count() int { return int(C.baton_ring_count(r.r)) }

// Capacity is the number of buffers that the ring holds.
func (r *Ring) Capacity() int { return int(C.baton_ring_capacity(r.r)) }

// Free gives the ring's memory back; the buffers in it are the caller's to take
// out before. The ring must not be used afterwards.
func (r *Ring) Free() error {
	return eal.Do(func() error { C.baton_ring_free(r.r); return nil })
}
