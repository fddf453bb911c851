package gen_test

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"baton/bench/gen"
	"baton/nic/dpdk"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/mempool"
)

func TestMain(m *testing.M) {
	gen.RunChild()
	os.Exit(m.Run())
}

// pollCPU is where tests poll: not where the test itself waits, if there are two.
func pollCPU() int { return runtime.NumCPU() - 1 }

// start starts a generator without huge pages; startHuge with, as vhost rings need.
func start(t testing.TB, ends ...gen.End) *gen.Process     { return startWith(t, false, ends...) }
func startHuge(t testing.TB, ends ...gen.End) *gen.Process { return startWith(t, true, ends...) }

func startWith(t testing.TB, huge bool, ends ...gen.End) *gen.Process {
	t.Helper()
	p, err := gen.Start(gen.Options{CPU: pollCPU(), Huge: huge, Ends: ends})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.Up(); err != nil {
		t.Fatal(err)
	}
	return p
}

// What goes into a ring that leads back comes back, all of it, once, in order, as it was:
// at a rate and without, from many flows, of many sizes, through tunnels.
func TestLoop(t *testing.T) {
	p := start(t, gen.End{Name: "a", Device: "net_ring0"})
	base := stream()
	paced, tunnel, imix := base, base, base
	paced.Rate, paced.Flows = 100e3, gen.Flows{Num: 1000, Choice: gen.Uniform}
	tunnel.Frame.Outer, tunnel.Rate, tunnel.Size = outer(), 50e3, 300
	imix.IMIX, imix.Rate, imix.Flows = true, 50e3, gen.Flows{Num: 100, Choice: gen.Zipf, New: 10e3}
	for name, l := range map[string]gen.Load{
		"full": gen.OpenLoad(base), "paced": gen.OpenLoad(paced), "all": gen.OpenLoad(paced, tunnel, imix),
	} {
		l.Verify, l.WarmUp = true, 20*time.Millisecond
		r, err := p.Run(t.Context(), l, 200*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range r.Streams {
			if s.Sent == 0 || s.Lost()+s.Missing+s.Doubles+s.Reordered+s.Corrupt != 0 {
				t.Errorf("%s, stream %d: %+v", name, i, s.StreamNums)
			}
			if s.Latency.Count()+s.Paused != s.Received {
				t.Errorf("%s: %d latencies of %d packets, %d in pauses", name, s.Latency.Count(), s.Received, s.Paused)
			}
			const behind = 256 // packets that may wait to be sent at the end
			if due := s.Offered * r.Length.Seconds(); s.Offered > 0 && float64(s.Sent+s.Missed+s.Refused) < 0.99*due-behind {
				t.Errorf("%s: %d sent, %d missed, %d refused of %.0f", name, s.Sent, s.Missed, s.Refused, due)
			}
			if want := name == "all" && i == 2; want != (s.NewFlows > 0) || s.FirstsIn != s.NewFlows {
				t.Errorf("%s: %d new flows, %d arrived", name, s.NewFlows, s.FirstsIn)
			}
		}
		if e := r.Ends[0]; e.Foreign != 0 || e.Dropped != 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// An end that sends on: what a sends through the wire to b comes back to a.
func TestForward(t *testing.T) {
	dir := t.TempDir()
	sock := ",socket-abstract=no,socket=" + dir + "/m.sock"
	p := start(t, gen.End{Name: "a", Device: "net_memif0,role=server,id=1" + sock}, gen.End{Name: "b", Device: "net_memif1,role=client,id=1" + sock})
	s := stream()
	s.Rate = 50e3
	l := gen.Load{Streams: []gen.Stream{s}, Forwards: []gen.Forward{{From: "b", To: "b", SwapMAC: true}}, WarmUp: 50 * time.Millisecond, Drain: 100 * time.Millisecond}
	r, err := p.Run(t.Context(), l, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Streams[0]; n.Sent < 1000 || n.Lost() != 0 || r.Ends[1].Forwarded < n.Sent {
		t.Errorf("%+v %+v", n.StreamNums, r.Ends)
	}
}

// A receiver that takes nothing: the rate is not achieved, and the result says why.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	sock := ",socket-abstract=no,socket=" + dir + "/m.sock"
	p := start(t, gen.End{Name: "a", Device: "net_memif0,role=server,id=1" + sock}, gen.End{Name: "b", Device: "net_memif1,role=client,id=1" + sock})
	s := stream()
	s.Rate = 1e6
	s.From = "b"
	if err := p.Begin(gen.Load{Streams: []gen.Stream{s}, Forwards: []gen.Forward{{From: "a", To: "b"}}}); err != nil {
		t.Fatal(err)
	}
	c, err := p.Counts()
	if err != nil || c.Num != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := p.End(); err != nil {
		t.Fatal(err)
	}
}

func TestOrders_refused(t *testing.T) {
	p := start(t, gen.End{Name: "a", Device: "net_ring0"})
	if _, err := p.End(); err == nil {
		t.Error("an end without a beginning")
	}
	s := stream()
	s.From = "b"
	if err := p.Begin(gen.OpenLoad(s)); err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("an end that is not there: %v", err)
	}
	if err := p.Begin(gen.OpenLoad(stream())); err != nil {
		t.Fatal(err)
	}
	if err := p.Begin(gen.OpenLoad(stream())); err == nil {
		t.Error("a second beginning")
	}
	if _, err := p.End(); err != nil {
		t.Error(err)
	}
	if _, err := gen.Start(gen.Options{CPU: pollCPU(), Ends: []gen.End{{Name: "a", Device: "net_nothing0"}}}); err == nil {
		t.Error("a device that does not exist")
	}
}

// ring is a port that gets what it sends, in this process.
func ring(t testing.TB, device string) (*dpdk.Port, *mempool.Pool) {
	t.Helper()
	if _, running := eal.Running(); !running {
		if _, err := eal.Init(eal.Options{HugePages: eal.HugeOff, MemoryMiB: 64}); err != nil {
			t.Fatal(err)
		}
	}
	pool, err := mempool.CreateMbufPool("ring", mempool.Options{Num: 8192})
	if err != nil {
		t.Fatal(err)
	}
	port, err := dpdk.Open(dpdk.Config{Name: "a", Device: device, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := port.Close(); err != nil {
			t.Error(err)
		}
		if err := pool.Free(); err != nil {
			t.Error(err)
		}
	})
	return port, pool
}

func TestTurnAllocatesNothing(t *testing.T) {
	port, pool := ring(t, "net_ring0")
	paced, mixed := stream(), stream()
	paced.Rate = 1e6
	mixed.IMIX, mixed.Flows = true, gen.Flows{Num: 100, Choice: gen.Uniform, New: 1e6}
	l := gen.OpenLoad(stream(), paced, mixed)
	l.Verify = true
	e, err := gen.NewEngine(port, pool, l)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, e.Turn); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
	e.Drain()
	for range 200 {
		e.Turn()
	}
	for _, s := range e.Result(l).Streams {
		if s.Sent == 0 || s.Lost() != 0 || s.Corrupt != 0 {
			t.Errorf("%+v", s.StreamNums)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkTurn is a packet made, sent and, on the ring, received.
func BenchmarkTurn(b *testing.B) {
	for _, device := range []string{"net_null0,copy=0,no-rx=1", "net_ring0"} {
		for name, change := range map[string]func(*gen.Stream){
			"1":           func(*gen.Stream) {},
			"1M":          func(s *gen.Stream) { s.Flows.Num = 1e6 },
			"1M uniform":  func(s *gen.Stream) { s.Flows = gen.Flows{Num: 1e6, Choice: gen.Uniform} },
			"1M zipf":     func(s *gen.Stream) { s.Flows = gen.Flows{Num: 1e6, Choice: gen.Zipf} },
			"1 tunnelled": func(s *gen.Stream) { s.Frame.Outer = outer() },
			"imix":        func(s *gen.Stream) { s.IMIX = true },
		} {
			b.Run(strings.SplitN(device, ",", 2)[0]+"/"+name, func(b *testing.B) {
				port, pool := ring(b, device)
				s := stream()
				change(&s)
				l := gen.OpenLoad(s)
				e, err := gen.NewEngine(port, pool, l)
				if err != nil {
					b.Fatal(err)
				}
				b.ResetTimer()
				for range (b.N + 31) / 32 {
					e.Turn()
				}
				b.StopTimer()
				e.Drain()
				for range 200 {
					e.Turn()
				}
				if err := e.Close(); err != nil {
					b.Error(err)
				}
			})
		}
	}
}
