package virtq_test

import (
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
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

// Chains of several descriptors, indirect tables, frames over several chains, and packets that
// ask for work go another way than bursts of one descriptor each.
func TestChainsAllocateNothing(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		net := func(c *virtq.Config) { c.Net = virtq.NetCsum | virtq.NetGuestCsum }
		tx, rx := newRig(t, 64, net), newRig(t, 64, net)
		offer := func(g *rig, size, second int, flags uint16) {
			for i := range 4 {
				off := dataOff + 8192*3*i
				g.put(madeChain{off: off, size: size}, 8*i, flags)
				g.put(madeChain{off: off + 8192, size: size, second: second}, 8*i+1, flags)
				g.put(madeChain{off: off + 2*8192, size: size, second: second, table: true}, 8*i+3, flags)
			}
			g.drv.Publish()
		}
		taken := func(g *rig) (num int) {
			for {
				if _, _, ok := g.drv.TakeUsed(); !ok {
					return num
				}
				num++
			}
		}
		asks := netHeader(1, 0, 0, 0, 34, 6)
		asking := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoUDP, Payload: make([]byte, 6)}.Bytes()
		for i := range 4 {
			to := tx.mem.Bytes[dataOff+8192*3*i:]
			copy(to[copy(to, asks[:]):], asking)
		}
		frame := make([]byte, 1400) // over four chains
		if n := testing.AllocsPerRun(200, func() {
			offer(tx, 60, 500, 0)
			n := tx.q.Dequeue(tx.cache, &tx.vec)
			tx.q.Settle()
			asked := tx.vec[0].OlFlags
			tx.cache.FreeAll(&tx.vec, n)
			offer(rx, 200, 400, write)
			m := rx.give(t, frame, frame, frame)
			rx.q.Settle()
			if a, b := taken(tx), taken(rx); asked == 0 || n != 12 || a != 12 || m != 3 || b != 12 {
				t.Fatalf("%d frames of %d chains dequeued, %d enqueued into %d", n, a, m, b)
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
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
