package openflow_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"baton/controlplane/openflow"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
)

// twin is the naive twin of State: maps by identity.
type twin struct {
	rules      map[flow.RuleID]flow.Rule
	bindings   map[string]flow.Binding
	neighbours map[uint32]flow.Neighbour
}

func newTwin() *twin {
	return &twin{map[flow.RuleID]flow.Rule{}, map[string]flow.Binding{}, map[uint32]flow.Neighbour{}}
}

func (w *twin) apply(c *flow.Change) {
	if c.Replace {
		*w = *newTwin()
	}
	for _, id := range c.DelRules {
		delete(w.rules, id)
	}
	for _, name := range c.DelBindings {
		delete(w.bindings, name)
	}
	for _, ip := range c.DelNeighbours {
		delete(w.neighbours, ip)
	}
	for _, r := range c.SetRules {
		w.rules[r.RuleID] = r
	}
	for _, b := range c.SetBindings {
		w.bindings[b.Name] = b
	}
	for _, n := range c.SetNeighbours {
		w.neighbours[n.IP] = n
	}
}

func twinOf(c flow.Change) *twin {
	w := newTwin()
	w.apply(&c)
	return w
}

// build is a State with the twin's content, put in in random order.
func (w *twin) build(seed uint64) *openflow.State {
	var edits []flow.Change
	for _, r := range w.rules {
		edits = append(edits, flow.Change{SetRules: []flow.Rule{r}})
	}
	for _, b := range w.bindings {
		edits = append(edits, flow.Change{SetBindings: []flow.Binding{b}})
	}
	for _, n := range w.neighbours {
		edits = append(edits, flow.Change{SetNeighbours: []flow.Neighbour{n}})
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	rng.Shuffle(len(edits), func(i, j int) { edits[i], edits[j] = edits[j], edits[i] })
	s := openflow.NewState()
	for i := range edits {
		s.Apply(&edits[i])
	}
	return s
}

// TestState_AgainstTwin: content, digest and touched entries under random edits.
func TestState_AgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := rapid.SliceOfN(rapid.Custom(genRule), 1, 6).Draw(t, "pool")
		s, w := openflow.NewState(), newTwin()
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			c := genChange(t, pool)
			s.Apply(&c)
			w.apply(&c)
			full := s.Full()
			if got := twinOf(full); !reflect.DeepEqual(got, w) {
				t.Fatalf("state %v\nwant  %v", got, w)
			}
			fresh := w.build(rapid.Uint64().Draw(t, "order"))
			if s.Digest() != fresh.Digest() || !slices.Equal(s.Sums(), fresh.Sums()) {
				t.Fatalf("digest depends on the way: %v and %v", s.Digest(), fresh.Digest())
			}
			if n := len(w.rules) + len(w.bindings) + len(w.neighbours); s.Digest().Entries != uint64(n) {
				t.Fatalf("%d entries, want %d", s.Digest().Entries, n)
			}
		}
	})
}

// TestReconcile_ByBuckets: what Against finds, applied as a bundle, makes any
// state equal to any other, and holds nothing that both had.
func TestReconcile_ByBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := rapid.SliceOfN(rapid.Custom(genRule), 1, 12).Draw(t, "pool")
		wanted, remote := openflow.NewState(), openflow.NewState()
		both := genChange(t, pool)
		wanted.Apply(&both)
		remote.Apply(&both)
		for range rapid.IntRange(0, 3).Draw(t, "edits") {
			a, b := genChange(t, pool), genChange(t, pool)
			wanted.Apply(&a)
			remote.Apply(&b)
		}
		buckets, err := wanted.DifferingBuckets(remote.Sums())
		if err != nil {
			t.Fatal(err)
		}
		wire, err := remote.EncodeBuckets(buckets)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := openflow.DecodeBuckets(wire)
		if err != nil {
			t.Fatal(err)
		}
		set, gone := wanted.Against(buckets, entries)
		had := twinOf(remote.Full())
		for _, r := range set.SetRules {
			if old, ok := had.rules[r.RuleID]; ok && reflect.DeepEqual(old, r) {
				t.Fatalf("a rule that both have is sent: %v", r)
			}
		}
		bundle := openflow.Bundle{Change: set, Del: gone}
		c := bundle.Resolve(remote)
		remote.Apply(&c)
		if remote.Digest() != wanted.Digest() || !reflect.DeepEqual(twinOf(remote.Full()), twinOf(wanted.Full())) {
			t.Fatalf("after reconciling %v\nwant %v", twinOf(remote.Full()), twinOf(wanted.Full()))
		}
	})
}

// TestSubset_CatchesUp: sending only touched entries keeps a copy in step.
func TestSubset_CatchesUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := rapid.SliceOfN(rapid.Custom(genRule), 1, 6).Draw(t, "pool")
		wanted, remote := openflow.NewState(), openflow.NewState()
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			dirty := map[openflow.EntryID]bool{}
			for range rapid.IntRange(1, 3).Draw(t, "edits") {
				c := genChange(t, pool)
				for _, id := range wanted.Apply(&c) {
					dirty[id] = true
				}
			}
			var ids []openflow.EntryID
			for id := range dirty {
				ids = append(ids, id)
			}
			set, gone := wanted.Subset(ids)
			b := openflow.Bundle{Change: set, Del: gone}
			c := b.Resolve(remote)
			remote.Apply(&c)
			if remote.Digest() != wanted.Digest() {
				t.Fatalf("digest %v, want %v", remote.Digest(), wanted.Digest())
			}
		}
	})
}

