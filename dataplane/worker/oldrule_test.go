package worker

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// window is three bits of a frame that rules of one kind match: each kind is a mask of its own.
type window struct {
	field flow.FieldID
	shift int
}

// windows are the kinds of rules: many enough that workers turn to their exact-match caches.
var windows = []window{
	{flow.FieldL4Src, 0}, {flow.FieldL4Src, 3}, {flow.FieldL4Src, 6}, {flow.FieldL4Src, 9}, {flow.FieldL4Src, 12},
	{flow.FieldL4Dst, 0}, {flow.FieldL4Dst, 3}, {flow.FieldL4Dst, 6}, {flow.FieldL4Dst, 9}, {flow.FieldL4Dst, 12},
	{flow.FieldIPDst, 0}, {flow.FieldIPDst, 3},
}

// of is what a frame has in the window.
func (w window) of(f []byte) int {
	at := map[flow.FieldID]int{flow.FieldL4Src: 34, flow.FieldL4Dst: 36, flow.FieldIPDst: 32}[w.field]
	return int(binary.BigEndian.Uint16(f[at:])) >> w.shift & 7
}

// match is that the window has value v.
func (w window) match(v int) flow.Match {
	at := 0 // of the field's low 16 bits
	if w.field == flow.FieldIPDst {
		at = 2
	}
	var value, mask [16]byte
	binary.BigEndian.PutUint16(value[at:], uint16(v<<w.shift))
	binary.BigEndian.PutUint16(mask[at:], uint16(7<<w.shift))
	return flow.Match{}.WithMasked(w.field, value, mask)
}

// stamp is a rule as the test knows it: it writes its version into frames.
type stamp struct {
	version uint32 // 0: there is none
	to      int    // logical port
}

// edition is all rules between two changes: by kind and value, and the one for all others.
type edition struct {
	rules [12][8]stamp
	rest  stamp
}

// find is the rule that a frame goes by. order is the kinds, the one that wins first.
func (e *edition) find(f []byte, order []int) stamp {
	for _, kind := range order {
		if s := e.rules[kind][windows[kind].of(f)]; s.version != 0 {
			return s
		}
	}
	return e.rest
}

// rule writes the version where routers write (which has a short way of its own) or into the
// source address.
func (s stamp) rule(prio int, m flow.Match) flow.Rule {
	var v [4]byte
	binary.BigEndian.PutUint32(v[:], s.version)
	edits := []flow.Action{flow.SetAddr(flow.FieldIPSrc, netip.AddrFrom4(v))}
	if s.version%2 == 0 {
		edits = []flow.Action{
			flow.SetMAC(flow.FieldEthSrc, flow.MAC{6, 0, v[0], v[1], v[2], v[3]}), flow.SetMAC(flow.FieldEthDst, flow.MAC{2, 0, 0, 0, 0, 9}), {Op: flow.OpDecTTL},
		}
	}
	return flow.Rule{
		RuleID:  flow.RuleID{Table: pipeline.TableConvertPhyLogical, Priority: uint16(prio), Match: m},
		Actions: append(edits, flow.SetFlags(flow.FlagLoopback), flow.Output(number(s.to))),
	}
}

// versionOf is the version that a rule wrote into f.
func versionOf(f []byte) uint32 {
	if f[6] == 6 {
		return binary.BigEndian.Uint32(f[8:])
	}
	return binary.BigEndian.Uint32(f[26:])
}

// sent is a packet that left, and the editions that it may have gone by.
type sent struct {
	frame    [38]byte
	to       int
	from, up int // editions: the one of the last barrier, the last one begun
}

// press is a pool under traffic whose rules change all the time.
type press struct {
	*lab
	rt       *rapid.T
	order    []int // kinds, the one with the highest priority first
	editions []edition
	next     uint32 // version

	begun, safe atomic.Int64 // the last edition that was begun, and that a barrier was answered for
	out         [][]sent     // by output port; each is its worker's
	injected    atomic.Uint64
}

// outputs is how many ports packets go to.
const outputs = 3

// newPress has ports, the first edition of rules, and no traffic yet.
func newPress(t *testing.T, rt *rapid.T) *press {
	p := &press{rt: rt, editions: make([]edition, 1), out: make([][]sent, outputs+1), next: 1}
	p.lab = newLab(t, func(c *Config) {
		c.Workers = rapid.IntRange(1, 4).Draw(rt, "workers")
		c.Handoffs, c.MicroFlows = 4096, 256
	})
	p.order = rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}).Draw(rt, "priorities")
	for id := 1; id <= outputs; id++ {
		p.addPort(id, newDouble(t, fmt.Sprintf("out%d", id), port.KindVhost, 1).sink(func(f []byte) { p.arrives(id, f) }))
	}
	p.apply(p.change(true))
	return p
}

// arrives notes a frame that is sent to port id.
func (p *press) arrives(id int, f []byte) {
	s := sent{to: id, from: int(p.safe.Load())} // what is older has left before that barrier was answered
	copy(s.frame[:], f)
	s.up = int(p.begun.Load()) // the snapshot that this frame went by was not there before
	p.out[id] = append(p.out[id], s)
}

