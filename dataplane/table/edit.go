package table

import (
	"cmp"
	"slices"

	"baton/dataplane/flow"
)

// Editor makes a new Table from an old one.
//
//	conc: one goroutine
type Editor struct {
	tuples []*tuple
	num    int
	edit   *edit
}

// Edit begins to make a new table from t, which stays as it is.
func (t *Table) Edit() *Editor {
	return &Editor{tuples: slices.Clone(t.tuples), num: t.num, edit: new(edit)}
}

// Len is the number of rules so far.
func (e *Editor) Len() int { return e.num }

// Set adds r, in the place of the rule with the same identity if there is one.
// r.Match.Value must have no bit outside r.Match.Mask; r must not change any more.
func (e *Editor) Set(r *Rule) {
	at := e.find(&r.Match.Mask)
	if at < 0 {
		at = len(e.tuples)
		e.tuples = append(e.tuples, &tuple{mask: r.Match.Mask})
	}
	tu := *e.tuples[at]
	g := &group{}
	if old := tu.group(&r.Match.Value); old != nil {
		*g = *old
	} else {
		g.regs.Regs = r.Match.Value.Regs
	}
	before := 0
	if g.rules != nil {
		before = g.rules.num
	}
	g.rules = g.rules.put(e.rulePlace(&tu, &r.RuleID), 0, r)
	tu.groups = tu.groups.put(e.groupPlace(&tu, &r.RuleID), 0, g)
	tu.num += g.rules.num - before
	e.num += g.rules.num - before
	e.tuples[at] = &tu
}

// Delete takes out the rule with this identity; false if there is none.
func (e *Editor) Delete(id *flow.RuleID) bool {
	at := e.find(&id.Match.Mask)
	if at < 0 || e.tuples[at].get(id) == nil {
		return false
	}
	tu := *e.tuples[at]
	g := *tu.group(&id.Match.Value)
	g.rules = g.rules.remove(e.rulePlace(&tu, id), 0)
	if g.rules == nil {
		tu.groups = tu.groups.remove(e.groupPlace(&tu, id), 0)
	} else {
		tu.groups = tu.groups.put(e.groupPlace(&tu, id), 0, &g)
	}
	tu.num--
	e.num--
	e.tuples[at] = &tu
	if tu.num == 0 {
		e.tuples = slices.Delete(e.tuples, at, at+1)
	}
	return true
}

// Get is the rule with this identity as edited so far, nil if there is none.
func (e *Editor) Get(id *flow.RuleID) *Rule {
	if at := e.find(&id.Match.Mask); at >= 0 {
		return e.tuples[at].get(id)
	}
	return nil
}

// Table ends the editing and is the new table. The Editor must not be used afterwards.
func (e *Editor) Table() *Table {
	slices.SortFunc(e.tuples, func(a, b *tuple) int {
		if c := cmp.Compare(b.groups.top, a.groups.top); c != 0 {
			return c
		}
		return slices.Compare(a.mask.Words()[:], b.mask.Words()[:])
	})
	t := &Table{tuples: e.tuples, num: e.num}
	e.edit, e.tuples = nil, nil
	return t
}

// find is the place of the tuple with this mask, -1 if there is none.
func (e *Editor) find(mask *flow.Fields) int {
	return slices.IndexFunc(e.tuples, func(tu *tuple) bool { return tu.mask == *mask })
}

// rulePlace is where in its group the rule with this identity is.
func (e *Editor) rulePlace(tu *tuple, id *flow.RuleID) place[*Rule] {
	return place[*Rule]{
		edit: e.edit,
		hash: hashWords(&id.Match.Value, &tu.mask, 0, keyWords),
		same: func(r *Rule) bool { return r.Priority == id.Priority && r.Match.Value == id.Match.Value },
	}
}

// groupPlace is where in its tuple the group of the rule with this identity is.
func (e *Editor) groupPlace(tu *tuple, id *flow.RuleID) place[*group] {
	return place[*group]{
		edit: e.edit,
		hash: hashWords(&id.Match.Value, &tu.mask, keyWords, allWords),
		same: func(g *group) bool { return g.regs.Regs == id.Match.Value.Regs },
	}
}
