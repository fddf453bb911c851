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

// Fence orders all stores before it before all of this package's loads after it. On
// amd64 it is an XCHG, a full barrier. On arm64 it is a swap with acquire and release:
// one instruction is a full barrier too; where the CPU has none (before ARMv8.1) it
// ends in a store-release, which the load-acquires of load16 do not pass.
func Fence() {
	var x uint32
	atomic.SwapUint32(&x, 1)
}
