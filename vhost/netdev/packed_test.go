package netdev_test

import (
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/netdev"
	"baton/vhost/proto"
	"baton/vhost/virtq/drivertest"
)

const packedFeatures = modern | proto.FeatureRingPacked

// packedRig is a rig whose rings are packed, of num slots, started at base.
func packedRig(t *testing.T, num int, base uint32) (g *rig, rx, tx *drivertest.Packed) {
	t.Helper()
	g = newRig(t, nil)
	rx, tx = drivertest.NewPacked(g.mem, num, rxRing), drivertest.NewPacked(g.mem, num, txRing)
	g.connectPacked(packedFeatures, rx, tx, base)
	return g, rx, tx
}

func (g *rig) connectPacked(features uint64, rx, tx *drivertest.Packed, base uint32) {
	g.t.Helper()
	g.ok(g.dev.SetFeatures(features))
	g.ok(g.dev.SetMemTable(g.regions()))
	for i, r := range []*drivertest.Packed{rx, tx} {
		g.ok(g.dev.SetVringNum(i, uint32(r.Num)))
		g.ok(g.dev.SetVringBase(i, base))
		d, a, u := r.UserAddrs()
		g.ok(g.dev.SetVringAddr(proto.VringAddr{Index: uint32(i), Desc: d, Avail: a, Used: u}))
		g.ok(g.dev.SetVringKick(i, g.eventFD()))
		g.ok(g.dev.SetVringCall(i, g.eventFD()))
		g.ok(g.dev.SetVringEnable(i, true))
	}
}

// passesPacked checks that both directions work.
func (g *rig) passesPacked(rx, tx *drivertest.Packed) {
	g.t.Helper()
	tx.SetDesc(0, descOf(dataOff, 72))
	tx.Put(0)
	tx.Publish()
	if n := g.recv(); n != 1 {
		g.t.Fatalf("guest to switch: %d frames; %+v", n, g.dev.Snapshot().Rings)
	}
	rx.SetDesc(0, guestmem.Desc{Addr: at(dataOff + 8192), Len: 2048, Flags: guestmem.DescWrite})
	rx.Put(0)
	rx.Publish()
	if !g.send() {
		g.t.Fatalf("switch to guest: not taken; %+v", g.dev.Snapshot().Rings)
	}
	for _, r := range []*drivertest.Packed{rx, tx} {
		if _, _, ok := r.TakeUsed(); !ok {
			g.t.Fatal("a chain did not come back")
		}
	}
}

// Packed rings of any size start with the bases that front ends send, stop with their
// state word and go on by it.
func TestPackedBases(t *testing.T) {
	for _, base := range []uint32{0x80008000 /* QEMU */, 0x8000 /* virtio_user */} {
		for _, num := range []int{64, 63, 7} {
			g, rx, tx := packedRig(t, num, base)
			for range 3*num + 2 {
				g.passesPacked(rx, tx)
			}
			s := g.dev.Snapshot()
			if s.Rings[1].Format != "packed" || s.Rings[1].Indices.Avail != s.Rings[1].Indices.Used || int(s.Rings[1].Indices.Used&0x7fff) != tx.Next {
				t.Errorf("%+v", s.Rings[1])
			}
			word, err := g.dev.GetVringBase(1)
			g.ok(err)
			want := uint32(tx.Next)
			if tx.Wrap {
				want |= 1 << 15
			}
			if word != want|want<<16 {
				t.Errorf("%d slots: state word %#x, want both halves %#x", num, word, want)
			}
			g.ok(g.dev.SetVringBase(1, word))
			g.ok(g.dev.SetVringKick(1, g.eventFD()))
			g.ok(g.dev.SetVringCall(1, g.eventFD()))
			g.passesPacked(rx, tx)
		}
	}
}

// 32, 33, 34: sizes, addresses and bases that are none for the format.
func TestHostile34_PackedSetup(t *testing.T) {
	g := newRig(t, nil)
	g.ok(g.dev.SetFeatures(packedFeatures))
	for name, f := range map[string]func() error{
		"32_num_0":          func() error { return g.dev.SetVringNum(0, 0) },
		"32_num_32769":      func() error { return g.dev.SetVringNum(0, 32769) },
		"33_desc_8":         func() error { return g.dev.SetVringAddr(proto.VringAddr{Desc: drivertest.User + 8}) },
		"33_driver_area_2":  func() error { return g.dev.SetVringAddr(proto.VringAddr{Avail: drivertest.User + 2}) },
		"33_device_area_2":  func() error { return g.dev.SetVringAddr(proto.VringAddr{Used: drivertest.User + 2}) },
		"34_base_behind":    func() error { g.ok(g.dev.SetVringNum(0, 7)); return g.dev.SetVringBase(0, 0x80078007) },
		"34_base_unrelated": func() error { g.ok(g.dev.SetVringNum(0, 7)); return g.dev.SetVringBase(0, 0xffffffff) },
	} {
		if f() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	g.ok(g.dev.SetVringNum(0, 32768))
	g.ok(g.dev.SetFeatures(modern))
	if g.dev.SetVringNum(0, 7) == nil || g.dev.SetVringBase(0, 0x80008000) == nil {
		t.Error("a split ring takes a packed one's size or base")
	}
}

// A restart of the switch under a guest with packed rings, by a process that is told
// not to offer them: they go on, although the front end's base is of long ago.
func TestPackedOverRestart(t *testing.T) {
	file := t.TempDir() + "/vm1.json"
	g := newRig(t, func(c *netdev.Config) { c.Pin = file })
	rx, tx := drivertest.NewPacked(g.mem, ringNum, rxRing), drivertest.NewPacked(g.mem, ringNum, txRing)
	for range 3 {
		g.dev.Connected(vmOne)
		g.connectPacked(packedFeatures, rx, tx, 0x80008000)
		for range ringNum + 5 {
			g.passesPacked(rx, tx)
		}
		g.restart(netdev.Config{Pin: file, Without: proto.FeatureRingPacked})
	}
}

// A ring that is stopped in order goes on where it stopped, also where its memory does not
// tell: all slots are available but one, the rest of a chain whose first slot the driver
// has written again.
func TestPackedStopsAmongRests(t *testing.T) {
	for _, name := range []string{"front end", "new features"} {
		g, _, tx := packedRig(t, 3, 0x80008000)
		tx.SetDesc(0, guestmem.Desc{Addr: at(dataOff), Len: 40, Flags: guestmem.DescNext, Next: 1})
		tx.SetDesc(1, guestmem.Desc{Addr: at(dataOff + 40), Len: 32})
		tx.SetDesc(2, descOf(dataOff, 72))
		tx.Push(0)
		if n := g.recv(); n != 1 {
			t.Fatalf("%s: %d frames of a chain of two", name, n)
		}
		tx.TakeUsed()
		tx.SetDesc(0, descOf(dataOff, 72))
		tx.Push(2, 0)
		if name == "front end" {
			word, err := g.dev.GetVringBase(1)
			g.ok(err)
			g.ok(g.dev.SetVringBase(1, word))
			g.ok(g.dev.SetVringKick(1, g.eventFD()))
		} else {
			g.ok(g.dev.SetFeatures(packedFeatures | proto.FeatureEventIdx))
		}
		if n := g.recv(); n != 2 {
			t.Errorf("%s: %d frames of 2; %+v", name, n, g.dev.Snapshot().Rings[1])
		}
		for _, want := range []uint32{2, 0} {
			if id, _, ok := tx.TakeUsed(); !ok || id != want {
				t.Errorf("%s: used id %d, %v, want %d", name, id, ok, want)
			}
		}
	}
}
