// Package eal starts DPDK's environment abstraction layer and gives the other
// packages of the binding a thread to call DPDK's control functions on.
//
//	Init ──> goroutine on its own OS thread, locked, never returned
//	             | rte_eal_init        (pins this thread, and only this one)
//	             | Do(fn), Do(fn) ...  one after the other
//	             v
//	        rte_log ──> pipe ──> goroutine ──> hclog
//
// Invariants: a process starts the EAL at most once. Everything that can be
// checked before rte_eal_init is checked before, because that function cannot be
// called a second time and some of its failures end the process. The EAL's
// thread gives up its lcore id after the start, so that no Go thread is ever an
// lcore: DPDK's per-lcore caches are used only under an id from AllocLcore.
//
// Callers: nic/dpdk and its packages; cmd calls Init once, early.
package eal
