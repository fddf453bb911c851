package virtq_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"baton/dataplane/buf"
	"baton/vhost/guestmem"
	"baton/vhost/virtq"
	"baton/vhost/virtq/drivertest"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func mustWrite(t testing.TB, fd int, b []byte) {
	t.Helper()
	if _, err := unix.Write(fd, b); err != nil {
		t.Fatal(err)
	}
}

// Every way to lay out header and frame gives the same frame.
func TestDequeueLayouts(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		for _, c := range []struct {
			name   string
			hdr    int
			pieces []int // descriptor lengths, summing to header+100
			table  bool
			off    int
		}{
			{"one", 12, []int{112}, false, dataOff},
			{"header_apart", 12, []int{12, 100}, false, dataOff},
			{"11_header_over_3", 12, []int{5, 5, 2, 100}, false, dataOff},
			{"11_header_and_frame_split", 12, []int{3, 30, 79}, false, dataOff},
			{"zero_lengths_between", 12, []int{12, 0, 50, 0, 50}, false, dataOff},
			{"legacy", 10, []int{10, 100}, false, dataOff},
			{"indirect", 12, []int{12, 100}, true, dataOff},
			{"08_over_two_regions", 12, []int{112}, false, cutOff - 40},
			{"08_header_over_two_regions", 12, []int{112}, false, cutOff - 5},
			{"08_indirect_over_two_regions", 12, []int{12, 100}, true, cutOff - 30},
		} {
			t.Run(c.name, func(t *testing.T) {
				g := newRig(t, 8, func(v *virtq.Config) { v.HeaderSize = c.hdr }, cutOff)
				want := g.frame(c.off+c.hdr, 100, 3)
				off := c.off
				for i, n := range c.pieces {
					d := guestmem.Desc{Addr: at(off), Len: uint32(n)}
					if i < len(c.pieces)-1 {
						d.Flags, d.Next = next, uint16(i+1)
					}
					if c.table { // across the border of the regions
						drivertest.PutDesc(g.mem.Bytes[cutOff+8192-24+16*i-8192:], d)
					} else {
						g.drv.SetDesc(i, d)
					}
					off += n
				}
				if c.table {
					// The table would overwrite a frame at the border, so the frame is moved there last.
					tab := cutOff - 24
					if c.off != dataOff {
						tab = dataOff + 4 // unaligned, and the frame crosses
						copy(g.mem.Bytes[tab:tab+32], g.mem.Bytes[cutOff-24:cutOff+8])
						g.frame(c.off+c.hdr, 100, 3)
					}
					g.desc(0, at(tab), 16*len(c.pieces), indirect, 0)
				}
				g.drv.Push(0)
				got := g.take()
				if len(got) != 1 || !bytes.Equal(got[0], want) {
					t.Fatalf("got %d frames %x, broken %v", len(got), got, g.q.Broken())
				}
				if id, n, ok := g.drv.TakeUsed(); !ok || id != 0 || n != 0 {
					t.Errorf("used %d %d %v", id, n, ok)
				}
			})
		}
	})
}

// Random frames in random chains come out whole and in order, over thousands of laps
// of random small rings in two regions.
func TestDequeueOracle(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 64, nil, cutOff)
		rapid.Check(t, func(rt *rapid.T) {
			count := rapid.IntRange(1, 8).Draw(rt, "frames")
			off, d := cutOff-rapid.IntRange(0, 9000).Draw(rt, "off"), 0
			var want [][]byte
			var heads []uint16
			for f := range count {
				size := rapid.IntRange(14, 2048).Draw(rt, "size")
				want = append(want, g.frame(off+12, size, byte(f)))
				heads = append(heads, uint16(d))
				left := size + 12
				for parts := rapid.IntRange(1, 8).Draw(rt, "parts"); ; parts-- {
					n := left
					if parts > 1 {
						n = rapid.IntRange(0, left).Draw(rt, "n")
					}
					left -= n
					flags := uint16(0)
					if left > 0 {
						flags = next
					}
					g.desc(d, at(off), n, flags, uint16(d+1))
					off += n
					d++
					if left == 0 {
						break
					}
				}
			}
			g.drv.Push(heads...)
			got := g.take()
			if len(got) != count {
				rt.Fatalf("%d frames of %d, %v", len(got), count, g.q.Broken())
			}
			for i := range got {
				if !bytes.Equal(got[i], want[i]) {
					rt.Fatalf("frame %d differs", i)
				}
				if id, _, ok := g.drv.TakeUsed(); !ok || id != uint32(heads[i]) {
					rt.Fatalf("used element %d: %d", i, id)
				}
			}
		})
	})
}

