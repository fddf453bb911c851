package worker

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

func TestForwards(t *testing.T) {
	l := newLab(t, nil)
	var got atomic.Uint64
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	b := l.addPort(2, newDouble(t, "b", port.KindVhost, 1).sink(func(f []byte) { got.Add(frameSeq(f)) }))
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2))}})
	var want uint64
	for i := range uint64(100) {
		a.queues[0].inject(frame(uint16(i), 2, i))
		want += i
	}
	l.quiet(a, b)
	if got.Load() != want {
		t.Errorf("sequence numbers add up to %d, want %d", got.Load(), want)
	}
	if s := l.stat("a"); s.RxPackets != 100 || s.RxBytes != 6400 || s.TxPackets != 0 || s.Number != number(1) || len(s.Workers) != 1 {
		t.Errorf("a: %+v", s)
	}
	if s := l.stat("b"); s.TxPackets != 100 || s.TxBytes != 6400 || s.RxPackets != 0 {
		t.Errorf("b: %+v", s)
	}
	w := l.Workers()[0]
	if w.Packets != 100 || w.MicroHits+w.MegaHits+w.Walks != 100 || w.Walks == 0 || len(w.Queues) != 2 || w.Queues[0] != "a/0" {
		t.Errorf("worker: %+v", w)
	}
	flows, err := l.Flows(context.Background())
	if err != nil || len(flows) != 1 || flows[0].Packets != 100 || flows[0].Actions.Out != number(2) {
		t.Errorf("flows %+v, %v", flows, err)
	}
	eventually(t, "the rule is credited, though the worker sleeps", func() bool {
		n, _ := l.rules.Counters().Load(l.rules.Snapshot().Rules()[0].Ref)
		return n == 100
	})
}

// TestReasons: what is not sent is counted at the port that it came from.
func TestReasons(t *testing.T) {
	l := newLab(t, nil)
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	full := l.addPort(2, newDouble(t, "full", port.KindVhost, 1))
	full.queues[0].limit = func(int) int { return 0 }
	off := l.addPort(3, newDouble(t, "off", port.KindVhost, 2))
	off.queues[0].off.Store(true)
	off.queues[1].off.Store(true)
	stranger := newDouble(t, "stranger", port.KindVhost, 1)
	if err := l.AddPort(stranger, PortOptions{}); err != nil {
		t.Fatal(err)
	}
	l.apply(flow.Change{
		SetBindings: []flow.Binding{{Name: "absent", Number: number(4)}, {Name: "a", Number: number(1), MTU: 100}},
		SetRules: []flow.Rule{
			toPort(1, number(1)), toPort(2, number(2)), toPort(3, number(3)), toPort(4, number(4)), toPort(5, number(5)),
			{RuleID: toPort(6, 0).RuleID, Actions: []flow.Action{
				flow.SetUint(flow.FieldTunDst, 0xc0000202), {Op: flow.OpTunnel},
			}},
		},
		SetNeighbours: []flow.Neighbour{neighbour(2)},
	})
	for dst := range uint16(8) {
		a.queues[0].inject(frame(1, dst, 0))
	}
	a.queues[0].inject(sized(1, 1, 0, 114), sized(1, 1, 0, 115), make([]byte, 13))
	stranger.queues[0].inject(frame(1, 1, 0))
	l.quiet(a, stranger)

	want := map[stats.DropReason]uint64{
		stats.DropTableMiss: 2, stats.DropTxFull: 1, stats.DropPortDown: 2, stats.DropUnknownPort: 1,
		stats.DropNoTunnel: 1, stats.DropTooBig: 1, stats.DropShortFrame: 1,
	}
	s := l.stat("a")
	for r, n := range s.Drops {
		if n != want[stats.DropReason(r)] {
			t.Errorf("%v: %d drops, want %d", stats.DropReason(r), n, want[stats.DropReason(r)])
		}
	}
	if s.TxPackets != 3 || s.Generated != 1 { // one tells of what was too big
		t.Errorf("%d sent back to a, %d made; want 3, 1", s.TxPackets, s.Generated)
	}
	if s := l.stat("stranger"); s.Drops[stats.DropUnknownInPort] != 1 || s.Number != flow.PortNone {
		t.Errorf("stranger: %+v", s)
	}
}

