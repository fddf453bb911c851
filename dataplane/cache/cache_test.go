package cache_test

import (
	"math/bits"
	"math/rand/v2"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/cache"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// newCache is a cache over a pipeline with the given rules of the first table.
func newCache(t *testing.T, cfg cache.Config, rules ...flow.Rule) (*cache.Cache, *pipeline.Pipeline) {
	t.Helper()
	p := pipeline.New()
	if _, err := p.Apply(flow.Change{SetRules: rules}); err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(cfg, p.Counters())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, p
}

// exactRule makes an entry for each source address and port: what matches depends on all of it.
func exactRule() flow.Rule {
	return flow.Rule{Actions: []flow.Action{flow.Copy(flow.FieldNextHop, flow.FieldIPSrc), flow.Drop(stats.DropNoRoute)}}
}

// source is a key with source address number n.
func source(n uint32) (k flow.Key) {
	k.EthType = flow.EtherTypeIPv4
	k.IPSrc = [16]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	return k
}

// run takes a burst through the cache as a worker does.
func run(c *cache.Cache, s *pipeline.Snapshot, b *cache.Burst) (misses int) {
	c.Hash(b)
	for miss := c.LookupBurst(b, s.Generation()); miss != 0; miss &= miss - 1 {
		c.Miss(s, b, bits.TrailingZeros32(miss))
		misses++
	}
	for i := range b.Num {
		b.Entries[i].Hit(1, 60)
	}
	return misses
}

// TestBoundedUnderManyFlows sends many more flows than there is room for: the
// cache stays as large as it is, each packet gets its own entry, and every
// packet is credited to the rule exactly once.
func TestBoundedUnderManyFlows(t *testing.T) {
	c, p := newCache(t, cache.Config{MicroFlows: 256, MegaFlows: 1024, Seed: 1}, exactRule())
	s := p.Snapshot()
	var b cache.Burst
	const bursts = 10000
	for n := range uint32(bursts) {
		b.Num = buf.Burst
		for i := range b.Keys {
			b.Keys[i] = source(n*buf.Burst + uint32(i))
		}
		run(c, s, &b)
		var entries [buf.Burst]*cache.Entry
		copy(entries[:], b.Entries[:])
		for i, e := range entries {
			if k := c.KeyOf(e); k.IPSrc != b.Keys[i].IPSrc && k != (flow.Key{}) {
				t.Fatalf("burst %d, packet %d: entry is for %s, packet is %s", n, i, k, b.Keys[i])
			}
		}
	}
	if c.Len() > c.Size() || c.Len() < c.Size()/2 || c.Counters.Evicted.Load() < bursts {
		t.Errorf("%d entries in %d places, %d evicted", c.Len(), c.Size(), c.Counters.Evicted.Load())
	}
	c.Sweep(c.Size(), 100)
	b.Num = 0
	c.LookupBurst(&b, s.Generation())
	packets, bytes := p.Counters().Load(s.Rules()[0].Ref)
	if packets != bursts*buf.Burst || bytes != packets*60 {
		t.Errorf("the rule has %d packets and %d bytes, sent were %d", packets, bytes, bursts*buf.Burst)
	}
}

// TestFullBucket makes more entries of one bucket than it has places, all in one
// burst: those that find none live for the burst only.
func TestFullBucket(t *testing.T) {
	c, p := newCache(t, cache.Config{MicroFlows: 64, MegaFlows: 64, Seed: 1}, exactRule())
	s := p.Snapshot()
	var b cache.Burst
	for n := range uint32(2000) { // 4 buckets: some burst is bound to have 17 of one
		b.Num = buf.Burst
		for i := range b.Keys {
			b.Keys[i] = source(n*buf.Burst + uint32(i))
		}
		if misses := run(c, s, &b); misses != buf.Burst {
			t.Fatalf("burst %d: %d misses", n, misses)
		}
		seen := map[*cache.Entry]bool{}
		for i := range b.Num {
			if seen[b.Entries[i]] {
				t.Fatalf("burst %d: two packets have one entry", n)
			}
			seen[b.Entries[i]] = true
		}
	}
	b.Num = 0
	c.LookupBurst(&b, s.Generation())
	c.Sweep(c.Size(), 1000)
	if packets, _ := p.Counters().Load(s.Rules()[0].Ref); packets != 2000*buf.Burst {
		t.Errorf("the rule has %d packets, sent were %d", packets, 2000*buf.Burst)
	}
}

// TestRevalidation: after a change that does not touch a flow its entry keeps its
// counters; after one that does it begins anew; no stale entry is handed out.
func TestRevalidation(t *testing.T) {
	in := func(n uint64, a flow.Action) flow.Rule {
		return flow.Rule{RuleID: flow.RuleID{Priority: 1, Match: flow.Match{}.WithUint(flow.FieldInPort, n)}, Actions: []flow.Action{a}}
	}
	c, p := newCache(t, cache.Config{Seed: 1}, in(1, flow.Drop(stats.DropNoRoute)))
	var b cache.Burst
	b.Num = 1
	b.Keys[0].InPort = 1
	run(c, p.Snapshot(), &b)
	if misses := run(c, p.Snapshot(), &b); misses != 0 || b.Entries[0].Packets.Load() != 2 {
		t.Fatalf("%d misses, %d packets", misses, b.Entries[0].Packets.Load())
	}
	change := func(r flow.Rule) {
		t.Helper()
		if _, err := p.Apply(flow.Change{SetRules: []flow.Rule{r}}); err != nil {
			t.Fatal(err)
		}
		if misses := run(c, p.Snapshot(), &b); misses != 1 {
			t.Fatalf("%d misses after a change", misses)
		}
	}
	change(in(2, flow.Drop(stats.DropUnknownMAC)))
	if got := b.Entries[0].Packets.Load(); got != 3 {
		t.Errorf("%d packets after a change that does not matter, want 3", got)
	}
	change(in(1, flow.Drop(stats.DropUnknownMAC)))
	if e := b.Entries[0]; e.Packets.Load() != 1 || e.Actions.Reason != stats.DropUnknownMAC || c.Len() != 1 {
		t.Errorf("%d packets, %s, %d entries", e.Packets.Load(), e.Actions.Reason, c.Len())
	}
	if stale := c.Counters.Stale.Load(); stale != 2 {
		t.Errorf("%d stale, want 2", stale)
	}
}

// TestDump shows all entries, a few at a time, and Sweep removes the idle ones.
func TestDump(t *testing.T) {
	c, p := newCache(t, cache.Config{Seed: 1}, exactRule())
	s := p.Snapshot()
	var b cache.Burst
	for n := range uint32(10) {
		b.Num = buf.Burst
		for i := range b.Keys {
			b.Keys[i] = source(n*buf.Burst + uint32(i))
		}
		run(c, s, &b)
	}
	c.Tick()
	run(c, s, &b) // the last ones again
	seen := map[[16]byte]cache.Flow{}
	out := make([]cache.Flow, 7)
	for at := 0; at >= 0; {
		var num int
		at, num = c.Dump(at, out)
		for _, f := range out[:num] {
			seen[f.Key.IPSrc] = f
		}
	}
	if len(seen) != 320 || c.Len() != 320 || c.NumMasks() != 1 {
		t.Fatalf("%d flows, %d entries, %d masks", len(seen), c.Len(), c.NumMasks())
	}
	old, recent := seen[source(0).IPSrc], seen[source(319).IPSrc]
	if old.Packets != 1 || old.Bytes != 60 || old.Idle != 1 || recent.Packets != 2 || recent.Idle != 0 {
		t.Errorf("old %+v, recent %+v", old, recent)
	}
	c.Sweep(c.Size(), 0)
	if c.Len() != buf.Burst {
		t.Errorf("%d entries after the idle ones went, want %d", c.Len(), buf.Burst)
	}
	c.Tick()
	c.Sweep(c.Size(), 0)
	if c.Len() != 0 || c.NumMasks() != 0 {
		t.Errorf("%d entries and %d masks after all went", c.Len(), c.NumMasks())
	}
}

// TestManyMasks has more masks than the cache takes: the rest is matched exactly.
func TestManyMasks(t *testing.T) {
	var rules []flow.Rule
	for n := range 200 { // rule n is met by packets with bit n only, for which rules 0..n-1 were looked at
		var m flow.Match
		var v, mask [16]byte
		v[n/8%16] = 0x80 >> (n % 8)
		mask = v
		if n < 128 {
			m = m.WithMasked(flow.FieldIPSrc, v, mask)
		} else {
			m = m.WithMasked(flow.FieldIPDst, v, mask)
		}
		rules = append(rules, flow.Rule{RuleID: flow.RuleID{Priority: uint16(1000 - n), Match: m}, Actions: []flow.Action{flow.Drop(stats.DropNoRoute)}})
	}
	c, p := newCache(t, cache.Config{Seed: 1}, rules...)
	s := p.Snapshot()
	var b cache.Burst
	for range 2 {
		for n := range 200 {
			b.Num = 1
			b.Keys[0] = rules[n].Match.Value.Key
			run(c, s, &b)
		}
	}
	if c.NumMasks() < 100 || c.NumMasks() > 128 || c.Len() != 200 {
		t.Errorf("%d masks, %d entries", c.NumMasks(), c.Len())
	}
	if got := c.Counters.Misses.Load(); got != 200 {
		t.Errorf("%d misses, want one a flow", got)
	}
}

// TestHotPathAllocates nothing, on hits as on misses.
func TestHotPathAllocates(t *testing.T) {
	c, p := newCache(t, cache.Config{MicroFlows: 64, MegaFlows: 64, Seed: 1}, exactRule())
	s := p.Snapshot()
	var b cache.Burst
	var n uint32
	if got := testing.AllocsPerRun(100, func() {
		b.Num = buf.Burst
		for i := range b.Keys {
			b.Keys[i] = source(n / 2)
			n++
		}
		run(c, s, &b)
		c.Tick()
		c.Sweep(8, 3)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// TestLookupAllocates nothing by any of its ways: the entry before, the exact-match cache,
// many masks, entries of an older generation, and entries that end with their burst.
func TestLookupAllocates(t *testing.T) {
	const masks, entries = 32, 512
	p := pipeline.New()
	var snaps [2]*pipeline.Snapshot
	for i := range snaps {
		rules := append(benchRules(masks), exactRule())
		rules[0].Priority += uint16(i) // so that there is a change
		if _, err := p.Apply(flow.Change{SetRules: rules}); err != nil {
			t.Fatal(err)
		}
		snaps[i] = p.Snapshot()
	}
	c, err := cache.New(cache.Config{MicroFlows: 1024, MegaFlows: 4 * entries, Seed: 1}, p.Counters())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var b cache.Burst
	r := rand.New(rand.NewPCG(1, 2))
	turn, flows := 0, uint32(0)
	burst := func(gen int) {
		b.Num = buf.Burst
		turn++
		for i := range b.Keys { // by turns a train, flows of many masks, and new flows
			switch turn % 4 {
			case 0:
				b.Keys[i] = benchKey(7, entries, masks)
				b.Keys[i].InPort = flow.LogicalPort(7, 8)
			case 1:
				b.Keys[i] = source(flows)
				b.Keys[i].EthType = flow.EtherTypeIPv6
				flows++
			default:
				b.Keys[i] = benchKey(r.IntN(entries), entries, masks)
			}
		}
		run(c, snaps[gen], &b)
	}
	for range 4096 { // until the masks are found to be many
		burst(0)
	}
	before := [...]uint64{c.Counters.MicroHits.Load(), c.Counters.MegaHits.Load(), c.Counters.Stale.Load(), c.Counters.Misses.Load()}
	if got := testing.AllocsPerRun(400, func() {
		for range 4 { // one of each kind: less than one allocation a run would not be seen
			burst(turn / 40 % 2)
		}
		c.Sweep(16, 30)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
	for i, now := range [...]uint64{c.Counters.MicroHits.Load(), c.Counters.MegaHits.Load(), c.Counters.Stale.Load(), c.Counters.Misses.Load()} {
		if now-before[i] < 20 {
			t.Errorf("%d more packets by way %d of micro, mega, stale, miss: that way is not tried", now-before[i], i)
		}
	}
}

// TestBadSizes are refused.
func TestBadSizes(t *testing.T) {
	for _, cfg := range []cache.Config{{MicroFlows: 63}, {MegaFlows: -1}, {MegaFlows: 1<<26 + 1}} {
		if c, err := cache.New(cfg, pipeline.New().Counters()); err == nil {
			c.Close()
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
