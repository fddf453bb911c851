package worker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

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
