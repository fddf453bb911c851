package worker

import (
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/overlay"
	"baton/dataplane/pipeline"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// endless is a port with frames without end and a sink for any number. Its
// queue costs as little as one can: what is measured is the switch.
type endless struct {
	name   string
	kind   port.Kind
	frames [][]byte // for Rx, in turn; none: nothing comes
	at     int
	got    uint64
	keep   func(frame []byte) // told of each frame sent, if not nil
}

func (p *endless) Name() string         { return p.name }
func (p *endless) Kind() port.Kind      { return p.kind }
func (p *endless) NumQueues() int       { return 1 }
func (p *endless) Queue(int) port.Queue { return p }
func (p *endless) Info() port.Info      { return port.Info{Up: true} }
func (p *endless) Close() error         { return nil }
func (p *endless) Attach(port.Waker)    {}
func (p *endless) Arm() port.Armed      { return port.ArmPoll }
func (p *endless) Disarm()              {}

func (p *endless) Rx(c *buf.Cache, v *buf.Vec) int {
	if len(p.frames) == 0 {
		return 0
	}
	for i := range v {
		b := c.Alloc()
		if b == nil {
			return i
		}
		copy(b.Append(len(p.frames[p.at])), p.frames[p.at])
		if p.at++; p.at == len(p.frames) {
			p.at = 0
		}
		v[i] = b
	}
	return buf.Burst
}

func (p *endless) Tx(c *buf.Cache, v *buf.Vec, n int) int {
	if p.keep != nil {
		for i := range n {
			p.keep(v[i].Data())
		}
	}
	c.FreeAll(v, n)
	p.got += uint64(n)
	return n
}

// still is a pool with one worker that the test itself runs, iteration by iteration.
func still(t testing.TB, e *overlay.Endpoint, ports []port.Port, c flow.Change) *Worker {
	t.Helper()
	p, _ := stillPool(t, Config{Workers: 1, Endpoint: e}, ports, c)
	return p.workers[0]
}

// stillPool is a pool whose workers the test itself runs, and its rules.
func stillPool(t testing.TB, cfg Config, ports []port.Port, c flow.Change) (*Pool, *pipeline.Pipeline) {
	t.Helper()
	bufs, err := buf.NewPool(1024, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	rules := pipeline.New()
	if _, err := rules.Apply(c); err != nil {
		t.Fatal(err)
	}
	cfg.Source, cfg.Pipeline = bufs, rules
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, w := range p.workers {
			w.state.Store(stateOff) // nobody runs it any more
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if tot := p.Totals(); tot.Held() != 0 {
			t.Errorf("%d packets are lost", tot.Held())
		}
		if err := bufs.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, pt := range ports {
		if err := p.AddPort(pt, PortOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return p, rules
}

// turn is one iteration, as loop makes it.
func (w *Worker) turn() int {
	w.begin()
	before := cycles()
	n := w.iterate()
	now := cycles()
	w.count(n, now-before, now)
	return n
}

// encapWorker has a guest that sends flows flows into the tunnel.
func encapWorker(t testing.TB, flows int) (w *Worker, vm, nic *endless) {
	return encapAfter(t, flows)
}

// encapAfter is encapWorker with actions before the tunnel's.
func encapAfter(t testing.TB, flows int, first ...flow.Action) (w *Worker, vm, nic *endless) {
	vm = &endless{name: "vm", kind: port.KindVhost}
	for i := range flows {
		vm.frames = append(vm.frames, frame(uint16(i), uint16(1+i>>16), 1))
	}
	nic = &endless{name: "nic", kind: port.KindNIC}
	c := tunnelChange(2)
	c.SetBindings = []flow.Binding{{Name: "vm", Number: number(1)}}
	c.SetRules[0].Actions = append(first, c.SetRules[0].Actions...)
	return still(t, tunnelEnd(t, 1), []port.Port{nic, vm}, c), vm, nic
}

// decapWorker has a NIC that gets flows flows for a guest.
func decapWorker(t testing.TB, flows int) (w *Worker, vm, nic *endless) {
	peer := tunnelEnd(t, 2)
	nic = &endless{name: "nic", kind: port.KindNIC}
	for i := range flows {
		nic.frames = append(nic.frames, pushed(t, peer, 1, 1, frame(uint16(i), uint16(1+i>>16), 1)))
	}
	vm = &endless{name: "vm", kind: port.KindVhost}
	c := tunnelChange(2)
	c.SetBindings = []flow.Binding{{Name: "vm", Number: number(1)}}
	return still(t, tunnelEnd(t, 1), []port.Port{nic, vm}, c), vm, nic
}

// routeWorker is encapWorker with a router on the way.
func routeWorker(t testing.TB, flows int) (w *Worker, vm, nic *endless) {
	return encapAfter(t, flows,
		flow.SetMAC(flow.FieldEthSrc, flow.MAC{2, 0, 0, 0, 0, 70}), flow.SetMAC(flow.FieldEthDst, flow.MAC{2, 0, 0, 0, 0, 71}), flow.Action{Op: flow.OpDecTTL})
}

// TestHandoffAllocatesNothing: nor does giving packets to the worker that owns their output.
func TestHandoffAllocatesNothing(t *testing.T) {
	vm := &endless{name: "vm", kind: port.KindVhost, frames: [][]byte{frame(1, 2, 3), frame(2, 2, 4)}}
	out := &endless{name: "out", kind: port.KindVhost}
	p, _ := stillPool(t, Config{Workers: 2, Unlocked: true}, []port.Port{vm, out}, flow.Change{
		SetRules: []flow.Rule{toPort(2, number(2))}, SetBindings: []flow.Binding{{Name: "vm", Number: number(1)}, {Name: "out", Number: number(2)}},
	})
	for _, w := range p.workers {
		w.turn()
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, w := range p.workers {
			w.turn()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := p.workers[0].counters.Handoffs.Load() + p.workers[1].counters.Handoffs.Load(); n < 100*buf.Burst || out.got < n-buf.Burst {
		t.Errorf("%d packets were handed over, %d sent", n, out.got)
	}
}

// TestHitPathAllocatesNothing, nor do the caches' misses when flows come and go.
func TestHitPathAllocatesNothing(t *testing.T) {
	for name, make := range map[string]func(testing.TB, int) (w *Worker, vm, nic *endless){"encap": encapWorker, "decap": decapWorker, "route": routeWorker} {
		w, vm, nic := make(t, 100)
		w.turn()
		before := vm.got + nic.got
		if n := testing.AllocsPerRun(200, func() { w.turn() }); n != 0 {
			t.Errorf("%s: %v allocations in an iteration", name, n)
		}
		if n := vm.got + nic.got - before; n < 200*buf.Burst {
			t.Errorf("%s: %d packets sent in 200 iterations", name, n)
		}
		if d := w.ports[0].Drops[stats.DropTableMiss].Load() + w.ports[1].Drops[stats.DropTableMiss].Load(); d != 0 {
			t.Errorf("%s: %d misses", name, d)
		}
	}
}

// measure prints time and cycles for a packet.
func measure(b *testing.B, w *Worker) {
	w.turn()
	b.ReportAllocs()
	b.ResetTimer()
	num, begin := 0, cycles()
	for b.Loop() {
		num += w.turn()
	}
	took := cycles() - begin
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(num), "ns/pkt")
	b.ReportMetric(float64(took)/float64(num), "cycles/pkt")
}

func BenchmarkEncap(b *testing.B) {
	for name, flows := range map[string]int{"1": 1, "1k": 1000, "100k": 100000} {
		b.Run(name, func(b *testing.B) {
			w, _, _ := encapWorker(b, flows)
			measure(b, w)
		})
	}
}

func BenchmarkDecap(b *testing.B) {
	for name, flows := range map[string]int{"1": 1, "1k": 1000, "100k": 100000} {
		b.Run(name, func(b *testing.B) {
			w, _, _ := decapWorker(b, flows)
			measure(b, w)
		})
	}
}
