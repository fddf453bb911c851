package stats

// WorkerCounters counts what one poll loop does. Cycles are of the time stamp
// counter (nanoseconds where there is none that Go code can read). Hits and
// misses of the flow caches are counted by the caches.
type WorkerCounters struct {
	Iterations     Counter // rounds of the loop
	BusyIterations Counter // those that moved at least one packet
	Packets        Counter // received from ports; those handed over by other workers do not count again
	Sleeps         Counter // times that the worker slept
	WakeUps        Counter // sleeps that a kick, an interrupt or another worker ended; the others timed out
	Handoffs       Counter // packets given to another worker, who owns their output port
	Punts          Counter // copies given to the control plane
	PuntsFull      Counter // copies lost because its queue was full
	Supers         Counter // super-segments given to a port as they are
	Cut            Counter // super-segments cut for ports that take none
	Segments       Counter // frames made of those
	Checksums      Counter // checksums of other frames completed in software
	Answers        Counter // ICMP messages about packets that were too big
	BusyCycles     Counter // spent in busy iterations
	IdleCycles     Counter // spent in the others, asleep not counted
	SleepCycles    Counter // spent asleep
	MaxGapCycles   Counter // longest time between the starts of two iterations, asleep not counted
}

// Raise sets the count to v if v is more.
//
//	conc: as Add
func (c *Counter) Raise(v uint64) {
	if old := c.v; v > old {
		c.Add(v - old)
	}
}
