package virtq_test

import (
	"testing"

	"baton/dataplane/buf"
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
