package virtq_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/virtq"
	"baton/vhost/virtq/drivertest"
)

const (
	availBit = guestmem.DescAvail
	usedBit  = guestmem.DescUsed
)

// Rings of any size work, over many laps, in both directions; what comes back is in order.
func TestVirtio_2_8_1_WrapCounters(t *testing.T) {
	for _, num := range []int{1, 2, 3, 7, 8, 100, 1023, 32767, 32768} {
		t.Run(fmt.Sprint(num), func(t *testing.T) {
			mem := drivertest.NewMem(t, 4<<20)
			for _, receive := range []bool{false, true} {
				lapsOf(t, mem, num, receive)
			}
		})
	}
}

func lapsOf(t *testing.T, mem *drivertest.Mem, num int, receive bool) {
	clear(mem.Bytes)
	g := newRigOn(t, mem, num, packed)
	buffer := 2<<20 + 4096
	flags := uint16(0)
	if receive {
		flags = write
	}
	copy(mem.Bytes[buffer+12:], bytes.Repeat([]byte{0xab}, 100))
	for i := range num {
		g.desc(i, at(buffer), 112, flags, 0)
	}
	next, back := 0, 0
	for back < 3*num+5 {
		for k := 0; k < 32 && next-back < num; k++ {
			g.drv.Put(uint16(next % num))
			next++
		}
		g.drv.Publish()
		if receive {
			g.give(t, make([]byte, 60), make([]byte, 100))
		} else if got := g.take(); len(got) == 0 || len(got[0]) != 100 {
			t.Fatalf("%d frames at %d, %v", len(got), back, g.q.Broken())
		}
		for id, _, ok := g.drv.TakeUsed(); ok; id, _, ok = g.drv.TakeUsed() {
			if int(id) != back%num {
				t.Fatalf("id %d, want %d", id, back%num)
			}
			back++
		}
	}
	slot, wrap := back%num, back/num%2 == 0
	want := uint32(slot)
	if wrap {
		want |= 1 << 15
	}
	if got := g.q.State(); got != want|want<<16 {
		t.Errorf("state %#x after %d of %d", got, back, num)
	}
	i, err := g.q.Indices()
	wantIndices := virtq.Indices{Avail: uint16(next%num) | uint16(1-next/num%2)<<15, Used: uint16(want), AvailKnown: true, UsedKnown: true}
	if err != nil || i != wantIndices {
		t.Errorf("indices %+v %v, want %+v", i, err, wantIndices)
	}
}

// A burst becomes visible as a whole: the first slot's flags come last, and one store
// makes them used together with length and id.
func TestVirtio_2_8_6_UsedElements(t *testing.T) {
	g := newPackedRig(t, 8, nil)
	g.desc(0, at(dataOff), 100, next, 1)
	g.desc(1, at(dataOff), 50, 0, 0)
	g.desc(2, at(dataOff), 100, 0, 0)
	g.drv.Push(0, 2)
	tail := g.pack.Slot(1)
	g.take()
	if got, want := g.pack.Slot(0), guestmem.MakeSlot(2, 0, availBit|usedBit); got != want {
		t.Errorf("chain of two slots: %#x, want %#x", got, want)
	}
	if g.pack.Slot(1) != tail {
		t.Error("a slot inside a chain was written")
	}
	if got, want := g.pack.Slot(2), guestmem.MakeSlot(1, 2, availBit|usedBit); got != want {
		t.Errorf("chain of one slot: %#x, want %#x", got, want)
	}
	g.desc(3, at(dataOff), 200, write, 0)
	g.drv.Push(3)
	g.give(t, make([]byte, 60))
	if got, want := g.pack.Slot(3), guestmem.MakeSlot(72, 3, availBit|usedBit|write); got != want {
		t.Errorf("received: %#x, want %#x", got, want)
	}
}

