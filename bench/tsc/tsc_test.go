package tsc_test

import (
	"testing"
	"time"

	"baton/bench/tsc"
)

func TestReadGoesForward(t *testing.T) {
	last := tsc.Read()
	for range 1000 {
		now := tsc.Read()
		if now < last {
			t.Fatalf("%d after %d", now, last)
		}
		last = now
	}
	if hz := tsc.Hz(time.Millisecond); hz < 1e6 {
		t.Errorf("%d ticks a second", hz)
	}
}
