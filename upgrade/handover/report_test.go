package handover_test

import (
	"slices"
	"time"

	"baton/upgrade/handover"
	"baton/upgrade/relay"
)

// checkKept checks what is told of ports that were taken back: of a taker that told all to the end, how
// long those that had moved stood still; of one that did not, that it is not known.
func (u *upgrade) checkKept(report map[string]handover.PortReport, told bool) {
	u.t.Helper()
	moved, gone := slices.Contains(u.phases, handover.PhaseMove), 0
	var c relay.Counts
	for name, r := range report {
		if r.Interruption != nil {
			gone++
			if *r.Interruption <= 0 || *r.Interruption > time.Minute {
				u.t.Errorf("%s stood still for %v", name, *r.Interruption)
			}
		}
		if told && r.Partly || !told && moved && !r.Partly {
			u.t.Errorf("%s: %+v; the taker told to the end: %v, had ports: %v", name, r, told, moved)
		}
		c.Add(r.Counts)
	}
	if len(report) != len(u.giver.Ports) || told && moved && (gone == 0 || c.Sent == 0) || gone > 0 && !told {
		u.t.Errorf("the taker told to the end: %v, had ports: %v; report %v", told, moved, report)
	}
}
