package cache_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/cache"
	"baton/dataplane/flow"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/parse"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
	"baton/dataplane/table"
)

// chain are the tables that random rules use.
var chain = []flow.TableID{
	pipeline.TableConvertPhyLogical, pipeline.TableLSPIngressARPResponse,
	pipeline.TableLSPIngressLookupDstPort, pipeline.TableLRPIngressIPRoute, pipeline.TablePipelineForward,
}

// gen draws random things. The values come from few, so that they often agree.
type gen struct{ t *rapid.T }

func (g gen) num(n int, name string) int { return rapid.IntRange(0, n-1).Draw(g.t, name) }

// match narrows to a random value under a random mask of a random field.
func (g gen) match(m flow.Match) flow.Match {
	switch g.num(12, "match field") {
	case 0:
		return m.WithUint(flow.FieldInPort, uint64(g.port()))
	case 1:
		return m.WithMAC(flow.FieldEthDst, hdrtest.MAC(g.num(hdrtest.Few, "mac")))
	case 2:
		return m.WithMAC(flow.FieldEthSrc, hdrtest.MAC(g.num(hdrtest.Few, "mac")))
	case 3:
		return m.WithUint(flow.FieldEthType, uint64([]uint16{flow.EtherTypeIPv4, flow.EtherTypeARP, flow.EtherTypeIPv6}[g.num(3, "type")]))
	case 4:
		bits := []int{8, 22, 24, 30, 32}[g.num(5, "bits")]
		return m.WithPrefix(flow.FieldIPDst, netip.PrefixFrom(hdrtest.IP4(g.num(hdrtest.Few, "ip")), bits))
	case 5:
		return m.WithPrefix(flow.FieldIPSrc, netip.PrefixFrom(hdrtest.IP6(g.num(hdrtest.Few, "ip6")), 124+g.num(5, "bits6")))
	case 6:
		return m.WithUint(flow.FieldProto, uint64([]uint8{1, 2, 6, 17, 58}[g.num(5, "proto")]))
	case 7:
		return m.WithUint(flow.FieldL4Dst, uint64(g.num(3, "l4_dst")))
	case 8:
		return m.WithUint(flow.FieldVNI, uint64(g.num(3, "vni")))
	case 9:
		return m.WithUint(flow.FieldDatapath, uint64(g.num(3, "datapath")))
	case 10:
		return m.WithUint(flow.FieldDstPort, uint64(g.num(3, "dst_port")))
	}
	var next [16]byte
	ip := hdrtest.IP4(g.num(hdrtest.Few, "next hop")).As4()
	copy(next[:], ip[:])
	return m.With(flow.FieldNextHop, next)
}

func (g gen) port() flow.PortNo {
	return flow.LogicalPort(uint32(1+g.num(2, "vni")), uint16(g.num(3, "port")))
}

// edit is a random action that does not end.
func (g gen) edit() flow.Action {
	switch g.num(12, "edit") {
	case 0:
		return flow.SetMAC(flow.FieldEthDst, hdrtest.MAC(g.num(hdrtest.Few, "mac")))
	case 1:
		return flow.SetMAC(flow.FieldEthSrc, hdrtest.MAC(g.num(hdrtest.Few, "mac")))
	case 2:
		return flow.SetAddr(flow.FieldIPDst, hdrtest.IP4(g.num(hdrtest.Few, "ip")))
	case 3:
		return flow.SetAddr(flow.FieldIPSrc, hdrtest.IP4(g.num(hdrtest.Few, "ip")))
	case 4:
		return flow.SetUint([]flow.FieldID{flow.FieldTOS, flow.FieldL4Src, flow.FieldL4Dst}[g.num(3, "field")], uint64(g.num(3, "v")))
	case 5:
		return flow.SetUint([]flow.FieldID{flow.FieldDatapath, flow.FieldTunDst}[g.num(2, "reg4")], uint64(g.num(3, "v")))
	case 6:
		return flow.SetUint(flow.FieldOutPort, uint64(g.port()))
	case 7:
		return []flow.Action{
			flow.Copy(flow.FieldNextHop, flow.FieldIPDst), flow.Copy(flow.FieldDatapath, flow.FieldVNI),
			flow.Copy(flow.FieldDstPort, flow.FieldL4Dst), flow.Copy(flow.FieldEthDst, flow.FieldEthSrc),
			flow.Copy(flow.FieldOutPort, flow.FieldInPort), flow.Copy(flow.FieldIPSrc, flow.FieldIPDst),
		}[g.num(6, "copy")]
	case 8, 9:
		return flow.Action{Op: flow.OpDecTTL}
	case 10:
		return flow.ARPReply(hdrtest.MAC(g.num(hdrtest.Few, "mac")))
	}
	return []flow.Action{{Op: flow.OpEchoReply}, flow.SetFlags(flow.FlagLoopback), {Op: flow.OpPunt, Num: 3}}[g.num(3, "other")]
}

