package cache_test

import (
	"sync/atomic"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/cache"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
)

// TestNoOldRuleAfterBarrier changes the one rule all the time while a worker
// forwards: a burst that begins after Apply returned goes by that rule or a
// later one. Run with -race it also shows that no lock is missing.
func TestNoOldRuleAfterBarrier(t *testing.T) {
	version := func(n uint64) flow.Change {
		return flow.Change{SetRules: []flow.Rule{{
			RuleID:  flow.RuleID{Match: flow.Match{}.WithUint(flow.FieldInPort, 1)},
			Actions: []flow.Action{flow.Output(flow.LogicalPort(1, uint16(n)))},
		}}}
	}
	const changes = 3000
	p := pipeline.New()
	if _, err := p.Apply(version(1)); err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(cache.Config{Seed: 1}, p.Counters())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var applied atomic.Uint64
	applied.Store(1)
	done := make(chan error, 1)
	go func() {
		for n := uint64(2); n <= changes; n++ {
			if _, err := p.Apply(version(n)); err != nil {
				applied.Store(changes) // ends the loop below
				done <- err
				return
			}
			applied.Store(n)
			p.Counters().Load(p.Snapshot().Rules()[0].Ref)
		}
		done <- nil
	}()
	var b cache.Burst
	packets := uint64(0)
	for last := false; !last; {
		last = applied.Load() == changes
		b.Num = buf.Burst
		for i := range b.Keys {
			b.Keys[i].InPort = 1
		}
		barrier := applied.Load()
		run(c, p.Snapshot(), &b)
		packets += buf.Burst
		for i, e := range b.Entries {
			if got := uint64(e.Actions.Out.ID()); got < barrier || e != b.Entries[0] {
				t.Fatalf("packet %d goes by rule %d after rule %d was in force", i, got, barrier)
			}
		}
		c.Sweep(16, 1)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c.Sweep(c.Size(), 1)
	if got, _ := p.Counters().Load(p.Snapshot().Rules()[0].Ref); got != packets {
		t.Errorf("the rule has %d packets, sent were %d", got, packets)
	}
}
