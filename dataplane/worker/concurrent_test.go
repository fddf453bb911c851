package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/offload"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// anyFrame is a packet of flow i to port i%7: a plain one, one whose checksum is to be
// completed, or a super-segment, every now and then of tiny segments.
func anyFrame(i int) injected {
	switch i % 11 {
	case 3:
		return injected{frame: tcp(uint16(i), uint16(i%7), 200), partial: true}
	case 5:
		return injected{frame: tcp(uint16(i), uint16(i%7), 9000+i), segment: 1448}
	case 7:
		return injected{frame: tcp(uint16(i), uint16(i%7), 60000), segment: 50 + i}
	}
	return injected{frame: frame(uint16(i), uint16(i%7), uint64(i))}
}

// TestConservation: whatever happens to ports and rules, received + made = sent + drops
// when all is quiet, to the packet and as the far ends of the ports see it.
func TestConservation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLab(t, func(c *Config) {
			c.Workers = rapid.IntRange(1, 3).Draw(rt, "workers")
			c.Handoffs = 64
		})
		defer l.end() // again when the test ends, which does no harm
		b := &bustle{lab: l, t: t, rt: rt, seed: rapid.Uint64().Draw(rt, "seed"), alive: map[int]*double{}}
		b.rules()
		b.add(1)
		for range rapid.IntRange(5, 25).Draw(rt, "steps") {
			b.step(rapid.IntRange(1, 5).Draw(rt, "port"))
		}
		l.quiet(slices.Collect(maps.Values(b.alive))...)
		tot := l.Totals()
		if tot.Held() != 0 || tot.RxPackets != b.sent || tot.TxPackets != b.arrived.Load() {
			rt.Errorf("injected %d, received %d, sent %d, arrived %d, dropped %d", b.sent, tot.RxPackets, tot.TxPackets, b.arrived.Load(), tot.Dropped())
		}
	})
}

// bustle is ports that come and go, and what is sent between them meanwhile.
type bustle struct {
	lab     *lab
	t       *testing.T
	rt      *rapid.T
	seed    uint64
	alive   map[int]*double
	sent    uint64 // frames that ports have injected, and that were or will be received
	arrived atomic.Uint64
}

// step does one thing to port id, or to the rules.
func (b *bustle) step(id int) {
	d := b.alive[id]
	switch what := rapid.IntRange(0, 9).Draw(b.rt, "what"); {
	case what == 0:
		b.rules()
	case what == 1 && d != nil:
		b.remove(id, d)
	case what == 1:
	case d == nil:
		b.add(id)
	default:
		for i := range rapid.IntRange(1, 300).Draw(b.rt, "packets") {
			b.sent++
			d.queues[i%len(d.queues)].injectAsking(anyFrame(i))
		}
	}
}

// rules lets every destination be at another port.
func (b *bustle) rules() {
	var c flow.Change
	for dst := range uint16(6) {
		to := rapid.IntRange(0, 5).Draw(b.rt, "to")
		c.SetRules = append(c.SetRules, toPort(dst, number(to+1)))
	}
	b.lab.change(c)
}

// add makes port id: it takes offloads as drawn, and all frames, some, or few.
func (b *bustle) add(id int) {
	d := newDouble(b.t, fmt.Sprintf("p%d", id), port.KindVhost, rapid.IntRange(1, 3).Draw(b.rt, "queues"))
	d.sink(func([]byte) { b.arrived.Add(1) })
	offers := rapid.Uint32Range(0, 63).Draw(b.rt, "offers")
	full := rapid.IntRange(0, 2).Draw(b.rt, "full")
	for _, q := range d.queues {
		q.offers.Store(offers)
		q.keep = func(f *buf.Buf) {
			if need := offload.Needs(f); uint32(need)&^offers != 0 {
				b.t.Errorf("a port that offers %x got a frame that needs %x", offers, need)
			}
		}
		if full > 0 {
			turn := b.seed
			q.limit = func(n int) int {
				turn = turn*6364136223846793005 + 1442695040888963407
				return n - int(turn>>40)%(n+1)*full/2
			}
		}
	}
	b.alive[id] = b.lab.addPort(id, d)
}