func TestDigest_SeesEachPart(t *testing.T) {
	base := flow.Rule{
		RuleID: flow.RuleID{Table: pipeline.TableLRPIngressIPRoute, Priority: 3, Match: flow.Match{}.WithUint(flow.FieldDatapath, 3)},
		Cookie: 1, Actions: []flow.Action{flow.SetUint(flow.FieldDstPort, 1)},
	}
	digest := func(r flow.Rule) openflow.Digest {
		s := openflow.NewState()
		s.Apply(&flow.Change{SetRules: []flow.Rule{r}})
		return s.Digest()
	}
	seen := map[openflow.Digest]string{digest(base): "base"}
	for name, edit := range map[string]func(*flow.Rule){
		"table":    func(r *flow.Rule) { r.Table = pipeline.TableLRPIngressECMP },
		"priority": func(r *flow.Rule) { r.Priority++ },
		"value":    func(r *flow.Rule) { r.Match = flow.Match{}.WithUint(flow.FieldDatapath, 4) },
		"mask": func(r *flow.Rule) {
			r.Match = flow.Match{}.WithMasked(flow.FieldDatapath, [16]byte{3: 3}, [16]byte{3: 255})
		},
		"cookie": func(r *flow.Rule) { r.Cookie++ },
		"action": func(r *flow.Rule) { r.Actions = []flow.Action{flow.SetUint(flow.FieldDstPort, 2)} },
		"op":     func(r *flow.Rule) { r.Actions = []flow.Action{flow.SetUint(flow.FieldSrcPort, 1)} },
		"none":   func(r *flow.Rule) { r.Actions = nil },
	} {
		r := base
		edit(&r)
		if other, dup := seen[digest(r)]; dup {
			t.Errorf("a rule with another %s has the digest of %s", name, other)
		}
		seen[digest(r)] = name
	}
}

// TestDigest_IsPinned: hosts and controllers of different builds compare it.
func TestDigest_IsPinned(t *testing.T) {
	s := openflow.NewState()
	s.Apply(&flow.Change{
		SetRules: []flow.Rule{{
			RuleID: flow.RuleID{Table: pipeline.TableLRPIngressIPRoute, Priority: 3, Match: flow.Match{}.WithUint(flow.FieldDatapath, 3)},
			Cookie: 1, Actions: []flow.Action{flow.SetUint(flow.FieldDstPort, 1), flow.Goto(pipeline.TableLRPIngressECMP)},
		}},
		SetBindings:   []flow.Binding{{Name: "vm1", Number: flow.LogicalPort(5, 1), MAC: flow.MAC{2}, MTU: 1400}},
		SetNeighbours: []flow.Neighbour{{Host: "h2", IP: 3232238337, MAC: flow.MAC{2, 1}}},
	})
	const pinned = "0xceccfd660ae68f65"
	if got := fmt.Sprintf("%#x", s.Digest().Sum); got != pinned {
		t.Errorf("digest %s, want %s: a change of it makes every host reconcile entry by entry after an upgrade", got, pinned)
	}
}

func TestBuckets_Hostile(t *testing.T) {
	s := openflow.NewState()
	if _, err := s.DifferingBuckets(make([]uint64, 3)); err == nil {
		t.Error("a digest of 3 buckets was taken")
	}
	if _, err := s.EncodeBuckets([]uint32{0, openflow.NumBuckets}); err == nil {
		t.Error("a bucket that does not exist was given")
	}
	if _, err := openflow.DecodeBuckets(make([]byte, 25)); err == nil {
		t.Error("25 bytes of entries were taken")
	}
	set, gone := s.Against([]uint32{1 << 31}, []openflow.Entry{{ID: openflow.EntryID{255, 255}}})
	if !set.Empty() || len(gone) != 1 {
		t.Errorf("set %v, gone %v", set, gone)
	}
}

func BenchmarkState_Apply(b *testing.B) {
	var c flow.Change
	for i := range 10000 {
		c.SetRules = append(c.SetRules, flow.Rule{
			RuleID:  flow.RuleID{Table: pipeline.TableLSPIngressLookupDstPort, Priority: 100, Match: flow.Match{}.WithUint(flow.FieldDatapath, uint64(i))},
			Actions: []flow.Action{flow.SetUint(flow.FieldDstPort, 1), flow.Goto(pipeline.TableLSPIngressOutputDstPort)},
		})
	}
	for b.Loop() {
		openflow.NewState().Apply(&c)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10000, "ns/rule")
}

// TestEncodeBuckets_Bounded: a list of one bucket over and over would give an
// answer of gigabytes.
func TestEncodeBuckets_Bounded(t *testing.T) {
	s := openflow.NewState()
	if _, err := s.EncodeBuckets(make([]uint32, openflow.NumBuckets)); err != nil {
		t.Error(err)
	}
	if _, err := s.EncodeBuckets(make([]uint32, openflow.NumBuckets+1)); err == nil {
		t.Error("more buckets than there are were listed")
	}
}
