package suite

import (
	"fmt"
	"time"

	"baton/bench/machine"
)

// Trial is one measurement of one system.
type Trial struct {
	Case   string `json:"case"`
	System string `json:"system"`
	Run    int    `json:"run"`

	Cycles   float64 `json:"cycles_per_packet"` // of polls that moved packets
	Mpps     float64 `json:"mpps"`
	Packets  uint64  `json:"packets"`
	BusyPart float64 `json:"busy_part"` // of the poller's time that was spent in such polls

	Before time.Duration `json:"latency_before_ns"` // between the CPUs, round trip
	After  time.Duration `json:"latency_after_ns"`
	Stolen time.Duration `json:"stolen_ns"` // by the host, all CPUs
	Waited time.Duration `json:"waited_ns"` // by pollers for their CPUs
	Length time.Duration `json:"length_ns"`

	Limited   bool   `json:"front_end_limited"`   // the system had time left: Mpps is a floor
	Discarded string `json:"discarded,omitempty"` // why it does not count; empty: it does
}

// Rules of Judge.
const (
	maxWaited = 0.05 // of a trial's length, both pollers together
	maxStolen = 0.05 // of a trial's length, all CPUs together
	maxDrift  = 2.0  // latency after and before, either way round
	fullBusy  = 0.95 // share of busy polls from which on the system is the limit
)

// Rules says what Judge does, for reports.
func Rules() string {
	return fmt.Sprintf("A trial is discarded if its pollers waited for their CPUs for more than %.0f %% of it, or the host stole more than %.0f %%, "+
		"or if the latency between the CPUs differs by more than %.1f times before and after it. "+
		"It is marked as limited by the generator if the system was busy for less than %.0f %% of it: then its rate is a floor, and cycles are what to compare.",
		100*maxWaited, 100*maxStolen, maxDrift, 100*fullBusy)
}

// Judge sets Limited and Discarded.
func (t *Trial) Judge() {
	t.Limited = t.BusyPart < fullBusy
	drift := float64(t.After) / float64(t.Before)
	switch {
	case t.Discarded != "":
	case t.Packets == 0:
		t.Discarded = "no packets"
	case float64(t.Waited) > maxWaited*float64(t.Length):
		t.Discarded = fmt.Sprintf("pollers waited %v for their CPUs", t.Waited.Round(time.Millisecond))
	case float64(t.Stolen) > maxStolen*float64(t.Length):
		t.Discarded = fmt.Sprintf("the host stole %v", t.Stolen.Round(time.Millisecond))
	case drift > maxDrift || drift < 1/maxDrift:
		t.Discarded = fmt.Sprintf("latency went from %v to %v", t.Before, t.After)
	}
}

// State is the machine's during the trial.
func (t *Trial) State() machine.State { return machine.StateOf(max(t.Before, t.After)) }
