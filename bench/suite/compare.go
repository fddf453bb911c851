package suite

import (
	"baton/bench/machine"
	"baton/bench/report"
)

// Figure is a median with what lies around it.
type Figure = report.Figure

// FigureOf summarises values; of none it is zero.
func FigureOf(values []float64) Figure { return report.FigureOf(values) }

// Side is one system in one case.
type Side struct {
	Cycles    Figure  `json:"cycles_per_packet"`
	Mpps      Figure  `json:"mpps"`
	BusyPart  Figure  `json:"busy_part"`
	Limited   int     `json:"front_end_limited"` // trials
	Discarded int     `json:"discarded"`         // trials, of any state
	Latency   float64 `json:"latency_ns"`        // median
}

// Comparison is what a case's trials of one machine state say.
type Comparison struct {
	Case  string        `json:"case"`
	State machine.State `json:"state"`
	Peer  Side          `json:"peer"`
	Baton Side          `json:"baton"`
	// Ratio is the peer's cycles by baton's: above 1 baton is ahead. 0 if a side has
	// no trial that counts.
	Ratio float64 `json:"ratio"`
}

// Compare groups trials by case and machine state, in their order.
func Compare(trials []Trial, peer, baton string) (all []Comparison) {
	type key struct {
		name  string
		state machine.State
	}
	var order []key
	groups := map[key][]Trial{}
	for _, t := range trials {
		k := key{t.Case, t.State()}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], t)
	}
	for _, k := range order {
		c := Comparison{Case: k.name, State: k.state, Peer: side(groups[k], peer), Baton: side(groups[k], baton)}
		if c.Peer.Cycles.Num > 0 && c.Baton.Cycles.Num > 0 {
			c.Ratio = c.Peer.Cycles.Median / c.Baton.Cycles.Median
		}
		all = append(all, c)
	}
	return all
}

func side(trials []Trial, system string) (s Side) {
	var cycles, mpps, busy, latency []float64
	for _, t := range trials {
		switch {
		case t.System != system:
			continue
		case t.Discarded != "":
			s.Discarded++
			continue
		case t.Limited:
			s.Limited++
		}
		cycles = append(cycles, t.Cycles)
		mpps = append(mpps, t.Mpps)
		busy = append(busy, t.BusyPart)
		latency = append(latency, float64(t.Before))
	}
	s.Cycles, s.Mpps, s.BusyPart = FigureOf(cycles), FigureOf(mpps), FigureOf(busy)
	s.Latency = FigureOf(latency).Median
	return s
}
