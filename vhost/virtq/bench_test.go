package virtq_test

import (
	"testing"

	"baton/dataplane/buf"
	"baton/vhost/guestmem"
	"baton/vhost/virtq"
)

// txBurst publishes 32 frames of n bytes, one descriptor each.
func (g *rig) txBurst() {
	for i := range buf.Burst {
		g.drv.Put(uint16(i))
	}
	g.drv.Publish()
}

func newBurstRig(t testing.TB, size int, flags uint16) *rig {
	g := newRig(t, 256, func(c *virtq.Config) { c.EventIdx = true })
	g.q.Call().Set(-1)
	for i := range buf.Burst {
		g.desc(i, at(dataOff+2048*i), size, flags, 0)
	}
	return g
}

func TestDequeueAllocatesNothing(t *testing.T) {
	g := newBurstRig(t, 76, 0)
	if n := testing.AllocsPerRun(200, func() {
		g.txBurst()
		if n := g.q.Dequeue(g.cache, &g.vec); n != buf.Burst {
			t.Fatal(n)
		}
		g.cache.FreeAll(&g.vec, buf.Burst)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEnqueueAllocatesNothing(t *testing.T) {
	g := newBurstRig(t, 1536, write)
	if n := testing.AllocsPerRun(200, func() { g.rxBurst(t) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func (g *rig) rxBurst(t testing.TB) {
	g.txBurst()
	for i := range g.vec {
		g.vec[i] = g.cache.Alloc()
		g.vec[i].Append(64)
	}
	if n := g.q.Enqueue(g.cache, &g.vec, buf.Burst); n != buf.Burst {
		t.Fatal(n)
	}
}

func BenchmarkDequeue64(b *testing.B) {
	g := newBurstRig(b, 76, 0)
	for b.Loop() {
		g.txBurst()
		n := g.q.Dequeue(g.cache, &g.vec)
		g.cache.FreeAll(&g.vec, n)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*buf.Burst), "ns/pkt")
}

func BenchmarkEnqueue64(b *testing.B) {
	g := newBurstRig(b, 1536, write)
	for b.Loop() {
		g.rxBurst(b)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*buf.Burst), "ns/pkt")
}

// BenchmarkDriver is the driver's and the pool's share of the two above.
func BenchmarkDriver(b *testing.B) {
	g := newBurstRig(b, 1536, write)
	for b.Loop() {
		g.txBurst()
		for i := range g.vec {
			g.vec[i] = g.cache.Alloc()
		}
		g.cache.FreeAll(&g.vec, buf.Burst)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*buf.Burst), "ns/pkt")
}

// FuzzRing runs both directions over arbitrary ring memory. Whatever is there, no
// panic, no write outside ring and buffers (the area behind is checked), and no
// buffer lost (the rig checks the pool).
func FuzzRing(f *testing.F) {
	f.Add([]byte{}, uint16(1), true)
	chain := make([]byte, 8*16)
	for i := range 7 {
		chain[16*i+8], chain[16*i+12], chain[16*i+14] = 30, 1, byte(i+1)
		chain[16*i+3] = 0x40
	}
	f.Add(chain, uint16(3), true)
	ind := append([]byte{}, chain[:16]...)
	ind[8], ind[12] = 112, 4
	f.Add(append(ind, chain[:112]...), uint16(1), false)
	wr := append([]byte{}, chain...)
	for i := range 8 {
		wr[16*i+12] |= 2
	}
	f.Add(wr, uint16(8), true)
	f.Fuzz(func(t *testing.T, raw []byte, avail uint16, merge bool) {
		// Ring in region 0, buffers in 0 and 1, nothing behind offset 16384.
		g := newRig(t, 8, func(c *virtq.Config) { c.Mergeable, c.EventIdx = merge, merge })
		maps, err := guestmem.Map(guestmem.Region{GuestAddr: 0x4000_0000, Size: 16384, UserAddr: 0x7f12_0000_0000}, g.mem.DupFD(t))
		if err != nil {
			t.Fatal(err)
		}
		defer maps.Close()
		tab, err := guestmem.NewTable([]*guestmem.Mapping{maps})
		if err != nil {
			t.Fatal(err)
		}
		q, err := virtq.New(tab, g.cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		copy(g.mem.Bytes[:16384], raw)
		g.split.AvailIdx = avail
		g.drv.Publish()
		for range 3 {
			n := q.Dequeue(g.cache, &g.vec)
			for i := range n {
				if l := g.vec[i].Len(); l < 14 || l > 2048 {
					t.Fatalf("frame of %d bytes", l)
				}
			}
			took := 0
			if n > 0 {
				took = q.Enqueue(g.cache, &g.vec, n)
			}
			for ; took < n; took++ {
				g.cache.Free(g.vec[took])
			}
			q.Arm()
			q.Disarm()
		}
		g.q = q
		g.give(t, make([]byte, 300))
		for i, b := range g.mem.Bytes[16384:65536] {
			if b != 0 {
				t.Fatalf("byte %#x outside the guest's region changed", 16384+i)
			}
		}
	})
}