// rule is a random rule.
func (g gen) rule() flow.Rule {
	at := g.num(len(chain), "table")
	r := flow.Rule{RuleID: flow.RuleID{Table: chain[at], Priority: uint16(g.num(4, "priority"))}}
	for range g.num(4, "matches") {
		r.Match = g.match(r.Match)
	}
	for range g.num(4, "edits") {
		r.Actions = append(r.Actions, g.edit())
	}
	end := flow.Goto(chain[(at+1+g.num(2, "skip"))%len(chain)])
	switch g.num(8, "end") {
	case 0:
		end = flow.Output(g.port())
	case 1:
		end = flow.Output(flow.PortNone)
	case 2:
		end = flow.Action{Op: flow.OpTunnel}
	case 3:
		end = flow.Drop(stats.DropUnknownMAC)
	}
	r.Actions = append(r.Actions, end)
	return r
}

// change is a random change; ids are of rules that may be there.
func (g gen) change(ids []flow.RuleID) (c flow.Change) {
	for range 1 + g.num(6, "sets") {
		c.SetRules = append(c.SetRules, g.rule())
	}
	for range g.num(4, "dels") {
		if len(ids) > 0 {
			c.DelRules = append(c.DelRules, ids[g.num(len(ids), "del")])
		}
	}
	if g.num(3, "neighbour") == 0 {
		ip := uint32(1 + g.num(2, "neighbour ip"))
		if g.num(3, "del neighbour") == 0 {
			c.DelNeighbours = []uint32{ip}
		} else {
			c.SetNeighbours = []flow.Neighbour{{Host: "h", IP: ip, MAC: hdrtest.MAC(g.num(3, "neighbour mac"))}}
		}
	}
	return c
}

// packet is a random packet with the key that a worker makes of it.
func (g gen) packet() (frame []byte, k flow.Key) {
	frame = hdrtest.Random(g.t).Bytes()
	k.InPort = g.port()
	if g.num(3, "tunnelled") == 0 {
		k.InPort, k.VNI, k.DstPort = flow.PortTunnel, uint32(g.num(3, "vni")), uint16(g.num(3, "dst port"))
	}
	if reason := parse.Frame(frame, &k); reason != stats.DropNone {
		g.t.Fatalf("packet %x: %s", frame, reason)
	}
	return frame, k
}

// packet is a frame with its key.
type packet struct {
	frame []byte
	key   flow.Key
}

// defaults make packets go on where no other rule wants them, and out at the end.
func defaults() (c flow.Change) {
	for i, at := range chain {
		end := flow.Output(flow.LogicalPort(1, 1))
		if i+1 < len(chain) {
			end = flow.Goto(chain[i+1])
		}
		c.SetRules = append(c.SetRules, flow.Rule{RuleID: flow.RuleID{Table: at}, Actions: []flow.Action{end}})
	}
	return c
}

// same runs one burst through the cache and checks each packet against the slow path.
func same(t *rapid.T, c *cache.Cache, b *cache.Burst, frames [][]byte, s *pipeline.Snapshot, truth *pipeline.Result) {
	b.Num = len(frames)
	c.Hash(b)
	for miss := c.LookupBurst(b, s.Generation()); miss != 0; miss &= miss - 1 {
		for i := range b.Num {
			if miss&-miss == 1<<i {
				c.Miss(s, b, i)
			}
		}
	}
	for i, frame := range frames {
		s.Walk(&b.Keys[i], truth)
		if diff := cmp.Diff(truth.Actions, b.Entries[i].Actions, cmp.AllowUnexported(action.Tunnel{}, action.List{})); diff != "" {
			t.Fatalf("packet %d (%s): the cache differs from the slow path:\n%s", i, b.Keys[i], diff)
		}
		cached, slow := bytes.Clone(frame), bytes.Clone(frame)
		if a, b := action.Edit(cached, &b.Entries[i].Actions), action.Edit(slow, &truth.Actions); a != b || a == stats.DropNone && !bytes.Equal(cached, slow) {
			t.Fatalf("packet %d: cached %s %x\nslow %s %x", i, a, cached, b, slow)
		}
		b.Entries[i].Hit(1, uint64(len(frame)))
	}
}