// Calls follow the driver's event area, kicks ours.
func TestVirtio_2_8_10_EventSuppression(t *testing.T) {
	both := func(eventIdx bool) *rig {
		g := newPackedRig(t, 4, func(c *virtq.Config) { c.EventIdx = eventIdx })
		for i := range 4 {
			g.desc(i, at(dataOff), 100, 0, 0)
		}
		return g
	}
	g, n := both(true), 0
	step := func(what string, offWrap, flags uint16, want uint64) {
		t.Helper()
		g.pack.SetEvent(offWrap, flags)
		g.drv.Push(uint16(n % 4))
		n++
		if got := len(g.take()); got != 1 {
			t.Fatal(got, g.q.Broken())
		}
		if got := drivertest.Signals(g.call); got != want {
			t.Fatalf("%s: %d calls, want %d", what, got, want)
		}
		if _, _, ok := g.drv.TakeUsed(); !ok {
			t.Fatal("nothing used")
		}
	}
	step("enabled", 0, guestmem.EventEnable, 1)
	step("disabled", 0, guestmem.EventDisable, 0)
	step("slot 2, first decision", 0, guestmem.EventDesc, 1)
	step("slot 3 in this lap", 3|1<<15, guestmem.EventDesc, 1) // wraps
	step("slot 3 again", 3|1<<15, guestmem.EventDesc, 0)
	step("slot 1 in this lap", 1, guestmem.EventDesc, 1)
	step("slot 3 in this lap", 3, guestmem.EventDesc, 0)
	step("slot 3 in this lap", 3, guestmem.EventDesc, 1)
	step("slot 0 in the next", 0|1<<15, guestmem.EventDesc, 1)
	step("garbage", 0x7fff, guestmem.EventDesc, 0)
	step("reserved flags", 0, 3, 1)
	if off, flags := g.pack.DeviceEvent(); flags != guestmem.EventDisable || off != 0 {
		t.Errorf("polling: %#x %d", off, flags)
	}
	if g.q.Arm() {
		t.Error("Arm sees a chain")
	}
	if off, flags := g.pack.DeviceEvent(); flags != guestmem.EventDesc || off != 3|1<<15 {
		t.Errorf("armed: %#x %d", off, flags)
	}
	g.drv.Push(3)
	if !g.q.Arm() {
		t.Error("Arm missed a chain")
	}
	g.q.Disarm()
	if _, flags := g.pack.DeviceEvent(); flags != guestmem.EventDisable {
		t.Errorf("disarmed: %d", flags)
	}
	g, n = both(false), 0
	step("no event index, so no slot", 0, guestmem.EventDesc, 1)
	step("the same", 0, guestmem.EventDesc, 1)
	g.q.Arm()
	if _, flags := g.pack.DeviceEvent(); flags != guestmem.EventEnable {
		t.Errorf("armed: %d", flags)
	}
}

// All entries of an indirect table count, in order, whatever their next says.
func TestVirtio_2_8_7_Indirect(t *testing.T) {
	g := newPackedRig(t, 8, nil)
	want := g.frame(dataOff+12, 100, 5)
	g.table16(dataOff+4096,
		guestmem.Desc{Addr: at(dataOff), Len: 12, Flags: next, Next: 77},
		guestmem.Desc{Addr: at(dataOff + 12), Len: 60, Next: 3},
		guestmem.Desc{Addr: at(dataOff + 72), Len: 40})
	g.desc(5, at(dataOff+4096), 48, indirect, 0)
	g.drv.Push(5)
	if got := g.take(); len(got) != 1 || !bytes.Equal(got[0], want) {
		t.Fatalf("%d frames, %v", len(got), g.q.Broken())
	}
	if id, _, ok := g.drv.TakeUsed(); !ok || id != 5 {
		t.Fatal(id, ok)
	}
}

// 17: packed rings that no driver makes.
func TestHostile17_PackedRing(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(g *rig)
		want  virtq.Reason
		used  int
	}{
		{"both_bits_set", func(g *rig) {
			g.pack.Raw(0, guestmem.Desc{Addr: at(dataOff), Len: 100, Flags: availBit | usedBit})
		}, virtq.ReasonNone, 0},
		{"next_lap", func(g *rig) { g.pack.Raw(0, guestmem.Desc{Addr: at(dataOff), Len: 100, Flags: usedBit}) }, virtq.ReasonNone, 0},
		{"id_ffff_comes_back", func(g *rig) {
			g.pack.Raw(0, guestmem.Desc{Addr: at(dataOff), Len: 100, Flags: availBit, Next: 0xffff})
		}, virtq.ReasonNone, 1},
		{"next_everywhere", func(g *rig) {
			for i := range 8 {
				g.pack.Raw(i, guestmem.Desc{Addr: at(dataOff), Len: 100, Flags: availBit | next})
			}
		}, virtq.ReasonChainTooLong, 0},
		{"chain_into_what_was_read", func(g *rig) {
			for i := range 8 {
				g.pack.Raw(i, guestmem.Desc{Addr: at(dataOff), Len: 100, Flags: availBit | next})
			}
			g.pack.Raw(0, guestmem.Desc{Addr: at(dataOff), Len: 100, Flags: availBit})
		}, virtq.ReasonChainTooLong, 1},
		{"indirect_inside_a_chain", func(g *rig) {
			g.pack.Raw(1, guestmem.Desc{Addr: at(dataOff), Len: 16, Flags: availBit | indirect})
			g.pack.Raw(0, guestmem.Desc{Addr: at(dataOff), Len: 100, Flags: availBit | next})
		}, virtq.ReasonIndirectNext, 0},
		{"all_flags", func(g *rig) {
			g.pack.Raw(0, guestmem.Desc{Addr: at(dataOff), Len: 100, Flags: 0xffff &^ usedBit})
		}, virtq.ReasonIndirectNext, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newPackedRig(t, 8, nil)
			c.setup(g)
			n := len(g.take())
			if n != c.used || g.q.Broken() != c.want {
				t.Errorf("%d frames, %v; want %d, %v", n, g.q.Broken(), c.used, c.want)
			}
			if n > 0 && g.pack.Slot(0).Flags()&usedBit == 0 {
				t.Error("the good chain did not come back")
			}
		})
	}
}

