package report

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"baton/bench/hist"
	"baton/bench/machine"
)

// Baton is the name of baton in System; all others are peers.
const Baton = "baton"

// Report is one run of the suite.
type Report struct {
	Host    Host      `json:"host"`
	Trials  []Trial   `json:"trials"`
	Summary []Summary `json:"summary"`

	// What some scenarios measure besides.
	Stages   []Stages  `json:"stages,omitempty"`
	Ladders  []Ladder  `json:"latency,omitempty"`
	Gaps     []Gaps    `json:"gaps,omitempty"`
	Measures []Measure `json:"measures,omitempty"`
}

// Empty says whether nothing was measured.
func (r *Report) Empty() bool {
	return len(r.Trials)+len(r.Stages)+len(r.Ladders)+len(r.Gaps)+len(r.Measures) == 0
}

// Host is where and how it was measured.
type Host struct {
	Date     string            `json:"date"` // RFC 3339
	Machine  string            `json:"machine"`
	CPUs     int               `json:"cpus"`
	TSCHz    uint64            `json:"tsc_hz"`
	Versions map[string]string `json:"versions,omitempty"` // of systems and libraries
	Notes    []string          `json:"notes,omitempty"`    // rules, settings
}

// Size is the bytes of a frame without tunnel headers; IMIX is a mix, as JSON "imix", and
// NoFrames that there are none, as JSON 0.
type Size int

const (
	// IMIX is 7 frames of 64 bytes to 4 of 570 and 1 of 1518.
	IMIX Size = 0
	// NoFrames is the size where nothing is sent: loops are measured, not packets.
	NoFrames Size = -1
)

// String is the size in bytes, or "imix".
func (s Size) String() string {
	switch s {
	case IMIX:
		return "imix"
	case NoFrames:
		return "0"
	}
	return strconv.Itoa(int(s))
}

// unit is the size for people.
func (s Size) unit() string {
	if s == IMIX {
		return "imix"
	}
	return s.String() + " B"
}

// MarshalJSON implements json.Marshaler: a number or "imix".
func (s Size) MarshalJSON() ([]byte, error) {
	if s == IMIX {
		return []byte(`"imix"`), nil
	}
	return []byte(s.String()), nil
}

