package table_test

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/flow"
	"baton/dataplane/table"
)

// match is a random match over few values, so that rules overlap.
func match(t *rapid.T) (m flow.Match) {
	num := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
	if num(3) > 0 {
		m = m.WithUint(flow.FieldDatapath, uint64(num(3)))
	}
	switch num(5) {
	case 0:
		m = m.WithPrefix(flow.FieldIPDst, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(num(3)), byte(num(4))}), []int{0, 8, 24, 31, 32}[num(5)]))
	case 1:
		m = m.WithUint(flow.FieldInPort, uint64(num(3)))
	case 2:
		m = m.WithUint(flow.FieldInPort, uint64(num(3))).WithUint(flow.FieldDstPort, uint64(num(3)))
	case 3:
		m = m.WithMasked(flow.FieldFlags, flow.Uint(uint64(num(4)), 2), flow.Uint(uint64(num(4)), 2))
	}
	return m
}

// fields is a random packet that such matches may hold for.
func fields(t *rapid.T) (f flow.Fields) {
	num := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "f") }
	f.InPort = flow.PortNo(num(3))
	f.IPDst = [16]byte{10, 0, byte(num(3)), byte(num(4))}
	f.Datapath, f.Regs.DstPort, f.Regs.Flags = uint32(num(3)), uint16(num(3)), uint16(num(4))
	return f
}

// linear is the oracle: the highest priority among all rules that match.
func linear(rules map[flow.RuleID]*table.Rule, f *flow.Fields) (priority int, ok map[*table.Rule]bool) {
	priority, ok = -1, map[*table.Rule]bool{}
	for _, r := range rules {
		if !r.Match.Holds(f) || int(r.Priority) < priority {
			continue
		}
		if int(r.Priority) > priority {
			clear(ok)
		}
		priority = int(r.Priority)
		ok[r] = true
	}
	return priority, ok
}

// check compares a table with the oracle, and its mask with its promise.
func check(t *rapid.T, tab *table.Table, rules map[flow.RuleID]*table.Rule) {
	if tab.Len() != len(rules) {
		t.Fatalf("%d rules, want %d", tab.Len(), len(rules))
	}
	num := 0
	tab.Each(func(r *table.Rule) bool {
		num++
		if rules[r.RuleID] != r || tab.Get(&r.RuleID) != r {
			t.Fatalf("the table has %s, which it should not, or does not find it", r)
		}
		return true
	})
	if num != len(rules) {
		t.Fatalf("Each gave %d rules, want %d", num, len(rules))
	}
	for range 8 {
		f, other := fields(t), fields(t)
		var wc, again flow.Fields
		got := tab.Lookup(&f, &wc)
		if _, want := linear(rules, &f); len(want) == 0 && got != nil || len(want) > 0 && !want[got] {
			t.Fatalf("%v: got %v, want one of %v", f, got, want)
		}
		fw, ow, mw := f.Words(), other.Words(), wc.Words()
		for i := range ow {
			ow[i] = fw[i]&mw[i] | ow[i]&^mw[i]
		}
		if r := tab.Lookup(&other, &again); r != got || again != wc {
			t.Fatalf("%v and %v agree under %v, but one gets %v, the other %v", f, other, wc, got, r)
		}
	}
}

// TestLinearTwin edits a table at random and holds it against a list of rules;
// every table made on the way must stay as it was.
func TestLinearTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			tab   *table.Table
			rules map[flow.RuleID]*table.Rule
		}
		now := version{&table.Table{}, map[flow.RuleID]*table.Rule{}}
		past := []version{now}
		for range rapid.IntRange(1, 8).Draw(t, "edits") {
			next := version{rules: map[flow.RuleID]*table.Rule{}}
			for id, r := range now.rules {
				next.rules[id] = r
			}
			e := now.tab.Edit()
			for range rapid.IntRange(1, 20).Draw(t, "ops") {
				r := &table.Rule{Rule: flow.Rule{RuleID: flow.RuleID{Priority: uint16(rapid.IntRange(0, 5).Draw(t, "priority")), Match: match(t)}}}
				if rapid.IntRange(0, 3).Draw(t, "op") == 0 {
					if _, there := next.rules[r.RuleID]; e.Delete(&r.RuleID) != there {
						t.Fatalf("delete %s: want %v", r, there)
					}
					delete(next.rules, r.RuleID)
					continue
				}
				e.Set(r)
				next.rules[r.RuleID] = r
				if e.Get(&r.RuleID) != r || e.Len() != len(next.rules) {
					t.Fatalf("set %s: not there, or %d rules where %d should be", r, e.Len(), len(next.rules))
				}
			}
			next.tab = e.Table()
			now = next
			past = append(past, now)
		}
		for _, v := range past {
			check(t, v.tab, v.rules)
		}
	})
}

