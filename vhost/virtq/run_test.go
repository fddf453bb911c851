package virtq_test

import (
	"bytes"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/stats"
	"baton/vhost/virtq"

	"pgregory.net/rapid"
)

// twins are two rings with the same memory: one takes runs, the other, since its dirty
// log is on, chains.
type twins [2]*rig

func newTwins(t *testing.T, newRig maker, inOrder bool) (w twins) {
	for i := range w {
		w[i] = newRig(t, 64, func(c *virtq.Config) {
			c.InOrder = inOrder
			c.Net = virtq.NetCsum | virtq.NetGuestCsum | virtq.NetHostTSO4
		}, cutOff)
	}
	log, _ := newLog(t, logSize)
	w[1].cfg.Log = log
	if err := w[1].q.SetView(w[1].table, w[1].cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// a chain of one or two descriptors.
type madeChain struct {
	off, size, second int // second descriptor's bytes, 0: there is none
	table             bool
}

func drawChain(rt *rapid.T, slot int) madeChain {
	c := madeChain{off: dataOff + 8192*slot + rapid.IntRange(0, 64).Draw(rt, "off")}
	c.size = rapid.SampledFrom([]int{5, 12, 25, 26, 72, 1526, 2060, 2061, 4000}).Draw(rt, "size")
	switch rapid.SampledFrom([]string{"plain", "plain", "plain", "plain", "two", "table", "border"}).Draw(rt, "kind") {
	case "two":
		c.second = rapid.IntRange(1, 100).Draw(rt, "second")
	case "table":
		c.second, c.table = rapid.IntRange(1, 100).Draw(rt, "second"), true
	case "border":
		c.off = cutOff - rapid.IntRange(0, 80).Draw(rt, "before")
	}
	return c
}

// put offers c from table entry d on, and returns the next free entry.
func (g *rig) put(c madeChain, d int, flags uint16) int {
	head := uint16(d)
	switch {
	case c.table:
		tab := c.off + 4200
		put := func(i, addr, n int, f uint16) {
			b := g.mem.Bytes[tab+16*i:]
			for k := range 8 {
				b[k] = byte(at(addr) >> (8 * k))
			}
			b[8], b[9], b[10], b[11] = byte(n), byte(n>>8), 0, 0
			b[12], b[13], b[14], b[15] = byte(f), 0, byte(i+1), 0
			if g.pack != nil { // the id, which means nothing here, comes first
				b[12], b[13], b[14], b[15] = 0, 0, byte(f), 0
			}
		}
		put(0, c.off, c.size, next|flags)
		put(1, c.off+c.size, c.second, flags)
		g.desc(d, at(tab), 32, indirect, 0)
	case c.second > 0:
		g.desc(d, at(c.off), c.size, next|flags, uint16(d+1))
		d++
		g.desc(d, at(c.off+c.size), c.second, flags, 0)
	default:
		g.desc(d, at(c.off), c.size, flags, 0)
	}
	g.drv.Put(head)
	return d + 1
}

// usedNow is what the driver finds used.
func (g *rig) usedNow() (out [][2]uint32) {
	for {
		id, n, ok := g.drv.TakeUsed()
		if !ok {
			return out
		}
		out = append(out, [2]uint32{id, n})
	}
}

// same compares what the two made of it.
func (w twins) same(rt *rapid.T, got [2][][]byte, took [2]int) {
	if took[0] != took[1] || len(got[0]) != len(got[1]) {
		rt.Fatalf("took %d and %d, frames %d and %d", took[0], took[1], len(got[0]), len(got[1]))
	}
	for i := range got[0] {
		if !bytes.Equal(got[0][i], got[1][i]) {
			rt.Fatalf("frame %d: %x and %x", i, got[0][i], got[1][i])
		}
	}
	a, b := w[0].usedNow(), w[1].usedNow()
	if len(a) != len(b) {
		rt.Fatalf("used %v and %v", a, b)
	}
	for i := range a {
		if a[i] != b[i] {
			rt.Fatalf("used %v and %v", a, b)
		}
	}
	if x, y := w[0].q.State(), w[1].q.State(); x != y {
		rt.Fatalf("state %#x and %#x", x, y)
	}
	x, y := *w[0].q.Stats(), *w[1].q.Stats()
	for _, s := range []*virtq.Stats{&x, &y} { // these count bursts
		s.Calls, s.Suppressed, s.Full = stats.Counter{}, stats.Counter{}, stats.Counter{}
	}
	if x != y {
		rt.Fatalf("counters\n%+v\n%+v", x, y)
	}
	for _, g := range w {
		if g.q.Broken() != virtq.ReasonNone {
			rt.Fatal(g.q.Broken())
		}
	}
	if !bytes.Equal(w[0].mem.Bytes[dataOff:], w[1].mem.Bytes[dataOff:]) {
		rt.Fatal("they wrote different bytes")
	}
}

// Whatever chains a driver offers, a run's way and a chain's take the same frames out of
// them, give back the same elements and count the same.
func TestDequeueRunIsAsChains(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		for _, order := range []bool{false, true} {
			w := newTwins(t, newRig, order)
			rapid.Check(t, func(rt *rapid.T) {
				chains := rapid.IntRange(1, 30).Draw(rt, "chains")
				d := [2]int{}
				for i := range chains {
					c := drawChain(rt, i)
					seed := rapid.Byte().Draw(rt, "seed")
					header := rapid.SampledFrom([]string{"plain", "plain", "plain", "csum", "bad"}).Draw(rt, "header")
					for k, g := range w {
						g.frame(c.off+12, 4100, seed)
						switch header {
						case "csum": // of bytes 34 on, at 50
							g.mem.Bytes[c.off], g.mem.Bytes[c.off+6], g.mem.Bytes[c.off+8] = 1, 34, 16
						case "bad": // gso without a checksum
							g.mem.Bytes[c.off+1] = 1
						}
						d[k] = g.put(c, d[k], 0)
					}
				}
				var got [2][][]byte
				for k, g := range w {
					g.drv.Publish()
					for range chains { // each call takes one at least
						got[k] = append(got[k], g.take()...)
					}
				}
				w.same(rt, got, [2]int{})
			})
		}
	})
}

