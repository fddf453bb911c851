package scenario

import (
	"context"

	"baton/bench/gen"
	"baton/bench/report"
)

// churn is flows that come and go: how many can begin in a second, and how long their
// first packets take.
type churn struct{}

func (churn) Name() string { return "churn" }

func (churn) About() string {
	return "from VM to VM, flows that never were before: most a second, and latency of first packets"
}

// Rates of the latency of first packets: a load that both systems carry with ease.
const (
	churnRate = 500_000 // packets a second
	churnNew  = 100_000 // of them that begin a flow
)

// leastBusy is the busy part of a shot below which the generator is the limit.
const leastBusy = 0.95

// allNew is more new flows a second than any generator makes: each packet is one's first.
const allNew = 1e9

func (churn) Run(ctx context.Context, b *Bench) error {
	if err := (vm2vm{}).verify(ctx, b); err != nil {
		return err
	}
	for _, flows := range b.flowsOr(10_000) {
		for _, size := range b.sizes() {
			c := report.Case{Scenario: "churn", Flows: flows, Size: size}
			p := local(flows, size)
			if err := b.eachSystem(ctx, c, p, func(s shots) error { return s.churn(ctx, c, p.Load.Streams[0]) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s shots) churn(ctx context.Context, c report.Case, st gen.Stream) error {
	p50, p99 := newMeasure(c, s, "first packet, p50", "us"), newMeasure(c, s, "first packet, p99", "us")
	for run := range s.b.Runs {
		if err := ctx.Err(); err != nil {
			return err
		}
		st.Rate, st.Flows.New = churnRate, churnNew
		r, _, err := s.shoot(st, s.b.Length)
		if err != nil {
			return err
		}
		first := r.Streams[0].First
		us := func(q float64) float64 { return float64(first.Quantile(q)) / float64(r.Hz) * 1e6 }
		p50.add(us(0.5))
		p99.add(us(0.99))
		st.Rate, st.Flows.New = 0, allNew // each packet is one's first: trials count these
		err = s.shotTrial(c, run, func(t *report.Trial) error {
			r, n, err := s.shoot(st, s.b.Length)
			if err != nil {
				return err
			}
			t.Mpps = float64(r.Streams[0].FirstsIn) / r.Length.Seconds() / 1e6
			t.Cycles = float64(n.Busy) / float64(max(1, n.Rx))
			t.Busy = s.busy(n, s.b.Length)
			t.Limited = t.Busy < leastBusy
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, m := range []*measure{p50, p99} {
		if err := m.done(s); err != nil {
			return err
		}
	}
	return nil
}
