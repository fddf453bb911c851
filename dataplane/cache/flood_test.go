package cache_test

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/cache"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// floodFlows is how many distinct flows a flood has.
func floodFlows(t *testing.T) uint32 {
	switch {
	case raced:
		t.Log("300 thousand flows instead of 10 million: the race detector makes them as slow")
		return 300_000
	case testing.Short():
		t.Log("1 million flows instead of 10: -short")
		return 1_000_000
	}
	return 10_000_000
}

// floodRules send packets to one of 16 ports by the last bits of their source address,
// the whole of which they look at. A second table has the packets pass.
func floodRules() (rules []flow.Rule) {
	first, second := pipeline.TableConvertPhyLogical, pipeline.TableLSPTraceIngressIn
	rules = append(rules, flow.Rule{
		RuleID: flow.RuleID{Table: first}, Actions: []flow.Action{flow.Copy(flow.FieldNextHop, flow.FieldIPSrc), flow.Goto(second)},
	})
	last := [16]byte{3: 0xf}
	for n := range byte(16) {
		m := flow.Match{}.WithMasked(flow.FieldIPSrc, [16]byte{3: n}, last)
		rules = append(rules, flow.Rule{
			RuleID: flow.RuleID{Table: second, Match: m}, Actions: []flow.Action{flow.Output(flow.LogicalPort(9, uint16(n)))},
		})
	}
	return rules
}

// resident is the memory of this process that is in use, in bytes; false if the system
// does not say.
func resident() (bytesUsed int, ok bool) {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.Atoi(string(fields[1]))
	return pages * os.Getpagesize(), err == nil
}

// flood sends num packets through the cache, each the first of its flow, and checks each
// answer; every 61st is compared with the pipeline's own. key is the key of packet n.
// After each tenth it calls check with the number of packets so far.
func flood(t *testing.T, c *cache.Cache, s *pipeline.Snapshot, num uint32, key func(n uint32) flow.Key, check func(sent uint32)) {
	t.Helper()
	var b cache.Burst
	var truth pipeline.Result
	next := num / 10
	for n := uint32(0); n < num; {
		b.Num = min(buf.Burst, int(num-n))
		for i := range b.Num {
			b.Keys[i] = key(n + uint32(i))
		}
		run(c, s, &b)
		for i, e := range b.Entries[:b.Num] {
			k := &b.Keys[i]
			if want := flow.LogicalPort(9, uint16(k.IPSrc[3]&0xf)); e.Actions.Out != want {
				t.Fatalf("packet %d goes to %s, want %s", n+uint32(i), e.Actions.Out, want)
			}
			if (n+uint32(i))%61 == 0 {
				if s.Walk(k, &truth); truth.Actions != e.Actions {
					t.Fatalf("packet %d: the cache says %v, the pipeline %v", n+uint32(i), &e.Actions, &truth.Actions)
				}
			}
		}
		c.Sweep(1, 30)
		if n += uint32(b.Num); n >= next {
			check(n)
			next += num / 10
		}
	}
}

// live is how many entries there are, counted one by one.
func live(c *cache.Cache) (num int) {
	out := make([]cache.Flow, 1024)
	for at := 0; at >= 0; {
		var n int
		at, n = c.Dump(at, out)
		num += n
	}
	return num
}

// TestFlood_OwnEntries has ten million flows, each in want of an entry of its own, meet a
// cache of the default size: what it holds in memory and entries stays as it is, each
// packet goes the right way, all are counted for their rules, and to make room for an
// entry takes no more work at the end than at the beginning: a look at one or two others.
func TestFlood_OwnEntries(t *testing.T) {
	before, known := resident()
	c, p := newCache(t, cache.Config{Seed: 1}, floodRules()...)
	s, num := p.Snapshot(), floodFlows(t)
	mapped := c.Mapped()
	if perEntry := mapped / c.Size(); perEntry > 750 {
		t.Errorf("%d bytes for each of %d entries: Config says at most 730", perEntry, c.Size())
	}
	var looked, evicted, misses, steps uint64
	flood(t, c, s, num, source, func(sent uint32) {
		l, e, m, w := c.Looked()-looked, c.Counters.Evicted.Load()-evicted, c.Counters.Misses.Load()-misses, c.Counters.Steps.Load()-steps
		looked, evicted, misses, steps = looked+l, evicted+e, misses+m, steps+w
		if m < uint64(num/10-buf.Burst) || w > 7*m || l > 2*m || e > m {
			t.Errorf("after %d packets: %d misses, %d steps, %d looks at entries, %d evicted", sent, m, w, l, e)
		}
		if n := live(c); n != c.Len() || n > c.Size() || c.NumMasks() != 1 || c.Mapped() != mapped {
			t.Errorf("after %d packets: %d entries, counted %d, in %d places; %d masks; %d bytes, were %d", sent, c.Len(), n, c.Size(), c.NumMasks(), c.Mapped(), mapped)
		}
	})
	if evicted < uint64(num)*8/10-uint64(c.Size()) || c.Len() < c.Size()*9/10 {
		t.Errorf("%d evicted, %d entries: the cache was never full", evicted, c.Len())
	}
	const slack = 32 << 20
	if after, ok := resident(); known && ok && after-before > mapped+slack {
		t.Errorf("%d MiB more are in use than before, the cache has %d", (after-before)>>20, mapped>>20)
	} else if !known || !ok {
		t.Log("the system does not tell how much memory is in use: only the cache's own figures were checked")
	}
	c.Sweep(c.Size(), 100)
	checkCounted(t, p, num)
	t.Logf("%d flows: %d evicted, %d entries looked at, %d MiB", num, evicted, looked, mapped>>20)
}

