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
	if tu.get(&r.RuleID) == nil {
		tu.num++
		e.num++
	}
	tu.groups = e.put(tu.groups, 0, r)
	e.tuples[at] = &tu
}

// put is the groups of a stage with r in them.
func (e *Editor) put(groups *node[*group], stage int, r *Rule) *node[*group] {
	v, mask := &r.Match.Value, &r.Match.Mask
	g := &group{}
	if old := find(groups, v, mask, stage); old != nil {
		*g = *old
	} else {
		or(&g.val, v, stage)
	}
	if stage < lastStage-1 {
		g.groups = e.put(g.groups, stage+1, r)
	} else {
		g.rules = g.rules.put(e.rulePlace(&r.RuleID), 0, r)
	}
	return groups.put(e.groupPlace(&r.RuleID, stage), 0, g)
}

// Delete takes out the rule with this identity; false if there is none.
func (e *Editor) Delete(id *flow.RuleID) bool {
	at := e.find(&id.Match.Mask)
	if at < 0 || e.tuples[at].get(id) == nil {
		return false
	}
	tu := *e.tuples[at]
	tu.groups = e.remove(tu.groups, 0, id)
	tu.num--
	e.num--
	e.tuples[at] = &tu
	if tu.num == 0 {
		e.tuples = slices.Delete(e.tuples, at, at+1)
	}
	return true
}

// remove is the groups of a stage without the rule with this identity, which is in them.
func (e *Editor) remove(groups *node[*group], stage int, id *flow.RuleID) *node[*group] {
	g := *find(groups, &id.Match.Value, &id.Match.Mask, stage)
	if stage < lastStage-1 {
		g.groups = e.remove(g.groups, stage+1, id)
	} else {
		g.rules = g.rules.remove(e.rulePlace(id), 0)
	}
	if g.groups == nil && g.rules == nil {
		return groups.remove(e.groupPlace(id, stage), 0)
	}
	return groups.put(e.groupPlace(id, stage), 0, &g)
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
func (e *Editor) rulePlace(id *flow.RuleID) place[*Rule] {
	return place[*Rule]{
		edit: e.edit,
		hash: hash(&id.Match.Value, &id.Match.Mask, lastStage),
		same: func(r *Rule) bool { return r.Priority == id.Priority && r.Match.Value == id.Match.Value },
	}
}

// groupPlace is where among the groups of a stage that of the rule with this identity is.
func (e *Editor) groupPlace(id *flow.RuleID, stage int) place[*group] {
	return place[*group]{
		edit: e.edit,
		hash: hash(&id.Match.Value, &id.Match.Mask, stage),
		same: func(g *group) bool { return equal(&id.Match.Value, &g.val, &id.Match.Mask, stage) },
	}
}
