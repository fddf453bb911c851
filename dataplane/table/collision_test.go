package table

import (
	"testing"

	"baton/dataplane/flow"
)

// TestCollision: of rules and groups with one hash, that is found which has the fields.
func TestCollision(t *testing.T) {
	const hash = 42
	shape := flow.Match{}.WithUint(flow.FieldDatapath, 0).WithUint(flow.FieldProto, 0)
	tu := &tuple{words: wordsOf(&shape.Mask)}
	var groups []item[*group]
	var rules []item[*Rule]
	var fields []flow.Fields
	for n := range uint64(3) {
		m := flow.Match{}.WithUint(flow.FieldDatapath, n).WithUint(flow.FieldProto, n)
		groups = append(groups, item[*group]{hash, &group{val: tu.words.pack(&m.Value, 0)}})
		rules = append(rules, item[*Rule]{hash, &Rule{Rule: flow.Rule{RuleID: flow.RuleID{Match: m}}}})
		fields = append(fields, m.Value)
	}
	for n := range fields {
		if g := tu.find(groups, &fields[n], hash, 0); g != groups[n].val {
			t.Errorf("group %d: found %p, want %p", n, g, groups[n].val)
		}
		if r := tu.rule(rules, &fields[n], hash, -1); r != rules[n].val {
			t.Errorf("rule %d: found %v", n, r)
		}
	}
	other := flow.Fields{Regs: flow.Regs{Datapath: 3}, Key: flow.Key{Proto: 3}}
	if tu.find(groups, &other, hash, 0) != nil || tu.rule(rules, &other, hash, -1) != nil {
		t.Error("found what is not there")
	}
}
