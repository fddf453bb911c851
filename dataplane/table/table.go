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

// Words of flow.Fields: the key's come first, then the registers'.
const (
	keyWords = flow.KeyWords
	allWords = flow.FieldWords
)

// group is the rules of a tuple with the same registers.
type group struct {
	regs  flow.Fields // only the registers, under the tuple's mask
	rules *node[*Rule]
}

// rank implements ranked.
func (g *group) rank() uint16 { return g.rules.top }

// tuple is the rules with the same mask.
type tuple struct {
	mask   flow.Fields
	num    int
	groups *node[*group]
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

// hashWords is a hash of words from..to of f under mask m.
func hashWords(f, m *flow.Fields, from, to int) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	w, y := f.Words(), m.Words()
	for i := from; i < to; i++ {
		if y[i] == 0 {
			continue
		}
		hi, lo := bits.Mul64(h^w[i]&y[i], 0xd1b54a32d192ed03+uint64(i)*2)
		h = hi ^ lo + h
	}
	return h
}

// equalWords reports whether f under mask m is v in words from..to.
func equalWords(f, v, m *flow.Fields, from, to int) bool {
	w, x, y := f.Words(), v.Words(), m.Words()
	var diff uint64
	for i := from; i < to; i++ {
		diff |= w[i]&y[i] ^ x[i]
	}
	return diff == 0
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
		wc.Regs = orRegs(wc.Regs, &tu.mask)
		g := tu.group(f)
		if g == nil || best != nil && g.rules.top <= best.Priority {
			continue
		}
		orWords(wc, &tu.mask, 0, keyWords)
		for _, i := range g.rules.leaf(hashWords(f, &tu.mask, 0, keyWords)) {
			if equalWords(f, &i.val.Match.Value, &tu.mask, 0, keyWords) {
				if best == nil || i.val.Priority > best.Priority {
					best = i.val
				}
				break
			}
		}
	}
	return best
}

// group is the tuple's rules for the registers of f, nil if there are none.
func (tu *tuple) group(f *flow.Fields) *group {
	for _, i := range tu.groups.leaf(hashWords(f, &tu.mask, keyWords, allWords)) {
		if equalWords(f, &i.val.regs, &tu.mask, keyWords, allWords) {
			return i.val
		}
	}
	return nil
}

// orWords ORs words from..to of m into wc.
func orWords(wc, m *flow.Fields, from, to int) {
	w, y := wc.Words(), m.Words()
	for i := from; i < to; i++ {
		w[i] |= y[i]
	}
}

// orRegs is r with the register bits of m.
func orRegs(r flow.Regs, m *flow.Fields) flow.Regs {
	f := flow.Fields{Regs: r}
	orWords(&f, m, keyWords, allWords)
	return f.Regs
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
	g := tu.group(&id.Match.Value)
	if g == nil {
		return nil
	}
	for _, i := range g.rules.leaf(hashWords(&id.Match.Value, &tu.mask, 0, keyWords)) {
		if i.val.Priority == id.Priority && i.val.Match.Value == id.Match.Value {
			return i.val
		}
	}
	return nil
}

// Each calls f with every rule, in no particular order, until f returns false.
func (t *Table) Each(f func(*Rule) bool) {
	for _, tu := range t.tuples {
		if !tu.groups.each(func(g *group) bool { return g.rules.each(f) }) {
			return
		}
	}
}
