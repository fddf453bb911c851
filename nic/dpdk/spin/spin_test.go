package spin_test

import (
	"testing"
	"time"

	"baton/nic/dpdk/spin"
)

// It spins as long as it is told, and notes what is above the floor, no more.
func TestGaps(t *testing.T) {
	const length = 20e6 // cycles; no counter ticks faster than 10 GHz
	out := make([]uint64, 1<<16)
	start := time.Now()
	gaps, num := spin.Gaps(out, 2000, length)
	if took := time.Since(start); took < 2*time.Millisecond {
		t.Errorf("%v cycles took %v", length, took)
	}
	if uint64(len(gaps)) != min(num, uint64(len(out))) {
		t.Errorf("%d gaps of %d", len(gaps), num)
	}
	sum := uint64(0)
	for _, g := range gaps {
		if g < 2000 {
			t.Errorf("a gap of %d cycles", g)
		}
		sum += g
	}
	if _, all := spin.Gaps(out[:1], 0, length); all < 1000 {
		t.Errorf("%d looks at the counter", all)
	}
	if gaps, num := spin.Gaps(nil, 0, length); len(gaps) != 0 || num != 0 {
		t.Error("gaps without room")
	}
}
