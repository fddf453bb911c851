package worker

import "testing"

// A worker spends no more on polling for nothing than it spent on packets, but for a little,
// and not more than so long at a time.
func TestEndurance(t *testing.T) {
	const least, most = 100, 2000
	for _, c := range []struct{ busy, want uint64 }{{0, least}, {1, least}, {99, least}, {100, 100}, {101, 101}, {1999, 1999}, {1 << 60, most}} {
		if got := endurance(c.busy, least, most); got != c.want {
			t.Errorf("busy for %d: %d, want %d", c.busy, got, c.want)
		}
	}
}
