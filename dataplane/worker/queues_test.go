package worker

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"baton/dataplane/flow"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// arrivals notes which queue of a port each flow comes out of.
type arrivals struct {
	mu    sync.Mutex
	queue map[uint16]int    // of a flow, the last
	moved map[uint16]int    // how often a flow changed its queue
	last  map[uint16]uint64 // sequence number of a flow
	late  int               // packets out of order
	num   []int             // by queue
}

func newArrivals(d *double) *arrivals {
	a := &arrivals{num: make([]int, len(d.queues))}
	a.reset()
	for i, q := range d.queues {
		q.sink = func(f []byte) { a.take(i, frameSrc(f), frameSeq(f)) }
	}
	return a
}

func (a *arrivals) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue, a.moved, a.last, a.late = map[uint16]int{}, map[uint16]int{}, map[uint16]uint64{}, 0
	clear(a.num)
}

func (a *arrivals) take(queue int, flow uint16, seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if was, ok := a.queue[flow]; ok && was != queue {
		a.moved[flow]++
	}
	if seq <= a.last[flow] {
		a.late++
	}
	a.queue[flow], a.last[flow] = queue, seq
	a.num[queue]++
}

// queuesLab is three workers, each with a port to send from (in), and a guest
// with four queues to send to: worker 0 has two of them, the others one each.
func queuesLab(t *testing.T) (l *lab, in []*double, out *double, got *arrivals) {
	l = newLab(t, func(c *Config) { c.Workers, c.Handoffs = 3, 4096 })
	for i := range 3 {
		in = append(in, l.addPort(i+1, newDouble(t, fmt.Sprintf("in%d", i), port.KindVhost, 1)))
	}
	out = newDouble(t, "out", port.KindVhost, 4)
	got = newArrivals(out)
	l.addPort(9, out)
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(9, number(9))}})
	if w := l.stat("out").Workers; fmt.Sprint(w) != "[0 1 2 0]" {
		t.Fatalf("queues are with workers %v: the test wants another spread", w)
	}
	return l, in, out, got
}

const queueFlows, queueEach = 30, 20

// flood sends the flows' packets, each flow from one port.
func flood(l *lab, in []*double, first uint64) {
	for seq := range uint64(queueEach) {
		for n := range uint16(queueFlows) {
			in[int(n)%len(in)].queues[0].inject(frame(n, 9, first+seq+1))
		}
	}
	l.quiet(in...)
}

// TestEverySetOfQueues: whichever of a port's queues are enabled, all packets go to
// those, each flow to one and in order, and every worker finds its way.
func TestEverySetOfQueues(t *testing.T) {
	l, in, out, got := queuesLab(t)
	for set := range 1 << len(out.queues) {
		for i, q := range out.queues {
			q.off.Store(set>>i&1 == 0)
		}
		got.reset()
		before := l.Totals()
		flood(l, in, 0)
		after, sum := l.Totals(), 0
		for i, n := range got.num {
			sum += n
			if n > 0 && set>>i&1 == 0 {
				t.Errorf("enabled %04b: queue %d got %d packets", set, i, n)
			}
		}
		for w, own := range [][]int{{0, 3}, {1}, {2}} {
			n, some := 0, false
			for _, i := range own {
				n += got.num[i]
				some = some || set>>i&1 != 0
			}
			if some && n < queueFlows*queueEach/3 {
				t.Errorf("enabled %04b: worker %d sent %d packets by its own queues", set, w, n)
			}
		}
		down := after.Drops[stats.DropPortDown] - before.Drops[stats.DropPortDown]
		if want := queueFlows * queueEach; set == 0 && down != uint64(want) || set != 0 && (sum != want || down != 0) {
			t.Errorf("enabled %04b: %d of %d packets arrived, %d dropped", set, sum, want, down)
		}
		if len(got.moved) != 0 || got.late != 0 {
			t.Errorf("enabled %04b: %d flows changed their queue, %d packets out of order", set, len(got.moved), got.late)
		}
	}
}

