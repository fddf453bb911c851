package handover

import (
	"time"

	"baton/bench/report"
)

// Track is what came of one flow, whose packets are numbered from 0 on.
//
//	conc: one goroutine
type Track struct {
	Delivered  uint64           // different packets
	Duplicated uint64           // that came again
	Reordered  uint64           // that came after one with a higher number
	Gap        time.Duration    // the longest time between two arrivals; 0 with less than two
	Gaps       report.GapCounts // all of them, beyond Interval

	// Interval is the flow's pace, the time between two packets; set before the first one.
	Interval time.Duration

	seen  []uint64 // a bit a number
	next  uint64   // the highest number so far, plus 1
	last  time.Duration
	begun bool
}

// maxNumber bounds what a damaged number may cost: a bit each.
const maxNumber = 1 << 32

// Take notes an arrival at a time of the caller's clock. A number that no run reaches is
// none of the flow's.
//
//	error: not ok: the number cannot be
func (t *Track) Take(number uint64, now time.Duration) (ok bool) {
	if number >= maxNumber {
		return false
	}
	if t.begun {
		t.Gap = max(t.Gap, now-t.last)
		t.Gaps.Count(now - t.last - t.Interval)
	}
	t.begun, t.last = true, now
	word, bit := number/64, uint64(1)<<(number%64)
	for uint64(len(t.seen)) <= word {
		t.seen = append(t.seen, 0)
	}
	switch {
	case t.seen[word]&bit != 0:
		t.Duplicated++
		return true
	case number < t.next:
		t.Reordered++
	}
	t.seen[word] |= bit
	t.Delivered++
	t.next = max(t.next, number+1)
	return true
}

// Lost is how many of those that were sent did not come.
func (t *Track) Lost(sent uint64) uint64 { return sent - min(sent, t.Delivered) }

// Missing are the first of those that were sent and did not come, limit at the most.
func (t *Track) Missing(sent uint64, limit int) (numbers []uint64) {
	for n := uint64(0); n < sent && len(numbers) < limit; n++ {
		if n/64 >= uint64(len(t.seen)) || t.seen[n/64]>>(n%64)&1 == 0 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// Excess is the longest time without a packet beyond what the flow's own pace explains.
func (t *Track) Excess() time.Duration { return max(0, t.Gap-t.Interval) }
