// Package mbuf ties buf.Buf to DPDK's rte_mbuf: they are the same memory.
//
//	Go   buf.Buf          {Addr, iova, DataOff, RefCnt, ...}   128 bytes
//	      = (checked by the compiler, layout.go)
//	C    struct rte_mbuf  {buf_addr, buf_iova, data_off, refcnt, ...}
//
// Fields are read and written from Go; C is called only for buffers that are
// chained, shared or of another pool. If DPDK's header changes its layout, this
// package does not compile.
//
// Callers: nic/dpdk and its packages; others use buf.Buf alone.
package mbuf
