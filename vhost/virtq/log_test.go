package virtq_test

import (
	"bytes"
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/virtq"
	"baton/vhost/virtq/drivertest"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// newLog is a dirty log of size bytes and its memory.
func newLog(t testing.TB, size uint64) (*guestmem.Log, *drivertest.Mem) {
	t.Helper()
	m := drivertest.NewMem(t, int(size))
	l, err := guestmem.NewLog(m.DupFD(t), 0, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, m
}

// logSize has a bit for every page of a rig's memory.
const logSize = (drivertest.Guest + memSize) / guestmem.LogPage / 8

// marked tells whether the page of offset off is in the log.
func marked(log *drivertest.Mem, off int) bool {
	page := at(off) / guestmem.LogPage
	return log.Bytes[page/8]&(1<<(page%8)) != 0
}

// While logging, a page that changed is in the log, whoever wrote it; a page that
// nobody wrote is not.
func TestLogOracle(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 256, func(c *virtq.Config) { c.EventIdx = true }, cutOff)
		log, bits := newLog(t, logSize)
		g.cfg.Log, g.cfg.LogUsed = log, true
		g.cfg.LogUsedAddr = drivertest.Guest + g.cfg.Used - drivertest.User
		if err := g.q.SetView(g.table, g.cfg); err != nil {
			t.Fatal(err)
		}
		n := 0
		rapid.Check(t, func(rt *rapid.T) {
			clear(bits.Bytes)
			for range rapid.IntRange(1, 20).Draw(rt, "chains") {
				off := dataOff + rapid.IntRange(0, memSize-dataOff-9000).Draw(rt, "off")
				g.desc(n%256, at(off), rapid.IntRange(2000, 9000).Draw(rt, "n"), write, 0)
				g.drv.Put(uint16(n % 256))
				n++
			}
			for i := range g.mem.Bytes[dataOff:] {
				g.mem.Bytes[dataOff+i] = 0xee // which nobody writes
			}
			before := append([]byte(nil), g.mem.Bytes...)
			g.drv.Publish()
			g.mustMarkFrom(t, rt, before, bits, func() {
				frames := make([][]byte, rapid.IntRange(1, 12).Draw(rt, "frames"))
				for i := range frames {
					frames[i] = bytes.Repeat([]byte{0xcc}, rapid.IntRange(14, 2000).Draw(rt, "size"))
				}
				g.give(t, frames...)
				g.q.Arm()
				g.q.Disarm()
			})
			g.resync()
		})
	})
}

// mustMarkFrom runs device and compares pages. What the driver wrote since before was
// taken must not count: it is Publish's word, which the test takes again.
func (g *rig) mustMarkFrom(t *testing.T, rt *rapid.T, before []byte, bits *drivertest.Mem, device func()) {
	copy(before[:dataOff], g.mem.Bytes[:dataOff])
	device()
	for off := 0; off < memSize; off += guestmem.LogPage {
		changed := !bytes.Equal(before[off:off+guestmem.LogPage], g.mem.Bytes[off:off+guestmem.LogPage])
		if changed && !marked(bits, off) {
			rt.Fatalf("page at offset %#x changed unseen", off)
		}
		if !changed && marked(bits, off) && off >= dataOff {
			rt.Fatalf("page at offset %#x is in the log, and nobody wrote it", off)
		}
	}
}

// Without a log nothing is noted; without LogUsed only buffers are.
func TestLogUsedIsApart(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 8, nil)
		log, bits := newLog(t, logSize)
		g.cfg.Log = log
		if err := g.q.SetView(g.table, g.cfg); err != nil {
			t.Fatal(err)
		}
		g.desc(0, at(dataOff), 2000, write, 0)
		g.drv.Push(0)
		g.give(t, make([]byte, 60))
		if !marked(bits, dataOff) || marked(bits, 0) {
			t.Errorf("buffer %v, ring %v", marked(bits, dataOff), marked(bits, 0))
		}
		clear(bits.Bytes)
		g.cfg.Log = nil
		if err := g.q.SetView(g.table, g.cfg); err != nil {
			t.Fatal(err)
		}
		g.drv.TakeUsed()
		g.drv.Push(0)
		g.give(t, make([]byte, 60))
		if !bytes.Equal(bits.Bytes, make([]byte, logSize)) {
			t.Error("noted after logging ended")
		}
	})
}

