package cache_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/cache"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// The benchmarks print cycles of the time stamp counter for a packet. They take the
// counter's rate to be the processor's nominal one, which it is on machines whose
// counter is constant; compare ratios.

// report prints the cycles for each of num packets.
func report(b *testing.B, num int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(num)*megahertz()/1000, "cycles/pkt")
}

// megahertz is the processor's rate, 1000 where the system does not tell.
func megahertz() float64 {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range bytes.Lines(info) {
		if name, value, _ := bytes.Cut(line, []byte(":")); string(bytes.TrimSpace(name)) == "cpu MHz" {
			if v, err := strconv.ParseFloat(string(bytes.TrimSpace(value)), 64); err == nil {
				return v
			}
		}
	}
	return 1000
}

// benchRules are rules of one table that make num entries of each of masks masks:
// mask n has n bits of the source address beside the destination address, and
// packets for it have just the last of them set.
func benchRules(masks int) (rules []flow.Rule) {
	for n := range masks {
		m := flow.Match{}.WithUint(flow.FieldEthType, uint64(flow.EtherTypeIPv4))
		var v [16]byte
		v[n/8] = 0x80 >> (n % 8)
		m = m.WithMasked(flow.FieldIPSrc, v, v)
		rules = append(rules, flow.Rule{
			RuleID:  flow.RuleID{Priority: uint16(1000 - n), Match: m},
			Actions: []flow.Action{flow.Copy(flow.FieldNextHop, flow.FieldIPDst), flow.Drop(stats.DropNoRoute)},
		})
	}
	return rules
}

// benchKey is the key of packet n of a flow set: entries different destinations over
// masks masks, and ports that the entries do not look at.
func benchKey(n, entries, masks int) (k flow.Key) {
	at := n % entries
	k.InPort = flow.LogicalPort(7, 3)
	k.EthType, k.EthDst, k.EthSrc = flow.EtherTypeIPv4, flow.MAC{2, 0, 0, 0, 0, 1}, flow.MAC{2, 0, 0, 0, 0, 2}
	k.IPDst = [16]byte{10, byte(at >> 16), byte(at >> 8), byte(at)}
	k.IPSrc[at%masks/8] = 0x80 >> (at % masks % 8)
	k.Proto, k.L4Src, k.L4Dst = flow.ProtoUDP, uint16(n), uint16(n>>16)
	return k
}

// benchLookup measures the way of known packets: flows of them, which are of entries
// entries under masks masks, uniformly at random.
func benchLookup(b *testing.B, flows, entries, masks int) {
	p := pipeline.New()
	if _, err := p.Apply(flow.Change{SetRules: benchRules(masks)}); err != nil {
		b.Fatal(err)
	}
	c, err := cache.New(cache.Config{MegaFlows: max(1024, 2*entries), Seed: 1}, p.Counters())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	s, burst := p.Snapshot(), new(cache.Burst)
	keys := make([]flow.Key, max(flows, 4096))
	for n := range keys {
		keys[n] = benchKey(n%flows, entries, masks)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	at := 0
	next := func() {
		if at+buf.Burst > len(keys) {
			at = 0
		}
		burst.Num = copy(burst.Keys[:], keys[at:])
		at += burst.Num
	}
	for range len(keys) / buf.Burst * 2 {
		next()
		run(c, s, burst)
	}
	b.ResetTimer()
	num := 0
	for b.Loop() {
		next()
		run(c, s, burst)
		num += burst.Num
	}
	report(b, num)
}

// BenchmarkLookup has flows of one entry, then flows that have an entry each.
func BenchmarkLookup(b *testing.B) {
	for _, flows := range []int{1, 1000, 10000, 100000, 1000000} {
		b.Run(fmt.Sprintf("flows=%d/entries=1", flows), func(b *testing.B) { benchLookup(b, flows, 1, 1) })
	}
	for _, flows := range []int{1000, 10000, 100000, 1000000} {
		b.Run(fmt.Sprintf("flows=%d/entries=%d", flows, flows), func(b *testing.B) { benchLookup(b, flows, flows, 1) })
	}
	for _, masks := range []int{8, 32} {
		for _, flows := range []int{1000, 10000, 100000} {
			b.Run(fmt.Sprintf("flows=%d/masks=%d", flows, masks), func(b *testing.B) { benchLookup(b, flows, min(flows, 10000), masks) })
		}
	}
}

// BenchmarkCopy is what the benchmarks above spend on filling in the keys.
func BenchmarkCopy(b *testing.B) {
	burst, keys := new(cache.Burst), make([]flow.Key, buf.Burst)
	num := 0
	for b.Loop() {
		num += copy(burst.Keys[:], keys)
	}
	report(b, num)
}

// walkRules are a pipeline of tables tables, each with perTable rules for other addresses.
func walkRules(tables, perTable int) (rules []flow.Rule) {
	all := pipeline.Tables()
	for n := range tables {
		end := flow.Drop(stats.DropNoRoute)
		if n+1 < tables {
			end = flow.Goto(all[n+1].ID)
		}
		first := []flow.Action{flow.SetUint(flow.FieldDatapath, 7), end}
		if n == tables-1 {
			first = []flow.Action{flow.Copy(flow.FieldNextHop, flow.FieldIPSrc), end}
		}
		rules = append(rules, flow.Rule{RuleID: flow.RuleID{Table: all[n].ID}, Actions: first})
		for i := range perTable {
			ip := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
			m := flow.Match{}.WithUint(flow.FieldDatapath, 7).WithPrefix(flow.FieldIPDst, netip.PrefixFrom(ip, 32))
			rules = append(rules, flow.Rule{RuleID: flow.RuleID{Table: all[n].ID, Priority: 9, Match: m}, Actions: []flow.Action{end}})
		}
	}
	return rules
}

// BenchmarkMiss is the way of first packets of flows: found nowhere, walked, kept.
func BenchmarkMiss(b *testing.B) {
	for _, tables := range []int{1, 12} {
		p := pipeline.New()
		if _, err := p.Apply(flow.Change{SetRules: walkRules(tables, 1000)}); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("tables=%d", tables), func(b *testing.B) {
			c, err := cache.New(cache.Config{Seed: 1}, p.Counters())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			s, burst := p.Snapshot(), new(cache.Burst)
			burst.Num = buf.Burst
			n := uint32(0)
			num := 0
			for b.Loop() {
				for i := range burst.Keys {
					burst.Keys[i] = source(n)
					n++
				}
				num += run(c, s, burst)
			}
			report(b, num)
		})
	}
}