// Random frames go into random receive buffers: what the driver puts together from
// used elements and num_buffers is what was sent; no byte beside it changes.
func TestEnqueueOracle(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		for _, mergeable := range []bool{true, false} {
			g := newRig(t, 64, func(c *virtq.Config) { c.Mergeable = mergeable }, cutOff)
			rapid.Check(t, func(rt *rapid.T) { enqueueOnce(t, rt, g, mergeable) })
		}
	})
}

func enqueueOnce(t *testing.T, rt *rapid.T, g *rig, mergeable bool) {
	bufs, off := g.offerHalves(rt, mergeable)
	area := g.mem.Bytes[cutOff-9000 : off]
	for i := range area {
		area[i] = 0xee
	}
	g.drv.Publish()
	var want [][]byte
	for f := range rapid.IntRange(1, 8).Draw(rt, "frames") {
		want = append(want, bytes.Repeat([]byte{byte(f + 1)}, rapid.IntRange(14, 1500).Draw(rt, "size")))
	}
	took := g.give(t, want...)
	written := 0
	for f := range took {
		got, n := g.takeFrame(rt, bufs, mergeable)
		if written += n; !bytes.Equal(got, want[f]) {
			rt.Fatalf("frame %d: %d bytes of %d", f, len(got), len(want[f]))
		}
	}
	if _, _, ok := g.drv.TakeUsed(); ok {
		rt.Fatal("used elements for frames that were not taken")
	}
	same := 0
	for _, b := range area {
		if b == 0xee {
			same++
		}
	}
	if len(area)-same != written {
		rt.Fatalf("%d bytes changed, %d reported", len(area)-same, written)
	}
	// The driver takes back what is left over.
	g.resync()
}

// buffer is a receive buffer, in bytes of the memory.
type buffer struct{ off, n int }

// offerHalves offers receive buffers of two descriptors each, and tells where they end.
func (g *rig) offerHalves(rt *rapid.T, mergeable bool) (bufs []buffer, end int) {
	lowest := 12
	if !mergeable {
		lowest = 1600
	}
	off := cutOff - rapid.IntRange(0, 9000).Draw(rt, "off")
	for range rapid.IntRange(1, 30).Draw(rt, "buffers") {
		n := rapid.IntRange(lowest, 1700).Draw(rt, "n")
		// In two descriptors, the second after a hole.
		first := rapid.IntRange(0, n).Draw(rt, "first")
		i := 2 * len(bufs)
		g.desc(i, at(off), first, write|next, uint16(i+1))
		g.desc(i+1, at(off+first), n-first, write, 0)
		bufs = append(bufs, buffer{off, n})
		g.drv.Put(uint16(i))
		off += n + 16
	}
	return bufs, off
}

// takeFrame is the next frame that the device gave back, without its header, and how many
// bytes it says that it wrote.
func (g *rig) takeFrame(rt *rapid.T, bufs []buffer, mergeable bool) (frame []byte, written int) {
	for k, num := 0, 1; k < num; k++ {
		id, n, ok := g.drv.TakeUsed()
		if !ok || int(n) > bufs[id/2].n {
			rt.Fatalf("used element %d, %d bytes, %v", id, n, ok)
		}
		b := bufs[id/2]
		piece := g.mem.Bytes[b.off : b.off+int(n)]
		written += int(n)
		if k == 0 {
			num = int(binary.LittleEndian.Uint16(piece[10:]))
			if !bytes.Equal(piece[:10], make([]byte, 10)) || !mergeable && num != 1 {
				rt.Fatalf("header %x", piece[:12])
			}
			piece = piece[12:]
		}
		frame = append(frame, piece...)
	}
	return frame, written
}

// resync empties both sides: the device discards the unused chains.
func (g *rig) resync() {
	for g.q.Discard() > 0 {
		for _, _, ok := g.drv.TakeUsed(); ok; _, _, ok = g.drv.TakeUsed() {
			continue
		}
	}
}

