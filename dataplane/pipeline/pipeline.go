package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"baton/dataplane/flow"
	"baton/dataplane/table"
)

// Pipeline holds the newest Snapshot and makes the next ones.
//
//	conc: safe for concurrent use
type Pipeline struct {
	now      atomic.Pointer[Snapshot]
	counters Counters
	mu       sync.Mutex // one Apply at a time
}

// New is a pipeline without rules: it drops everything (table_miss).
func New() *Pipeline {
	p := &Pipeline{}
	p.now.Store(&Snapshot{
		gen:        1,
		bindings:   map[string]flow.Binding{},
		ports:      map[flow.PortNo]string{},
		neighbours: map[uint32]flow.Neighbour{},
	})
	return p
}

// Snapshot is the newest state.
//
//	alloc: 0
func (p *Pipeline) Snapshot() *Snapshot { return p.now.Load() }

// Counters are the counters of all rules, past and present.
func (p *Pipeline) Counters() *Counters { return &p.counters }

// Apply makes the edits of c, all or none. Within c, deletes come before sets,
// and of two sets with one identity the later counts. A rule that is set again
// keeps its counters. The change must not be touched afterwards by the caller.
//
//	out:   the generation that has the edits; the present one if they change nothing
//	error: names the rule, binding or neighbour and what is wrong with it; nothing was changed
//	cost:  by the size of c; with Replace, of the state
func (p *Pipeline) Apply(c flow.Change) (gen uint64, err error) {
	if err := validate(&c); err != nil {
		return 0, fmt.Errorf("pipeline: apply: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.now.Load()
	next := *old
	var changed bool
	if err := next.applyBindings(&c, &changed); err != nil {
		return 0, fmt.Errorf("pipeline: apply: %w", err)
	}
	next.applyNeighbours(&c, &changed)
	gone := p.applyRules(&next, &c, &changed)
	if !changed {
		return old.gen, nil
	}
	next.gen = old.gen + 1
	p.now.Store(&next)
	for _, r := range gone {
		p.counters.give(r)
	}
	return next.gen, nil
}

// validate checks all that does not depend on the state before the change.
func validate(c *flow.Change) error {
	for i := range c.SetRules {
		r := &c.SetRules[i]
		if err := validateRule(r); err != nil {
			return fmt.Errorf("rule %s: %w", FormatRuleID(&r.RuleID), err)
		}
	}
	for _, b := range c.SetBindings {
		if b.Name == "" {
			return fmt.Errorf("binding of port %s: it has no name", b.Number)
		}
		if b.Number.VNI() == 0 || b.Number.VNI() >= 1<<24 {
			return fmt.Errorf("binding %s: %s is not a logical port: the datapath id must be 1 to %d", b.Name, b.Number, 1<<24-1)
		}
	}
	for _, n := range c.SetNeighbours {
		if n.IP == 0 || n.MAC == (flow.MAC{}) || n.MAC[0]&1 != 0 {
			return fmt.Errorf("neighbour %s: address %#08x, MAC %s: want an IPv4 address and a unicast MAC", n.Host, n.IP, n.MAC)
		}
	}
	return nil
}

// validateRule checks a rule, its tables included.
func validateRule(r *flow.Rule) error {
	if _, ok := TableName(r.Table); !ok {
		return fmt.Errorf("there is no table %d", r.Table)
	}
	if err := r.Validate(); err != nil {
		return err
	}
	for i := range r.Actions {
		if a := &r.Actions[i]; a.Op == flow.OpGoto {
			if _, ok := TableName(a.Table); !ok {
				return fmt.Errorf("action %d: goto: there is no table %d", i+1, a.Table)
			}
		}
	}
	return nil
}

// applyBindings edits the bindings; the maps of the old snapshot stay as they are.
func (s *Snapshot) applyBindings(c *flow.Change, changed *bool) error {
	if !c.Replace && len(c.SetBindings) == 0 && len(c.DelBindings) == 0 {
		return nil
	}
	old := s.bindings
	s.bindings = maps.Clone(old)
	if c.Replace {
		clear(s.bindings)
	}
	for _, name := range c.DelBindings {
		delete(s.bindings, name)
	}
	for _, b := range c.SetBindings {
		s.bindings[b.Name] = b
	}
	s.ports = make(map[flow.PortNo]string, len(s.bindings))
	for _, name := range slices.Sorted(maps.Keys(s.bindings)) {
		number := s.bindings[name].Number
		if other, ok := s.ports[number]; ok {
			return fmt.Errorf("binding %s: port %s is bound to %s already: unbind that one first", name, number, other)
		}
		s.ports[number] = name
	}
	*changed = *changed || !maps.Equal(old, s.bindings)
	return nil
}

// applyNeighbours edits the neighbours; the map of the old snapshot stays as it is.
func (s *Snapshot) applyNeighbours(c *flow.Change, changed *bool) {
	if !c.Replace && len(c.SetNeighbours) == 0 && len(c.DelNeighbours) == 0 {
		return
	}
	old := s.neighbours
	s.neighbours = maps.Clone(old)
	if c.Replace {
		clear(s.neighbours)
	}
	for _, ip := range c.DelNeighbours {
		delete(s.neighbours, ip)
	}
	for _, n := range c.SetNeighbours {
		s.neighbours[n.IP] = n
	}
	*changed = *changed || !maps.Equal(old, s.neighbours)
}

// ruleEdit is the editing of all tables in one Apply.
type ruleEdit struct {
	next     *Snapshot
	editors  [NumTables]*table.Editor
	counters *Counters
	gone     []table.Ref
	changed  bool
}

// applyRules edits the tables and returns the counters of the rules that are gone.
func (p *Pipeline) applyRules(next *Snapshot, c *flow.Change, changed *bool) (gone []table.Ref) {
	e := ruleEdit{next: next, counters: &p.counters}
	if c.Replace {
		e.deleteOthers(c.SetRules)
	}
	for i := range c.DelRules {
		e.delete(&c.DelRules[i])
	}
	for i := range c.SetRules {
		e.set(&c.SetRules[i])
	}
	for id, t := range e.editors {
		if t == nil {
			continue
		}
		next.numRules += t.Len() - next.Table(flow.TableID(id)).Len()
		next.tables[id] = t.Table()
		next.always[id] = alwaysOf(next.tables[id])
	}
	*changed = *changed || e.changed
	return e.gone
}

// editor is the editor of a table.
func (e *ruleEdit) editor(id flow.TableID) *table.Editor {
	if e.editors[id] == nil {
		e.editors[id] = e.next.Table(id).Edit()
	}
	return e.editors[id]
}

// deleteOthers deletes all rules but those that keep names.
func (e *ruleEdit) deleteOthers(keep []flow.Rule) {
	kept := make(map[flow.RuleID]struct{}, len(keep))
	for i := range keep {
		kept[keep[i].RuleID] = struct{}{}
	}
	for _, r := range e.next.Rules() {
		if _, ok := kept[r.RuleID]; !ok {
			e.delete(&r.RuleID)
		}
	}
}

// delete deletes a rule if it is there.
func (e *ruleEdit) delete(id *flow.RuleID) {
	if int(id.Table) >= NumTables {
		return
	}
	t := e.editor(id.Table)
	old := t.Get(id)
	if old == nil {
		return
	}
	t.Delete(id)
	e.gone = append(e.gone, old.Ref)
	e.changed = true
}

// set adds or replaces a rule.
func (e *ruleEdit) set(r *flow.Rule) {
	t := e.editor(r.Table)
	old := t.Get(&r.RuleID)
	if old != nil && old.Cookie == r.Cookie && slices.Equal(old.Actions, r.Actions) {
		return
	}
	n := &table.Rule{Rule: *r}
	n.Actions = slices.Clone(r.Actions)
	if old != nil {
		n.Ref = old.Ref
	} else {
		n.Ref = e.counters.take()
	}
	t.Set(n)
	e.changed = true
}
