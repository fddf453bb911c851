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
				if err := b.eachSystem(ctx, c, p, func(s shots) error { return s.churn(ctx, c, k, p.Load.Streams[0]) }); err != nil {
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

func (s shots) churn(ctx context.Context, c report.Case, k churnKind, st gen.Stream) error {
	p50, p99 := newMeasure(c, s, "first packet, p50", "us"), newMeasure(c, s, "first packet, p99", "us")
	for run := range s.b.Runs {
		if err := ctx.Err(); err != nil {
			return err
		}
		st.Rate, st.Flows.New = k.rate, k.new
		r, err := s.shoot(st, s.b.Length)
		if err != nil {
			return err
		}
		first := r.Streams[0].First
		us := func(q float64) float64 { return float64(first.Quantile(q)) / float64(r.Hz) * 1e6 }
		p50.add(us(0.5))
		p99.add(us(0.99))
		st.Rate, st.Flows.New = 0, allNew // each packet is one's first: trials count these
		err = s.shotTrial(c, run, func(t *report.Trial) error {
			r, err := s.shoot(st, s.b.Length)
			if err != nil {
				return err
			}
			t.Mpps = float64(r.Streams[0].FirstsIn) / r.Length.Seconds() / 1e6
			t.Cycles = r.cycles()
			t.Busy = s.busy(r, s.b.Length)
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
