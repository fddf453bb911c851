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
	return "from VM to VM, a flow for each of --flows rules (10, 1 k, 10 k, 100 k), by 1, 8, 32 masks (never more than rules), exact-match caches off (baton's: 64 entries, which answer below 64 rules); 100 k rules take minutes"
}

func (rules) check(o *Options) error {
	if n := slices.Max(append(o.Flows, 1)); n > topology.MaxRules {
		return fmt.Errorf("scenario rules: --flows is the number of rules there, and at most %d have flows that differ, not %d: leave --flows out, or give 100k", topology.MaxRules, n)
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
				r := topology.Ruleset{Num: num, Masks: masks}
				c := report.Case{Scenario: "rules", Variant: rulesVariant(r), Flows: ruleFlows(r), Size: size}
				if err := b.Compare(ctx, c, rulesPlan(r, size)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// rulesWarmUp is what each flow's first walk of the tables may take, before what counts.
const rulesWarmUp = 30 * time.Microsecond

// maxRuleFlows is fewer than OVS's datapath keeps megaflows (65536, MAX_FLOWS): each rule's
// flow needs one of its own.
const maxRuleFlows = 50_000

// ruleFlows is how many of the rules' flows are sent.
func ruleFlows(r topology.Ruleset) int { return min(r.Num, maxRuleFlows) }

// rulesVariant says what answers: few flows find themselves in what is left of baton's
// exact-match cache.
func rulesVariant(r topology.Ruleset) string {
	s := fmt.Sprintf("%d rules, %d masks", r.Num, r.Masks)
	if r.Num <= leastMicro {
		s += ", baton by its cache"
	}
	return s
}

// rulesPlan has a VM send the rules' flows to another, one after the other.
func rulesPlan(r topology.Ruleset, size report.Size) Plan {
	p := local(ruleFlows(r), size)
	p.Rules, p.Cold = r, true
	p.Flows = append(r.OVS(topology.VM1.Name, "output:"+topology.VM2.Name), ovsLocal(topology.VM2, topology.VM1))
	p.WarmUp = time.Duration(r.Num) * rulesWarmUp
	s := &p.Load.Streams[0]
	s.Frame.SrcPort, s.Frame.DstPort = r.PortsOf(0)
	s.Flows.Vary = []gen.Vary{{Field: gen.SrcPort, Shift: 0, Bits: 16}, {Field: gen.DstPort, Shift: 16, Bits: 2}}
	return p
}