// checkCounted checks that the rules of the tables, 16 in the second, have num packets.
func checkCounted(t *testing.T, p *pipeline.Pipeline, num uint32) {
	t.Helper()
	var sum [2]uint64
	for _, r := range p.Snapshot().Rules() {
		packets, _ := p.Counters().Load(r.Ref)
		sum[min(1, int(r.Table))] += packets
	}
	if want := uint64(num); sum != [2]uint64{want, want} {
		t.Errorf("the rules have %d packets, sent were %d", sum, num)
	}
}

// TestFlood_SharedEntries is the same with flows of which 250 share an entry: nearly all
// find it, and what does not is no more than what buckets have too little room for.
func TestFlood_SharedEntries(t *testing.T) {
	const shared = 40_000 // entries
	c, p := newCache(t, cache.Config{Seed: 1}, floodRules()...)
	num, mapped := floodFlows(t), c.Mapped()
	var misses uint64
	flood(t, c, p.Snapshot(), num, func(n uint32) flow.Key {
		k := source(n % shared)
		k.Proto, k.L4Src, k.L4Dst = flow.ProtoUDP, uint16(n/shared), uint16(n/shared>>16)
		return k
	}, func(sent uint32) {
		m, limit := c.Counters.Misses.Load()-misses, uint64(num/10/4)
		if misses == 0 {
			limit += shared // the first packet that wants an entry finds none
		}
		misses += m
		if sent > 2*shared && m > limit {
			t.Errorf("after %d packets: %d misses in the last tenth, want at most %d", sent, m, limit)
		}
		if n := live(c); n != c.Len() || n > shared || c.Mapped() != mapped {
			t.Errorf("after %d packets: %d entries, counted %d, %d bytes, were %d", sent, c.Len(), n, c.Mapped(), mapped)
		}
	})
	if looked := c.Looked(); looked > 4*misses {
		t.Errorf("%d looks at entries for %d misses", looked, misses)
	}
	c.Sweep(c.Size(), 100)
	checkCounted(t, p, num)
	t.Logf("%d flows: %d misses, %d entries", num, misses, c.Len())
}

// TestFlood_LongWalks has flows whose walks go through more tables than an entry has room
// for the rules of, so that other entries have to go for their sake: the blocks are
// enough, none is lost, and each rule is told of each packet.
func TestFlood_LongWalks(t *testing.T) {
	loop := flow.Rule{Actions: []flow.Action{flow.Copy(flow.FieldNextHop, flow.FieldIPSrc), flow.Goto(pipeline.TableConvertPhyLogical)}}
	short := exactRule()
	short.Priority, short.Match = 1, flow.Match{}.WithMasked(flow.FieldIPSrc, [16]byte{3: 1}, [16]byte{3: 1})
	c, p := newCache(t, cache.Config{MicroFlows: 64, MegaFlows: 1024, Seed: 1}, loop, short)
	s, num := p.Snapshot(), uint32(4000)
	var b cache.Burst
	for n := range num / buf.Burst {
		b.Num = buf.Burst
		for i := range b.Keys {
			b.Keys[i] = source(n*buf.Burst + uint32(i))
		}
		run(c, s, &b)
		for i, e := range b.Entries {
			if want := []stats.DropReason{stats.DropPipelineLoop, stats.DropNoRoute}[b.Keys[i].IPSrc[3]&1]; e.Actions.Reason != want {
				t.Fatalf("packet %d: %s, want %s", i, e.Actions.Reason, want)
			}
		}
		if free, all := c.FreeBlocks(); free < 0 || free > all {
			t.Fatalf("%d of %d blocks are free", free, all)
		}
	}
	num = num / buf.Burst * buf.Burst
	if limit := 40 * c.Counters.Misses.Load(); c.Looked() > limit {
		t.Errorf("%d looks at entries for %d misses", c.Looked(), c.Counters.Misses.Load())
	}
	b.Num = 0
	c.LookupBurst(&b, s.Generation())
	for range 40 { // all entries age and go
		c.Tick()
	}
	c.Sweep(c.Size(), 30)
	if free, all := c.FreeBlocks(); c.Len() != 0 || free != all {
		t.Errorf("%d entries are left, %d of %d blocks are free", c.Len(), free, all)
	}
	for _, r := range s.Rules() {
		want := uint64(num / 2)
		if r.Priority == 0 {
			want *= pipeline.MaxSteps
		}
		if packets, _ := p.Counters().Load(r.Ref); packets != want {
			t.Errorf("%s: %d packets, want %d", pipeline.FormatRule(&r.Rule), packets, want)
		}
	}
}

// TestFlood_BusyFlowsStay has flows that go on while others come and go: every other
// packet is one of theirs, and nearly each finds its entry.
func TestFlood_BusyFlowsStay(t *testing.T) {
	const busy = 4096
	c, p := newCache(t, cache.Config{Seed: 1}, floodRules()...)
	s, num := p.Snapshot(), floodFlows(t)/10
	var b cache.Burst
	b.Num = buf.Burst
	for n := uint32(0); n < num; n += buf.Burst / 2 {
		for i := range uint32(buf.Burst / 2) {
			b.Keys[2*i] = source(1<<31 + (n+i)%busy)
			b.Keys[2*i+1] = source(n + i)
		}
		run(c, s, &b)
	}
	misses := c.Counters.Misses.Load()
	if again := misses - uint64(num) - busy; again > uint64(num)/100 {
		t.Errorf("%d of %d packets of busy flows missed again", again, num)
	}
	if looked := c.Looked(); looked > 3*uint64(num) {
		t.Errorf("%d looks at entries for %d new flows", looked, num)
	}
	t.Logf("%d new flows: %d misses, %d entries looked at", num, misses, c.Looked())
}
