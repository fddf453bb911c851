package cache

import (
	"testing"

	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
)

// TestLookup_otherMask: an entry under another mask that stands where a packet's hash leads,
// with its tag, is not the packet's, though its key says the same in the bits of the packet's.
func TestLookup_otherMask(t *testing.T) {
	c, err := New(Config{MicroFlows: 64, MegaFlows: 64, Seed: 1}, pipeline.New().Counters())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := &c.mega
	narrow := m.masks.use(&flow.Key{L4Src: 0xffff}, 0)
	m.masks.all[narrow].num++
	wide := m.masks.use(&flow.Key{L4Src: 0xffff, L4Dst: 0xffff}, narrow)
	m.masks.all[wide].num++

	var b Burst
	b.Num, b.Keys[0] = 1, flow.Key{L4Src: 7, L4Dst: 9}
	k := &b.Keys[0]
	h := m.hash(k, narrow)
	m.buckets[h>>m.shift][0] = tagOf(h)
	e := &m.entries[h>>m.shift*megaWays]
	*e = Entry{gen: 1, key: m.masks.all[wide].pack(&flow.Key{L4Src: 7})}
	for mask, want := range map[uint32]bool{wide: false, narrow: true} {
		e.mask = mask
		if miss := c.LookupBurst(&b, 1); (miss == 0) != want {
			t.Errorf("mask %d: misses %b", mask, miss)
		}
		if _, ok := m.find(k, narrow, h); ok != want {
			t.Errorf("mask %d: found: %v", mask, ok)
		}
	}
}
