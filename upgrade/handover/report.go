package handover

import (
	"time"

	"baton/upgrade/relay"
)

// PortReport is what became of a port.
type PortReport struct {
	// Interruption is for how long nobody polled the port's rings when it went to the process that
	// has it now; nil: not known.
	Interruption *time.Duration `json:"interruption,omitempty"`
	relay.Counts
	// Partly is set if a process had a part in the port that has told nothing: what it let wait and
	// what it lost is not in Counts.
	Partly bool `json:"partly,omitempty"`
}

// reportLimit is how long a report waits for ports to have been polled, in all.
const reportLimit = 100 * time.Millisecond

// report is what the taker's gates have seen, those of ports that are here within a time.
func (t *Taker) report(limit time.Duration) map[string]PortReport {
	all := map[string]PortReport{}
	begun := time.Now()
	for name, g := range t.gates {
		all[name] = PortReport{Counts: g.Counts(), Interruption: polled(g, limit-time.Since(begun))}
	}
	return all
}

// polled is for how long nobody polled a port's rings, when they have been; nil: not within limit.
func polled(g *relay.Gate, limit time.Duration) (d *time.Duration) {
	relay.Until(limit, false, func() bool {
		took, ok := g.Interruption()
		if ok {
			d = &took
		}
		return ok
	})
	return d
}

// kept is what became of ports that were taken back, or never went.
func (g *Giver) kept() map[string]PortReport {
	went := map[*relay.Gate]bool{}
	for _, p := range g.gone {
		went[p.Gate] = true
	}
	told := g.last != nil
	if told { // what it sent last may still be under way
		_ = g.Area.Drained(relay.Second, reportLimit) // then it is counted as far as it came
	}
	all := map[string]PortReport{}
	begun := time.Now()
	for _, p := range g.Ports {
		c := p.Gate.Counts()
		// All that crossed, as both ends of the rings are known here.
		r := PortReport{Counts: relay.Counts{Sent: c.Sent + c.Arrived, Arrived: c.Sent + c.Arrived, Waited: c.Waited, Lost: c.Lost}}
		r.Waited += g.last[p.Name].Waited
		r.Lost += g.last[p.Name].Lost
		r.Partly = !told && len(g.gone) > 0
		if told && went[p.Gate] {
			r.Interruption = polled(p.Gate, reportLimit-time.Since(begun))
		}
		all[p.Name] = r
	}
	return all
}