// remove takes port id away; what waits in its queues is never received.
func (b *bustle) remove(id int, d *double) {
	if err := b.lab.RemovePort(d.name); err != nil {
		b.rt.Fatal(err)
	}
	delete(b.alive, id)
	for _, q := range d.queues {
		if q.waker != nil {
			b.rt.Fatal("a removed port is still attached")
		}
		b.sent -= uint64(q.waiting())
	}
}

// TestOrder: packets of a flow arrive in order, whoever owns the output port,
// and of those that a full ring turned away none comes later.
func TestOrder(t *testing.T) {
	for _, handoffs := range []int{64, 4096} {
		l := newLab(t, func(c *Config) { c.Workers, c.Handoffs = 3, handoffs })
		const ports, flows, each = 4, 16, 400
		var mu sync.Mutex
		last := map[[2]uint16]uint64{}
		var arrived int
		sink := func(f []byte) {
			mu.Lock()
			defer mu.Unlock()
			k := [2]uint16{frameSrc(f), uint16(f[36])<<8 | uint16(f[37])}
			if seq := frameSeq(f); seq <= last[k] {
				t.Errorf("flow %v: number %d after %d", k, seq, last[k])
			} else {
				last[k] = seq
			}
			arrived++
		}
		var all []*double
		var c flow.Change
		for id := range ports {
			all = append(all, l.addPort(id+1, newDouble(t, fmt.Sprintf("p%d", id+1), port.KindVhost, 1).sink(sink)))
			c.SetRules = append(c.SetRules, toPort(uint16(id+1), number(id+1)))
		}
		l.apply(c)
		for seq := range uint64(each) {
			for n := range uint16(flows) {
				all[n%ports].queues[0].inject(frame(n, n/ports%ports+1, seq+1))
			}
		}
		l.quiet(all...)
		tot := l.Totals()
		if lost := tot.Drops[stats.DropHandoffFull]; uint64(arrived)+lost != flows*each || handoffs == 4096 && lost > 0 && arrived == 0 {
			t.Errorf("%d arrived, %d turned away, want %d", arrived, lost, flows*each)
		}
		var passed uint64
		for _, w := range l.Workers() {
			passed += w.Handoffs
		}
		if passed == 0 {
			t.Error("no packet changed hands: the test shows nothing")
		}
	}
}

// TestNICQueues: a NIC with fewer queues than workers is reached by hand-off.
func TestNICQueues(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers, c.Endpoint, c.Handoffs = 3, tunnelEnd(t, 1), 4096 })
	var got [2]atomic.Uint64
	nic := newDouble(t, "nic", port.KindNIC, 2)
	for i, q := range nic.queues {
		q.sink = func([]byte) { got[i].Add(1) }
	}
	if err := l.AddPort(nic, PortOptions{}); err != nil {
		t.Fatal(err)
	}
	v := l.addPort(1, newDouble(t, "v", port.KindVhost, 3))
	l.apply(tunnelChange(2))
	for i := range 300 {
		v.queues[i%3].inject(frame(uint16(i), 1, 1))
	}
	l.quiet(v)
	if a, b := got[0].Load(), got[1].Load(); a+b != 300 || a < 100 || b < 100 {
		t.Errorf("queues sent %d and %d, want 100 or 200 each", a, b)
	}
}

// TestBarrier: while packets flood, the rule flips between two ports. Once the
// barrier has been answered the old port gets none any more. The ports belong
// to different workers, so that half of the packets change hands.
func TestBarrier(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers, c.Handoffs = 2, 1024 })
	var got [2]atomic.Uint64
	in := l.addPort(1, newDouble(t, "in", port.KindVhost, 2))
	for i := range got {
		l.addPort(i+2, newDouble(t, fmt.Sprintf("out%d", i), port.KindVhost, 1).sink(func([]byte) { got[i].Add(1) }))
	}
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(1, number(2))}})

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stop := make(chan struct{})
	var done sync.WaitGroup
	for _, q := range in.queues {
		done.Go(func() {
			for i := uint64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if q.waiting() < 4*buf.Burst {
					q.inject(frame(uint16(i%64), 1, i))
				}
			}
		})
	}
	for flip := range 200 {
		old, now := flip%2, 1-flip%2
		before := got[now].Load()
		gen := l.change(flow.Change{SetRules: []flow.Rule{toPort(1, number(now+2))}})
		if err := l.Barrier(ctx, gen); err != nil {
			t.Fatal(err)
		}
		mark := got[old].Load()
		eventually(t, "packets by the new rule", func() bool { return got[now].Load() > before+50 })
		if late := got[old].Load() - mark; late != 0 {
			t.Fatalf("flip %d: %d packets by the old rule after the barrier", flip, late)
		}
	}
	close(stop)
	done.Wait()
	l.quiet(in)

	// A generation that is not there yet is waited for.
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := l.Barrier(short, 1<<40); err == nil {
		t.Error("barrier for a generation that nobody made")
	}
}

