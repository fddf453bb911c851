package pipeline_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/dataplane/action"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
	"baton/dataplane/table"
)

type pipelineRule = table.Rule

// rule is a rule of the first table.
func rule(priority uint16, m flow.Match, a ...flow.Action) flow.Rule {
	return flow.Rule{RuleID: flow.RuleID{Table: pipeline.TableConvertPhyLogical, Priority: priority, Match: m}, Actions: a}
}

// TestApplyErrors: each wrong change is refused with the name of what is wrong,
// and changes nothing.
func TestApplyErrors(t *testing.T) {
	good := rule(9, flow.Match{}, flow.Drop(stats.DropNoRoute))
	outside := flow.Match{}
	outside.Value.EthType = 1
	set := func(r flow.Rule) flow.Change { return flow.Change{SetRules: []flow.Rule{good, r}} }
	bind := func(b ...flow.Binding) flow.Change {
		return flow.Change{SetRules: []flow.Rule{good}, SetBindings: b}
	}
	p1 := flow.LogicalPort(5, 1)
	tests := []struct {
		change flow.Change
		want   []string
	}{
		{set(rule(1, outside, flow.Goto(1))), []string{"CONVERT_PHY_LOGICAL", "priority=1", "outside its mask"}},
		{set(rule(1, flow.Match{})), []string{"no actions"}},
		{set(rule(1, flow.Match{}, flow.Goto(2))), []string{"action 1", "no table 2"}},
		{set(rule(1, flow.Match{}, flow.Goto(1), flow.Goto(1))), []string{"action 1 (goto)", "never run"}},
		{set(rule(1, flow.Match{}, flow.SetFlags(1))), []string{"last action must be"}},
		{set(rule(1, flow.Match{}, flow.SetUint(flow.FieldEthType, 1), flow.Goto(1))), []string{"eth_type cannot be written"}},
		{set(rule(1, flow.Match{}, flow.Action{Op: flow.OpSetField, Field: 200}, flow.Goto(1))), []string{"unknown field 200"}},
		{set(rule(1, flow.Match{}, flow.Copy(flow.FieldTunDst, flow.FieldIPDst), flow.Goto(1))), []string{"16 bytes", "tun_dst 4"}},
		{set(rule(1, flow.Match{}, flow.Output(flow.PortTunnel))), []string{"use the tunnel action"}},
		{set(rule(1, flow.Match{}, flow.Action{Op: 99})), []string{"unknown action 99"}},
		{set(flow.Rule{RuleID: flow.RuleID{Table: 77}, Actions: []flow.Action{flow.Goto(1)}}), []string{"no table 77"}},
		{bind(flow.Binding{Name: "a", Number: p1}, flow.Binding{Name: "b", Number: p1}), []string{"binding b", "5:1", "bound to a"}},
		{bind(flow.Binding{Number: p1}), []string{"no name"}},
		{bind(flow.Binding{Name: "a", Number: flow.PortTunnel}), []string{"binding a", "not a logical port"}},
		{flow.Change{SetRules: []flow.Rule{good}, SetNeighbours: []flow.Neighbour{{Host: "h", IP: 1}}}, []string{"neighbour h"}},
	}
	p := pipeline.New()
	before := p.Snapshot()
	for _, tt := range tests {
		_, err := p.Apply(tt.change)
		if err == nil {
			t.Errorf("%+v was applied, want an error with %q", tt.change, tt.want)
			continue
		}
		for _, w := range tt.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q lacks %q", err, w)
			}
		}
		if p.Snapshot() != before {
			t.Errorf("%q, but the snapshot is another one", err)
		}
	}
}

