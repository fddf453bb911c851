package worker

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// view is a port that shares the queues of a double with other views of it, as a port and
// the one that wraps it do. It fails the test if it is used while it is not attached, or
// attached while another one is.
type view struct {
	*double
	queues []*viewQueue
	name   string
}

// viewQueue is one of its queues.
type viewQueue struct {
	*doubleQueue
	t      testing.TB
	holder *atomic.Pointer[viewQueue] // of the double's queue: who is attached
	sent   atomic.Uint64
}

func (v *view) Name() string           { return v.name }
func (v *view) NumQueues() int         { return len(v.queues) }
func (v *view) Queue(i int) port.Queue { return v.queues[i] }

// views are num views of d.
func views(t testing.TB, d *double, num int) (all []*view) {
	for range num {
		all = append(all, &view{double: d, name: d.name})
	}
	for _, q := range d.queues {
		holder := new(atomic.Pointer[viewQueue])
		for _, v := range all {
			v.queues = append(v.queues, &viewQueue{doubleQueue: q, t: t, holder: holder})
		}
	}
	return all
}

func (q *viewQueue) Attach(w port.Waker) {
	from, to := q, (*viewQueue)(nil)
	if w != nil {
		from, to = to, from
	}
	if !q.holder.CompareAndSwap(from, to) {
		q.t.Errorf("attach %v: another one is attached, or none", w != nil)
	}
	q.doubleQueue.Attach(w)
}

func (q *viewQueue) held() {
	if q.holder.Load() != q {
		q.t.Error("used while it is not attached")
	}
}

func (q *viewQueue) Rx(c *buf.Cache, v *buf.Vec) int { q.held(); return q.doubleQueue.Rx(c, v) }
func (q *viewQueue) Arm() port.Armed                 { q.held(); return q.doubleQueue.Arm() }
func (q *viewQueue) Disarm()                         { q.held(); q.doubleQueue.Disarm() }
func (q *viewQueue) Tx(c *buf.Cache, v *buf.Vec, n int) int {
	q.held()
	n = q.doubleQueue.Tx(c, v, n)
	q.sent.Add(uint64(n))
	return n
}

// addView is addPort of a view.
func (l *lab) addView(id int, v *view) {
	l.t.Helper()
	l.apply(flow.Change{SetBindings: []flow.Binding{{Name: v.name, Number: number(id)}}})
	if err := l.AddPort(v, PortOptions{}); err != nil {
		l.t.Fatal(err)
	}
}

// numbered checks that the frames of each flow come all, once, and in order.
type numbered struct {
	t    testing.TB
	mu   sync.Mutex
	last map[uint16]uint64
	num  atomic.Uint64
}

func (n *numbered) take(f []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	src, seq := frameSrc(f), frameSeq(f)
	if seq != n.last[src]+1 {
		n.t.Errorf("flow %d: frame %d after %d", src, seq, n.last[src])
	}
	n.last[src] = seq
	n.num.Add(1)
}

// TestReplacePort_underTraffic: ports are replaced by others for the same queues and back
// again, while frames come in by two workers and leave by the one that owns the output:
// none is lost, comes twice or out of order, and all counters go on.
func TestReplacePort_underTraffic(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers, c.Handoffs = 2, 4096 })
	got := &numbered{t: t, last: map[uint16]uint64{}}
	in := newDouble(t, "in", port.KindVhost, 2)
	out := newDouble(t, "out", port.KindVhost, 1).sink(got.take)
	ins, outs := views(t, in, 2), views(t, out, 2)
	l.addView(1, ins[0])
	l.addView(2, outs[0])
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2))}})

	const flows, inFlight = 8, 1024
	var sent atomic.Uint64
	var stop atomic.Bool
	var done sync.WaitGroup
	for n, q := range in.queues {
		done.Go(func() {
			for seq := uint64(1); !stop.Load(); seq++ {
				for f := range uint16(flows) {
					q.inject(frame(2*f+uint16(n), 2, seq))
				}
				for sent.Add(flows); int64(sent.Load()-got.num.Load()) > inFlight && !t.Failed(); {
					runtime.Gosched()
				}
			}
		})
	}
	owners := [2]string{strings.Join(l.Workers()[0].Queues, " "), strings.Join(l.Workers()[1].Queues, " ")}
	for round := range 400 {
		before := got.num.Load()
		if err := l.ReplacePort("out", outs[(round+1)%2]); err != nil {
			t.Fatal(err)
		}
		if round%3 == 0 {
			if err := l.ReplacePort("in", ins[(round/3+1)%2]); err != nil {
				t.Fatal(err)
			}
		}
		if round%2 == 0 {
			eventually(t, "frames by the new ports", func() bool { return got.num.Load() > before+inFlight || t.Failed() })
		}
	}
	stop.Store(true)
	done.Wait()
	l.quiet(in)

	want, tot := sent.Load(), l.Totals()
	if got.num.Load() != want || l.stat("in").RxPackets != want || l.stat("out").TxPackets != want || tot.Dropped() != 0 || tot.Held() != 0 {
		t.Errorf("sent %d, arrived %d; %+v", want, got.num.Load(), tot)
	}
	for i, w := range l.Workers() {
		if now := strings.Join(w.Queues, " "); now != owners[i] {
			t.Errorf("worker %d polls %s, before %s", i, now, owners[i])
		}
	}
	if l.Workers()[0].Handoffs+l.Workers()[1].Handoffs == 0 || outs[0].queues[0].sent.Load() == 0 || outs[1].queues[0].sent.Load() == 0 {
		t.Error("no packet changed hands, or all went by one port: the test shows nothing")
	}
}

