// Package loopgap measures how evenly baton's poll loop turns: how long it takes from one
// look at a port to the next, while the control side of the same process allocates memory,
// beside a bare loop in C under the same conditions.
//
//	Run ──> child (this program once more), one for each loop and condition
//	          CPU a  worker.Pool with one port, which notes gaps   or   nic/dpdk/spin
//	          CPU b  all other threads: 100 MB/s allocated, garbage collected
//
// What both loops suffer is the machine's and its kernel's; what only baton's does is Go's:
// those gaps in which the loop's thread gave its CPU away, to wait for another thread.
//
// A program that uses the package calls RunChild first thing in main (a test in TestMain).
package loopgap
