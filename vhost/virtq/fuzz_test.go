package virtq_test

import (
	"bytes"
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/virtq"
	"baton/vhost/virtq/drivertest"
)

// guestEnd is where the fuzzed guest's only region ends: ring and buffers are in
// front of it, nothing may change behind.
const guestEnd = 16384

// fuzzRig is a rig for many rings of 8 entries, one after another, that see only
// guestEnd bytes of memory.
type fuzzRig struct {
	*rig
	log  *guestmem.Log
	bits *drivertest.Mem
}

func newFuzzRig(f *testing.F) *fuzzRig {
	g := &fuzzRig{rig: newRig(f, 8, nil)}
	m, err := guestmem.Map(guestmem.Region{GuestAddr: drivertest.Guest, Size: guestEnd, UserAddr: drivertest.User}, g.mem.DupFD(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(m.Close)
	if g.table, err = guestmem.NewTable([]*guestmem.Mapping{m}); err != nil {
		f.Fatal(err)
	}
	g.log, g.bits = newLog(f, logSize)
	return g
}

// run makes a ring whose memory is raw, then publish's work, and exercises it.
func (g *fuzzRig) run(t *testing.T, raw []byte, change func(*virtq.Config), publish func()) {
	clear(g.mem.Bytes[:4*guestEnd])
	clear(g.bits.Bytes)
	g.cfg = virtq.Config{Num: 8, HeaderSize: 12, Log: g.log, LogUsed: true, LogUsedAddr: drivertest.Guest}
	change(&g.cfg)
	g.drive(8)
	copy(g.mem.Bytes[:guestEnd], raw)
	publish()
	q, err := virtq.New(g.table, g.cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.q = q
	g.exercise(t)
	first := drivertest.Guest / guestmem.LogPage / 8 // four pages, four bits
	g.bits.Bytes[first] &^= 0x0f
	if !bytes.Equal(g.bits.Bytes, make([]byte, logSize)) {
		t.Error("a page outside the guest's memory is in the log")
	}
	if g.pool.Available()+g.cache.Held() != g.pool.Size() {
		t.Error("a buffer was lost")
	}
}

// exercise runs both directions over whatever is in the ring: no panic, no write
// outside the guest's region, no frame that could not be one.
func (g *fuzzRig) exercise(t *testing.T) {
	for range 3 {
		n := g.q.Dequeue(g.cache, &g.vec)
		for i := range n {
			if l := g.vec[i].Len(); l < 14 || l > 2048 && g.vec[i].NbSegs == 1 || l > 65535+18 {
				t.Fatalf("frame of %d bytes in %d buffers", l, g.vec[i].NbSegs)
			}
		}
		took := 0
		if n > 0 {
			took = g.q.Enqueue(g.cache, &g.vec, n)
		}
		for ; took < n; took++ {
			g.cache.Free(g.vec[took])
		}
		g.q.Arm()
		g.q.Disarm()
	}
	g.give(t, make([]byte, 300))
	g.q.Discard()
	_, _ = g.q.Indices()
	for i, b := range g.mem.Bytes[guestEnd : 4*guestEnd] {
		if b != 0 {
			t.Fatalf("byte %#x outside the guest's region changed", guestEnd+i)
		}
	}
}

// Modes of a fuzzed ring, by bits.
func fuzzMode(mode byte) func(*virtq.Config) {
	return func(c *virtq.Config) {
		c.Mergeable, c.EventIdx = mode&1 != 0, mode&1 != 0
		c.InOrder, c.Indirect = mode&2 != 0, mode&4 == 0
		if mode&8 != 0 {
			c.Net = allNet
		}
		c.Packed = mode&16 != 0
	}
}

// splitSeed is a ring of 8 descriptors of 30 bytes, chained.
func splitSeed(flags byte) []byte {
	chain := make([]byte, 8*16)
	for i := range 7 {
		chain[16*i+8], chain[16*i+12], chain[16*i+14] = 30, 1, byte(i+1)
		chain[16*i+3] = 0x40
	}
	for i := range 8 {
		chain[16*i+12] |= flags
	}
	return chain
}

// FuzzSplit runs arbitrary split rings.
func FuzzSplit(f *testing.F) {
	g := newFuzzRig(f)
	f.Add([]byte{}, uint16(1), byte(1))
	f.Add(splitSeed(0), uint16(3), byte(1))
	ind := splitSeed(0)[:16]
	ind[8], ind[12] = 112, 4
	f.Add(append(ind, splitSeed(0)[:112]...), uint16(1), byte(0))
	f.Add(splitSeed(2), uint16(8), byte(1))
	f.Add(splitSeed(2), uint16(8), byte(11))
	f.Fuzz(func(t *testing.T, raw []byte, avail uint16, mode byte) {
		g.run(t, raw, fuzzMode(mode&^16), func() {
			g.split.AvailIdx = avail
			g.split.Publish()
		})
	})
}

// packedSeed is a packed ring's memory: 8 slots with the given flags.
func packedSeed(flags ...uint16) []byte {
	out := make([]byte, 8*16)
	for i, f := range flags {
		drivertest.PutDesc(out[16*i:], guestmem.Desc{Addr: at(8192 + 512*i), Len: 200, Flags: f, Next: uint16(i)})
	}
	return out
}

// FuzzPacked runs arbitrary packed rings, from any base.
func FuzzPacked(f *testing.F) {
	g := newFuzzRig(f)
	a, u := availBit, usedBit
	f.Add([]byte{}, uint32(0x8000), byte(1))
	f.Add(packedSeed(a, a, a), uint32(0x80008000), byte(0))
	f.Add(packedSeed(a|write, a|write, a|write, a|write), uint32(0x80008000), byte(1))
	f.Add(packedSeed(a|next, a|next, a, a|indirect), uint32(0x80008000), byte(9))
	f.Add(packedSeed(a|u, u, a|u, a, u|next, u), uint32(0x5), byte(3))
	f.Add(packedSeed(a|next, a|next, a|next, a|next, a|next, a|next, a|next, a|next), uint32(0x8000), byte(8))
	f.Fuzz(func(t *testing.T, raw []byte, base uint32, mode byte) {
		base &= 0x8007 | 0x8007<<16
		g.run(t, raw, with(fuzzMode(mode), packed), func() { g.cfg.Base = base })
	})
}

// FuzzIndirect runs arbitrary indirect tables in both formats, as long as the
// descriptor says, wherever it says.
func FuzzIndirect(f *testing.F) {
	g := newFuzzRig(f)
	f.Add(splitSeed(0), uint16(8192), uint32(128), byte(0))
	f.Add(splitSeed(2), uint16(8192+4), uint32(128), byte(17))
	f.Add(splitSeed(0), uint16(guestEnd-64), uint32(128), byte(16))
	f.Add(packedSeed(0, 0, 0, 4), uint16(9000), uint32(64), byte(24))
	f.Add(splitSeed(1), uint16(8192), uint32(0xfffffff0), byte(8))
	f.Fuzz(func(t *testing.T, table []byte, where uint16, size uint32, mode byte) {
		mode &^= 4 // INDIRECT negotiated
		g.run(t, nil, fuzzMode(mode), func() {
			if int(where) < guestEnd && where >= 4096 { // behind the ring
				copy(g.mem.Bytes[where:guestEnd], table)
			}
			g.desc(0, drivertest.Guest+uint64(where), int(size), indirect, 0)
			g.desc(1, drivertest.Guest+uint64(where), int(size), indirect, 0)
			g.drv.Push(0, 1)
		})
	})
}