// TestLateDrops: what a device took and lost is not sent, but tx_full.
func TestLateDrops(t *testing.T) {
	l := newLab(t, nil)
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	b := l.addPort(2, newDouble(t, "b", port.KindVhost, 1))
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2))}})
	for range 10 {
		a.queues[0].inject(frame(1, 2, 0))
	}
	l.quiet(a)
	b.queues[0].lates.Store(2)
	b.queues[0].bigs.Store(1)
	if s := l.stat("b"); s.TxPackets != 7 || s.Drops[stats.DropTxFull] != 2 || s.Drops[stats.DropTooBig] != 1 {
		t.Errorf("%+v", s.Totals)
	}
	if tot := l.Totals(); tot.Held() != 0 {
		t.Errorf("%d held", tot.Held())
	}
	if err := l.RemovePort("b"); err != nil {
		t.Fatal(err)
	}
	if tot := l.Totals(); tot.TxPackets != 7 || tot.Held() != 0 {
		t.Errorf("after removal: %+v", tot)
	}
}

func TestEnabledQueues(t *testing.T) {
	l := newLab(t, nil)
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	b := newDouble(t, "b", port.KindVhost, 4)
	var got [4]atomic.Uint64
	for i, q := range b.queues {
		q.sink = func([]byte) { got[i].Add(1) }
		q.off.Store(i > 0)
	}
	l.addPort(2, b)
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2))}})
	flood := func() {
		for i := range uint16(512) {
			a.queues[0].inject(frame(i, 2, 0))
		}
		l.quiet(a)
	}
	flood()
	if got[0].Load() != 512 {
		t.Errorf("one queue enabled: it got %d of 512", got[0].Load())
	}
	for _, q := range b.queues {
		q.off.Store(false)
	}
	flood()
	for i := range got {
		n := got[i].Load()
		if i == 0 {
			n -= 512
		}
		if n < 64 {
			t.Errorf("four queues enabled: number %d got %d of 512", i, n)
		}
	}
}

func TestPunts(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Punts = 4 })
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	copied, consumed := toPort(1, number(1)), toPort(2, 0)
	copied.Actions = append([]flow.Action{{Op: flow.OpPunt, Num: 7}}, copied.Actions...)
	consumed.Actions = []flow.Action{{Op: flow.OpPunt, Num: 8}, flow.Drop(stats.DropInjected)}
	l.apply(flow.Change{SetRules: []flow.Rule{copied, consumed}})
	want := frame(5, 1, 99)
	a.queues[0].inject(want, frame(5, 2, 100), frame(5, 2, 101), frame(5, 1, 102), frame(5, 1, 103), frame(5, 2, 104))
	l.quiet(a)
	p := <-l.Punts()
	if p.Reason != 7 || string(p.Frame) != string(want) || p.Key.InPort != number(1) || p.Key.L4Src != 5 {
		t.Errorf("punt %+v", p)
	}
	if p = <-l.Punts(); p.Reason != 8 || frameSeq(p.Frame) != 100 {
		t.Errorf("punt %+v", p)
	}
	s, w := l.stat("a"), l.Workers()[0]
	if s.Drops[stats.DropInjected] != 2 || s.Drops[stats.DropPuntFull] != 1 || s.TxPackets != 3 {
		t.Errorf("%+v", s.Totals)
	}
	if w.Punts != 4 || w.PuntsFull != 2 {
		t.Errorf("punts %d, full %d; want 4, 2", w.Punts, w.PuntsFull)
	}
}

func TestRefusals(t *testing.T) {
	bufs, err := buf.NewPool(1, 256)
	if err != nil {
		t.Fatal(err)
	}
	defer bufs.Close()
	good := Config{Workers: 1, Source: bufs, Pipeline: pipeline.New()}
	for want, edit := range map[string]func(c *Config){
		"want 1 to 64":          func(c *Config) { c.Workers = 65 },
		"workers: 0:":           func(c *Config) { c.Workers = 0 },
		"2 CPUs for 1 workers":  func(c *Config) { c.CPUs = []int{0, 0} },
		"choose one":            func(c *Config) { c.CPUs, c.Unlocked = []int{0}, true },
		"cpu 1000":              func(c *Config) { c.CPUs = []int{1000} },
		"no buffer pool":        func(c *Config) { c.Source = nil },
		"negative":              func(c *Config) { c.Spin = -1 },
		"hand-off rings of 3":   func(c *Config) { c.Handoffs = 3 },
		"worker 0: cache: size": func(c *Config) { c.MaxFlows = 1 << 40 },
	} {
		c := good
		edit(&c)
		if p, err := New(c); err == nil || p != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v; want an error with %q", p, err, want)
		}
	}
	l := newLab(t, nil)
	d := l.addPort(1, newDouble(t, "a", port.KindMem, 1))
	if err := l.AddPort(d, PortOptions{}); err == nil || !strings.Contains(err.Error(), "port a: there is a port of this name") {
		t.Error(err)
	}
	if err := l.AddPort(newDouble(t, "b", port.KindMem, 65), PortOptions{}); err == nil || !strings.Contains(err.Error(), "65 queues") {
		t.Error(err)
	}
	if err := l.RemovePort("c"); err == nil || !strings.Contains(err.Error(), "port c") {
		t.Error(err)
	}
	if err := l.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.AddPort(newDouble(t, "d", port.KindMem, 1), PortOptions{}); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Error(err)
	}
	if _, err := l.Flows(context.Background()); err == nil {
		t.Error("flows of a closed pool")
	}
	l.Quiesce() // and does not hang
}

