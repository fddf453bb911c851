package scenario

import (
	"context"

	"baton/bench/gen"
	"baton/bench/report"
	"baton/bench/topology"
)

// flows is encap with flows drawn at random, which the other scenarios have in turns.
type flows struct{}

func (flows) Name() string { return "flows" }

func (flows) About() string {
	return "encap with flows drawn at random: all as likely (uniform), or some often (zipf)"
}

func (s flows) Run(ctx context.Context, b *Bench) error {
	if err := (encap{}).verify(ctx, b); err != nil {
		return err
	}
	for _, num := range b.flowsOr(1, 1000, 10_000, 100_000, 1_000_000) {
		for _, choice := range []gen.Choice{gen.Uniform, gen.Zipf} {
			if num == 1 && choice == gen.Zipf { // it is the same
				continue
			}
			for _, size := range b.sizes() {
				p := encap{}.plan()
				p.Staged = false
				st := stream(topology.VM1, topology.Far1, num, size)
				st.Flows.Choice = choice
				p.Load.Streams = []gen.Stream{st}
				if err := b.Compare(ctx, report.Case{Scenario: s.Name(), Variant: string(choice), Flows: num, Size: size}, p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