// TestReplacePort_asleep: workers that sleep take up the new port, and its frames wake them.
func TestReplacePort_asleep(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers, c.Spin = 2, time.Microsecond })
	got := &numbered{t: t, last: map[uint16]uint64{}}
	a, b := newDouble(t, "a", port.KindVhost, 1), newDouble(t, "b", port.KindVhost, 1).sink(got.take)
	as, bs := views(t, a, 2), views(t, b, 2)
	l.addView(1, as[0])
	l.addView(2, bs[0])
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2))}})
	for i := range uint64(600) {
		if i%2 == 0 {
			eventually(t, "both asleep", func() bool {
				w := l.Workers()
				return w[0].State == "asleep" && w[1].State == "asleep"
			})
		}
		if i%3 == 0 { // it may come by either port
			a.queues[0].inject(frame(1, 2, i+1))
		}
		if err := l.ReplacePort("a", as[(i+1)%2]); err != nil {
			t.Fatal(err)
		}
		if err := l.ReplacePort("b", bs[(i+1)%2]); err != nil {
			t.Fatal(err)
		}
		if i%3 != 0 {
			a.queues[0].inject(frame(1, 2, i+1))
		}
		eventually(t, "the frame arrives", func() bool { return got.num.Load() == i+1 })
	}
}

// TestReplacePort_counters: what devices lost late stays subtracted, and what the pool
// says of the port is the new one's.
func TestReplacePort_counters(t *testing.T) {
	l := newLab(t, nil)
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	b := newDouble(t, "b", port.KindVhost, 1)
	v := views(t, b, 2)
	l.addView(2, v[0])
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2))}})
	for i := range 2 {
		for range 10 {
			a.queues[0].inject(frame(1, 2, 0))
		}
		l.quiet(a)
		b.queues[0].lates.Add(2)
		if err := l.ReplacePort("b", v[1-i]); err != nil {
			t.Fatal(err)
		}
		sent, late := 8*uint64(i+1), 2*uint64(i+1)
		if s := l.stat("b"); s.TxPackets != sent || s.Drops[stats.DropTxFull] != late || s.Number != number(2) {
			t.Errorf("%+v", s)
		}
		if tot := l.Totals(); tot.Held() != 0 || tot.TxPackets != sent {
			t.Errorf("%+v", tot)
		}
	}
	if err := l.RemovePort("b"); err != nil {
		t.Fatal(err)
	}
	if b.queues[0].waker != nil || l.Totals().TxPackets != 16 {
		t.Errorf("removed: attached %v, %+v", b.queues[0].waker != nil, l.Totals())
	}
}

// TestReplacePort_errors: what cannot take a port's place leaves it as it is.
func TestReplacePort_errors(t *testing.T) {
	l := newLab(t, nil)
	d := newDouble(t, "d", port.KindVhost, 2)
	v := views(t, d, 2)
	l.addView(1, v[0])
	lay := l.layout.Load()
	for want, pt := range map[string]port.Port{
		"another name": newDouble(t, "e", port.KindVhost, 2),
		"2 queues":     newDouble(t, "d", port.KindVhost, 3),
	} {
		if err := l.ReplacePort("d", pt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := l.ReplacePort("e", newDouble(t, "e", port.KindVhost, 2)); err == nil {
		t.Error("a port that is not there was replaced")
	}
	if l.layout.Load() != lay {
		t.Error("something was changed")
	}
	if err := l.ReplacePort("d", v[0]); err != nil { // by itself: nothing happens
		t.Error(err)
	}
	if err := l.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.ReplacePort("d", v[1]); err == nil {
		t.Error("a port was replaced, though no worker runs")
	}
}
