package compile

import (
	"cmp"
	"maps"
	"slices"

	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// Compiler keeps a network compiled and, on a change, compiles again only the
// objects whose rules the change can touch.
//
//	conc: one caller at a time
type Compiler struct {
	x      *index
	items  map[model.Ref][]item    // the rules of each object
	claims map[flow.RuleID][]claim // who wants a rule of this identity, by owner
	work   Work
}

// Work counts what a Compiler has done since it was made.
type Work struct {
	Units uint64 // objects compiled
	Rules uint64 // rules that came of it, for all hosts together
}

// claim is an item with its owner. Two owners with one identity on one host are
// a fault of the network; then the first owner by kind and name has the rule, so
// that all controllers decide alike.
type claim struct {
	owner model.Ref
	item
}

func compareClaims(a, b claim) int {
	return cmp.Or(
		cmp.Compare(a.owner.Kind, b.owner.Kind), cmp.Compare(a.owner.Name, b.owner.Name),
		cmp.Compare(a.scope.host, b.scope.host))
}

// NewCompiler compiles a network. It takes s over: the caller must not change it any more.
func NewCompiler(s *model.State) *Compiler {
	c := &Compiler{x: newIndex(s), items: map[model.Ref][]item{}, claims: map[flow.RuleID][]claim{}}
	c.compile(model.Ref{})
	for _, o := range s.List("") {
		c.compile(o.Ref())
	}
	return c
}

// Work is the counters.
func (c *Compiler) Work() Work { return c.work }

// Hosts lists the hosts of the network by name.
func (c *Compiler) Hosts() []string { return slices.Sorted(maps.Keys(c.x.state.Hosts)) }

// Config is all that a host is to have; false if there is no such host.
//
//	cost: by the size of the network
func (c *Compiler) Config(host string) (Config, bool) {
	if c.x.state.Hosts[host] == nil {
		return Config{}, false
	}
	var cfg Config
	for _, cl := range c.claims {
		if r, ok := winner(cl, host); ok {
			cfg.Rules = append(cfg.Rules, r)
		}
	}
	slices.SortFunc(cfg.Rules, compareRules)
	bs := c.x.bindings(host)
	for _, name := range slices.Sorted(maps.Keys(bs)) {
		cfg.Bindings = append(cfg.Bindings, bs[name])
	}
	ns := c.x.neighbours(host)
	for _, ip := range slices.Sorted(maps.Keys(ns)) {
		cfg.Neighbours = append(cfg.Neighbours, ns[ip])
	}
	return cfg, true
}

// winner is the rule that a host gets of those with one identity.
func winner(claims []claim, host string) (flow.Rule, bool) {
	for i := range claims {
		if claims[i].scope.admits(host) {
			return claims[i].rule, true
		}
	}
	return flow.Rule{}, false
}

// compile makes the rules of one object anew and returns the identities that it
// gave up, took or changed, with the claims as they were before.
func (c *Compiler) compile(r model.Ref) map[flow.RuleID][]claim {
	items := compileUnit(c.x, r)
	c.work.Units++
	c.work.Rules += uint64(len(items))
	old := c.items[r]
	if len(items) == 0 {
		delete(c.items, r)
	} else {
		c.items[r] = items
	}
	if slices.EqualFunc(old, items, item.equal) {
		return nil
	}
	before := map[flow.RuleID][]claim{}
	touch := func(id flow.RuleID) {
		if _, ok := before[id]; !ok {
			before[id] = slices.Clone(c.claims[id])
		}
	}
	for _, it := range old {
		if !slices.ContainsFunc(items, it.equal) {
			touch(it.rule.RuleID)
			c.drop(r, it)
		}
	}
	for _, it := range items {
		if !slices.ContainsFunc(old, it.equal) {
			touch(it.rule.RuleID)
			c.take(r, it)
		}
	}
	return before
}

func (c *Compiler) drop(r model.Ref, it item) {
	id := it.rule.RuleID
	left := slices.DeleteFunc(c.claims[id], func(cl claim) bool { return cl.owner == r && cl.equal(it) })
	if len(left) == 0 {
		delete(c.claims, id)
		return
	}
	c.claims[id] = left
}

func (c *Compiler) take(r model.Ref, it item) {
	id := it.rule.RuleID
	all := append(c.claims[id], claim{r, it})
	slices.SortStableFunc(all, compareClaims)
	c.claims[id] = all
}