// TestApply edits, replaces and deletes; old snapshots stay as they are.
func TestApply(t *testing.T) {
	p := pipeline.New()
	a := rule(1, flow.Match{}, flow.Drop(stats.DropNoRoute))
	b := rule(2, flow.Match{}.WithUint(flow.FieldInPort, 7), flow.Drop(stats.DropUnknownMAC))
	n := flow.Neighbour{Host: "h", IP: 9, MAC: flow.MAC{2}}
	v := flow.Binding{Name: "vm", Number: flow.LogicalPort(5, 1)}
	first := apply(t, p, flow.Change{SetRules: []flow.Rule{a, b}, SetNeighbours: []flow.Neighbour{n}, SetBindings: []flow.Binding{v}})
	if again := apply(t, p, first.Change()); again != first {
		t.Errorf("the same state again made generation %d of %d", again.Generation(), first.Generation())
	}
	if got, ok := first.BindingOf(v.Number); !ok || got != v {
		t.Errorf("binding of %s: %v", v.Number, got)
	}
	second := apply(t, p, flow.Change{DelRules: []flow.RuleID{a.RuleID, {Table: 250}}, DelNeighbours: []uint32{9, 10}, DelBindings: []string{"vm", "x"}})
	if second.Generation() <= first.Generation() || second.NumRules() != 1 || first.NumRules() != 2 {
		t.Errorf("generations %d, %d; rules %d, %d", first.Generation(), second.Generation(), first.NumRules(), second.NumRules())
	}
	if _, ok := second.Neighbour(9); ok {
		t.Error("the neighbour is still there")
	}
	if diff := cmp.Diff(flow.Change{Replace: true, SetRules: []flow.Rule{b, a}, SetBindings: []flow.Binding{v}, SetNeighbours: []flow.Neighbour{n}},
		first.Change(), cmp.Comparer(func(a, b flow.Match) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	third := apply(t, p, flow.Change{Replace: true, SetRules: []flow.Rule{a}})
	if r := third.Rules(); len(r) != 1 || r[0].RuleID != a.RuleID {
		t.Errorf("rules %v, want %s alone", r, a)
	}
}

// apply applies and returns the new snapshot.
func apply(t *testing.T, p *pipeline.Pipeline, c flow.Change) *pipeline.Snapshot {
	t.Helper()
	gen, err := p.Apply(c)
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Snapshot(); s.Generation() == gen {
		return s
	}
	t.Fatalf("Apply says generation %d, the snapshot is %d", gen, p.Snapshot().Generation())
	return nil
}

// TestCountersFollowRules: a rule that is set again keeps its counters, one that
// is deleted and made again begins at zero, and a gone one cannot be credited.
func TestCountersFollowRules(t *testing.T) {
	p := pipeline.New()
	a := rule(1, flow.Match{}, flow.Drop(stats.DropNoRoute))
	ref := apply(t, p, flow.Change{SetRules: []flow.Rule{a}}).Rules()[0].Ref
	p.Counters().Add(ref, 3, 300)
	a.Actions = []flow.Action{flow.Drop(stats.DropUnknownMAC)}
	again := apply(t, p, flow.Change{SetRules: []flow.Rule{a}}).Rules()[0].Ref
	if packets, bytes := p.Counters().Load(again); packets != 3 || bytes != 300 {
		t.Errorf("set again: %d packets, %d bytes", packets, bytes)
	}
	apply(t, p, flow.Change{DelRules: []flow.RuleID{a.RuleID}})
	p.Counters().Add(ref, 1, 1)
	fresh := apply(t, p, flow.Change{SetRules: []flow.Rule{a}}).Rules()[0].Ref
	p.Counters().Add(ref, 1, 1)
	if packets, _ := p.Counters().Load(fresh); packets != 0 || fresh == ref {
		t.Errorf("made anew: %d packets, counters %v after %v", packets, fresh, ref)
	}
	for range 5000 { // slots are used again
		apply(t, p, flow.Change{DelRules: []flow.RuleID{a.RuleID}})
		fresh = apply(t, p, flow.Change{SetRules: []flow.Rule{a}}).Rules()[0].Ref
	}
	if fresh.Slot > 2 {
		t.Errorf("slot %d after 5000 rules, one at a time", fresh.Slot)
	}
}

// TestLoopEnds: rules that go round are cut off.
func TestLoopEnds(t *testing.T) {
	p := pipeline.New()
	s := apply(t, p, flow.Change{SetRules: []flow.Rule{rule(0, flow.Match{}, flow.Goto(pipeline.TableConvertPhyLogical))}})
	var res pipeline.Result
	s.Walk(&flow.Key{}, &res)
	if res.Actions.Verdict != action.VerdictDrop || res.Actions.Reason != stats.DropPipelineLoop || res.NumRules != pipeline.MaxSteps {
		t.Errorf("got %+v after %d rules", res.Actions, res.NumRules)
	}
}

// TestTwentyRouters: hops add up.
func TestTwentyRouters(t *testing.T) {
	p := pipeline.New()
	c := flow.Change{}
	for hop := range uint64(20) {
		m := flow.Match{}.WithUint(flow.FieldDatapath, hop)
		c.SetRules = append(c.SetRules, rule(1, m, flow.Action{Op: flow.OpDecTTL}, flow.SetUint(flow.FieldDatapath, hop+1), flow.Goto(0)))
	}
	c.SetRules = append(c.SetRules, rule(0, flow.Match{}, flow.Output(flow.LogicalPort(5, 2))))
	var res pipeline.Result
	apply(t, p, c).Walk(&flow.Key{EthType: flow.EtherTypeIPv4}, &res)
	if res.Actions.TTL != 20 || res.Actions.Verdict != action.VerdictOutput {
		t.Errorf("got %+v", res.Actions)
	}
}

// TestWalkAllocates nothing.
func TestWalkAllocates(t *testing.T) {
	s := network(t).Snapshot()
	var res pipeline.Result
	k := flow.Key{InPort: portOf(sw5, 1), EthType: flow.EtherTypeIPv4, EthDst: gwMAC, IPDst: flow.Addr(addr6(1))}
	if n := testing.AllocsPerRun(100, func() { s.Walk(&k, &res) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if res.Actions.Verdict != action.VerdictOutput {
		t.Errorf("the walk did not get through: %+v", res.Actions)
	}
}

// TestTablesHaveNames: names are unique and lead back, and rules are written with them.
func TestTablesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, info := range pipeline.Tables() {
		id, ok := pipeline.TableByName(info.Name)
		if !ok || id != info.ID || seen[info.Name] || int(id) >= pipeline.NumTables || info.Sentence == "" {
			t.Errorf("%+v", info)
		}
		seen[info.Name] = true
	}
	r := rule(10, flow.Match{}.WithUint(flow.FieldDatapath, 5), flow.Goto(pipeline.TableLSPIngressARPResponse))
	want := "table=CONVERT_PHY_LOGICAL priority=10 datapath=5 actions=goto(LSP_INGRESS_ARP_RESPONSE)"
	if got := pipeline.FormatRule(&r); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
