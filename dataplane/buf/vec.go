package buf

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Burst is the most packets that one Rx or Tx call moves. 32 is DPDK's and
// OVS's burst; a throwaway prototype measured no gain at 64.
const Burst = 32

// Vec is a burst of buffers. Vectors that are handed to a NIC must lie outside
// Go's heap (NewOffHeap), or cgo scans them in every call.
type Vec [Burst]*Buf

// NewOffHeap is a zeroed *T outside Go's heap. T must not hold pointers into
// Go's heap: the collector does not see them. Free it with FreeOffHeap.
//
//	error: no memory
func NewOffHeap[T any]() (*T, error) {
	var zero T
	mem, err := unix.Mmap(-1, 0, int(unsafe.Sizeof(zero)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("buf: %d bytes outside the heap: %w", unsafe.Sizeof(zero), err)
	}
	// SAFETY: the mapping is at least Sizeof(T) long and page aligned.
	return (*T)(unsafe.Pointer(unsafe.SliceData(mem))), nil
}

// FreeOffHeap gives back what NewOffHeap made; p must not be used afterwards.
func FreeOffHeap[T any](p *T) error {
	// SAFETY: p was made by NewOffHeap, so that the slice is the mapping itself.
	return unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(p)), int(unsafe.Sizeof(*p))))
}
