package scenario

import (
	"context"
	"fmt"

	"baton/bench/gen"
	"baton/bench/hist"
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
			err := b.eachSystem(ctx, c, p, func(s shots) error {
				f, err := s.search(ctx, p.Load.Streams[0], ndr.part)
				if err != nil {
					return err
				}
				if f.rate == 0 {
					return fmt.Errorf("packets are lost at the lowest rate too")
				}
				for _, load := range loads {
					if err := s.ladder(ctx, c, p.Load.Streams[0], f.rate, load); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// ladder measures one load, as often as trials are asked for, and puts all packets together.
func (s shots) ladder(ctx context.Context, c report.Case, st gen.Stream, ndr float64, load int) error {
	var all hist.Hist
	var rates []float64
	st.Rate = ndr * float64(load) / 100
	hz := uint64(0)
	for range s.b.Runs {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := s.shoot(st, s.b.Length)
		if err != nil {
			return err
		}
		all.Merge(r.Streams[0].Latency)
		rates, hz = append(rates, r.Streams[0].Rate/1e6), r.Hz
	}
	state, err := s.state()
	if err != nil {
		return err
	}
	l := report.Ladder{Case: c, System: s.rig.System.Name(), State: state, Load: fmt.Sprintf("%d %% of %.2f Mpps", load, ndr/1e6),
		Mpps: report.FigureOf(rates).Median, Count: all.Count(), Max: float64(all.Max()) / float64(hz) * 1e9, Points: report.Climb(&all, hz)}
	s.b.Report.Ladders = append(s.b.Report.Ladders, l)
	fmt.Fprintf(s.b.Log, "%-28s %-9s %-5s %s:", c, l.System, state, l.Load)
	for _, p := range l.Points {
		fmt.Fprintf(s.b.Log, " p%v %.1f", p.P, p.Ns/1e3)
	}
	fmt.Fprintf(s.b.Log, " us\n")
	return nil
}
