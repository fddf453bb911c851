package machine

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// State names how far two CPUs are apart.
type State string

// The states, told apart at FarFrom.
const (
	Near State = "near"
	Far  State = "far"
)

// FarFrom is the round trip from which on two CPUs are far from each other. Measured
// are about 110 ns and about 500 ns, nothing between.
const FarFrom = 250 * time.Nanosecond

// StateOf is the state that a round trip shows.
func StateOf(latency time.Duration) State {
	if latency >= FarFrom {
		return Far
	}
	return Near
}

// ErrOneCPU is the error of Latency for two CPUs that are one.
var ErrOneCPU = errors.New("the latency between CPUs needs two of them")

const (
	latencyBatches = 40  // a batch that is disturbed does not count
	latencyTrips   = 500 // about 50 to 250 us
)

// ball is a cache line that two threads hand to and fro.
type ball struct {
	_ [64]byte
	n atomic.Uint32
	_ [60]byte
}

// Latency is the round trip of a cache line between two CPUs: the lower quartile of
// batches, so that a thread that loses its CPU for a while does not matter.
//
//	error: ErrOneCPU; a CPU that the process may not use
//	conc: nobody else should be busy on the two CPUs meanwhile
func Latency(a, b int) (time.Duration, error) {
	if a == b {
		return 0, ErrOneCPU
	}
	var line ball
	var wg sync.WaitGroup
	trips := make([]time.Duration, 0, latencyBatches)
	errs := make([]error, 2)
	ready := make(chan bool, 2)
	play := func(i, cpu int, f func()) {
		defer wg.Done()
		errs[i] = On(cpu, func() error { ready <- true; f(); return nil })
		if errs[i] != nil { // then nobody plays
			ready <- false
			f()
		}
	}
	wg.Add(2)
	start := make(chan bool, 2)
	go play(0, a, func() {
		if !<-start {
			return
		}
		for range latencyBatches {
			t := time.Now()
			for range latencyTrips {
				turn := line.n.Load() + 1
				line.n.Store(turn)
				for line.n.Load() == turn {
				}
			}
			trips = append(trips, time.Since(t)/latencyTrips)
		}
	})
	go play(1, b, func() {
		if !<-start {
			return
		}
		for turn := uint32(1); turn < 2*latencyBatches*latencyTrips; turn += 2 {
			for line.n.Load() != turn {
			}
			line.n.Store(turn + 1)
		}
	})
	first, second := <-ready, <-ready
	start <- first && second
	start <- first && second
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	slices.Sort(trips)
	return trips[len(trips)/4], nil
}