// 37: a log that is smaller than memory is written only inside; lengths that no
// buffer has are refused before they are noted.
func TestHostile37_LogWhileRunning(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 8, nil)
		log, bits := newLog(t, 8192)
		small, err := guestmem.NewLog(bits.DupFD(t), 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		defer small.Close()
		if log.Covers(g.table) || small.Covers(g.table) {
			t.Fatal("covers")
		}
		g.cfg.Log, g.cfg.LogUsed, g.cfg.LogUsedAddr = small, true, ^uint64(0)-3
		if err := g.q.SetView(g.table, g.cfg); err != nil {
			t.Fatal(err)
		}
		g.desc(0, at(dataOff), 2000, write, 0)
		g.desc(1, at(dataOff), 0xffffffff, write, 0)
		g.drv.Push(0, 1)
		if n := g.give(t, make([]byte, 60), make([]byte, 60)); n != 1 || g.q.Broken() != virtq.ReasonBadAddress {
			t.Fatal(n, g.q.Broken())
		}
		if !bytes.Equal(bits.Bytes, make([]byte, 8192)) {
			t.Error("a bit that stands for no page of the log")
		}
	})
}

// 37, 29: memory or log cut short under a running ring costs that ring.
func TestHostile29_TruncatedUnderRing(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		for _, what := range []string{"memory", "log", "memory_transmit"} {
			g := newRig(t, 8, nil)
			log, bits := newLog(t, logSize)
			g.cfg.Log = log
			if err := g.q.SetView(g.table, g.cfg); err != nil {
				t.Fatal(err)
			}
			flags, fd, size := write, g.mem.FD, int64(dataOff)
			if what == "log" {
				fd, size = bits.FD, 0
			}
			if what == "memory_transmit" {
				flags = 0
			}
			for i := range 2 {
				g.desc(i, at(dataOff), 2000, flags, 0)
			}
			g.drv.Push(0, 1)
			if err := unix.Ftruncate(fd, size); err != nil {
				t.Fatal(err)
			}
			if n := g.guarded(func() int {
				if flags == 0 {
					return g.q.Dequeue(g.cache, &g.vec)
				}
				return g.give(t, make([]byte, 60))
			}); n != -1 || g.q.Broken() != virtq.ReasonMemoryGone {
				t.Errorf("%s: %d, %v", what, n, g.q.Broken())
			}
			if flags == write { // still the caller's: Enqueue took nothing
				g.cache.Free(g.vec[0])
			}
		}
	})
}

// guarded runs f as a worker does; -1 after a fault.
func (g *rig) guarded(f func() int) (n int) {
	err := guestmem.Guard(func() { n = f() }, func(p any) bool { return g.q.Fault(p, g.cache, &g.vec) })
	if err != nil {
		return -1
	}
	return n
}

// IN_ORDER: one used element for what a burst took, with the last chain's id, where
// the first one's would be; received frames have one each, for their lengths.
func TestVirtio_2_8_9_InOrder(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 64, func(c *virtq.Config) { c.InOrder = true })
		in, out := 0, 0
		for range 50 {
			for range 20 {
				g.desc(in%64, at(dataOff), 100, 0, 0)
				g.drv.Put(uint16(in % 64))
				in++
			}
			g.drv.Publish()
			if got := len(g.take()); got != 20 {
				t.Fatal(got)
			}
			if g.pack != nil {
				at := out % 64
				if s := g.pack.Slot(at); s.ID() != uint16((in-1)%64) || s.Len() != 20 {
					t.Fatalf("element at slot %d: id %d, %d slots; want %d, 20", at, s.ID(), s.Len(), (in-1)%64)
				}
			}
			for range 20 {
				if id, _, ok := g.drv.TakeUsed(); !ok || int(id) != out%64 {
					t.Fatalf("id %d %v, want %d", id, ok, out%64)
				}
				out++
			}
		}
		g.desc(in%64, at(dataOff), 200, write, 0)
		g.desc((in+1)%64, at(dataOff), 200, write, 0)
		g.drv.Push(uint16(in%64), uint16((in+1)%64))
		g.give(t, make([]byte, 60), make([]byte, 80))
		for _, want := range []uint32{72, 92} {
			if _, n, ok := g.drv.TakeUsed(); !ok || n != want {
				t.Errorf("%d bytes, want %d", n, want)
			}
		}
	})
}
