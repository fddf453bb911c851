// Package machine is what a benchmark asks of the machine and tells about it: CPUs for
// its threads, the latency between them, and who else took their time.
//
// A pair of virtual CPUs may move between places of the host that are near or far from
// each other, which changes all figures of shared rings by about two. So a figure comes
// with Latency before and after it, taken while nobody else polls.
package machine
