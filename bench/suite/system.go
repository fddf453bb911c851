package suite

import "time"

// Counts is what a system has counted since its start.
type Counts struct {
	Rx      uint64            // packets that came in by its ports
	Tx      uint64            // packets that left by them
	Out     uint64            // of those, packets that left by the NIC, if they pass twice and only these count; else 0
	Busy    uint64            // cycles of poll iterations that moved packets
	Cycles  uint64            // cycles of all, asleep included, over all workers
	Workers int               // threads that poll
	Drops   map[string]uint64 // packets that did not leave, by reason
}

// Dropped is the sum of the drops.
func (c Counts) Dropped() (sum uint64) {
	for _, n := range c.Drops {
		sum += n
	}
	return sum
}

// Since is what was counted after before.
func (c Counts) Since(before Counts) Counts {
	d := Counts{Rx: c.Rx - before.Rx, Tx: c.Tx - before.Tx, Out: c.Out - before.Out, Busy: c.Busy - before.Busy, Cycles: c.Cycles - before.Cycles, Workers: c.Workers, Drops: map[string]uint64{}}
	for k, n := range c.Drops {
		if n -= before.Drops[k]; n > 0 {
			d.Drops[k] = n
		}
	}
	return d
}

// Process is a process that takes part in trials.
type Process struct {
	Pid     int
	Pollers []int // its threads that poll
}

// System is a switch under test, in processes of its own.
//
//	conc: one goroutine
type System interface {
	// Name is what reports call it.
	Name() string
	// Up waits until all VMs have joined.
	Up() error
	// Counts is what it has counted since its start. Asking must not disturb who polls.
	Counts() (Counts, error)
	// Pause stops it, so that nobody polls between trials; Resume lets it go on.
	Pause() error
	Resume() error
	// Process is who polls.
	Process() Process
	// Close ends it and cleans up after it; a paused one too.
	Close() error
}

// LoadCounts is what a load counted between Start and Stop.
type LoadCounts struct {
	Sent     uint64 // packets given to the system
	Received uint64 // packets that it gave back
}

// Load is what sends to a system and takes what it gives, in a process of its own that
// polls with a CPU of its own. While it is stopped it does not poll.
//
//	conc: one goroutine
type Load interface {
	Start() error
	// Stop ends the sending; what is on its way then need not arrive.
	Stop() (LoadCounts, error)
	Process() Process
	Close() error
}

// WarmUp is the least time that a load runs before what counts.
const WarmUp = 200 * time.Millisecond