// TestQuiesce: what is unpublished before Quiesce is not in use after it.
func TestQuiesce(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers = 2 })
	type region struct{ freed atomic.Bool }
	var now atomic.Pointer[region]
	now.Store(&region{})
	var broken atomic.Uint64
	d := newDouble(t, "d", port.KindVhost, 2)
	for _, q := range d.queues {
		q.onRx = func() {
			r := now.Load()
			for range 20 {
				if r.freed.Load() {
					broken.Add(1)
				}
			}
		}
	}
	l.addPort(1, d)
	for i := range 3000 {
		if i%3 == 0 {
			d.queues[i%2].inject(frame(1, 1, 1))
		}
		old := now.Swap(&region{})
		l.Quiesce()
		old.freed.Store(true)
	}
	if broken.Load() != 0 {
		t.Errorf("%d accesses to what had been freed", broken.Load())
	}
	// While all sleep it does not wait for anybody to wake.
	eventually(t, "all asleep", func() bool {
		for _, w := range l.Workers() {
			if w.State != "asleep" {
				return false
			}
		}
		return true
	})
	l.Quiesce()
}

// TestQuiesceWhileEnding: nobody hangs when workers stop and ports go meanwhile.
func TestQuiesceWhileEnding(t *testing.T) {
	for range 30 {
		l := newLab(t, func(c *Config) { c.Workers = 2 })
		d := l.addPort(1, newDouble(t, "d", port.KindVhost, 2))
		d.queues[0].inject(frame(1, 1, 1))
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for range 50 {
					l.Quiesce()
				}
			})
		}
		all.Go(func() {
			if err := l.RemovePort("d"); err != nil {
				t.Error(err)
			}
			if err := l.Pool.Close(); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
	}
}

// TestQuiesceInAttach: a port that waits for the workers while one of them
// attaches its queue does not wait for ever.
func TestQuiesceInAttach(t *testing.T) {
	l := newLab(t, nil)
	d := &attachWaits{double: newDouble(t, "d", port.KindVhost, 1)}
	d.q = &waitingQueue{doubleQueue: d.double.queues[0], pool: l.Pool}
	if err := l.AddPort(d, PortOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := l.RemovePort("d"); err != nil {
		t.Fatal(err)
	}
}

type attachWaits struct {
	*double
	q port.Queue
}

func (d *attachWaits) Queue(int) port.Queue { return d.q }

// waitingQueue waits in Attach for somebody who waits for the workers, as for a
// session that holds the queue's lock.
type waitingQueue struct {
	*doubleQueue
	pool *Pool
}

func (q *waitingQueue) Attach(w port.Waker) {
	done := make(chan struct{})
	go func() {
		q.pool.Quiesce()
		close(done)
	}()
	<-done
	q.doubleQueue.Attach(w)
}

// TestNoLostWakeUp: each packet comes when everybody sleeps, or is about to, and
// passes two workers.
func TestNoLostWakeUp(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers, c.Spin = 2, time.Microsecond })
	var got atomic.Uint64
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	l.addPort(2, newDouble(t, "b", port.KindVhost, 1).sink(func([]byte) { got.Add(1) }))
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2))}})
	asleep := func() bool {
		w := l.Workers()
		return w[0].State == "asleep" && w[1].State == "asleep"
	}
	for i := range uint64(2000) {
		if i%2 == 0 {
			eventually(t, "both asleep", asleep)
		}
		a.queues[0].inject(frame(1, 2, i))
		eventually(t, "the packet arrives", func() bool { return got.Load() == i+1 })
	}
	for i, w := range l.Workers() {
		if w.Sleeps < 500 || w.WakeUps < 500 {
			t.Errorf("worker %d: %d sleeps, %d wake-ups: the test shows nothing", i, w.Sleeps, w.WakeUps)
		}
	}
}

