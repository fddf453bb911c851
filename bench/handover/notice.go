package handover

import (
	"time"

	"baton/bench/report"
	"baton/hostapi"
)

// gapCounts are the gaps of all flows.
func (l *load) gapCounts() *report.GapCounts {
	var all report.GapCounts
	for _, f := range l.flows {
		all.Add(&f.track.Gaps)
	}
	return &all
}

// moving is when ports change over, as far as looks at an upgrade tell, on the load's clock.
type moving struct {
	from time.Duration // the last look that saw none moved
	to   time.Duration // the first look that saw all moved; 0: there was none
}

// look notes what an upgrade says, which was asked and answered at a time.
func (m *moving) look(v *hostapi.Upgrade, asked, answered time.Duration) {
	moved, back := 0, 0
	for i := range v.Ports {
		switch v.Ports[i].Phase {
		case hostapi.UpgradePortMoved:
			moved++
		case hostapi.UpgradePortBack:
			back++
		}
	}
	switch {
	case moved+back == 0:
		m.from = asked
	case moved == len(v.Ports) && m.to == 0:
		m.to = answered
	}
}

// span puts a time of the window that has a name into the plots.
func (r *rig) span(h *report.Handover, name string, from, to time.Duration) {
	start := r.load.run.start
	h.Plots.Span = report.Span{Name: name, From: float64(from-start) / 1e6, To: float64(to-start) / 1e6}
}
