package scenario

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"baton/bench/gen"
	"baton/bench/report"
	"baton/bench/topology"
)

// rules is many rules with several masks, a flow each, found by masks alone: the
// classifier's own work.
type rules struct{}

func (rules) Name() string { return "rules" }

func (rules) About() string {
	return "from VM to VM, a flow for each rule, exact-match caches off (baton's: 64 entries): 10, 1 k, 100 k rules; 1, 8, 32 masks"
}

func (rules) check(o *Options) error {
	if n := slices.Max(append(o.Flows, 1)); n > topology.MaxRules {
		return fmt.Errorf("%d rules: at most %d have flows that differ", n, topology.MaxRules)
	}
	return nil
}

// verify sends a frame of each of some rules' flows.
func (s rules) verify(ctx context.Context, b *Bench) error {
	from, to := topology.VM1, topology.VM2
	r := topology.Ruleset{Num: checkFrames, Masks: 8}
	sent, err := numbered(from, to, 64, 512, 1500)
	if err != nil {
		return err
	}
	for i, f := range sent {
		src, dst := r.PortsOf(i)
		binary.BigEndian.PutUint16(f[headers-8:], src)
		binary.BigEndian.PutUint16(f[headers-6:], dst)
	}
	return b.Verify(ctx, s.Name(), rulesPlan(r, 64), Pass{From: from.Name, To: to.Name, Sent: sent, Open: plainFrame})
}

func (s rules) Run(ctx context.Context, b *Bench) error {
	if err := s.verify(ctx, b); err != nil {
		return err
	}
	for _, num := range b.flowsOr(10, 1000, 10_000, 100_000) {
		for _, masks := range []int{1, 8, 32} {
			if masks > num {
				continue
			}
			for _, size := range b.sizes() {
				p := rulesPlan(topology.Ruleset{Num: num, Masks: masks}, size)
				c := report.Case{Scenario: "rules", Variant: fmt.Sprintf("%d masks", masks), Flows: num, Size: size}
				if err := b.Compare(ctx, c, p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// rulesWarmUp is what each flow's first walk of the tables may take, before what counts.
const rulesWarmUp = 30 * time.Microsecond

// rulesPlan has a VM send each rule's flow to another, one after the other.
func rulesPlan(r topology.Ruleset, size report.Size) Plan {
	p := local(r.Num, size)
	p.Rules, p.Cold = r, true
	p.Flows = append(r.OVS(topology.VM1.Name, "output:"+topology.VM2.Name), ovsLocal(topology.VM2, topology.VM1))
	p.WarmUp = time.Duration(r.Num) * rulesWarmUp
	s := &p.Load.Streams[0]
	s.Frame.SrcPort, s.Frame.DstPort = r.PortsOf(0)
	s.Flows.Vary = []gen.Vary{{Field: gen.SrcPort, Shift: 0, Bits: 16}, {Field: gen.DstPort, Shift: 16, Bits: 2}}
	return p
}