// Without mergeable buffers a frame that one chain cannot hold is dropped; the chain stays.
func TestEnqueueTooBigForOneChain(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 8, func(c *virtq.Config) { c.Mergeable, c.HeaderSize = false, 10 })
		g.desc(0, at(dataOff), 100, write, 0)
		g.drv.Push(0)
		if took := g.give(t, make([]byte, 91), make([]byte, 90)); took != 2 {
			t.Fatalf("took %d", took)
		}
		if id, n, ok := g.drv.TakeUsed(); !ok || id != 0 || n != 100 {
			t.Fatalf("used %d %d %v", id, n, ok)
		}
		if s := g.q.Stats(); s.TooBig.Load() != 1 || s.Packets.Load() != 1 {
			t.Fatalf("%d too big, %d packets", s.TooBig.Load(), s.Packets.Load())
		}
	})
}

// 23: a guest that gives no buffers back takes no frame and costs a check.
func TestEnqueueFull(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 8, nil)
		if took := g.give(t, make([]byte, 60)); took != 0 || g.q.Stats().Full.Load() != 1 {
			t.Fatalf("took %d", took)
		}
	})
}

// A call is owed when the driver sees the burst, and paid with the next one, by Arm, by
// Discard, or when asked: once.
func TestCallIsOwed(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 8, nil)
		for what, pay := range map[string]func(){
			"settle":  g.q.Settle,
			"dequeue": func() { g.q.Dequeue(g.cache, &g.vec) },
			"arm":     func() { g.q.Arm(); g.q.Disarm() },
			"discard": func() { g.q.Discard() },
		} {
			g.desc(0, at(dataOff), 100, 0, 0)
			g.drv.Push(0)
			n := g.q.Dequeue(g.cache, &g.vec)
			g.cache.FreeAll(&g.vec, n)
			if _, _, used := g.drv.TakeUsed(); n != 1 || !used || !g.q.Owes() || drivertest.Signals(g.call) != 0 {
				t.Fatalf("%s: %d frames, used %v; called at once, or nothing owed", what, n, used)
			}
			pay()
			if n := drivertest.Signals(g.call); n != 1 || g.q.Owes() {
				t.Fatalf("%s: %d calls", what, n)
			}
			g.q.Settle()
			if drivertest.Signals(g.call) != 0 {
				t.Fatalf("%s: called twice", what)
			}
		}
	})
}

// virtio 1.2 section 2.7.10: calls follow used_event; kicks follow avail_event.
func TestEventIdx(t *testing.T) {
	g := newRig(t, 8, func(c *virtq.Config) { c.EventIdx = true })
	g.desc(0, at(dataOff), 100, 0, 0)
	step := func(event uint16, want uint64) {
		t.Helper()
		g.split.SetUsedEvent(event)
		g.drv.Push(0)
		g.take()
		if n := drivertest.Signals(g.call); n != want {
			t.Fatalf("index %d, event %d: %d calls, want %d", g.split.UsedIdx(), event, n, want)
		}
	}
	step(100, 1) // the first is always called
	step(100, 0)
	step(2, 1)
	step(2, 0)
	if g.q.Arm() || g.split.AvailEvent() != 4 {
		t.Fatalf("avail event %d", g.split.AvailEvent())
	}
	g.drv.Push(0)
	if !g.q.Arm() {
		t.Fatal("Arm missed a waiting chain")
	}
	if g.split.UsedFlags() != 0 {
		t.Fatal("flags must be 0 with the event index")
	}
}

func TestFlags(t *testing.T) {
	g := newRig(t, 8, nil)
	if g.split.UsedFlags() != guestmem.UsedNoNotify {
		t.Fatal("polling, yet kicks are asked for")
	}
	if g.q.Arm() || g.split.UsedFlags() != 0 {
		t.Fatal("armed, yet kicks are off")
	}
	g.q.Disarm()
	if g.split.UsedFlags() != guestmem.UsedNoNotify {
		t.Fatal("disarmed, yet kicks are on")
	}
	g.split.AvailFlags = guestmem.AvailNoInterrupt
	g.desc(0, at(dataOff), 100, 0, 0)
	g.drv.Push(0)
	g.take()
	if drivertest.Signals(g.call) != 0 || g.q.Stats().Suppressed.Load() != 1 {
		t.Fatal("called a driver that wanted none")
	}
}

