package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"baton/hostapi"
)

// upgradeDocument is what is printed of an upgrade.
type upgradeDocument struct {
	hostapi.Upgrade
	Summary upgradeSummary `json:"summary"`
}

// upgradeSummary sums up the ports.
type upgradeSummary struct {
	InterruptionUs *quantiles `json:"interruption_us"` // null: of no port known
	Relayed        uint64     `json:"relayed"`
	Lost           uint64     `json:"lost"`
	TotalS         float64    `json:"total_s"`
}

// quantiles are of values that were there, none between them (nearest rank).
type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func summarize(u *hostapi.Upgrade) upgradeSummary {
	s := upgradeSummary{TotalS: u.TotalS}
	var times []float64
	for i := range u.Ports {
		p := &u.Ports[i]
		s.Relayed += p.Relayed
		s.Lost += p.Lost
		if p.InterruptionUs != nil {
			times = append(times, *p.InterruptionUs)
		}
	}
	if len(times) > 0 {
		slices.Sort(times)
		rank := func(q float64) float64 { return times[int(math.Ceil(q*float64(len(times))))-1] }
		s.InterruptionUs = &quantiles{rank(0.5), rank(0.99), rank(1)}
	}
	return s
}

// printUpgrade prints u in the format that was asked for.
func (o *options) printUpgrade(cmd *cobra.Command, u *hostapi.Upgrade) error {
	if u.Ports == nil {
		u.Ports = []hostapi.UpgradePort{} // for JSON
	}
	d := upgradeDocument{*u, summarize(u)}
	return print(cmd.OutOrStdout(), o.output, d, func(t *table) { fillUpgrade(t, &d) })
}

func fillUpgrade(t *table, d *upgradeDocument) {
	if len(d.Ports) > 0 {
		t.row("PORT", "STATE", "INTERRUPTION-US", "RELAYED", "WAITED", "LOST")
		for _, p := range d.Ports {
			interruption := "unknown"
			if p.InterruptionUs != nil {
				interruption = fmt.Sprintf("%.0f", *p.InterruptionUs)
			}
			t.row(p.Name, p.Phase, interruption, p.Relayed, p.Waited, p.Lost)
		}
		t.gap()
	}
	t.row("state", stateText(&d.Upgrade))
	t.row("process", d.PID)
	if d.State == hostapi.UpgradeNone {
		return
	}
	t.row("from", d.From)
	t.row("to", d.To)
	t.row("program", d.Binary)
	t.row("started", d.Started)
	t.row("total", fmt.Sprintf("%.3f s", d.TotalS))
	t.row("interruption", quantilesText(d.Summary.InterruptionUs))
	t.row("relayed", fmt.Sprintf("%d packets", d.Summary.Relayed))
	t.row("lost", fmt.Sprintf("%d packets", d.Summary.Lost))
	if d.Strays > 0 {
		t.row("strays", fmt.Sprintf("%d packets for ports that the other process does not have", d.Strays))
	}
	if d.Error != "" {
		t.row("reason", oneLine(d.Error))
	}
}

func stateText(u *hostapi.Upgrade) string {
	switch u.State {
	case hostapi.UpgradeRunning:
		return "running: " + u.Phase
	case hostapi.UpgradeChecked:
		return "checked: nothing is in the way"
	case hostapi.UpgradeRolledBack:
		return "rolled back: the old process has all ports, as before"
	}
	return u.State
}

func quantilesText(q *quantiles) string {
	if q == nil {
		return "unknown"
	}
	return fmt.Sprintf("p50 %.0f us, p99 %.0f us, max %.0f us", q.P50, q.P99, q.Max)
}
