package topology_test

import (
	"testing"

	"baton/bench/topology"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
)

// All rules are taken by a pipeline, have as many masks as was asked for, and each matches
// its own flow.
func TestRuleset(t *testing.T) {
	for _, r := range []topology.Ruleset{{Num: 10, Masks: 1}, {Num: 1000, Masks: 8}, {Num: 70_000, Masks: 32}} {
		rules := r.Baton()
		masks := map[flow.Fields]bool{}
		seen := map[[2]uint16]bool{}
		for i, x := range rules {
			masks[x.Match.Mask] = true
			src, dst := r.PortsOf(i)
			if seen[[2]uint16{src, dst}] {
				t.Fatalf("flow %d is another one's", i)
			}
			seen[[2]uint16{src, dst}] = true
			var k flow.Match
			k = k.WithUint(flow.FieldL4Src, uint64(src)).WithUint(flow.FieldL4Dst, uint64(dst))
			if k.Value.Key.L4Src&x.Match.Mask.Key.L4Src != x.Match.Value.Key.L4Src || k.Value.Key.L4Dst&x.Match.Mask.Key.L4Dst != x.Match.Value.Key.L4Dst {
				t.Fatalf("rule %d does not match its flow", i)
			}
		}
		if len(masks) != r.Masks || len(rules) != r.Num || len(r.OVS("vm1", "drop")) != r.Num {
			t.Errorf("%+v: %d masks, %d rules", r, len(masks), len(rules))
		}
		if _, err := pipeline.New().Apply(flow.Change{SetRules: rules}); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
