package gen

import (
	"time"

	"baton/bench/hist"
	"baton/bench/tsc"
)

// Counts is what was counted since the last mark, without histograms.
type Counts struct {
	Cycles  uint64                 `json:"cycles"` // that the sending took
	Hz      uint64                 `json:"hz"`     // cycles a second
	Streams [MaxStreams]StreamNums `json:"streams"`
	Num     int                    `json:"num"` // of Streams that a load has
	Ends    [maxEnds]EndNums       `json:"ends"`
}

// maxEnds is how many ends a process may have.
const maxEnds = 8

// StreamNums is a stream's counters.
type StreamNums struct {
	Sent      uint64 `json:"sent"`       // given to the end's device
	Refused   uint64 `json:"refused"`    // due by the rate, and not sent since the device took nothing
	Missed    uint64 `json:"missed"`     // due by the rate, and not sent since the generator was late
	Received  uint64 `json:"received"`   // at any end, each once
	Bytes     uint64 `json:"bytes"`      // of those
	Missing   uint64 `json:"missing"`    // numbers below the highest that arrived that did not
	Doubles   uint64 `json:"doubles"`    // that came again
	Reordered uint64 `json:"reordered"`  // that came behind one sent later
	Paused    uint64 `json:"paused"`     // that were under way while the generator did not run: no latency counts them
	Corrupt   uint64 `json:"corrupt"`    // with Load.Verify: not as they were sent
	NewFlows  uint64 `json:"new_flows"`  // begun
	FirstsIn  uint64 `json:"firsts_in"`  // of them, whose first packet arrived
	FlowsLate uint64 `json:"flows_late"` // new flows that were due and given up
}

// Lost is how many packets that were sent did not arrive. It counts those under way too:
// ask for it after the drain.
func (s StreamNums) Lost() uint64 { return s.Sent - min(s.Sent, s.Received) }

// EndNums is an end's counters.
type EndNums struct {
	Name      string `json:"name"`
	Rx        uint64 `json:"rx"`        // packets that came, all kinds
	Foreign   uint64 `json:"foreign"`   // that are not the generator's
	Stale     uint64 `json:"stale"`     // sent before the mark
	Forwarded uint64 `json:"forwarded"` // sent on
	Unable    uint64 `json:"unable"`    // that the other end did not take
	Dropped   uint64 `json:"dropped"`   // that a device refused or sat on for too long, since it was opened
}

// count copies the counters.
//
//	alloc: 0
func (e *engine) count() {
	c := &e.counts
	ended := e.ended
	if ended == 0 {
		ended = tsc.Read()
	}
	c.Cycles, c.Hz, c.Num = ended-e.begun, e.hz, 0
	for i, n := range e.ends {
		c.Ends[i] = EndNums{Name: n.name, Rx: n.rx, Foreign: n.foreign, Stale: n.stale, Forwarded: n.forwarded, Unable: n.unable, Dropped: n.queue.Dropped()}
	}
	for i := range e.tracks {
		t := &e.tracks[i]
		c.Streams[i] = StreamNums{Received: t.received, Bytes: t.bytes, Missing: t.top - t.received, Doubles: t.doubles, Reordered: t.late,
			Paused: t.paused, Corrupt: t.corrupt, FirstsIn: t.firsts}
	}
	for _, n := range e.ends {
		for _, s := range n.senders {
			o := &c.Streams[s.tag.stream()]
			o.Sent, o.Refused, o.Missed = s.sent, s.refused, s.pace.gaveUp-s.refused
			o.NewFlows, o.FlowsLate = uint64(s.pick.newest-s.pick.base), s.pick.fresh.gaveUp
			c.Num++
		}
	}
}

// Result is a run.
type Result struct {
	Length  time.Duration  `json:"length_ns"` // of the sending that counts
	Hz      uint64         `json:"tsc_hz"`    // cycles a second
	Streams []StreamResult `json:"streams"`   // as the load's
	Ends    []EndNums      `json:"ends"`
}

// StreamResult is a stream in a run.
type StreamResult struct {
	StreamNums
	Offered float64    `json:"offered_pps"`  // the rate that was wished for, 0 = as fast as it can
	Rate    float64    `json:"sent_pps"`     // the rate that was achieved
	Got     float64    `json:"received_pps"` // of what arrived, over the time of the sending
	Latency *hist.Hist `json:"latency"`      // cycles from the making of a frame to its arrival, but for Paused
	First   *hist.Hist `json:"first"`        // the same, of new flows' first packets
}

// Duration is a number of cycles as time.
func (r *Result) Duration(cycles uint64) time.Duration {
	return time.Duration(float64(cycles) / float64(r.Hz) * 1e9)
}

// result is the run that has ended; the loop stands.
func (e *engine) result(l Load) *Result {
	c := &e.counts
	r := &Result{Hz: e.hz, Ends: append([]EndNums(nil), c.Ends[:len(e.ends)]...)}
	r.Length = r.Duration(c.Cycles)
	for i, s := range l.Streams {
		n := c.Streams[i]
		r.Streams = append(r.Streams, StreamResult{StreamNums: n, Offered: s.Rate, Rate: float64(n.Sent) / r.Length.Seconds(),
			Got: float64(n.Received) / r.Length.Seconds(), Latency: &e.tracks[i].latency, First: &e.tracks[i].first})
	}
	return r
}
