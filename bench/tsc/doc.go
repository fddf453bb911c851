// Package tsc reads the CPU's time stamp counter: what benchmarks count cycles with,
// as DPDK's testpmd does. The counter ticks at a constant rate, on all CPUs alike.
package tsc

import "time"

// Read is the counter now. Its cost is that of the instruction, about 20 cycles in a
// virtual machine, and a call.
//
//	alloc: 0    conc: any goroutine
func Read() uint64

// Hz measures the counter's rate, ticks a second, over d.
func Hz(d time.Duration) uint64 {
	start, t := time.Now(), Read()
	time.Sleep(d)
	ticks := Read() - t
	return uint64(float64(ticks) / time.Since(start).Seconds())
}