// change is a new edition: some rules come, change or go; first: nearly all kinds get one.
func (p *press) change(first bool) (c flow.Change) {
	e := p.editions[len(p.editions)-1]
	made := func() stamp {
		p.next++
		return stamp{p.next, rapid.IntRange(1, outputs).Draw(p.rt, "to")}
	}
	set := func(kind, v int) {
		prio, m := len(windows)-slices.Index(p.order, kind), windows[kind].match(v)
		if old := e.rules[kind][v]; old.version != 0 && rapid.IntRange(0, 3).Draw(p.rt, "goes") == 0 {
			e.rules[kind][v] = stamp{}
			c.DelRules = append(c.DelRules, old.rule(prio, m).RuleID)
			return
		}
		e.rules[kind][v] = made()
		c.SetRules = append(c.SetRules, e.rules[kind][v].rule(prio, m))
	}
	if first || rapid.IntRange(0, 9).Draw(p.rt, "rest") == 0 {
		e.rest = made()
		c.SetRules = append(c.SetRules, e.rest.rule(0, flow.Match{}))
	}
	kinds := p.order
	if !first {
		kinds = rapid.Permutation(p.order).Draw(p.rt, "kinds")[:rapid.IntRange(1, 3).Draw(p.rt, "rules")]
	}
	for _, kind := range kinds { // each once: what a change that sets and deletes a rule does is not the point
		set(kind, rapid.IntRange(0, 1).Draw(p.rt, "value"))
	}
	p.editions = append(p.editions, e)
	return c
}

// apply makes a change and, often, waits for the barrier.
func (p *press) apply(c flow.Change) {
	now := int64(len(p.editions) - 1)
	p.begun.Store(now)
	gen := p.lab.change(c)
	if now > 1 && rapid.IntRange(0, 2).Draw(p.rt, "no barrier") == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Barrier(ctx, gen); err != nil {
		p.rt.Fatal(err)
	}
	p.safe.Store(now)
}

// flood sends packets of flows flows into queue q until stop is closed: each flow a few
// packets at a time, or train packets.
func (p *press) flood(q *doubleQueue, flows uint64, train int, seed uint64, stop <-chan struct{}) {
	var f []byte
	for left := 0; ; {
		select {
		case <-stop:
			return
		default:
		}
		if q.waiting() >= 8 {
			runtime.Gosched()
			continue
		}
		if left <= 0 {
			seed = seed*6364136223846793005 + 1442695040888963407
			flow := seed >> 33 % flows * 0x9e3779b97f4a7c15
			f = frame(uint16(flow>>16), uint16(flow>>32), 0)
			f[33] = byte(flow >> 48)
			left = train
		}
		num := 1 + left%4
		for range num {
			q.inject(f)
		}
		left -= num
		p.injected.Add(uint64(num))
	}
}

// check holds each packet that left against the editions that it may have gone by.
func (p *press) check() (num int) {
	for id, all := range p.out {
		num += len(all)
		for i := range all {
			s := &all[i]
			f, ok := s.frame[:], false
			for e := s.from; e <= s.up && !ok; e++ {
				ok = p.editions[e].find(f, p.order) == stamp{versionOf(f), id}
			}
			if !ok {
				p.rt.Fatalf("packet %d to port %d, %x, went by rule %d; of editions %d (barrier) to %d the first says %+v, the last %+v", i, id, f, versionOf(f),
					s.from, s.up, p.editions[s.from].find(f, p.order), p.editions[s.up].find(f, p.order))
			}
		}
	}
	return num
}

// TestNoOldRule: under rules of a dozen masks that change all the time, and packets of few
// flows or of more than the caches hold, each packet goes by the rule that was its own at
// some time since the last barrier, whichever cache knew of it and whoever sends it.
func TestNoOldRule(t *testing.T) {
	var micro, walks, handed, packets atomic.Uint64
	checks := 0
	rapid.Check(t, func(rt *rapid.T) {
		p := newPress(t, rt)
		defer p.end()
		var in []*double
		stop, flows := make(chan struct{}), rapid.SampledFrom([]uint64{20, 300, 3000}).Draw(rt, "flows")
		var floods sync.WaitGroup
		end := sync.OnceFunc(func() { close(stop); floods.Wait() })
		defer end()
		for id := range 2 {
			in = append(in, p.addPort(outputs+1+id, newDouble(t, fmt.Sprintf("in%d", id), port.KindVhost, 2)))
			for n, q := range in[id].queues {
				floods.Go(func() { p.flood(q, flows, []int{4, 2000}[id], uint64(4*id+n), stop) })
			}
		}
		enough := func(more uint64) {
			before := p.Totals().TxPackets
			eventually(t, "packets", func() bool { return p.Totals().TxPackets >= before+more })
		}
		if checks++; checks%8 == 1 {
			enough(20_000) // the exact-match caches come after some thousand bursts
		}
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			p.apply(p.change(false))
			enough(rapid.Uint64Range(0, 300).Draw(rt, "packets between"))
		}
		end()
		p.quiet(in...)
		num := p.check()
		if tot := p.Totals(); uint64(num)+tot.Drops[stats.DropHandoffFull] != p.injected.Load() {
			rt.Fatalf("%d injected, %d arrived: %+v", p.injected.Load(), num, tot)
		}
		packets.Add(uint64(num))
		for _, w := range p.Workers() {
			micro.Add(w.MicroHits)
			walks.Add(w.Walks)
			handed.Add(w.Handoffs)
		}
	})
	t.Logf("%d packets: %d by exact-match caches, %d walks, %d handed over", packets.Load(), micro.Load(), walks.Load(), handed.Load())
	if micro.Load() < 100 || walks.Load() < 100 || handed.Load() < 100 {
		t.Error("not all ways were tried")
	}
}
