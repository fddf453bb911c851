package table

import "baton/dataplane/flow"

// Ref names the counters of a rule for as long as the rule lives.
type Ref struct {
	Slot   uint32 // where the counters are
	Serial uint32 // which of the rules that had the slot one after the other; 0 = none
}

// Rule is a rule in a table. It never changes.
type Rule struct {
	flow.Rule
	Ref Ref
}

// rank implements ranked.
func (r *Rule) rank() uint16 { return r.Priority }

// group is the rules of a tuple that agree in the words of all stages up to one:
// groups by the words of the next stage, or, if that is the last one, rules by them.
type group struct {
	val    packed // the words of the stage
	groups *node[*group]
	rules  *node[*Rule]
}

// rank implements ranked.
func (g *group) rank() uint16 {
	if g.rules != nil {
		return g.rules.top
	}
	return g.groups.top
}

// empty reports whether there is no rule in the group.
func (g *group) empty() bool { return g.rules == nil && g.groups == nil }

// tuple is the rules with the same mask.
type tuple struct {
	words words
	all   group // by the words of the first stage
	num   int
	mask  flow.Fields
}

// Table is the rules of one pipeline table. The zero Table is empty.
//
//	conc: immutable, safe for concurrent use
type Table struct {
	tuples []*tuple // by top priority, highest first; equal ones by mask
	num    int
}

// Len is the number of rules.
func (t *Table) Len() int { return t.num }

// NumTuples is the number of different masks.
func (t *Table) NumTuples() int { return len(t.tuples) }

// Always is the table's rule if it has one only and that matches everything: what each
// Lookup finds, without a bit in wc; else nil.
func (t *Table) Always() *Rule {
	if t.num != 1 || t.tuples[0].mask != (flow.Fields{}) {
		return nil
	}
	return t.tuples[0].all.rules.items[0].val
}

// Lookup is the rule of the highest priority that matches f, nil if none does.
// Into wc it ORs a mask: all fields that agree with f in its bits get the same
// answer. If rules of equal priority overlap, the answer is the same one each
// time, but nothing says which.
//
//	alloc: 0
func (t *Table) Lookup(f, wc *flow.Fields) *Rule {
	var best *Rule
	above := -1 // the priority that a rule must be above
	for _, tu := range t.tuples {
		if int(tu.all.rank()) <= above {
			break
		}
		if r := tu.lookup(f, wc, above); r != nil {
			best, above = r, int(r.Priority)
		}
	}
	return best
}

// lookup is the tuple's rule that matches f and has a priority above the given one,
// nil if there is none. What it hashes is words.hash.
func (tu *tuple) lookup(f, wc *flow.Fields, above int) *Rule {
	k, w, x := &tu.words, f.Words(), wc.Words()
	g := &tu.all
	i := uint8(0)
	for stage := uint8(0); ; stage++ {
		h := hashSeed
		for to := k.ends[stage%numStages]; i < to; i++ {
			at, bits := k.at[i&wordBits]&wordBits, k.bits[i&wordBits]
			x[at] |= bits
			h = mix(h, w[at]&bits)
		}
		if stage+1 >= k.num {
			return tu.rule(g.rules.leaf(h), f, h, above)
		}
		if g = tu.find(g.groups.leaf(h), f, h, stage); g == nil || int(g.rank()) <= above {
			return nil
		}
	}
}

// rule is that among items which has f's words of the last stage, whose hash is h, and
// a priority above the given one; nil if there is none.
func (tu *tuple) rule(items []item[*Rule], f *flow.Fields, h uint64, above int) *Rule {
	for n := range items {
		if items[n].hash != h {
			continue
		}
		if r := items[n].val; tu.words.agree(f, &r.Match.Value, tu.words.num-1) { // the first is the highest
			if int(r.Priority) <= above {
				return nil
			}
			return r
		}
	}
	return nil
}

// find is that among groups which has f's words of a stage, whose hash is h; nil if
// there is none.
func (tu *tuple) find(groups []item[*group], f *flow.Fields, h uint64, stage uint8) *group {
	for n := range groups {
		if groups[n].hash == h && tu.words.has(f, &groups[n].val.val, stage) {
			return groups[n].val
		}
	}
	return nil
}

// Get is the rule with this identity, nil if there is none; id.Table is not looked at.
func (t *Table) Get(id *flow.RuleID) *Rule {
	for _, tu := range t.tuples {
		if tu.mask == id.Match.Mask {
			return tu.get(id)
		}
	}
	return nil
}

// get is the tuple's rule with this identity.
func (tu *tuple) get(id *flow.RuleID) *Rule {
	g, v, last := &tu.all, &id.Match.Value, tu.words.num-1
	for stage := range last {
		h := tu.words.hash(v, stage)
		if g = tu.find(g.groups.leaf(h), v, h, stage); g == nil {
			return nil
		}
	}
	for _, i := range g.rules.leaf(tu.words.hash(v, last)) {
		if i.val.Priority == id.Priority && i.val.Match.Value == id.Match.Value {
			return i.val
		}
	}
	return nil
}

// Each calls f with every rule, in no particular order, until f returns false.
func (t *Table) Each(f func(*Rule) bool) {
	for _, tu := range t.tuples {
		if !tu.all.each(f) {
			return
		}
	}
}

// each calls f with every rule of the group until f returns false.
func (g *group) each(f func(*Rule) bool) bool {
	return g.rules.each(f) && g.groups.each(func(sub *group) bool { return sub.each(f) })
}
