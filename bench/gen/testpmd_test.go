package gen_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"baton/bench/gen"
	"baton/bench/machine"
	"baton/bench/peer"
)

// needTestpmd starts a testpmd that polls on a CPU.
func needTestpmd(t testing.TB, cpu int, devices ...string) *peer.Testpmd {
	t.Helper()
	if os.Geteuid() != 0 || runtime.NumCPU() < 2 {
		t.Skip("needs root and two CPUs: two programs poll")
	}
	if machine.FreeHugePages() < (peer.MemoryMiB+gen.MemoryMiB)/2 {
		t.Skip("too few huge pages: scripts/huge-pages 512")
	}
	p, err := peer.Start(peer.Options{Name: fmt.Sprintf("gen-test-%d", cpu), Poll: cpu, Other: 1 - cpu, Huge: true, Vdevs: devices, Args: []string{"--no-flush-rx"}})
	if errors.Is(err, peer.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Quit(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func command(t testing.TB, p *peer.Testpmd, format string, args ...any) string {
	t.Helper()
	out, err := p.Command(format, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What the generator sends through a vhost ring testpmd counts, and what testpmd's own
// generator sends the other way is what arrives.
func TestAgreesWithTestpmd(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "vhost.sock")
	far := needTestpmd(t, 0, "net_vhost0,iface="+sock+",queues=1")
	g := startHuge(t, gen.End{Name: "vm", Device: "net_virtio_user0,path=" + sock + ",queue_size=256,mrg_rxbuf=1,in_order=1"})
	if err := far.Saw("virtio is now ready for processing", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	s := stream()
	s.From = "vm"
	s.Flows.Num = 1000
	dropped := uint64(0)
	for _, rate := range []float64{0, 200e3} {
		s.Rate = rate
		command(t, far, "set fwd rxonly")
		command(t, far, "start")
		// What a full ring did not take waits at the driver, and goes only while the generator
		// polls. If testpmd has no CPU for too many polls, it is dropped.
		l := gen.OpenLoad(s)
		l.Drain = 300 * time.Millisecond
		if err := g.Begin(l); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		r, err := g.End()
		if err != nil {
			t.Fatal(err)
		}
		n := r.Streams[0]
		out := n.Sent - (r.Ends[0].Dropped - dropped)
		dropped = r.Ends[0].Dropped
		if got := received(t, far, out); out == 0 || got != out {
			t.Errorf("rate %.0f: %d sent, %d of them left, testpmd received %d", rate, n.Sent, out, got)
		}
		if due := rate * r.Length.Seconds(); rate > 0 && (float64(n.Sent) > due+2 || float64(n.Sent+n.Missed+n.Refused) < 0.99*due) {
			t.Errorf("%d sent, %d missed, %d refused of %.0f", n.Sent, n.Missed, n.Refused, due)
		}
	}
	if err := g.Begin(gen.Load{Drain: 200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	command(t, far, "set fwd txonly")
	command(t, far, "start")
	time.Sleep(100 * time.Millisecond)
	st, err := peer.ParseStats(command(t, far, "stop"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.End()
	if err != nil {
		t.Fatal(err)
	}
	if st.Tx[0] == 0 || r.Ends[0].Rx != st.Tx[0] {
		t.Errorf("testpmd sent %d, the generator received %+v", st.Tx[0], r.Ends[0])
	}
}

// received stops testpmd and returns what it received. On a busy machine its thread may not
// have come to the last packets: it gets more time, and must not find too many.
func received(t *testing.T, far *peer.Testpmd, want uint64) (sum uint64) {
	t.Helper()
	for range 20 {
		st, err := peer.ParseStats(command(t, far, "stop"))
		if err != nil {
			t.Fatal(err)
		}
		if sum += st.Rx[0]; sum >= want {
			return sum
		}
		command(t, far, "start")
		time.Sleep(100 * time.Millisecond)
	}
	command(t, far, "stop")
	return sum
}

// BenchmarkBesideTestpmd is the generator, and testpmd's flowgen and txonly, in turns on one
// CPU, each into a device that takes all: packets a second, the mean of the turns.
//
//	go test -run '^$' -bench BesideTestpmd -benchtime 5x ./bench/gen
func BenchmarkBesideTestpmd(b *testing.B) {
	const device = "net_null0,copy=0,no-rx=1"
	far := needTestpmd(b, 1, device)
	g, err := gen.Start(gen.Options{CPU: 1, Huge: true, Favour: true, Ends: []gen.End{{Name: "a", Device: device}}})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	if err := machine.Favour(far.Pid(), far.Poller()); err != nil {
		b.Skip(err)
	}
	const length = 200 * time.Millisecond
	sums := map[string]float64{}
	for range b.N {
		for _, mode := range []string{"flowgen", "txonly"} {
			command(b, far, "set fwd %s", mode)
			command(b, far, "start")
			begin := time.Now()
			time.Sleep(length)
			took := time.Since(begin)
			st, err := peer.ParseStats(command(b, far, "stop"))
			if err != nil {
				b.Fatal(err)
			}
			sums[mode] += float64(st.Tx[0]) / took.Seconds()
		}
		s := stream()
		s.Flows.Num = 1024
		r, err := g.Run(b.Context(), gen.OpenLoad(s), length)
		if err != nil {
			b.Fatal(err)
		}
		sums["gen"] += r.Streams[0].Rate
	}
	for name, sum := range sums {
		b.ReportMetric(sum/float64(b.N)/1e6, name+"-Mpps")
	}
}
