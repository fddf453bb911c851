package virtq_test

import (
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/vhost/virtq"
)

// txBurst publishes 32 chains of one descriptor each.
func (g *rig) txBurst() {
	for range buf.Burst {
		g.drv.Put(g.next % 256)
		g.next++
	}
	g.drv.Publish()
}

func newBurstRig(t testing.TB, newRig maker, size int, flags uint16, change func(*virtq.Config)) *rig {
	g := newRig(t, 256, with(func(c *virtq.Config) { c.EventIdx = true }, change))
	g.q.Call().Set(-1)
	if g.pack != nil { // the driver keeps no books, for what it uses it never takes back
		g.pack.InOrder = false
	} else {
		g.split.InOrder = false
	}
	for i := range 256 { // no power of two apart, as a driver's pool is
		g.desc(i, at(dataOff+2240*i), size, flags, 0)
	}
	return g
}

func TestBurstsAllocateNothing(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		for _, order := range []bool{false, true} {
			tx := newBurstRig(t, newRig, 76, 0, func(c *virtq.Config) { c.InOrder = order })
			rx := newBurstRig(t, newRig, 1536, write, func(c *virtq.Config) { c.InOrder = order })
			if n := testing.AllocsPerRun(200, func() {
				tx.txBurst()
				if n := tx.q.Dequeue(tx.cache, &tx.vec); n != buf.Burst {
					t.Fatal(n)
				}
				tx.cache.FreeAll(&tx.vec, buf.Burst)
				rx.txBurst()
				rx.rxBurst(t)
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		}
	})
}

func (g *rig) rxBurst(t testing.TB) {
	for i := range g.vec {
		g.vec[i] = g.cache.Alloc()
		g.vec[i].Append(64)
	}
	if n := g.q.Enqueue(g.cache, &g.vec, buf.Burst); n != buf.Burst {
		t.Fatal(n)
	}
}

// bursts are in a ring of a benchmark.
const bursts = 256 / buf.Burst

// bench runs f once a burst, in each format; the driver's share is not counted.
func bench(b *testing.B, size int, flags uint16, f func(b *testing.B, g *rig)) {
	for name, newRig := range map[string]maker{"split": newRig, "packed": newPackedRig} {
		for _, order := range []bool{false, true} {
			if order {
				name += "_in_order"
			}
			b.Run(name, func(b *testing.B) {
				g := newBurstRig(b, newRig, size, flags, func(c *virtq.Config) { c.InOrder = order })
				spent := time.Duration(0)
				for b.Loop() { // once round the ring: looking at the clock costs as much as a burst
					for range bursts {
						g.txBurst()
					}
					start := time.Now()
					for range bursts {
						f(b, g)
					}
					spent += time.Since(start)
				}
				b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*bursts*buf.Burst), "ns/pkt")
			})
		}
	}
}

func BenchmarkDequeue64(b *testing.B) {
	bench(b, 76, 0, func(_ *testing.B, g *rig) {
		n := g.q.Dequeue(g.cache, &g.vec)
		g.cache.FreeAll(&g.vec, n)
	})
}

func BenchmarkEnqueue64(b *testing.B) {
	bench(b, 1536, write, func(b *testing.B, g *rig) { g.rxBurst(b) })
}
