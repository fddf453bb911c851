package scenario

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"baton/bench/gen"
	"baton/bench/hist"
	"baton/bench/machine"
	"baton/bench/report"
)

// latency is how long packets take at parts of the no-drop rate.
type latency struct{}

func (latency) Name() string { return "latency" }

func (latency) About() string {
	return "from VM to VM at 10, 50 and 90 % of the rate without loss: p50 to p99.99"
}

// loads are the parts of the no-drop rate, in per cent.
var loads = []int{10, 50, 90}

func (l latency) Run(ctx context.Context, b *Bench) error {
	if err := (vm2vm{}).verify(ctx, b); err != nil {
		return err
	}
	for _, flows := range b.flowsOr(1000) {
		for _, size := range b.sizes() {
			c := report.Case{Scenario: "latency", Flows: flows, Size: size}
			p := local(flows, size)
			err := b.shooters(ctx, c, p, func(all []shots) error { return b.latency(ctx, c, p.Load.Streams[0], all) })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// latency finds each system's no-drop rate and climbs the loads.
func (b *Bench) latency(ctx context.Context, c report.Case, st gen.Stream, all []shots) error {
	ndrs := make([]float64, len(all))
	for i, s := range all {
		f, err := s.search(ctx, st, ndr.part)
		if err != nil {
			return fmt.Errorf("%s: %w", s.rig.System.Name(), err)
		}
		if ndrs[i] = f.rate; f.rate == 0 {
			return fmt.Errorf("%s: packets are lost at the lowest rate too", s.rig.System.Name())
		}
	}
	for _, load := range loads {
		steps := make([]step, len(all))
		err := b.inTurns(ctx, all, func(i int, s shots, _ int) error {
			st.Rate = ndrs[i] * float64(load) / 100
			return steps[i].shoot(ctx, s, st)
		})
		if err != nil {
			return err
		}
		for i, s := range all {
			steps[i].done(s, c, fmt.Sprintf("%d %% of %.2f Mpps", load, ndrs[i]/1e6))
		}
	}
	return nil
}

// step is one load on one system: all its packets, by the machine's state.
type step struct {
	hists map[machine.State]*hist.Hist
	rates map[machine.State][]float64
	hz    uint64
}

// shoot adds the packets of a shot.
func (x *step) shoot(ctx context.Context, s shots, st gen.Stream) error {
	r, state, err := s.steady(ctx, st)
	if err != nil {
		return err
	}
	if x.hists == nil {
		x.hists, x.rates = map[machine.State]*hist.Hist{}, map[machine.State][]float64{}
	}
	if x.hists[state] == nil {
		x.hists[state] = &hist.Hist{}
	}
	x.hists[state].Merge(r.Streams[0].Latency)
	x.rates[state], x.hz = append(x.rates[state], r.Streams[0].Rate/1e6), r.Hz
	return nil
}

// done puts a ladder of each state into the report and tells it.
func (x *step) done(s shots, c report.Case, load string) {
	for _, state := range slices.Sorted(maps.Keys(x.hists)) {
		all := x.hists[state]
		l := report.Ladder{Case: c, System: s.rig.System.Name(), State: state, Load: load, Mpps: report.FigureOf(x.rates[state]).Median,
			Count: all.Count(), Max: float64(all.Max()) / float64(x.hz) * 1e9, Points: report.Climb(all, x.hz)}
		s.b.Report.Ladders = append(s.b.Report.Ladders, l)
		fmt.Fprintf(s.b.Log, "%-28s %-9s %-5s %s:", c, l.System, state, l.Load)
		for _, p := range l.Points {
			fmt.Fprintf(s.b.Log, " p%v %.1f", p.P, p.Ns/1e3)
		}
		fmt.Fprintf(s.b.Log, " us\n")
	}
}
