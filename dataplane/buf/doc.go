// Package buf has the packet buffers of the dataplane: one header (Buf), a
// vector of a burst's length (Vec), a pool of plain memory (Pool) and the
// per-worker cache of free buffers (Cache) that stands before any pool.
//
//	      Buf (128 B)                data room
//	+---------------------+    +----------+---------+----------+
//	| Addr DataOff PktLen |--->| headroom |  frame  | tailroom |
//	+---------------------+    +----------+---------+----------+
//
// A Buf has the memory layout of DPDK's rte_mbuf, so that a buffer goes to a
// NIC's queue as it is. nic/dpdk asserts the layout against the C header when
// it is built. All buffers live outside Go's heap; a pointer to one is not
// followed by the garbage collector.
//
// A frame larger than a buffer is a chain of them (chain.go): only super-segments
// of TCP are, which say so by TxTCPSeg. Their headers lie in the first segment.
//
// Invariants: a buffer has exactly one owner at any time; whoever takes it
// over frees it or hands it on. Buffers of one process come from one pool.
package buf