// TestQueuesAreSpread: a NIC has a queue for each worker if it can, and guests
// go where there is least.
func TestQueuesAreSpread(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers = 3 })
	l.addPort(1, newDouble(t, "nic", port.KindVhost, 3))
	l.addPort(2, newDouble(t, "v1", port.KindVhost, 1))
	l.addPort(3, newDouble(t, "v2", port.KindVhost, 2))
	want := map[string][]int{"nic": {0, 1, 2}, "v1": {0}, "v2": {1, 2}}
	for _, p := range l.Ports() {
		if got, w := p.Workers, want[p.Name]; len(got) != len(w) || got[0] != w[0] || got[len(got)-1] != w[len(w)-1] {
			t.Errorf("%s: queues at %v, want %v", p.Name, got, w)
		}
	}
}

func TestPinnedAndBusy(t *testing.T) {
	l := newLab(t, func(c *Config) { c.CPUs, c.BusyPoll = []int{0}, true })
	var got atomic.Uint64
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1).sink(func([]byte) { got.Add(1) }))
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(1, number(1))}})
	a.queues[0].inject(frame(1, 1, 1))
	eventually(t, "the packet is back", func() bool { return got.Load() == 1 })
	n := a.queues[0].polled.Load()
	eventually(t, "a thousand polls more", func() bool { return a.queues[0].polled.Load() > n+1000 })
	if w := l.Workers()[0]; w.Sleeps != 0 || w.CPU != 0 || w.State != "running" || w.IdleCycles == 0 {
		t.Errorf("%+v", w)
	}
}

// TestPollInterval: a port that cannot wake anybody is looked at all the same,
// and less often as time goes by.
func TestPollInterval(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Poll, c.MaxPoll = 100*time.Microsecond, 400*time.Microsecond })
	var got atomic.Uint64
	a := newDouble(t, "a", port.KindVhost, 1).sink(func([]byte) { got.Add(1) })
	a.queues[0].mode = port.ArmPoll
	l.addPort(1, a)
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(1, number(1))}})
	for i := range uint64(50) {
		a.queues[0].inject(frame(1, 1, i))
		eventually(t, "the packet is back", func() bool { return got.Load() == i+1 })
		s := l.Workers()[0].Sleeps
		eventually(t, "some sleeps", func() bool { return l.Workers()[0].Sleeps > s+2 })
	}
	if w := l.Workers()[0]; w.Sleeps <= w.WakeUps || w.SleepCycles == 0 {
		t.Errorf("%d sleeps, %d ended by a descriptor", w.Sleeps, w.WakeUps)
	}
}

// TestNothingWakesAfterClose: the workers' descriptors are closed then, and their
// numbers may be anybody's.
func TestNothingWakesAfterClose(t *testing.T) {
	l := newLab(t, nil)
	l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	old := l.workers[0].waker.evfd
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fd := -1
	for fd != old {
		var err error
		if fd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil || fd > old {
			t.Fatalf("descriptor %d, want %d to be free: %v", fd, old, err)
		}
		defer unix.Close(fd)
	}
	if err := l.RemovePort("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Flows(context.Background()); err == nil {
		t.Error("workers that have ended answer")
	}
	var n [8]byte
	if _, err := unix.Read(fd, n[:]); err != unix.EAGAIN {
		t.Errorf("somebody wrote %v to a descriptor that is not the worker's: %v", n, err)
	}
}

// A worker has its caches' memory before it takes a packet: its flows' first packets do not
// wait for it.
func TestCachesPopulated(t *testing.T) {
	const flows = 1 << 16
	debug.FreeOSMemory() // else what tests before have left may go meanwhile
	before := resident(t)
	l := newLab(t, func(c *Config) { c.MaxFlows = flows })
	l.addPort(1, newDouble(t, "a", port.KindMem, 1)) // until then it may not have begun
	if got, want := resident(t)-before, flows*500; got < want {
		t.Errorf("%d bytes more are in use, want %d at the least", got, want)
	}
}

// resident is the memory that this process has in use, in bytes.
func resident(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var all, pages int
	if _, err := fmt.Sscan(string(raw), &all, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
