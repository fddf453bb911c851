package cache

import (
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
	"baton/dataplane/table"
)

// counted is a pipeline with num rules, by their counters.
func counted(t testing.TB, num int) (*pipeline.Counters, []table.Ref) {
	p := pipeline.New()
	var c flow.Change
	for n := range num {
		m := flow.Match{}.WithUint(flow.FieldInPort, uint64(n))
		c.SetRules = append(c.SetRules, flow.Rule{RuleID: flow.RuleID{Match: m}, Actions: []flow.Action{flow.Drop(stats.DropNoRoute)}})
	}
	if _, err := p.Apply(c); err != nil {
		t.Fatal(err)
	}
	var all []table.Ref
	for _, r := range p.Snapshot().Rules() {
		all = append(all, r.Ref)
	}
	return p.Counters(), all
}

// TestTally: each rule gets what was added for it, no more than once, and all of it when
// all is settled.
func TestTally(t *testing.T) {
	counters, rules := counted(t, 3*tallySlots)
	var y tally
	want := map[table.Ref][2]uint64{}
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(1, 200).Draw(t, "adds") {
			r := rules[rapid.IntRange(0, len(rules)-1).Draw(t, "rule")]
			n := rapid.Uint64Range(0, 3).Draw(t, "packets")
			y.add(r, counters, n, 60*n)
			want[r] = [2]uint64{want[r][0] + n, want[r][1] + 60*n}
			if packets, _ := counters.Load(r); packets > want[r][0] {
				t.Fatalf("%v has %d packets, %d were added", r, packets, want[r][0])
			}
		}
		num := rapid.IntRange(1, tallySlots).Draw(t, "settle")
		y.settle(num, counters)
		if num < tallySlots {
			return
		}
		for r, w := range want {
			if packets, bytes := counters.Load(r); packets != w[0] || bytes != w[1] {
				t.Fatalf("%v has %d packets and %d bytes, want %v", r, packets, bytes, w)
			}
		}
	})
	y.settle(tallySlots, counters)
	for r, w := range want {
		if packets, bytes := counters.Load(r); packets != w[0] || bytes != w[1] {
			t.Errorf("%v has %d packets and %d bytes, want %v", r, packets, bytes, w)
		}
	}
}

// TestRefs: lists of all lengths are kept and given back, and no block is lost.
func TestRefs(t *testing.T) {
	counters, rules := counted(t, 200)
	var y tally
	var p refPool
	const entries, blocks = 8, 64
	p.init(make([]refs, entries), make([]block, blocks))
	want := map[table.Ref]uint64{}
	rapid.Check(t, func(t *rapid.T) {
		at := uint32(rapid.IntRange(0, entries-1).Draw(t, "entry"))
		num := rapid.IntRange(0, len(rules)).Draw(t, "rules")
		p.drop(at)
		if p.num < need(num) {
			for i := range uint32(entries) {
				p.drop(i)
			}
		}
		p.put(at, rules[:num])
		p.credit(at, &y, counters, 1, 60)
		for _, r := range rules[:num] {
			want[r]++
		}
		y.settle(tallySlots, counters)
		for _, r := range rules {
			if packets, _ := counters.Load(r); packets != want[r] {
				t.Fatalf("%d rules: %v has %d packets, want %d", num, r, packets, want[r])
			}
		}
	})
	for i := range uint32(entries) {
		p.drop(i)
	}
	if p.num != blocks-1 {
		t.Errorf("%d blocks are free, want %d", p.num, blocks-1)
	}
}