// TestCachedIsSlowPath holds the cache against the slow path: random rules, which
// change between bursts, and random packets, on caches of several sizes, with the
// exact-match cache in use and without.
func TestCachedIsSlowPath(t *testing.T) {
	var micro, mega, stale uint64
	rapid.Check(t, func(t *rapid.T) {
		g := gen{t}
		p := pipeline.New()
		c, err := cache.New(cache.Config{MicroFlows: 64 << g.num(2, "micro"), MegaFlows: 64 << g.num(2, "mega"), Seed: rapid.Uint64().Draw(t, "seed")}, p.Counters())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if rapid.Bool().Draw(t, "micro in use") {
			c.UseMicro()
		}
		var b cache.Burst
		var truth pipeline.Result
		var ids []flow.RuleID
		var seen []packet
		if g.num(2, "with defaults") == 0 {
			if _, err := p.Apply(defaults()); err != nil {
				t.Fatal(err)
			}
		}
		for range 1 + g.num(6, "rounds") {
			change := g.change(ids)
			for _, r := range change.SetRules {
				ids = append(ids, r.RuleID)
			}
			if _, err := p.Apply(change); err != nil {
				t.Fatal(err)
			}
			for range 1 + g.num(4, "bursts") {
				var frames [][]byte
				for i := range 1 + g.num(buf.Burst, "packets") {
					var x packet
					if len(seen) > 0 && g.num(2, "again") == 0 {
						x = seen[g.num(len(seen), "which")]
					} else {
						x.frame, x.key = g.packet()
						seen = append(seen, x)
					}
					b.Keys[i] = x.key
					frames = append(frames, x.frame)
				}
				same(t, c, &b, frames, p.Snapshot(), &truth)
			}
			if g.num(3, "sweep") == 0 {
				c.Tick()
				c.Sweep(g.num(64, "sweeps"), uint32(g.num(2, "idle")))
			}
		}
		micro, mega, stale = micro+c.Counters.MicroHits.Load(), mega+c.Counters.MegaHits.Load(), stale+c.Counters.Stale.Load()
	})
	if !testing.Short() && min(micro, mega, stale) < 20 { // -short makes a fifth of the checks
		t.Errorf("%d packets by the exact-match cache, %d by masks, %d stale: not all ways were tried", micro, mega, stale)
	}
	t.Logf("%d packets by the exact-match cache, %d by masks, %d stale", micro, mega, stale)
}

// rules is a pipeline with random rules.
func (g gen) rules() *pipeline.Pipeline {
	p := pipeline.New()
	if _, err := p.Apply(defaults()); err != nil {
		g.t.Fatal(err)
	}
	for range 3 {
		if _, err := p.Apply(g.change(nil)); err != nil {
			g.t.Fatal(err)
		}
	}
	return p
}

// TestMaskIsEnough checks the promise of a mask itself: packets that agree in its
// bits get the same result, whatever they have in the others.
func TestMaskIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := gen{t}
		s := g.rules().Snapshot()
		var a, b pipeline.Result
		for range 8 {
			_, k := g.packet()
			s.Walk(&k, &a)
			_, other := g.packet()
			kw, ow, mw := k.Words(), other.Words(), a.Mask.Words()
			for i := range ow {
				ow[i] = kw[i]&mw[i] | ow[i]&^mw[i]
			}
			s.Walk(&other, &b)
			if a.Actions != b.Actions || a.Mask != b.Mask || a.NumRules != b.NumRules || a.Rules != b.Rules {
				t.Fatalf("keys agree under mask %s but not in the result:\n%s: %s\n%s: %s",
					k.FormatMasked(a.Mask), k, fmt.Sprint(a.Actions), other, fmt.Sprint(b.Actions))
			}
		}
	})
}

// noted is an observer that looks at nothing.
type noted struct{}

func (noted) Step(flow.TableID, *table.Rule, *flow.Fields) {}

// TestWalkIsTrace holds the walk, which notes now and then what its result depends on,
// against a trace, which does so at each step.
func TestWalkIsTrace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := gen{t}
		s := g.rules().Snapshot()
		var walked, traced pipeline.Result
		for range 8 {
			_, k := g.packet()
			s.Walk(&k, &walked)
			s.Trace(&k, &traced, noted{})
			if walked.Actions != traced.Actions || walked.Mask != traced.Mask || walked.NumRules != traced.NumRules || walked.Rules != traced.Rules {
				t.Fatalf("%s: walked %s under %s\ntraced %s under %s", k, fmt.Sprint(walked.Actions), k.FormatMasked(walked.Mask),
					fmt.Sprint(traced.Actions), k.FormatMasked(traced.Mask))
			}
		}
	})
}
