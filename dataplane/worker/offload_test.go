package worker

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/offload"
	"baton/dataplane/offload/offloadtest"
	"baton/dataplane/parse"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// tcp is a TCP segment of flow src to L4 port dst with size bytes of payload.
func tcp(src, dst uint16, size int) []byte {
	p := hdrtest.Packet{
		EthDst: hdrtest.MAC(1), EthSrc: hdrtest.MAC(2), Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2),
		Proto: hdr.ProtoTCP, SrcPort: src, DstPort: dst, Payload: make([]byte, size),
	}
	for i := range p.Payload {
		p.Payload[i] = byte(i*i>>5) + byte(src)
	}
	return p.Bytes()
}

// everything is all that a port can offer.
const everything = port.OffloadCsum | port.OffloadTSO4 | port.OffloadTSO6 | port.OffloadECN | port.OffloadTunnelCsum | port.OffloadTunnelTSO

// got collects what a port's queues were given, as complete frames by flow.
type got struct {
	mu     sync.Mutex
	outer  int // bytes of outer headers
	frames map[flow.Key][][]byte
	num    int
	supers int
	bad    string
}

// collect lets the queues of d offer can, and notes what they get.
func collect(d *double, can port.Offloads, outer int) *got {
	g := &got{outer: outer, frames: map[flow.Key][][]byte{}}
	for _, q := range d.queues {
		q.offers.Store(uint32(can))
		q.keep = func(b *buf.Buf) { g.take(b, can) }
	}
	return g
}

func (g *got) take(b *buf.Buf, can port.Offloads) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if need := offload.Needs(b); need&^can != 0 {
		g.bad = fmt.Sprintf("a frame that needs %x for a port that offers %x", need, can)
	}
	if b.OlFlags&buf.TxTCPSeg != 0 {
		g.supers++
	} else if b.NbSegs != 1 {
		g.bad = fmt.Sprintf("a frame of %d segments", b.NbSegs)
	}
	g.num++
	for _, f := range offloadtest.Frames(b, g.outer) {
		k := keyOf(f)
		g.frames[k] = append(g.frames[k], f)
	}
}

// keyOf is the flow of a frame.
func keyOf(f []byte) (k flow.Key) {
	if r := parse.Frame(f, &k); r != stats.DropNone {
		panic(r.String())
	}
	return k
}

// same compares with what the flows should have got, in order.
func (g *got) same(t *rapid.T, want map[flow.Key][][]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bad != "" {
		t.Fatal(g.bad)
	}
	for k, frames := range want {
		if len(g.frames[k]) != len(frames) {
			t.Fatalf("flow %s: %d frames, want %d", k, len(g.frames[k]), len(frames))
		}
		for i, f := range frames {
			if !offloadtest.Equal(g.frames[k][i], f) {
				t.Fatalf("flow %s, frame %d:\n%x, want\n%x", k, i, g.frames[k][i], f)
			}
		}
	}
	if len(g.frames) != len(want) {
		t.Fatalf("%d flows, want %d", len(g.frames), len(want))
	}
}

// randomAsking is a random packet to L4 port dst with or without offloads, and the
// frames that a sender without them would send.
func randomAsking(t *rapid.T, src, dst uint16) (injected, [][]byte) {
	kind := rapid.IntRange(0, 3).Draw(t, "kind")
	most := 1200
	if kind == 3 {
		most = 60000
	}
	f := offloadtest.TCP(t, most)
	l := offloadtest.Locate(f)
	binary.BigEndian.PutUint16(f[l.L4:], src)
	binary.BigEndian.PutUint16(f[l.L4+2:], dst)
	f = offloadtest.Whole(f)
	switch kind {
	case 0:
		return injected{frame: f}, [][]byte{f}
	case 1:
		return injected{frame: f, partial: true}, [][]byte{f}
	}
	// No segment is larger than the tunnel takes, with the largest headers.
	segment := rapid.IntRange(max(60, len(f)/100), 1100).Draw(t, "segment")
	return injected{frame: f, segment: segment}, offloadtest.Cut(f, segment)
}

