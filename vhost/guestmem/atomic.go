package guestmem

import (
	"sync/atomic"
	"unsafe"
)

// load16 reads the 16-bit field at p with acquire order, in one 32-bit load of the
// aligned word around it.
func load16(p unsafe.Pointer) uint16 {
	// SAFETY: p is 2-aligned (checked when the ring was made), so the word around
	// it lies in p's page; the other half is not looked at.
	w := atomic.LoadUint32((*uint32)(unsafe.Pointer(uintptr(p) &^ 3)))
	return uint16(w >> (uintptr(p) & 2 * 8))
}

// store16 writes the 16-bit field at p. It has no order of its own: the caller
// stores atomically or fences before the other side may look. A 32-bit store would
// overwrite what lies beside the field.
func store16(p unsafe.Pointer, v uint16) {
	// SAFETY: p is inside a checked ring and 2-aligned.
	*(*uint16)(p) = v
}

// Fence orders all stores before it before all loads after it. On amd64 an XCHG, a
// full barrier; on arm64 a swap with acquire and release, which is one too.
func Fence() {
	var x uint32
	atomic.SwapUint32(&x, 1)
}