// TestQueuesComeAndGo changes the enabled queues while packets flow: once the
// workers have gone round, a disabled queue gets nothing, and all is accounted for.
func TestQueuesComeAndGo(t *testing.T) {
	l, in, out, got := queuesLab(t)
	var stop atomic.Bool
	var wg sync.WaitGroup
	var sent uint64
	wg.Go(func() {
		for seq := uint64(1); !stop.Load(); seq++ {
			for n := range uint16(queueFlows) {
				in[int(n)%len(in)].queues[0].inject(frame(n, 9, seq))
			}
			sent = seq
			for in[0].queues[0].waiting() > 256 && !stop.Load() {
				runtime.Gosched()
			}
		}
	})
	rnd := rand.New(rand.NewPCG(1, 2)) // always the same: the interleaving is what varies
	for range 200 {
		set := 1 + rnd.IntN(15)
		for i, q := range out.queues {
			q.off.Store(set>>i&1 == 0)
		}
		l.Quiesce()
		l.Flush() // what was decided by the old set has been sent
		count := func() (n int) {
			got.mu.Lock()
			defer got.mu.Unlock()
			for i := range got.num {
				if set>>i&1 == 0 {
					n += got.num[i]
				}
			}
			return n
		}
		before := count()
		l.Quiesce()
		if n := count() - before; n != 0 {
			t.Fatalf("enabled %04b: %d packets went to disabled queues", set, n)
		}
	}
	stop.Store(true)
	wg.Wait()
	l.quiet(in...)
	tot := l.Totals()
	if tot.RxPackets != sent*queueFlows || tot.Held() != 0 {
		t.Errorf("sent %d: %+v", sent*queueFlows, tot)
	}
	if lost := tot.Dropped() - tot.Drops[stats.DropPortDown] - tot.Drops[stats.DropHandoffFull]; lost != 0 {
		t.Errorf("%d packets dropped for other reasons: %v", lost, tot.Drops)
	}
}

// TestQueueGoesOffUnderABurst: what a queue does not take because it has just gone off goes
// by another one, the worker's own or not, and by none only if there is none.
func TestQueueGoesOffUnderABurst(t *testing.T) {
	l, in, out, got := queuesLab(t)
	const takes = 3 // of the burst under which a queue goes off
	for _, c := range []struct {
		name string
		off  []int // these go off when they are used
		on   []int // these stay
	}{
		{"its owner has another one", []int{0}, []int{3, 1}},
		{"others have one", []int{0, 3}, []int{1}},
		{"it goes off in the hands of another", []int{0, 3, 1}, []int{2}},
		{"none is left", []int{0, 1, 2, 3}, nil},
	} {
		var went atomic.Uint64
		for _, q := range out.queues {
			q.off.Store(true)
			q.limit = nil
		}
		for _, i := range c.off {
			q := out.queues[i]
			q.off.Store(false)
			q.limit = func(n int) int {
				if q.off.Swap(true) {
					return 0
				}
				n = min(n, takes)
				went.Add(uint64(n))
				return n
			}
		}
		for _, i := range c.on {
			out.queues[i].off.Store(false)
		}
		got.reset()
		before := l.Totals()
		flood(l, in[:1], 0)
		after, sum := l.Totals(), 0
		for _, n := range got.num {
			sum += n
		}
		const sent = queueFlows * queueEach
		var dropped uint64
		if c.on == nil {
			dropped = sent - went.Load()
		}
		down := after.Drops[stats.DropPortDown] - before.Drops[stats.DropPortDown]
		if uint64(sum) != sent-dropped || down != dropped || after.Dropped()-before.Dropped() != dropped {
			t.Errorf("%s: %d of %d packets arrived, by queues %v, %d dropped, %d of them as the port was down; want %d dropped",
				c.name, sum, sent, got.num, after.Dropped()-before.Dropped(), down, dropped)
		}
		if went.Load() == 0 {
			t.Errorf("%s: no queue went off under a burst", c.name)
		}
	}
}