// 17, 04: a chain too long to be looked at whole breaks the ring, since nobody knows
// where it ends; an indirect one is dropped.
func TestHostile17_LongPackedChain(t *testing.T) {
	g := newPackedRig(t, 4096, nil)
	for i := range 1025 {
		g.desc(i, at(dataOff), 1, next, uint16(i+1))
	}
	g.desc(1025, at(dataOff), 1, 0, 0)
	g.drv.Push(0)
	if n := len(g.take()); n != 0 || g.q.Broken() != virtq.ReasonChainTooLong {
		t.Fatal(n, g.q.Broken())
	}
	g = newPackedRig(t, 4096, nil)
	for i := range 1025 {
		g.table16(dataOff+16*i, guestmem.Desc{Addr: at(dataOff), Len: 1})
	}
	g.desc(0, at(dataOff), 16*1025, indirect, 0)
	g.drv.Push(0)
	if n := len(g.take()); n != 0 || g.q.Broken() != virtq.ReasonNone || g.q.Stats().TooBig.Load() != 1 {
		t.Fatal(n, g.q.Broken())
	}
	if _, _, ok := g.drv.TakeUsed(); !ok {
		t.Fatal("the chain did not come back")
	}
}

// 18: the guest zeroes the ring while it runs: nothing is available any more.
func TestHostile18_PackedRingZeroed(t *testing.T) {
	g := newPackedRig(t, 8, nil)
	g.desc(0, at(dataOff), 100, 0, 0)
	g.drv.Push(0)
	g.take()
	clear(g.mem.Bytes[:dataOff])
	for range 20 {
		if len(g.take()) != 0 || g.q.Broken() != virtq.ReasonNone {
			t.Fatal(g.q.Broken())
		}
	}
}

// 33, 34: parts unaligned or outside the regions, sizes and bases that are none.
func TestHostile33_PackedRingAddresses(t *testing.T) {
	m := drivertest.NewMem(t, memSize)
	tab := m.Table(t, cutOff)
	good := virtq.Config{Packed: true, Num: 100, Desc: drivertest.User, Avail: drivertest.User + 4096, Used: drivertest.User + 8192, HeaderSize: 12, Base: 0x8000}
	for _, c := range []struct {
		name   string
		change func(c *virtq.Config)
		want   error
	}{
		{"desc_unaligned", func(c *virtq.Config) { c.Desc += 8 }, guestmem.ErrAlign},
		{"driver_area_unaligned", func(c *virtq.Config) { c.Avail += 2 }, guestmem.ErrAlign},
		{"device_area_unaligned", func(c *virtq.Config) { c.Used++ }, guestmem.ErrAlign},
		{"desc_outside", func(c *virtq.Config) { c.Desc = 0x1000 }, guestmem.ErrNotMapped},
		{"desc_over_two_regions", func(c *virtq.Config) { c.Desc = drivertest.User + cutOff - 16 }, guestmem.ErrNotMapped},
		{"area_at_the_end", func(c *virtq.Config) { c.Used = drivertest.User + memSize }, guestmem.ErrNotMapped},
		{"area_wraps", func(c *virtq.Config) { c.Avail = ^uint64(3) }, guestmem.ErrNotMapped},
		{"num_0", func(c *virtq.Config) { c.Num = 0 }, guestmem.ErrPackedSize},
		{"num_32769", func(c *virtq.Config) { c.Num = 32769 }, guestmem.ErrPackedSize},
		{"base_behind_the_end", func(c *virtq.Config) { c.Base = 0x8000 | 100 }, virtq.ErrBase},
		{"base_7fff", func(c *virtq.Config) { c.Base = 0x7fff }, virtq.ErrBase},
	} {
		cfg := good
		c.change(&cfg)
		if q, err := virtq.New(tab, cfg, nil); !errors.Is(err, c.want) || q != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if q, err := virtq.New(tab, good, nil); err != nil || q.State() != 0x80008000 {
		t.Error(err)
	}
}
