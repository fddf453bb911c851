package loopgap_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"baton/bench/loopgap"
)

func TestMain(m *testing.M) {
	loopgap.RunChild()
	os.Exit(m.Run())
}

// Both loops turn, gaps are counted as often as they are in the histogram, and memory is
// allocated and collected meanwhile.
func TestRun(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs")
	}
	for _, bare := range []bool{false, true} {
		r, err := loopgap.Run(t.Context(), loopgap.Config{Bare: bare, CPU: 0, Control: 1, Length: 300 * time.Millisecond, Alloc: 100e6, Live: 8e6})
		if err != nil {
			t.Fatal(err)
		}
		if r.Seconds < 0.29 || r.GCs == 0 || r.Alloc < 10e6 {
			t.Errorf("%+v", r)
		}
		sum, over := uint64(0), uint64(0)
		for _, b := range r.Buckets {
			sum += b.Count
			if float64(b.Upper) > 110e3 {
				over += b.Count
			}
		}
		if sum == 0 || r.Over100 < over || r.Over50 < r.Over100 || r.Over100 < r.Over1ms || r.MaxNs < 2000 {
			t.Errorf("bare %v: %d gaps, %d over 100 us, max %v: %+v", bare, sum, r.Over100, r.MaxNs, r.Buckets)
		}
		if r.Given100 > r.Over100 || bare && r.Given100 > 0 {
			t.Errorf("bare %v: the thread waited in %d gaps of %d", bare, r.Given100, r.Over100)
		}
		t.Logf("%s: %.0f gaps/s, %d > 50 us, %d > 100 us (%d as the thread waited), %d > 1 ms, %.1f GC/s, %.1f yields/s, %.1f forced/s", r.System, float64(sum)/r.Seconds, r.Over50, r.Over100, r.Given100, r.Over1ms, r.GCs, r.Yields, r.Forced)
	}
}

func TestRun_refused(t *testing.T) {
	if _, err := loopgap.Run(t.Context(), loopgap.Config{Length: time.Millisecond}); err == nil {
		t.Error("one CPU for both")
	}
	if _, err := loopgap.Run(t.Context(), loopgap.Config{CPU: 1000, Control: 0, Length: time.Millisecond}); err == nil {
		t.Error("a CPU that is not there")
	}
}

// An interrupted loop ends at once, whatever its length.
func TestRun_interrupted(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("one CPU")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := loopgap.Run(ctx, loopgap.Config{CPU: 0, Control: 1, Length: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
