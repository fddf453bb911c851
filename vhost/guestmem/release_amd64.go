//go:build !purego

package guestmem

// Every store of this processor is a release: it becomes visible after all that came
// before it. A plain one does not wait until it is, as an atomic one would; Go's compiler
// keeps stores in their order.

// release32 stores v after all stores before it.
func release32(p *uint32, v uint32) { *p = v }

// release64 is release32 for 64 bits.
func release64(p *uint64, v uint64) { *p = v }
