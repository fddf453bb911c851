package pipeline

import (
	"cmp"
	"maps"
	"slices"

	"baton/dataplane/flow"
	"baton/dataplane/table"
)

// Snapshot is the state of the pipeline at one moment.
//
//	conc: immutable, safe for concurrent use
type Snapshot struct {
	gen        uint64
	tables     [NumTables]*table.Table // nil: empty
	always     [NumTables]always       // of the tables
	numRules   int
	bindings   map[string]flow.Binding
	ports      map[flow.PortNo]string // name of the binding
	neighbours map[uint32]flow.Neighbour
}

// always is what a table does with every packet, if that is the same: many tables of a
// walk wait for a use that a network does not make of them.
type always struct {
	rule *table.Rule // nil: it depends
	ref  table.Ref   // the rule's
	next flow.TableID
	pass bool // all that the rule does is to go on at next
}

// alwaysOf is that of a table.
func alwaysOf(t *table.Table) (a always) {
	if a.rule = t.Always(); a.rule == nil {
		return a
	}
	a.ref = a.rule.Ref
	if first := &a.rule.Actions[0]; first.Op == flow.OpGoto {
		a.next, a.pass = first.Table, true
	}
	return a
}

// Generation is different for every snapshot of a Pipeline, and grows; it is never 0.
func (s *Snapshot) Generation() uint64 { return s.gen }

// NumRules is the number of rules in all tables.
func (s *Snapshot) NumRules() int { return s.numRules }

// Table is the rules of a table; an empty table if there are none.
func (s *Snapshot) Table(id flow.TableID) *table.Table {
	if int(id) >= NumTables || s.tables[id] == nil {
		return &table.Table{}
	}
	return s.tables[id]
}

// Rules lists all rules, by table, priority (highest first) and match.
func (s *Snapshot) Rules() []*table.Rule {
	all := make([]*table.Rule, 0, s.numRules)
	for _, t := range s.tables {
		if t == nil {
			continue
		}
		from := len(all)
		t.Each(func(r *table.Rule) bool {
			all = append(all, r)
			return true
		})
		slices.SortFunc(all[from:], func(a, b *table.Rule) int {
			if c := cmp.Compare(b.Priority, a.Priority); c != 0 {
				return c
			}
			if c := slices.Compare(a.Match.Mask.Words()[:], b.Match.Mask.Words()[:]); c != 0 {
				return c
			}
			return slices.Compare(a.Match.Value.Words()[:], b.Match.Value.Words()[:])
		})
	}
	return all
}

// Bindings lists all port bindings by name.
func (s *Snapshot) Bindings() []flow.Binding {
	all := make([]flow.Binding, 0, len(s.bindings))
	for _, name := range slices.Sorted(maps.Keys(s.bindings)) {
		all = append(all, s.bindings[name])
	}
	return all
}

// Binding is the binding with this name.
func (s *Snapshot) Binding(name string) (flow.Binding, bool) {
	b, ok := s.bindings[name]
	return b, ok
}

// BindingOf is the binding of this logical port.
func (s *Snapshot) BindingOf(p flow.PortNo) (flow.Binding, bool) {
	name, ok := s.ports[p]
	if !ok {
		return flow.Binding{}, false
	}
	return s.bindings[name], true
}

// Neighbours lists all neighbours by address.
func (s *Snapshot) Neighbours() []flow.Neighbour {
	all := make([]flow.Neighbour, 0, len(s.neighbours))
	for _, ip := range slices.Sorted(maps.Keys(s.neighbours)) {
		all = append(all, s.neighbours[ip])
	}
	return all
}

// Neighbour is the neighbour with this underlay address (host order). It is
// also the test whether a tunnelled packet comes from a known host.
//
//	alloc: 0
func (s *Snapshot) Neighbour(ip uint32) (flow.Neighbour, bool) {
	n, ok := s.neighbours[ip]
	return n, ok
}

// Change is the change that makes the same state of any other: for a
// checkpoint, or to give the state to another process.
func (s *Snapshot) Change() flow.Change {
	c := flow.Change{Replace: true, SetBindings: s.Bindings(), SetNeighbours: s.Neighbours()}
	for _, r := range s.Rules() {
		c.SetRules = append(c.SetRules, r.Rule)
	}
	return c
}
