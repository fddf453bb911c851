package gen

import "baton/bench/hist"

// window is how far back a frame's number may lie for a double to be known as one.
const (
	windowBits  = 1 << 16
	windowWords = windowBits / 64
)

// tracker is what is known of a stream's frames that arrived.
//
//	conc: the engine's thread    alloc: 0
type tracker struct {
	epoch    uint8
	top      uint64 // one above the highest number
	seen     [windowWords]uint64
	received uint64 // each number once
	bytes    uint64 // of those, as they arrived
	doubles  uint64
	late     uint64 // after one with a higher number
	corrupt  uint64
	firsts   uint64    // first packets of flows
	paused   uint64    // that were under way while the loop did not run: no latencies
	latency  hist.Hist // cycles
	first    hist.Hist // the same, of firsts alone

	local bool     // the stream is sent by this process, which sets the epoch
	check *checker // nil: frames are not looked at
}

// restart forgets all but whose the stream is.
func (t *tracker) restart(epoch uint8) { *t = tracker{epoch: epoch, local: t.local, check: t.check} }

// arrive counts a frame's number; false if it is a double.
func (t *tracker) arrive(number uint64) bool {
	word, bit := number/64%windowWords, uint64(1)<<(number%64)
	switch {
	case number >= t.top:
		t.advance(number)
	case t.top-number > windowBits-64: // forgotten
		t.late++
		t.received++
		return true
	case t.seen[word]&bit != 0:
		t.doubles++
		return false
	default:
		t.late++
	}
	t.seen[word] |= bit
	t.received++
	return true
}

// advance makes number the highest: words of the window that it enters are cleared.
func (t *tracker) advance(number uint64) {
	from, to := (t.top+63)/64, number/64
	if to-from < 1<<63 && to-from >= windowWords {
		from = to - windowWords + 1
	}
	for w := from; w <= to; w++ {
		t.seen[w%windowWords] = 0
	}
	t.top = number + 1
}

// record counts a frame of ours that came in at now; false if it is of an epoch before. The
// loop ran without a pause since resumed.
func (t *tracker) record(frame, inner []byte, s seen, now, resumed uint64) bool {
	if s.tag.epoch() != t.epoch {
		if t.local {
			return false
		}
		t.restart(s.tag.epoch())
	}
	if t.check != nil && !t.check.good(frame, inner, s) {
		t.corrupt++
	}
	if !t.arrive(s.number) {
		return true
	}
	t.bytes += uint64(len(frame))
	if s.tag.first() {
		t.firsts++
	}
	if s.stamp < resumed {
		t.paused++
		return true
	}
	t.latency.Record(now - s.stamp)
	if s.tag.first() {
		t.first.Record(now - s.stamp)
	}
	return true
}
