package openflow

import (
	"fmt"

	"baton/dataplane/flow"
)

// Collector gathers the messages of one bundle at a time. Nothing of a bundle
// comes out before its commit. The zero Collector has no bundle open.
type Collector struct {
	open     bool
	id       uint64
	revision int64
	batches  uint32
	entries  int
	change   flow.Change
	del      []EntryID
	bad      error
}

// Bundle is a complete bundle.
type Bundle struct {
	Revision int64
	Change   flow.Change // with Replace as the controller said
	Del      []EntryID   // further entries to delete, unless Change sets them
}

// Begin opens a bundle and forgets one that was open.
func (c *Collector) Begin(p *BundleBegin) {
	*c = Collector{open: true, id: p.GetId(), revision: p.GetRevision()}
	c.change.Replace = p.GetReplace()
}

// Add takes a batch of the open bundle. After an error the bundle's commit
// fails with the same error.
func (c *Collector) Add(p *RuleBatch) error {
	if !c.open || p.GetBundle() != c.id {
		return fmt.Errorf("batch of bundle %d, which is not open", p.GetBundle())
	}
	if c.bad != nil {
		return nil // said once already; the commit says it again
	}
	c.batches++
	if c.entries += p.Entries(); c.entries > MaxEntries {
		c.fail(fmt.Errorf("bundle %d has more than %d entries", c.id, MaxEntries))
		return c.bad
	}
	if err := DecodeBatch(p, &c.change, &c.del); err != nil {
		c.fail(err)
	}
	return c.bad
}

// fail lets go of what the bundle gathered.
func (c *Collector) fail(err error) {
	c.bad, c.change, c.del = err, flow.Change{}, nil
}

// Commit closes the bundle and returns it.
func (c *Collector) Commit(p *BundleCommit) (Bundle, error) {
	done := *c
	*c = Collector{}
	switch {
	case !done.open || p.GetId() != done.id:
		return Bundle{}, fmt.Errorf("commit of bundle %d, which is not open", p.GetId())
	case done.bad != nil:
		return Bundle{}, done.bad
	case p.GetBatches() != done.batches:
		return Bundle{}, fmt.Errorf("bundle %d: %d batches came, the commit says %d", done.id, done.batches, p.GetBatches())
	}
	return Bundle{Revision: done.revision, Change: done.change, Del: done.del}, nil
}

// Resolve is the bundle as one change for state s: each entry is either set or
// deleted, not both, and once only; the last set of an entry counts.
func (b *Bundle) Resolve(s *State) flow.Change {
	del := s.Deletes(b.Del)
	c := flow.Change{Replace: b.Change.Replace}
	c.SetRules, c.DelRules = settle(b.Change.SetRules, append(b.Change.DelRules, del.DelRules...),
		func(r *flow.Rule) flow.RuleID { return r.RuleID })
	c.SetBindings, c.DelBindings = settle(b.Change.SetBindings, append(b.Change.DelBindings, del.DelBindings...),
		func(x *flow.Binding) string { return x.Name })
	c.SetNeighbours, c.DelNeighbours = settle(b.Change.SetNeighbours, append(b.Change.DelNeighbours, del.DelNeighbours...),
		func(n *flow.Neighbour) uint32 { return n.IP })
	if c.Replace {
		c.DelRules, c.DelBindings, c.DelNeighbours = nil, nil, nil
	}
	return c
}

func settle[T any, K comparable](sets []T, dels []K, key func(*T) K) ([]T, []K) {
	at := make(map[K]int, len(sets))
	kept := sets[:0:0]
	for i := range sets {
		k := key(&sets[i])
		if n, ok := at[k]; ok {
			kept[n] = sets[i]
			continue
		}
		at[k] = len(kept)
		kept = append(kept, sets[i])
	}
	seen := make(map[K]bool, len(dels))
	left := dels[:0:0]
	for _, k := range dels {
		if _, set := at[k]; !set && !seen[k] {
			seen[k] = true
			left = append(left, k)
		}
	}
	return kept, left
}