// The same for frames on their way to the driver.
func TestEnqueueRunIsAsChains(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		for _, order := range []bool{false, true} {
			w := newTwins(t, newRig, order)
			rapid.Check(t, func(rt *rapid.T) {
				d := [2]int{}
				for i := range rapid.IntRange(1, 30).Draw(rt, "chains") {
					c := drawChain(rt, i)
					c.size = max(c.size, 12)
					for k, g := range w {
						d[k] = g.put(c, d[k], write)
					}
				}
				n := rapid.IntRange(1, buf.Burst).Draw(rt, "frames")
				var took [2]int
				var rest [2][][]byte
				frames, flags := make([][]byte, n), make([]uint64, n)
				for i := range frames {
					frames[i] = bytes.Repeat([]byte{rapid.Byte().Draw(rt, "byte")}, rapid.SampledFrom([]int{14, 60, 64, 1514, 2048}).Draw(rt, "size"))
					flags[i] = rapid.SampledFrom([]uint64{0, 0, 0, buf.RxL4Good, buf.TxTCPSeg}).Draw(rt, "flags")
				}
				for k, g := range w {
					g.drv.Publish()
					for i, f := range frames {
						b := g.cache.Alloc()
						b.SetFrame(f)
						b.OlFlags = flags[i]
						g.vec[i] = b
					}
					took[k] = g.q.Enqueue(g.cache, &g.vec, n)
					for _, b := range g.vec[took[k]:n] {
						rest[k] = append(rest[k], bytes.Clone(b.Data()))
						g.cache.Free(b)
					}
				}
				w.same(rt, rest, took)
				for _, g := range w { // what is left goes out of the ring
					for g.q.Discard() > 0 {
					}
				}
				w.same(rt, [2][][]byte{}, [2]int{})
			})
		}
	})
}
