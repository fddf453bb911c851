package guest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/vhost/guest"
	"baton/vhost/proto"
)

// TestFeatures sends frames both ways with each combination of ring features and
// layouts; rings are small, so that they wrap often.
func TestFeatures(t *testing.T) {
	const base = proto.FeatureVersion1 | proto.FeatureProtocol
	bits := []uint64{
		proto.FeatureIndirectDesc, proto.FeatureMrgRxbuf, proto.FeatureEventIdx, proto.FeatureRingPacked, proto.FeatureInOrder,
	}
	for mask := range 1 << len(bits) {
		features := base
		for i, b := range bits {
			if mask>>i&1 != 0 {
				features |= b
			}
		}
		for _, chain := range []int{1, 2, 4} {
			for _, wait := range []bool{false, true}[:1+chain%2*(mask&1)] {
				t.Run(fmt.Sprintf("%#x/chain%d/wait=%v", features, chain, wait), func(t *testing.T) {
					cfg := guest.Config{
						Features: features, RingSize: 16 + int(features>>34&1), TxChain: chain, RxChain: min(chain, 2),
						MemRegions: 1 + chain%2, Blocking: wait, BufSize: 1600,
					}
					g, _ := attach(t, newWorker(t, 1, nil), cfg)
					if g.Features() != features {
						t.Fatalf("negotiated %#x", g.Features())
					}
					bounce(t, g, 0, 200, 1514, wait)
				})
			}
		}
	}
}

// TestMergedBuffers receives frames that take several buffers each.
func TestMergedBuffers(t *testing.T) {
	for _, indirect := range []uint64{0, proto.FeatureIndirectDesc} {
		cfg := guest.Config{Features: proto.FeatureMrgRxbuf | indirect, RingSize: 64, BufSize: 256, RxChain: 2}
		w := newWorker(t, 1, func(w *worker) {
			seq := 0
			f := make([]byte, 1514)
			w.send = func() []byte {
				if seq == 400 || w.dev.ActiveQueues() == 0 {
					return nil
				}
				seq++
				return frame(f, seq-1, 1514)
			}
		})
		g, _ := attach(t, w, cfg)
		want := make([]byte, 1514)
		for got, deadline := 0, time.Now().Add(20*time.Second); got < 400; {
			g.Rx[0].Poll(32, func(_ guest.Hdr, f []byte) {
				if err := check(f, frame(want, got, 1514)); err != nil {
					t.Fatalf("frame %d: %v", got, err)
				}
				got++
			})
			if time.Now().After(deadline) {
				t.Fatalf("%d frames after 20 s", got)
			}
		}
	}
}

// TestWrap passes the 16-bit ring index several times.
func TestWrap(t *testing.T) {
	for _, features := range []uint64{proto.FeatureMrgRxbuf, proto.FeatureMrgRxbuf | proto.FeatureEventIdx, proto.FeatureRingPacked} {
		g, _ := attach(t, newWorker(t, 1, nil), guest.Config{Features: features, RingSize: 1024})
		bounce(t, g, 0, 140000, 64, false)
		if !g.Tx[0].Packed() && g.Tx[0].AvailIdx() != uint16(140000%65536) {
			t.Errorf("index is %d", g.Tx[0].AvailIdx())
		}
	}
}

// TestRingSizes has the smallest ring and the largest.
func TestRingSizes(t *testing.T) {
	for _, num := range []int{2, 4, 32768} {
		g, _ := attach(t, newWorker(t, 1, nil), guest.Config{RingSize: num})
		bounce(t, g, 0, 300, 1514, false)
	}
	for _, num := range []int{1, 3, 1000, 32767, 32768} {
		g, _ := attach(t, newWorker(t, 1, nil), guest.Config{RingSize: num, Features: guest.DefaultFeatures | proto.FeatureRingPacked})
		bounce(t, g, 0, 300, 1514, false)
	}
}