// UnmarshalJSON implements json.Unmarshaler.
//
//	error: neither a number nor "imix"
func (s *Size) UnmarshalJSON(raw []byte) error {
	if string(raw) == `"imix"` {
		*s = IMIX
		return nil
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil || n < 0 {
		return fmt.Errorf("frame size %s: want bytes or \"imix\"", raw)
	}
	if *s = Size(n); n == 0 {
		*s = NoFrames
	}
	return nil
}

// Case is what was measured: the same case may be measured on several systems.
type Case struct {
	Scenario string `json:"scenario"`
	Variant  string `json:"variant,omitempty"` // of the scenario: "zipf", "8 masks"
	Flows    int    `json:"flows"`             // 0: they do not matter
	Size     Size   `json:"size"`
}

// String is the case in few words.
func (c Case) String() string {
	s := c.kind()
	if c.Flows != 0 {
		s += ", " + flows(c.Flows)
	}
	if c.Size != NoFrames {
		s += ", " + c.Size.unit()
	}
	return s
}

// kind is the scenario with its variant.
func (c Case) kind() string {
	if c.Variant == "" {
		return c.Scenario
	}
	return c.Scenario + ", " + c.Variant
}

// flows is a number of flows in few letters.
func flows(n int) string {
	switch {
	case n == 1:
		return "1 flow"
	case n >= 1e6 && n%1e6 == 0:
		return fmt.Sprintf("%d M flows", n/1e6)
	case n >= 1e3 && n%1e3 == 0:
		return fmt.Sprintf("%d k flows", n/1e3)
	}
	return fmt.Sprintf("%d flows", n)
}

// Trial is one measurement of one system.
type Trial struct {
	Case
	System  string  `json:"system"`
	Run     int     `json:"run"`
	Mpps    float64 `json:"mpps"`
	Cycles  float64 `json:"cycles_per_packet"` // of polls that moved packets
	Limited bool    `json:"generator_limited"` // the system had time left: Mpps is a floor
	C2CPre  float64 `json:"c2c_before_ns"`     // round trip between the CPUs, nobody polling
	C2CPost float64 `json:"c2c_after_ns"`
	StealMs float64 `json:"steal_ms"` // taken by the host, all CPUs
	// Discarded says that the trial does not count; Why, for what rule.
	Discarded bool   `json:"discarded"`
	Why       string `json:"why,omitempty"`
	// Busy is the share of the poller's time in polls that moved packets; 0: not known.
	Busy float64 `json:"busy,omitempty"`
}

// Summary compares baton with a peer in one case and machine state.
type Summary struct {
	Case
	Peer        string        `json:"peer"`
	State       machine.State `json:"state"`
	RatioCycles float64       `json:"ratio_cycles,omitempty"` // peer's by baton's: above 1 baton is ahead; 0, and not in JSON: not known
	RatioMpps   float64       `json:"ratio_mpps,omitempty"`   // baton's by peer's: the same

	Baton     Side `json:"baton"`
	PeerSide  Side `json:"peer_side"`
	Discarded int  `json:"discarded"` // trials of both
}

// Side is one system in a Summary.
type Side struct {
	Cycles  Figure `json:"cycles_per_packet"`
	Mpps    Figure `json:"mpps"`
	Limited int    `json:"generator_limited"` // trials
}

// Stages is where the cycles of a packet go.
type Stages struct {
	Case
	System string        `json:"system"`
	State  machine.State `json:"state,omitempty"`
	Stages []Stage       `json:"stages"` // in a packet's order
}

// Stage is one part of a packet's way.
type Stage struct {
	Name   string  `json:"name"`
	Cycles float64 `json:"cycles_per_packet"`
}

// Ladder is the latencies of one load.
type Ladder struct {
	Case
	System string        `json:"system"`
	State  machine.State `json:"state,omitempty"`
	Load   string        `json:"load"`      // "50 % of 7.1 Mpps"
	Mpps   float64       `json:"mpps"`      // as it was achieved
	Count  uint64        `json:"count"`     // packets
	Max    float64       `json:"max_ns"`    // of all
	Points []Percentile  `json:"quantiles"` // from low to high
}

// Percentile is a latency that a share of packets does not exceed.
type Percentile struct {
	P  float64 `json:"p"` // per cent
	Ns float64 `json:"ns"`
}

// Rungs are the percentiles of a ladder.
var Rungs = []float64{50, 90, 99, 99.9, 99.99}

// Climb is the points of a histogram of cycles, at Rungs.
func Climb(h *hist.Hist, hz uint64) (points []Percentile) {
	for _, p := range Rungs {
		points = append(points, Percentile{p, float64(h.Quantile(p/100)) / float64(hz) * 1e9})
	}
	return points
}

// Gaps is how long a loop's iterations took: a histogram of what was above a floor.
type Gaps struct {
	System  string  `json:"system"` // "baton", "C loop"
	Variant string  `json:"variant,omitempty"`
	Seconds float64 `json:"seconds"`
	Over50  uint64  `json:"over_50us"`
	Over100 uint64  `json:"over_100us"`
	Over1ms uint64  `json:"over_1ms"`
	// Given100 is in how many of those above 100 us the loop's thread had given its CPU away:
	// it waited for another thread. The others are the machine's.
	Given100 uint64        `json:"given_100us"`
	MaxNs    float64       `json:"max_ns"`
	Buckets  []hist.Bucket `json:"buckets"` // upper ends in ns
}

// Measure is any other figure of a scenario.
type Measure struct {
	Case
	System string        `json:"system"`
	State  machine.State `json:"state,omitempty"`
	Name   string        `json:"name"` // "bytes per flow"
	Unit   string        `json:"unit"`
	Value  Figure        `json:"value"`
}

// WriteJSON writes the report to a file.
func (r *Report) WriteJSON(path string) error {
	all := *r
	if all.Trials == nil { // programs rely on lists
		all.Trials = []Trial{}
	}
	if all.Summary == nil {
		all.Summary = []Summary{}
	}
	raw, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}