// TestOffloadsAreInvisible: whatever guests leave to the switch and whatever the
// receiver takes, guest or wire, by one worker's hands or two's: it gets the packets
// that a sender without offloads would have sent, in order.
func TestOffloadsAreInvisible(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		workers := rapid.IntRange(1, 3).Draw(rt, "workers")
		l := newLab(t, func(c *Config) { c.Workers, c.Endpoint, c.Handoffs = workers, tunnelEnd(t, 1), 1<<14 })
		defer l.end()
		nic := newDouble(t, "nic", port.KindNIC, 1)
		if err := l.AddPort(nic, PortOptions{}); err != nil {
			rt.Fatal(err)
		}
		l.apply(tunnelChange(2))
		in := l.addPort(1, newDouble(t, "in", port.KindVhost, rapid.IntRange(1, 3).Draw(rt, "queues")))
		out := l.addPort(2, newDouble(t, "out", port.KindVhost, rapid.IntRange(1, 2).Draw(rt, "queues")))
		l.apply(flow.Change{SetRules: []flow.Rule{toPort(9, number(2))}})
		offers := func(name string) port.Offloads {
			return port.Offloads(rapid.Uint32Range(0, uint32(everything)).Draw(rt, name))
		}
		guest, wire := collect(out, offers("guest"), 0), collect(nic, offers("wire"), 62)
		toGuest, toWire := map[flow.Key][][]byte{}, map[flow.Key][][]byte{}
		for i := range rapid.IntRange(1, 60).Draw(rt, "packets") {
			src := uint16(i % 7)
			want, dst := toGuest, uint16(9)
			if rapid.Bool().Draw(rt, "remote") {
				want, dst = toWire, 1
			}
			f, frames := randomAsking(rt, src, dst)
			in.queues[int(src)%len(in.queues)].injectAsking(f)
			k := keyOf(f.frame)
			want[k] = append(want[k], frames...)
		}
		l.quiet(in)
		if tot := l.Totals(); tot.Dropped() != 0 || tot.TxPackets != uint64(guest.num+wire.num) {
			rt.Fatalf("%d sent, %d arrived, drops %v", tot.TxPackets, guest.num+wire.num, tot.Drops)
		}
		guest.same(rt, toGuest)
		wire.same(rt, toWire)
	})
}

// TestSupersPassWhole: to a guest that takes them, super-segments are single packets;
// one with CWR only if the guest takes that.
func TestSupersPassWhole(t *testing.T) {
	l := newLab(t, nil)
	in := l.addPort(1, newDouble(t, "in", port.KindVhost, 1))
	out := l.addPort(2, newDouble(t, "out", port.KindVhost, 1))
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2))}})
	g := collect(out, port.OffloadCsum|port.OffloadTSO4, 0)
	cwr := tcp(1, 2, 14480)
	cwr[14+20+13] |= 0x80
	cwr = offloadtest.Whole(cwr)
	for range 10 {
		in.queues[0].injectAsking(injected{frame: tcp(1, 2, 60000), segment: 1448})
	}
	in.queues[0].injectAsking(injected{frame: cwr, segment: 1448})
	l.quiet(in)
	w, s := l.Workers()[0], l.stat("out")
	if g.supers != 10 || g.num != 20 || w.Supers != 10 || w.Cut != 1 || w.Segments != 10 || w.Checksums != 0 || s.TxPackets != 20 || l.stat("in").Generated != 9 {
		t.Errorf("%d supers in %d packets; %+v; %+v", g.supers, g.num, w, s)
	}
	out.queues[0].offers.Store(uint32(port.OffloadCsum | port.OffloadTSO4 | port.OffloadECN))
	in.queues[0].injectAsking(injected{frame: cwr, segment: 1448})
	l.quiet(in)
	if g.supers != 11 {
		t.Errorf("%d supers, want 11", g.supers)
	}
}

// TestPoolRunsDry: a super-segment that cannot be cut for want of buffers costs its
// own packets, each one counted, and nothing leaks (stillPool's end looks).
func TestPoolRunsDry(t *testing.T) {
	flood := &superFlood{endless: endless{name: "flood", kind: port.KindVhost, frames: [][]byte{tcp(1, 3, 10000)}}, most: 1}
	sink := &endless{name: "sink", kind: port.KindVhost}
	w := still(t, nil, []port.Port{flood, sink}, toSink)
	w.begin()
	w.cache.Flush()
	src := w.pool.cfg.Source
	hoard := make([]*buf.Buf, src.Available()-20)
	if !src.Get(hoard) {
		t.Fatal("no buffers")
	}
	w.turn()
	src.Put(hoard)
	// 5 of the 20 buffers hold the super-segment, 15 its first segments.
	tot := w.pool.Totals()
	if sink.got != 15 || tot.RxPackets != 1 || tot.Generated != 19 || tot.Drops[stats.DropNoBuffer] != 5 || tot.Held() != 0 {
		t.Errorf("%d arrived of 20; %+v", sink.got, tot)
	}
}