// TestFlowsWhileBusy asks for flows while packets move and ports change.
func TestFlowsWhileBusy(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers = 2 })
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 2))
	var c flow.Change
	for dst := range uint16(200) {
		c.SetRules = append(c.SetRules, toPort(dst, number(1)))
	}
	l.apply(c)
	for i := range 4000 {
		a.queues[i%2].inject(frame(1, uint16(i/2%200), 1))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 20 {
				if _, err := l.Flows(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	l.quiet(a)
	flows, err := l.Flows(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var packets uint64
	for _, f := range flows {
		packets += f.Packets
	}
	if len(flows) != 400 || packets != 4000 {
		t.Errorf("%d flows with %d packets, want 400 with 4000", len(flows), packets)
	}
	gone, stop := context.WithCancel(ctx)
	stop()
	if _, err := l.Flows(gone); err == nil {
		t.Log("answered before it was withdrawn")
	}
}

// TestRemovePort: when it returns, all that came from the port has left, though
// it went through another worker.
func TestRemovePort(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers = 2 })
	b := newDouble(t, "b", port.KindVhost, 2) // so that each worker has a queue
	b.queues[0].off.Store(true)
	b.queues[1].off.Store(true)
	l.addPort(2, b)
	out := newDouble(t, "out", port.KindVhost, 1)
	turn := 0
	out.queues[0].limit = func(n int) int { turn++; return n - turn%2*n/2 }
	// Its worker is slow, so that parcels wait for it while the other goes on.
	out.queues[0].onRx = func() {
		for begin := cycles(); cycles()-begin < toCycles(100*time.Microsecond); {
		}
	}
	l.addPort(3, out)
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(3, number(3))}})
	for i := range 300 {
		a := l.addPort(1, newDouble(t, "a", port.KindVhost, 2))
		for n := range 100 {
			a.queues[n%2].inject(frame(1, 3, uint64(n)))
		}
		if i%2 == 0 {
			eventually(t, "some are taken", func() bool { return a.queues[0].waiting()+a.queues[1].waiting() < 100 })
		}
		if err := l.RemovePort("a"); err != nil {
			t.Fatal(err)
		}
		if tot := l.Totals(); tot.Held() != 0 || l.Parcels() != 0 {
			t.Fatalf("round %d: %d packets held, %d between workers", i, tot.Held(), l.Parcels())
		}
	}
	if l.Workers()[0].Handoffs+l.Workers()[1].Handoffs == 0 {
		t.Error("no packet changed hands: the test shows nothing")
	}
}

// TestHandoffFull: a worker that does not come back to its ring costs its own
// ports' packets, counted, and nobody's time.
func TestHandoffFull(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers, c.Handoffs = 2, 64 })
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	out := newDouble(t, "out", port.KindVhost, 1)
	stuck, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	out.queues[0].onRx = func() { once.Do(func() { close(held); <-stuck }) }
	l.apply(flow.Change{SetBindings: []flow.Binding{{Name: "out", Number: number(2)}}, SetRules: []flow.Rule{toPort(2, number(2))}})
	if err := l.AddPort(out, PortOptions{}); err != nil {
		t.Fatal(err)
	}
	<-held
	for i := range uint64(500) {
		a.queues[0].inject(frame(1, 2, i))
	}
	eventually(t, "all are taken", func() bool {
		tot := l.Totals()
		return tot.RxPackets == 500 && tot.Dropped() == 500-64
	})
	if n := l.Parcels(); n != 64 {
		t.Errorf("%d parcels wait, want 64", n)
	}
	close(stuck)
	l.quiet(a)
	if s := l.stat("a"); s.Drops[stats.DropHandoffFull] != 436 || l.stat("out").TxPackets != 64 {
		t.Errorf("%d turned away, %d sent; want 436, 64", s.Drops[stats.DropHandoffFull], l.stat("out").TxPackets)
	}
}
