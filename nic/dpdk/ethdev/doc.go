// Package ethdev controls DPDK's Ethernet devices (Port) and moves packets
// through one of their queue pairs (Burst).
//
//	             Stage          Poll: one C call
//	worker ──> [ tx: 128 ] ──> rte_eth_tx_burst ──> device
//	worker <── [ rx:  32 ] <── rte_eth_rx_burst <── device
//	             both outside Go's heap
//
// Invariants: control functions run on the EAL's thread, one after the other.
// A Burst is used by one goroutine at a time; for the time of each C call the
// thread carries the Burst's lcore id, so that drivers use the pool's cache of
// that id, and no id outside of it. What is staged belongs to the Burst until
// the device takes it, in order.
//
// Callers: nic/dpdk; tests and benchmarks.
package ethdev