// toSink is a flood's way to the sink.
var toSink = flow.Change{
	SetBindings: []flow.Binding{{Name: "flood", Number: number(1)}, {Name: "good", Number: number(2)}, {Name: "sink", Number: number(3)}},
	SetRules:    []flow.Rule{toPort(3, number(3))},
}

// superFlood is a guest with super-segments without end.
type superFlood struct {
	endless
	most   int // in a burst
	supers uint64
}

func (p *superFlood) Queue(int) port.Queue { return p }

func (p *superFlood) Rx(c *buf.Cache, v *buf.Vec) int {
	for i := range p.most {
		b := offloadtest.Ask(c, p.frames[0], 500, 2048)
		if b == nil {
			return i
		}
		v[i] = b
		p.supers++
	}
	return p.most
}

// TestSuperFloodIsFair: a guest whose super-segments must be cut has no more of the
// worker's time than one that sends plain packets, and no turn without end.
func TestSuperFloodIsFair(t *testing.T) {
	flood := &superFlood{endless: endless{name: "flood", kind: port.KindVhost, frames: [][]byte{tcp(1, 3, 10000)}}, most: buf.Burst}
	good := &endless{name: "good", kind: port.KindVhost, frames: [][]byte{frame(1, 3, 3)}}
	sink := &endless{name: "sink", kind: port.KindVhost}
	w := still(t, nil, []port.Port{flood, good, sink}, toSink)
	const turns = 1000
	for range turns {
		w.turn()
	}
	// A burst is 32×20 segments of 4 steps, 40 turns.
	polls := flood.supers / buf.Burst
	if polls < turns/45 || polls > turns/38 {
		t.Errorf("the flood had %d turns of %d, want one in 41", polls, turns)
	}
	if want := uint64(turns*buf.Burst) + polls*buf.Burst*20; sink.got != want {
		t.Errorf("%d packets arrived, want %d", sink.got, want)
	}
	if w.counters.Segments.Load() != polls*buf.Burst*20 || w.counters.Cut.Load() != flood.supers {
		t.Errorf("%d segments of %d", w.counters.Segments.Load(), w.counters.Cut.Load())
	}
}

// TestOverwork: segments of a few bytes cost their sender most of a burst, not
// everybody else a turn of many milliseconds.
func TestOverwork(t *testing.T) {
	l := newLab(t, nil)
	in := l.addPort(1, newDouble(t, "in", port.KindVhost, 1))
	l.addPort(2, newDouble(t, "out", port.KindVhost, 1))
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2))}})
	l.Quiesce()
	many := make([]injected, buf.Burst)
	for i := range many {
		many[i] = injected{frame: tcp(1, 2, 60000), segment: 48}
	}
	many[0].segment = 40 // more than any super-segment may be
	in.queues[0].injectAsking(many...)
	l.quiet(in)
	s := l.stat("in")
	if s.Drops[stats.DropBadOffload] != 1 || s.Drops[stats.DropOverwork] != buf.Burst-1-3 || l.stat("out").TxPackets != 3*1250 {
		t.Errorf("%d sent, drops %v", l.stat("out").TxPackets, s.Drops)
	}
}

// TestOffloadAllocatesNothing, whole, cut or completed.
func TestOffloadAllocatesNothing(t *testing.T) {
	flood := &superFlood{endless: endless{name: "flood", kind: port.KindVhost, frames: [][]byte{tcp(1, 3, 10000)}}, most: buf.Burst}
	sink := &endless{name: "sink", kind: port.KindVhost}
	w := still(t, nil, []port.Port{flood, sink}, toSink)
	w.turn()
	work := func() {
		for i := range w.rxqs {
			w.rxqs[i].debt = 0
		}
		w.turn()
	}
	frames := flood.frames
	base := testing.AllocsPerRun(20, func() { _ = append([]byte(nil), frames[0]...) }) // Ask copies the frame
	if n := testing.AllocsPerRun(50, work); n != buf.Burst*base {
		t.Errorf("%v allocations, %v of them the test's", n, buf.Burst*base)
	}
	if sink.got == 0 {
		t.Error("nothing was sent")
	}
}
