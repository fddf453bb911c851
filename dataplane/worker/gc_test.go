package worker

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"testing"

	"pgregory.net/rapid"
)

// The limit never keeps what lives from doubling, is never below what was asked for, and
// changes seldom.
func TestMemoryLimit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const heap = 256 << 20
		now := int64(heap)
		live := rapid.Int64Range(0, 1<<33).Draw(rt, "live")
		for range 50 {
			live = max(0, live+rapid.Int64Range(-live/8-1, live/8+1).Draw(rt, "step"))
			next := memoryLimit(heap, now, live)
			if next < heap || next < 2*live || next > max(heap, 8*live+2*heap) {
				rt.Fatalf("limit %d with %d living", next, live)
			}
			if next < now && next > now/2 {
				rt.Fatalf("limit went from %d to %d for %d living", now, next, live)
			}
			now = next
		}
	})
}

// While it runs little garbage is not collected; afterwards all is as it was.
func TestPaceGC(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { PaceGC(ctx, 1<<30); close(done) }()
	for debug.SetMemoryLimit(-1) != 1<<30 {
		runtime.Gosched()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 200 {
		sink = make([]byte, 1<<20)
	}
	runtime.ReadMemStats(&after)
	if after.NumGC != before.NumGC {
		t.Errorf("%d collections for 200 MiB of 1 GiB", after.NumGC-before.NumGC)
	}
	cancel()
	<-done
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		t.Errorf("limit %d is left", limit)
	}
	if percent := debug.SetGCPercent(100); percent != 100 {
		t.Errorf("GC percent %d is left", percent)
	}
}

var sink []byte
