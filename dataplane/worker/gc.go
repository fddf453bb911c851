package worker

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// gcLook is how often PaceGC looks at what lives, and liveFactor how much room there is
// above it at the least: what Go's default leaves.
const (
	gcLook     = time.Second
	liveFactor = 2
)

// PaceGC lets the program's memory grow to heap bytes before garbage is collected, until
// ctx ends; more, if what lives leaves less than half of it free. Go's default collects
// whenever the heap has doubled, which a small heap does several times a second; and each
// collection stops all workers a few times, for tens to hundreds of microseconds where the
// threads that let them go on must first get a CPU (bench/README.md, loopgap).
//
//	conc: one caller in a process
func PaceGC(ctx context.Context, heap int64) {
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(heap)
	defer func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	}()
	tick := time.NewTicker(gcLook)
	defer tick.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for now := heap; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(live)
		if next := memoryLimit(heap, now, int64(live[0].Value.Uint64())); next != now {
			debug.SetMemoryLimit(next)
			now = next
		}
	}
}

// memoryLimit is the limit for what lives now: heap, or more. It is left as it is unless
// it is too low, or twice what it need be: each change stops the workers too.
func memoryLimit(heap, now, live int64) int64 {
	want := max(heap, liveFactor*live)
	if want > now || want < now/2 {
		return want
	}
	return now
}
