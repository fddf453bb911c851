package topology_test

import (
	"strings"
	"testing"

	"baton/bench/topology"
	"baton/controlplane/compile"
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

// With the rule that keeps flows apart, a packet goes where it went, by an entry that is for
// its ports alone; without, ports do not count.
func TestApart(t *testing.T) {
	s, err := topology.Network("vm1", "vm2")
	if err != nil {
		t.Fatal(err)
	}
	from, to := topology.VM1, topology.VM2
	k := flow.Key{InPort: flow.LogicalPort(from.VNI, from.ID), EthSrc: from.MAC, EthDst: to.MAC, EthType: flow.EtherTypeIPv4, Proto: flow.ProtoUDP, L4Src: 1, L4Dst: 2}
	var got [2]pipeline.Result
	for i, r := range []topology.Ruleset{{}, {Apart: true}} {
		c, p := compile.Host(s, topology.Host), pipeline.New()
		if _, err := p.Apply(flow.Change{SetRules: append(c.Rules, r.Baton()...), SetBindings: c.Bindings, SetNeighbours: c.Neighbours}); err != nil {
			t.Fatal(err)
		}
		p.Snapshot().Walk(&k, &got[i])
	}
	if got[0].Actions != got[1].Actions || got[0].Actions.Out != flow.LogicalPort(to.VNI, to.ID) {
		t.Errorf("%s, apart %s", &got[0].Actions, &got[1].Actions)
	}
	if m := got[0].Mask; m.L4Src != 0 || m.L4Dst != 0 {
		t.Errorf("depends on %s", k.FormatMasked(m))
	}
	if m := got[1].Mask; m.L4Src != 0xffff || m.L4Dst != 0xffff {
		t.Errorf("apart depends on %s only", k.FormatMasked(m))
	}
	if a := topology.OVSApart("output:vm2"); !strings.HasSuffix(a, ",output:vm2") || !strings.Contains(a, "UDP_SRC") || !strings.Contains(a, "UDP_DST") {
		t.Error(a)
	}
}
