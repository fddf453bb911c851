// Package ealtest runs a test's body in a process of its own, since DPDK starts
// once in a process and each configuration needs a fresh one.
//
//	go test ── TestX ── Run("plain") ──> same binary, -test.run TestX ── eal.Init ── body
//	                 └─ Run("huge")  ──> same binary, ...
//
// The process is the test binary itself; it runs the same test function again,
// and in it only the one body that it was started for.
//
// Callers: tests of nic/dpdk and of rooms that need DPDK.
package ealtest
