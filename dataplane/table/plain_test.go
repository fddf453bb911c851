package table_test

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/flow"
	"baton/dataplane/table"
)

// plainStages are the words of flow.Fields in the order in which a lookup looks at them.
var plainStages = [][]int{{10, 11, 12, 13, 14, 15}, {0, 1, 2, 3, 4}, {5, 6, 7, 8}, {9}}

// plainTuple is the rules with one mask.
type plainTuple struct {
	mask  flow.Fields
	top   uint16
	rules []*table.Rule
}

// plainTuples are the rules by their masks, in the order in which a lookup asks.
func plainTuples(t *table.Table) (all []*plainTuple) {
	byMask := map[flow.Fields]*plainTuple{}
	t.Each(func(r *table.Rule) bool {
		tu := byMask[r.Match.Mask]
		if tu == nil {
			tu = &plainTuple{mask: r.Match.Mask}
			byMask[r.Match.Mask] = tu
			all = append(all, tu)
		}
		tu.rules = append(tu.rules, r)
		tu.top = max(tu.top, r.Priority)
		return true
	})
	slices.SortFunc(all, func(a, b *plainTuple) int {
		return cmp.Or(cmp.Compare(b.top, a.top), slices.Compare(a.mask.Words()[:], b.mask.Words()[:]))
	})
	return all
}

// plainLookup is Table.Lookup without tries and hashes: it asks each rule of a tuple,
// stage by stage, and goes on as long as one that can win agrees with f so far.
func plainLookup(t *table.Table, f, wc *flow.Fields) (best *table.Rule) {
	w, x := f.Words(), wc.Words()
	for _, tu := range plainTuples(t) {
		mask, left := tu.mask.Words(), tu.rules
		for _, stage := range plainStages {
			left = slices.DeleteFunc(slices.Clone(left), func(r *table.Rule) bool { return best != nil && r.Priority <= best.Priority })
			if len(left) == 0 {
				break
			}
			for _, i := range stage {
				x[i] |= mask[i]
			}
			left = slices.DeleteFunc(left, func(r *table.Rule) bool {
				return slices.ContainsFunc(stage, func(i int) bool { return w[i]&mask[i] != r.Match.Value.Words()[i] })
			})
		}
		for _, r := range left {
			if best == nil || r.Priority > best.Priority {
				best = r
			}
		}
	}
	return best
}

// anyField is any field, and often one of a few of all stages.
func anyField(t *rapid.T) flow.FieldInfo {
	all := flow.AllFields()
	i := all[rapid.IntRange(0, len(all)-1).Draw(t, "field")]
	often := []flow.FieldID{flow.FieldDatapath, flow.FieldEthType, flow.FieldIPDst, flow.FieldL4Dst}
	if n := rapid.IntRange(0, 6).Draw(t, "often"); n < len(often) {
		i, _ = often[n].Info()
	}
	return i
}

// anyShape is a match on up to four fields, of which only the mask counts.
func anyShape(t *rapid.T) (m flow.Match) {
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		i := anyField(t)
		m.Mask.Put(i.ID, anyMask(t, i.Size))
	}
	return m
}

// anyMatch is a match with few values under the mask of one of shapes, so that rules
// share words, bits, and tuples.
func anyMatch(t *rapid.T, shapes []flow.Match) flow.Match {
	m := shapes[rapid.IntRange(0, len(shapes)-1).Draw(t, "shape")]
	for _, i := range flow.AllFields() {
		if mask := m.Mask.Get(i.ID); mask != ([16]byte{}) {
			m = m.WithMasked(i.ID, anyValue(t), mask)
		}
	}
	return m
}

// anyValue is one of few values of a field: numbers end, addresses begin with it.
func anyValue(t *rapid.T) (v [16]byte) {
	b := byte(rapid.IntRange(1, 2).Draw(t, "value"))
	for i := range v {
		v[i] = b
	}
	return v
}

// anyMask is one of few masks: all of the field, its first bits, its last.
func anyMask(t *rapid.T, size int) (m [16]byte) {
	for i := range size {
		m[i] = 0xff
	}
	switch rapid.IntRange(0, 9).Draw(t, "mask") {
	case 0:
		m = [16]byte{0xff}
	case 1:
		m[size-1] = 1
	}
	return m
}

// anyFields is a packet that some such matches hold for.
func anyFields(t *rapid.T) (f flow.Fields) {
	v := anyValue(t)
	for _, i := range flow.AllFields() {
		f.Put(i.ID, v)
	}
	for range rapid.IntRange(0, 4).Draw(t, "others") {
		f.Put(anyField(t).ID, anyValue(t))
	}
	return f
}

// samePlain holds a lookup against the plain one, and the mask of both against their promise.
func samePlain(t *rapid.T, tab *table.Table) {
	for range 8 {
		f, other := anyFields(t), anyFields(t)
		var wc, plain flow.Fields
		got, want := tab.Lookup(&f, &wc), plainLookup(tab, &f, &plain)
		if a := tab.Always(); a != nil && (got != a || wc != (flow.Fields{})) || a == nil && tab.Len() == 1 && wc == (flow.Fields{}) {
			t.Fatalf("always %v, but found is %v under %v", a, got, wc)
		}
		if got != want || wc != plain {
			t.Fatalf("%v: got %v under %v, plainly %v under %v", f, got, wc, want, plain)
		}
		fw, ow, mw := f.Words(), other.Words(), wc.Words()
		for i := range ow {
			ow[i] = fw[i]&mw[i] | ow[i]&^mw[i]
		}
		var again flow.Fields
		if r := plainLookup(tab, &other, &again); r != want || again != plain {
			t.Fatalf("%v and %v agree under %v, but plainly one gets %v, the other %v", f, other, plain, want, r)
		}
		again = flow.Fields{}
		if r := tab.Lookup(&other, &again); r != got || again != wc {
			t.Fatalf("%v and %v agree under %v, but one gets %v, the other %v", f, other, wc, got, r)
		}
	}
}

// TestLookupIsPlain holds tables of random rules on all fields, and those that come of
// editing them, against the plain lookup.
func TestLookupIsPlain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var shapes []flow.Match
		for range rapid.IntRange(1, 6).Draw(t, "shapes") {
			shapes = append(shapes, anyShape(t))
		}
		tab, ids := &table.Table{}, []flow.RuleID(nil)
		for range rapid.IntRange(1, 4).Draw(t, "edits") {
			old, e := tab, tab.Edit()
			for range rapid.IntRange(1, 1+rapid.SampledFrom([]int{0, 40}).Draw(t, "most")).Draw(t, "ops") {
				if len(ids) > 0 && rapid.IntRange(0, 3).Draw(t, "op") == 0 {
					e.Delete(&ids[rapid.IntRange(0, len(ids)-1).Draw(t, "which")])
					continue
				}
				id := flow.RuleID{Priority: uint16(rapid.IntRange(0, 5).Draw(t, "priority")), Match: anyMatch(t, shapes)}
				e.Set(&table.Rule{Rule: flow.Rule{RuleID: id}})
				ids = append(ids, id)
			}
			tab = e.Table()
			samePlain(t, tab)
			samePlain(t, old)
		}
	})
}
