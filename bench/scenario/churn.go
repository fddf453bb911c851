package scenario

import (
	"context"

	"baton/bench/gen"
	"baton/bench/report"
	"baton/bench/topology"
)

// churn is flows that come and go: how many can begin in a second, and how long their
// first packets take.
type churn struct{}

func (churn) Name() string { return "churn" }

func (churn) About() string {
	return "from VM to VM, flows that never were before, which share an entry or need one each (own entries: the whole slow path): most a second, and latency of first packets"
}

// churnKind is one of the two kinds of flows.
type churnKind struct {
	variant   string
	flows     int     // at a time, if not told otherwise
	rate, new float64 // packets a second, and flows that begin: a load that both systems carry with ease
	rules     topology.Ruleset
}

var churnKinds = []churnKind{
	{"", 10_000, 500_000, 100_000, topology.Ruleset{}},
	{"own entries", 500, 50_000, 5000, topology.Ruleset{Apart: true}},
}

// plan is a VM that sends such flows to another.
func (k churnKind) plan(flows int, size report.Size) Plan {
	p := local(flows, size)
	if p.Rules = k.rules; k.rules.Apart {
		from, to := topology.VM1, topology.VM2
		p.Flows = []string{"udp,in_port=" + from.Name + ",dl_dst=" + to.MAC.String() + ",actions=" + topology.OVSApart("output:"+to.Name), ovsLocal(to, from)}
	}
	return p
}

// leastBusy is the busy part of a shot below which the generator is the limit.
const leastBusy = 0.95

// allNew is more new flows a second than any generator makes: each packet is one's first.
const allNew = 1e9

func (churn) Run(ctx context.Context, b *Bench) error {
	if err := (vm2vm{}).verify(ctx, b); err != nil {
		return err
	}
	for _, k := range churnKinds {
		if err := k.verify(ctx, b); err != nil {
			return err
		}
		for _, flows := range b.flowsOr(k.flows) {
			for _, size := range b.sizes() {
				c := report.Case{Scenario: "churn", Variant: k.variant, Flows: flows, Size: size}
				p := k.plan(flows, size)
				if err := b.shooters(ctx, c, p, func(all []shots) error { return b.churn(ctx, c, k, p.Load.Streams[0], all) }); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// verify makes the checked pass with the rules of the kind, if it has any.
func (k churnKind) verify(ctx context.Context, b *Bench) error {
	if k.variant == "" {
		return nil
	}
	from, to := topology.VM1, topology.VM2
	sent, err := numbered(from, to, 64, 512, 1500)
	if err != nil {
		return err
	}
	return b.Verify(ctx, "churn, "+k.variant, k.plan(1, 64), Pass{From: from.Name, To: to.Name, Sent: sent, Open: plainFrame})
}

// churn measures latency of first packets, and how many flows can begin.
func (b *Bench) churn(ctx context.Context, c report.Case, k churnKind, st gen.Stream, all []shots) error {
	var figures []*measure // p50 and p99 of each system
	for _, s := range all {
		figures = append(figures, newMeasure(c, s, "first packet, p50", "us"), newMeasure(c, s, "first packet, p99", "us"))
	}
	err := b.inTurns(ctx, all, func(i int, s shots, run int) error {
		st.Rate, st.Flows.New = k.rate, k.new
		r, state, err := s.steady(ctx, st)
		if err != nil {
			return err
		}
		for n, q := range []float64{0.5, 0.99} {
			figures[2*i+n].add(float64(r.Streams[0].First.Quantile(q))/float64(r.Hz)*1e6, state)
		}
		st.Rate, st.Flows.New = 0, allNew // each packet is one's first: trials count these
		return s.shotTrial(c, run, func(t *report.Trial) error {
			r, err := s.shoot(ctx, st, b.Length)
			if err != nil {
				return err
			}
			t.Mpps = float64(r.Streams[0].FirstsIn) / r.Length.Seconds() / 1e6
			t.Cycles = r.cycles()
			t.Busy = s.busy(r, b.Length)
			t.Limited = t.Busy < leastBusy
			return nil
		})
	})
	for _, m := range figures {
		m.done(b)
	}
	return err
}
