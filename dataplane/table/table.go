package table

import (
	"math/bits"

	"baton/dataplane/flow"
)

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

// stages are the words of flow.Fields in the order in which they are looked at,
// what says most about the rest first: registers, link layer with ingress and
// tunnel, IP addresses, then protocol and ports.
var stages = [numStages]struct{ from, to int }{
	{flow.KeyWords, flow.FieldWords}, {0, 5}, {5, 9}, {9, flow.KeyWords},
}

const (
	numStages = 4
	lastStage = numStages - 1
)

// group is the rules of a tuple that agree in the words of all stages up to one:
// groups by the words of the next stage, or, if that is the last one, rules by them.
type group struct {
	val    flow.Fields // under the tuple's mask, the words of the stage only
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

// tuple is the rules with the same mask.
type tuple struct {
	mask   flow.Fields
	num    int
	groups *node[*group] // by the words of the first stage
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

// hash is a hash of the stage's words of f under mask m.
func hash(f, m *flow.Fields, stage int) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	w, y := f.Words(), m.Words()
	for i := stages[stage].from; i < stages[stage].to; i++ {
		if y[i] == 0 {
			continue
		}
		hi, lo := bits.Mul64(h^w[i]&y[i], 0xd1b54a32d192ed03+uint64(i)*2)
		h = hi ^ lo + h
	}
	return h
}

// equal reports whether f under mask m is v in the stage's words.
func equal(f, v, m *flow.Fields, stage int) bool {
	w, x, y := f.Words(), v.Words(), m.Words()
	var diff uint64
	for i := stages[stage].from; i < stages[stage].to; i++ {
		diff |= w[i]&y[i] ^ x[i]
	}
	return diff == 0
}

// or adds the stage's words of m to wc.
func or(wc, m *flow.Fields, stage int) {
	w, y := wc.Words(), m.Words()
	for i := stages[stage].from; i < stages[stage].to; i++ {
		w[i] |= y[i]
	}
}

// Lookup is the rule of the highest priority that matches f, nil if none does.
// Into wc it ORs a mask: all fields that agree with f in its bits get the same
// answer. If rules of equal priority overlap, the answer is the same one each
// time, but nothing says which.
//
//	alloc: 0
func (t *Table) Lookup(f, wc *flow.Fields) *Rule {
	var best *Rule
	for _, tu := range t.tuples {
		if best != nil && tu.groups.top <= best.Priority {
			break
		}
		if r := tu.lookup(f, wc, best); r != nil {
			best = r
		}
	}
	return best
}

// lookup is the tuple's rule that matches f and has a higher priority than best,
// nil if there is none.
func (tu *tuple) lookup(f, wc *flow.Fields, best *Rule) *Rule {
	at := tu.groups
	for stage := range lastStage {
		or(wc, &tu.mask, stage)
		g := find(at, f, &tu.mask, stage)
		if g == nil || best != nil && g.rank() <= best.Priority {
			return nil
		}
		if stage == lastStage-1 {
			return tu.rule(g.rules, f, wc, best)
		}
		at = g.groups
	}
	return nil
}

// rule is the last stage of lookup.
func (tu *tuple) rule(at *node[*Rule], f, wc *flow.Fields, best *Rule) *Rule {
	or(wc, &tu.mask, lastStage)
	for _, i := range at.leaf(hash(f, &tu.mask, lastStage)) {
		if equal(f, &i.val.Match.Value, &tu.mask, lastStage) { // the first is the highest
			if best != nil && i.val.Priority <= best.Priority {
				return nil
			}
			return i.val
		}
	}
	return nil
}

// find is the group that f belongs to, nil if there is none.
func find(at *node[*group], f, mask *flow.Fields, stage int) *group {
	for _, i := range at.leaf(hash(f, mask, stage)) {
		if equal(f, &i.val.val, mask, stage) {
			return i.val
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
	at := tu.groups
	for stage := range lastStage {
		g := find(at, &id.Match.Value, &tu.mask, stage)
		if g == nil {
			return nil
		}
		if stage < lastStage-1 {
			at = g.groups
			continue
		}
		for _, i := range g.rules.leaf(hash(&id.Match.Value, &tu.mask, lastStage)) {
			if i.val.Priority == id.Priority && i.val.Match.Value == id.Match.Value {
				return i.val
			}
		}
	}
	return nil
}

// Each calls f with every rule, in no particular order, until f returns false.
func (t *Table) Each(f func(*Rule) bool) {
	for _, tu := range t.tuples {
		if !tu.groups.each(func(g *group) bool { return g.each(f) }) {
			return
		}
	}
}

// each calls f with every rule of the group until f returns false.
func (g *group) each(f func(*Rule) bool) bool {
	return g.rules.each(f) && g.groups.each(func(sub *group) bool { return sub.each(f) })
}
