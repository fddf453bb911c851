// Package ring has DPDK's lock-free rings, for one producer and one consumer:
// the wire between this process's Go code and C code that shares its memory.
//
//	producer: SpEnqueueBurst ──> [ | | | | ] ──> consumer: ScDequeueBurst
//
// Invariants: a ring carries addresses of DPDK's memory, never of Go's heap; one
// goroutine puts in and one takes out at a time. Between two goroutines a ring of
// Go's own is cheaper: no C call.
//
// Callers: nic/dpdk and programs that share buffers with C code.
package ring
