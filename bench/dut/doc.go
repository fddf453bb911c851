// Package dut is baton as a system under test: the complete data plane of batond with
// its default settings, in a process of its own.
//
//	Process ── JSON lines ──> child: worker.Pool, pipeline with the rules that compile
//	 (this program            makes of a network, netdev and proto for each VM's socket,
//	  once more)              nic/dpdk as the underlay
//
// What differs from batond: rules come from a network that the parent gives, not from a
// controller; the device is a virtual one and the VTEP has the network's MAC, whatever
// the device's is; and all threads but the workers have the load's CPU.
//
// A program that uses the package calls RunChild first thing in main (a test in TestMain).
package dut
