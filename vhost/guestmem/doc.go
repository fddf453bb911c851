// Package guestmem maps a guest's memory and is the only place that touches it:
// all unsafe access, all ring atomics and the guard against memory that vanishes
// are here. The rings (virtq) are built on it and hold no unsafe code.
//
//	front end's files          Mapping            Table (immutable snapshot)
//	+--------+  mmap shared  +----------+       +--------------------------+
//	| memfd  |-------------->| region 0 |<------| guest physical -> host   |
//	| hugetlb|-------------->| region 1 |<------| front-end user -> host   |
//	+--------+               +----------+       +--------------------------+
//	                                                  |            |
//	                                             Cursor, Span   SplitRing, PackedRing
//	                                             (frame bytes)  (ring fields)
//
// Log is the dirty log of a migration, mapped in the same way.
//
// Invariants:
//   - No address that a peer names is used before its whole range was checked
//     against the table; no sum of peer's numbers wraps unnoticed.
//   - A Table never changes. Pollers reach it through a pointer that the control
//     side swaps; a Mapping is closed only after a Quiesce that followed the swap.
//   - Every field of shared memory is read by exactly one load (Span.Read copies).
//   - Guest memory may shrink under us. Whoever touches it runs between
//     debug.SetPanicOnFault and a recover that asks Table.Fault (workers), or
//     inside Try (control side).
//
// Memory order: Go's atomics are sequentially consistent, so that a load here is
// an acquire and a store a release on every platform. Go has no 16-bit atomics:
// 16-bit fields are loaded through the aligned 32-bit word around them (which never leaves
// the page). Hosts are little-endian, as virtio's modern layout is: amd64, arm64.
//
// Callers: Map, Table, NewLog and Try from a device's control goroutine; Cursor, Span,
// the rings and Log.Mark from the worker that polls the ring.
package guestmem
