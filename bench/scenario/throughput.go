package scenario

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"baton/bench/machine"
	"baton/bench/report"
)

// throughput is a search for the highest rate with little loss (RFC 2544 26.1, MLRsearch).
type throughput struct {
	name string
	part float64 // of the packets that may be lost
}

// The searches. A loss of some packets in a million is one that a virtual machine's own
// pauses make, whatever the switch does.
var (
	ndr = throughput{"ndr", 2e-6}
	pdr = throughput{"pdr", 0.005}
)

func (t throughput) Name() string { return t.name }

func (t throughput) About() string {
	return fmt.Sprintf("highest rate from VM to VM at which no more than %.2g %% is lost", 100*t.part)
}

func (t throughput) Run(ctx context.Context, b *Bench) error {
	if err := (vm2vm{}).verify(ctx, b); err != nil {
		return err
	}
	for _, flows := range b.flowsOr(1, 10_000) {
		for _, size := range b.sizes() {
			c := report.Case{Scenario: t.name, Flows: flows, Size: size}
			p := local(flows, size)
			err := b.shooters(ctx, c, p, func(all []shots) error {
				return b.inTurns(ctx, all, func(_ int, s shots, run int) error {
					return s.shotTrial(c, run, func(r *report.Trial) error {
						f, err := s.search(ctx, p.Load.Streams[0], t.part)
						r.Mpps, r.Cycles, r.Busy, r.Limited = f.rate/1e6, f.cycles, f.busy, f.limited
						return err
					})
				})
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// measure gathers the values of a figure, each in the machine's state when it was taken.
type measure struct {
	c      report.Case
	system string
	name   string
	unit   string
	values map[machine.State][]float64
}

func newMeasure(c report.Case, s shots, name, unit string) *measure {
	return &measure{c: c, system: s.rig.System.Name(), name: name, unit: unit, values: map[machine.State][]float64{}}
}

// add adds a value; the state is empty if the machine changed it meanwhile.
func (m *measure) add(v float64, state machine.State) {
	m.values[state] = append(m.values[state], v)
}

// done puts the figure into the report, for each state, and tells it.
func (m *measure) done(b *Bench) {
	for _, state := range slices.Sorted(maps.Keys(m.values)) {
		r := report.Measure{Case: m.c, System: m.system, State: state, Name: m.name, Unit: m.unit, Value: report.FigureOf(m.values[state])}
		b.Report.Measures = append(b.Report.Measures, r)
		fmt.Fprintf(b.Log, "%-28s %-9s %-5s %s: %.4g %s (%.4g to %.4g)\n", m.c, m.system, state, m.name, r.Value.Median, m.unit, r.Value.Min, r.Value.Max)
	}
}
