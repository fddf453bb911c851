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
		e.tuples = append(e.tuples, &tuple{mask: r.Match.Mask, words: wordsOf(&r.Match.Mask)})
	}
	tu := *e.tuples[at]
	if tu.get(&r.RuleID) == nil {
		tu.num++
		e.num++
	}
	tu.all = e.put(&tu, tu.all, 0, r)
	e.tuples[at] = &tu
}

// put is g, whose groups or rules are by the words of a stage, with r in it.
func (e *Editor) put(tu *tuple, g group, stage uint8, r *Rule) group {
	if stage+1 >= tu.words.num {
		g.rules = g.rules.put(e.rulePlace(tu, &r.RuleID), 0, r)
		return g
	}
	p := e.groupPlace(tu, &r.RuleID, stage)
	sub := group{val: tu.words.pack(&r.Match.Value, stage)}
	if old := tu.find(g.groups.leaf(p.hash), &r.Match.Value, p.hash, stage); old != nil {
		sub = *old
	}
	sub = e.put(tu, sub, stage+1, r)
	g.groups = g.groups.put(p, 0, &sub)
	return g
}

// Delete takes out the rule with this identity; false if there is none.
func (e *Editor) Delete(id *flow.RuleID) bool {
	at := e.find(&id.Match.Mask)
	if at < 0 || e.tuples[at].get(id) == nil {
		return false
	}
	tu := *e.tuples[at]
	tu.all = e.remove(&tu, tu.all, 0, id)
	tu.num--
	e.num--
	e.tuples[at] = &tu
	if tu.num == 0 {
		e.tuples = slices.Delete(e.tuples, at, at+1)
	}
	return true
}

// remove is g, whose groups or rules are by the words of a stage, without the rule with
// this identity, which is in it.
func (e *Editor) remove(tu *tuple, g group, stage uint8, id *flow.RuleID) group {
	if stage+1 >= tu.words.num {
		g.rules = g.rules.remove(e.rulePlace(tu, id), 0)
		return g
	}
	p := e.groupPlace(tu, id, stage)
	sub := e.remove(tu, *tu.find(g.groups.leaf(p.hash), &id.Match.Value, p.hash, stage), stage+1, id)
	if sub.empty() {
		g.groups = g.groups.remove(p, 0)
	} else {
		g.groups = g.groups.put(p, 0, &sub)
	}
	return g
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
		if c := cmp.Compare(b.all.rank(), a.all.rank()); c != 0 {
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
		hash: tu.words.hash(&id.Match.Value, tu.words.num-1),
		same: func(r *Rule) bool { return r.Priority == id.Priority && r.Match.Value == id.Match.Value },
	}
}

// groupPlace is where among the groups of a stage that of the rule with this identity is.
func (e *Editor) groupPlace(tu *tuple, id *flow.RuleID, stage uint8) place[*group] {
	return place[*group]{
		edit: e.edit,
		hash: tu.words.hash(&id.Match.Value, stage),
		same: func(g *group) bool { return tu.words.has(&id.Match.Value, &g.val, stage) },
	}
}