// route is a rule for one address of one datapath.
func route(datapath uint32, n int) *table.Rule {
	var m flow.Match
	m = m.WithUint(flow.FieldDatapath, uint64(datapath))
	m = m.WithPrefix(flow.FieldIPDst, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 32))
	return &table.Rule{Rule: flow.Rule{RuleID: flow.RuleID{Priority: 7, Match: m}}}
}

// TestManyRules has more rules than fit in a few leaves, and takes them out again.
func TestManyRules(t *testing.T) {
	const num = 20000
	e := (&table.Table{}).Edit()
	for n := range num {
		e.Set(route(5, n))
	}
	tab := e.Table()
	if tab.NumTuples() != 1 || tab.Len() != num {
		t.Fatalf("%d tuples, %d rules", tab.NumTuples(), tab.Len())
	}
	for n := range num {
		r := route(5, n)
		var wc flow.Fields
		if got := tab.Lookup(&r.Match.Value, &wc); got == nil || got.Match != r.Match {
			t.Fatalf("rule %d: got %v", n, got)
		}
	}
	e = tab.Edit()
	for n := range num {
		if !e.Delete(&route(5, n).RuleID) {
			t.Fatalf("rule %d is not there", n)
		}
	}
	if empty := e.Table(); empty.Len() != 0 || empty.NumTuples() != 0 {
		t.Fatalf("%d rules and %d tuples are left", empty.Len(), empty.NumTuples())
	}
}

// TestOtherDatapathCostsNoBits: a tuple without a rule for the packet's datapath
// must not make the result depend on the packet.
func TestOtherDatapathCostsNoBits(t *testing.T) {
	e := (&table.Table{}).Edit()
	e.Set(route(5, 1))
	e.Set(&table.Rule{Rule: flow.Rule{RuleID: flow.RuleID{Priority: 1, Match: flow.Match{}.WithUint(flow.FieldDatapath, 6)}}})
	tab := e.Table()
	f := flow.Fields{Regs: flow.Regs{Datapath: 6}}
	var wc flow.Fields
	if r := tab.Lookup(&f, &wc); r == nil || r.Priority != 1 {
		t.Fatalf("got %v", r)
	}
	if wc.Key != (flow.Key{}) {
		t.Errorf("depends on %s", flow.Match{Mask: flow.Fields{Key: wc.Key}})
	}
}

// TestSmallEditIsSmall: one edit of a large table copies a path, not the table.
func TestSmallEditIsSmall(t *testing.T) {
	allocated := func(num int) int64 {
		e := (&table.Table{}).Edit()
		for n := range num {
			e.Set(route(5, n))
		}
		tab := e.Table()
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				e := tab.Edit()
				e.Delete(&route(5, 3).RuleID)
				e.Set(route(5, num+1))
				e.Table()
			}
		})
		return r.AllocedBytesPerOp()
	}
	small, large := allocated(100), allocated(50000)
	if large > 4*small {
		t.Errorf("an edit among 50000 rules allocates %d bytes, among 100 %d", large, small)
	}
}

// TestLookupAllocates nothing.
func TestLookupAllocates(t *testing.T) {
	e := (&table.Table{}).Edit()
	for n := range 100 {
		e.Set(route(5, n))
	}
	tab := e.Table()
	f := route(5, 42).Match.Value
	var wc flow.Fields
	if n := testing.AllocsPerRun(100, func() { tab.Lookup(&f, &wc) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
