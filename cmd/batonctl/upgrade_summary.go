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
	Relayed        *uint64    `json:"relayed"`         // null: of some port not known
	Lost           *uint64    `json:"lost"`            // null: of some port not known
	TotalS         float64    `json:"total_s"`
}

// quantiles are of values that were there, none between them (nearest rank).
type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func summarize(u *hostapi.Upgrade) upgradeSummary {
	s := upgradeSummary{TotalS: u.TotalS, Relayed: new(uint64), Lost: new(uint64)}
	var times []float64
	for i := range u.Ports {
		p := &u.Ports[i]
		s.Relayed, s.Lost = sum(s.Relayed, p.Relayed), sum(s.Lost, p.Lost)
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

// sum is nil if one of the two is not known.
func sum(a, b *uint64) *uint64 {
	if a == nil || b == nil {
		return nil
	}
	n := *a + *b
	return &n
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
			interruption := notKnown
			if p.InterruptionUs != nil {
				interruption = fmt.Sprintf("%.0f", *p.InterruptionUs)
			}
			t.row(p.Name, p.Phase, interruption, countText(p.Relayed), countText(p.Waited), countText(p.Lost))
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
	t.row("total", secondsText(d.TotalS))
	t.row("interruption", quantilesText(d.Summary.InterruptionUs))
	t.row("relayed", packetsText(d.Summary.Relayed))
	t.row("lost", packetsText(d.Summary.Lost))
	if d.Strays > 0 {
		t.row("strays", fmt.Sprintf("%d packets for ports that the other process does not have", d.Strays))
	}
	if d.Error != "" {
		t.row("reason", oneLine(d.Error))
	}
}

// notKnown is what people read in a number's place.
const notKnown = "unknown"

func countText(n *uint64) string {
	if n == nil {
		return notKnown
	}
	return fmt.Sprint(*n)
}

func packetsText(n *uint64) string {
	if n == nil {
		return notKnown
	}
	return fmt.Sprintf("%d packets", *n)
}

// secondsText is a time for people: a standby takes microseconds to go on, an upgrade seconds.
func secondsText(s float64) string {
	if s > 0 && s < 0.01 {
		return fmt.Sprintf("%.3f ms", 1e3*s)
	}
	return fmt.Sprintf("%.3f s", s)
}

func stateText(u *hostapi.Upgrade) string {
	switch u.State {
	case hostapi.UpgradeDone:
		switch {
		case u.Phase == hostapi.UpgradeTakeover:
			return "done: the standby has taken over"
		case u.Error != "":
			return "done, but not as planned: the old process died in it"
		}
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
		return notKnown
	}
	return fmt.Sprintf("p50 %.0f us, p99 %.0f us, max %.0f us", q.P50, q.P99, q.Max)
}