// TestMultiqueue drives four pairs from four goroutines.
func TestMultiqueue(t *testing.T) {
	g, _ := attach(t, newWorker(t, 4, nil), guest.Config{QueuePairs: 4, Blocking: true})
	var wg sync.WaitGroup
	for q := range 4 {
		wg.Go(func() { bounce(t, g, q, 3000, 300, q%2 == 0) })
	}
	wg.Wait()
	for q := range 4 {
		if n := g.Rx[q].Counters.Packets; n != 3000 {
			t.Errorf("queue %d got %d", q, n)
		}
	}
}

// TestMemSlots shares memory region by region instead of by table.
func TestMemSlots(t *testing.T) {
	g, _ := attach(t, newWorker(t, 1, nil), guest.Config{
		Protocol: guest.DefaultProtocolFeatures | proto.ProtocolConfigureMemSlots, MemRegions: 2,
	})
	bounce(t, g, 0, 100, 1514, false)
	// QEMU adds each region again for each pair.
	for _, r := range g.Regions() {
		if err := g.Set(proto.AddMemReg, proto.AppendMemReg(nil, r), r.FD); err != nil {
			t.Error(err)
		}
	}
	bounce(t, g, 0, 100, 1514, false)
}

// TestDisableEnable stops and starts rings under way; nothing is lost while the
// guest does not send.
func TestDisableEnable(t *testing.T) {
	g, _ := attach(t, newWorker(t, 1, nil), guest.Config{})
	for range 5 {
		bounce(t, g, 0, 100, 500, false)
		for _, on := range []bool{false, true} {
			for ring := range 2 {
				if err := g.Enable(ring, on); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestReconnect restarts the back end under a guest in both socket modes: rings
// go on where they were.
func TestReconnect(t *testing.T) {
	for i, mode := range []proto.Mode{proto.ModeClient, proto.ModeServer, proto.ModeClient, proto.ModeServer} {
		features := guest.DefaultFeatures
		if i >= 2 {
			features |= proto.FeatureRingPacked
		}
		t.Run(fmt.Sprintf("%v/packed=%v", mode, i >= 2), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			w := newWorker(t, 1, nil)
			begin := func() *proto.Connector {
				c, err := proto.Start(context.Background(), proto.Config{
					Port: "p1", Path: path, Mode: mode, Backend: w.dev, RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond,
				})
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			c := begin()
			g, err := guest.New(context.Background(), guest.Config{Name: "g1", Path: path, Listen: mode == proto.ModeClient, RingSize: 64, Features: features})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				bounce(t, g, 0, 300, 1000, false)
				if i%2 == 0 {
					c.Close()
					c = begin()
				}
				if err := g.Reconnect(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			bounce(t, g, 0, 300, 1000, false)
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			c.Close()
		})
	}
}

// TestHandOver moves the connection to another session while frames flow; the
// device keeps its rings.
func TestHandOver(t *testing.T) {
	w := newWorker(t, 1, nil)
	var last *proto.Session
	t.Cleanup(func() { <-last.Done() }) // after the guest's own cleanup has hung up
	g, s := attach(t, w, guest.Config{})
	for range 10 {
		bounce(t, g, 0, 100, 1000, false)
		fd, st, err := s.Detach(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if s, err = proto.NewSessionFromFD(fd, st, w.dev, nil); err != nil {
			t.Fatal(err)
		}
		last = s
	}
	if err := g.Enable(0, true); err != nil {
		t.Error(err)
	}
}

// TestStopTellsIndex checks that GET_VRING_BASE returns the index to go on with.
func TestStopTellsIndex(t *testing.T) {
	g, _ := attach(t, newWorker(t, 1, nil), guest.Config{})
	bounce(t, g, 0, 77, 100, false)
	if base, err := g.StopRing(1); err != nil || base != 77 {
		t.Errorf("send ring's base is %d, %v", base, err)
	}
	if base, err := g.StopRing(0); err != nil || base != 77 {
		t.Errorf("receive ring's base is %d, %v", base, err)
	}
}

// TestBurstsDoNotAllocate checks the calls that benchmarks are made of.
func TestBurstsDoNotAllocate(t *testing.T) {
	for _, format := range []uint64{0, proto.FeatureRingPacked, proto.FeatureRingPacked | proto.FeatureInOrder} {
		g, _ := attach(t, newWorker(t, 1, nil), guest.Config{Features: guest.DefaultFeatures | format})
		out, in := [][]byte{make([]byte, 64)}, [][]byte{make([]byte, 64)}
		if n := testing.AllocsPerRun(200, func() {
			g.Tx[0].SendBurst(out, nil)
			for g.Rx[0].RecvBurst(in, nil) == 0 {
			}
			g.Rx[0].Discard(1)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
		for g.Tx[0].Pending() > 0 {
			runtime.Gosched()
		}
		err := g.Tx[0].Prepare(func(_ int, _ *guest.Hdr, f []byte) int { return copy(f, make([]byte, 100)) })
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(200, func() {
			g.Tx[0].SendPrepared(1)
			for g.Rx[0].RecvBurst(in, nil) == 0 {
			}
		}); n != 0 || g.Rx[0].Counters.Bad+g.Tx[0].Counters.Bad > 0 {
			t.Errorf("prepared: %v allocations, bad %d and %d", n, g.Rx[0].Counters.Bad, g.Tx[0].Counters.Bad)
		}
	}
}

// TestNewRefuses has configurations that cannot work; nothing stays open.
func TestNewRefuses(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for want, cfg := range map[string]guest.Config{
		"no power of two":    {RingSize: 3},
		"not from 1 to":      {RingSize: 32769, Features: proto.FeatureRingPacked},
		"are no buffer":      {TxChain: 3, TxPiece: 4},
		"queue pairs":        {QueuePairs: 129},
		"do not fit":         {RingSize: 2, TxChain: 3},
		"too small":          {BufSize: 12},
		"memory regions":     {MemRegions: 3},
		"canceled":           {Path: filepath.Join(t.TempDir(), "nobody")},
		"i/o timeout":        {Path: filepath.Join(t.TempDir(), "s"), Listen: true},
		"no such file or di": {Path: filepath.Join(t.TempDir(), "no", "s"), Listen: true},
	} {
		if _, err := guest.New(ctx, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

// TestTooManyPairs asks for more than the device has.
func TestTooManyPairs(t *testing.T) {
	w := newWorker(t, 2, nil)
	ends := pairOfSockets(t)
	conn, err := proto.NewConn(ends[1])
	if err != nil {
		t.Fatal(err)
	}
	s := proto.NewSession(conn, proto.State{}, w.dev, nil)
	if _, err := guest.New(context.Background(), guest.Config{Conn: ends[0], QueuePairs: 3}); err == nil ||
		!strings.Contains(err.Error(), "2 queue pairs, not 3") {
		t.Error(err)
	}
	<-s.Done()
}

// TestWaitEnds checks that Wait ends at its deadline.
func TestWaitEnds(t *testing.T) {
	g, _ := attach(t, newWorker(t, 1, nil), guest.Config{Blocking: true})
	if err := g.Rx[0].Wait(time.Now().Add(time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	bounce(t, g, 0, 10, 100, true)
}

// TestSize gives a guest more memory than it uses, in ordinary and in huge pages.
func TestSize(t *testing.T) {
	for _, huge := range []bool{false, true} {
		if raw, _ := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"); huge && len(strings.TrimSpace(string(raw))) < 2 {
			t.Skip("fewer than ten huge pages are free: scripts/huge-pages 10")
		}
		g, _ := attach(t, newWorker(t, 1, nil), guest.Config{Size: 3 << 20, HugePages: huge})
		want := 3 << 20
		if huge {
			want = 4 << 20
		}
		if got := len(g.Mem()); got != want {
			t.Errorf("%d bytes, want %d; huge pages: %v", got, want, huge)
		}
		bounce(t, g, 0, 100, 1000, false)
	}
	ends := pairOfSockets(t)
	conn, err := proto.NewConn(ends[1])
	if err != nil {
		t.Fatal(err)
	}
	s := proto.NewSession(conn, proto.State{}, newWorker(t, 1, nil).dev, nil)
	if _, err := guest.New(context.Background(), guest.Config{Conn: ends[0], Size: 4096}); err == nil || !strings.Contains(err.Error(), "4096 bytes of memory") {
		t.Error(err)
	}
	<-s.Done()
}