// 34, reconnect: a stale base gives way to the used index; nonsense does not.
func TestBaseFromUsedIndex(t *testing.T) {
	for _, c := range []struct {
		base              uint32
		used, avail, want uint16
	}{
		{0, 0, 0, 0}, {5, 5, 9, 5}, {3, 7, 9, 7}, {0xfffe, 0xffff, 2, 0xffff}, {7, 300, 9, 7},
	} {
		m := drivertest.NewMem(t, memSize)
		drv := drivertest.NewRing(m, 8, 0)
		tab := m.Table(t)
		binary.LittleEndian.PutUint16(m.Bytes[drv.Used+2:], c.used)
		binary.LittleEndian.PutUint16(m.Bytes[drv.Avail+2:], c.avail)
		d, a, u := drv.UserAddrs()
		q, err := virtq.NewSplit(tab, virtq.Config{Num: 8, Desc: d, Avail: a, Used: u, Base: c.base, HeaderSize: 12}, nil)
		if err != nil || q.State() != uint32(c.want) {
			t.Errorf("%+v: state %d, %v", c, q.State(), err)
		}
	}
}

// 33: ring parts unaligned or outside the regions.
func TestHostile33_RingAddresses(t *testing.T) {
	m := drivertest.NewMem(t, memSize)
	tab := m.Table(t, cutOff)
	good := virtq.Config{Num: 64, Desc: drivertest.User, Avail: drivertest.User + 4096, Used: drivertest.User + 8192, HeaderSize: 12}
	for _, c := range []struct {
		name   string
		change func(c *virtq.Config)
		want   error
	}{
		{"desc_unaligned", func(c *virtq.Config) { c.Desc += 8 }, guestmem.ErrAlign},
		{"avail_unaligned", func(c *virtq.Config) { c.Avail++ }, guestmem.ErrAlign},
		{"used_unaligned", func(c *virtq.Config) { c.Used += 2 }, guestmem.ErrAlign},
		{"desc_outside", func(c *virtq.Config) { c.Desc = 0x1000 }, guestmem.ErrNotMapped},
		{"desc_end_outside", func(c *virtq.Config) { c.Desc = drivertest.User + memSize - 16 }, guestmem.ErrNotMapped},
		{"desc_over_two_regions", func(c *virtq.Config) { c.Desc = drivertest.User + cutOff - 16 }, guestmem.ErrNotMapped},
		{"used_wraps", func(c *virtq.Config) { c.Used = ^uint64(0) &^ 3 }, guestmem.ErrNotMapped},
		{"num_0", func(c *virtq.Config) { c.Num = 0 }, guestmem.ErrRingSize},
		{"num_65536", func(c *virtq.Config) { c.Num = 65536 }, guestmem.ErrRingSize},
		{"num_100", func(c *virtq.Config) { c.Num = 100 }, guestmem.ErrRingSize},
	} {
		cfg := good
		c.change(&cfg)
		if q, err := virtq.NewSplit(tab, cfg, nil); !errors.Is(err, c.want) || q != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	good.Avail += 2 // 2-aligned only: legal
	if _, err := virtq.NewSplit(tab, good, nil); err != nil {
		t.Error(err)
	}
}

// All fields work when the available ring is only 2-aligned.
func TestAvailTwoAligned(t *testing.T) {
	m := drivertest.NewMem(t, memSize)
	drv := &drivertest.Ring{Mem: m, Num: 8, Desc: 0, Avail: 4098, Used: 8192}
	d, a, u := drv.UserAddrs()
	q, err := virtq.NewSplit(m.Table(t), virtq.Config{Num: 8, Desc: d, Avail: a, Used: u, HeaderSize: 12}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := buf.NewPool(8, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	c := buf.NewCache(pool)
	var v buf.Vec
	for i := range 20 {
		drv.SetDesc(i%8, guestmem.Desc{Addr: at(dataOff), Len: 100})
		drv.Put(uint16(i % 8))
		binary.LittleEndian.PutUint16(m.Bytes[4100:], drv.AvailIdx)
		if n := q.Dequeue(c, &v); n != 1 {
			t.Fatalf("lap %d: %d frames, %v", i, n, q.Broken())
		}
		c.FreeAll(&v, 1)
		if id, _, ok := drv.TakeUsed(); !ok || id != uint32(i%8) {
			t.Fatalf("lap %d: used %d", i, id)
		}
	}
}

func TestReasonsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range virtq.NumReasons {
		n := virtq.Reason(r).String()
		if n == "" || seen[n] || virtq.Reason(r).Describe() == "" {
			t.Errorf("reason %d: %q", r, n)
		}
		seen[n] = true
	}
}
