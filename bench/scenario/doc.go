// Package scenario has the suite's scenarios, a file each, and what they are made of.
//
//	Scenario ── Plan: VMs, NIC, load ──> Bench.Compare ──> a suite.Rig for each system:
//	                                                       baton, OVS-DPDK, testpmd
//	                                     trials in turns ──> Bench.Report
//
// A new scenario is a type with three methods (Scenario) and a line in All. One that
// compares systems fills in a Plan for each case; another does what it likes with a Bench.
package scenario
