package netdev_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/netdev"
	"baton/vhost/proto"
	"baton/vhost/virtq/drivertest"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewRefuses(t *testing.T) {
	for _, c := range []netdev.Config{
		{QueuePairs: 1}, {Name: "a"}, {Name: "a", QueuePairs: netdev.MaxQueuePairs + 1},
		{Name: "a", QueuePairs: 1, MTU: 67}, {Name: "a", QueuePairs: 1, MTU: 65536},
	} {
		if d, err := netdev.New(c); err == nil || d != nil {
			t.Errorf("%+v: accepted", c)
		}
	}
}

// The whole life: down, up, traffic, ring stop and start, disconnect, reconnect. All
// descriptors are closed and each change of state is told.
func TestLife(t *testing.T) {
	g := newRig(t, nil)
	before := openFDs(t)
	if g.dev.Info().Up || g.recv() != 0 || g.send() {
		t.Fatal("works without a session")
	}
	for lap := range 3 {
		g.connect(modern)
		if !g.dev.Info().Up || g.dev.ActiveQueues() != 1 {
			t.Fatal("not up")
		}
		for range 100 {
			g.passes()
		}
		base, err := g.dev.GetVringBase(1)
		g.ok(err)
		if want := uint32(g.tx.AvailIdx); base != want {
			t.Fatalf("base %d, want %d", base, want)
		}
		if g.dev.Info().Up {
			t.Fatal("up without a transmit ring")
		}
		g.startRing(1, g.tx, base)
		g.passes()
		g.dev.Disconnected()
		if g.dev.Info().Up || g.recv() != 0 || g.send() || g.dev.ActiveQueues() != 0 {
			t.Fatal("works without a session")
		}
		if n := openFDs(t); n != before {
			t.Fatalf("lap %d: %d descriptors, %d before", lap, n, before)
		}
	}
	if g.ups.Load() != 3*4 {
		t.Errorf("%d changes told, want 12", g.ups.Load())
	}
}

// Reconnect with stale bases (0): the used index is where to go on, so nothing is
// sent twice and nothing is lost.
func TestReconnectGoesOnAtUsedIndex(t *testing.T) {
	g := newRig(t, nil)
	for range 3 {
		g.connect(modern)
		g.passes()
		g.sendOne(60)
		g.sendOne(60)
		g.dev.Disconnected()
		g.connect(modern)
		if n := g.recv(); n != 2 {
			t.Fatalf("%d frames after reconnect, want 2", n)
		}
		g.dev.Disconnected()
	}
}

// 39: no features acknowledged: legacy headers of 10 bytes; MRG_RXBUF alone: 12.
func TestHostile39_LegacyHeaders(t *testing.T) {
	for features, hdr := range map[uint64]int{0: 10, proto.FeatureMrgRxbuf: 12, modern: 12} {
		g := newRig(t, nil)
		g.connect(features)
		copy(g.mem.Bytes[dataOff+hdr:], "dstmacsrcmac")
		g.sendOne(60)
		n := g.dev.Queue(0).Rx(g.cache, &g.vec)
		if n != 1 || !strings.HasPrefix(string(g.vec[0].Data()), "dstmacsrcmac") || g.vec[0].Len() != 72-hdr {
			t.Fatalf("features %#x: %d frames", features, n)
		}
		g.cache.FreeAll(&g.vec, n)
	}
}

// 36: ENABLE and CALL before everything; the ring works once the rest came, in any order.
func TestHostile36_AnyOrder(t *testing.T) {
	g := newRig(t, nil)
	g.ok(g.dev.SetFeatures(modern))
	for i, r := range []*drivertest.Ring{g.rx, g.tx} {
		g.ok(g.dev.SetVringEnable(i, true))
		g.ok(g.dev.SetVringCall(i, g.eventFD()))
		g.ok(g.dev.SetVringKick(i, g.eventFD()))
		g.ok(g.dev.SetVringAddr(addr(i, r)))
		g.ok(g.dev.SetVringNum(i, ringNum))
	}
	if g.dev.Info().Up {
		t.Fatal("up without memory")
	}
	g.ok(g.dev.SetMemTable(g.regions()))
	g.passes()
}

// 35: GET_VRING_BASE of a ring that never was.
func TestHostile35_BaseOfNoRing(t *testing.T) {
	g := newRig(t, nil)
	if b, err := g.dev.GetVringBase(1); err != nil || b != 0 {
		t.Fatal(b, err)
	}
	g.ok(g.dev.SetVringBase(1, 77))
	if b, err := g.dev.GetVringBase(1); err != nil || b != 77 {
		t.Fatal(b, err)
	}
}

// refusedOfRings are messages about rings, features and descriptors.
func (g *rig) refusedOfRings() map[string]func() error {
	pipe := func() int {
		var p [2]int
		g.ok(unix.Pipe2(p[:], unix.O_CLOEXEC))
		unix.Close(p[0])
		return p[1]
	}
	bad := addr(1, g.tx)
	bad.Desc = 0x1000
	odd := addr(1, g.tx)
	odd.Used++
	flagged := addr(1, g.tx)
	flagged.Flags = 2
	return map[string]func() error{
		"31_ring_index":         func() error { return g.dev.SetVringKick(2, g.eventFD()) },
		"31_ring_index_high":    func() error { return g.dev.SetVringAddr(proto.VringAddr{Index: 1 << 16}) },
		"31_ring_negative":      func() error { return g.dev.SetVringCall(-1, g.eventFD()) },
		"31_base":               func() error { _, err := g.dev.GetVringBase(99); return err },
		"32_num_0":              func() error { return g.dev.SetVringNum(1, 0) },
		"32_num_100":            func() error { return g.dev.SetVringNum(1, 100) },
		"32_num_65536":          func() error { return g.dev.SetVringNum(1, 65536) },
		"32_num_while_running":  func() error { return g.dev.SetVringNum(1, 128) },
		"33_outside":            func() error { return g.dev.SetVringAddr(bad) },
		"33_unaligned":          func() error { return g.dev.SetVringAddr(odd) },
		"37_flag_2":             func() error { return g.dev.SetVringAddr(flagged) },
		"34_base_65536":         func() error { return g.dev.SetVringBase(1, 65536) },
		"34_base_while_running": func() error { return g.dev.SetVringBase(1, 3) },
		"22_call_is_a_pipe":     func() error { return g.dev.SetVringCall(0, pipe()) },
		"22_kick_is_a_pipe":     func() error { return g.dev.SetVringKick(1, pipe()) },
		"features":              func() error { return g.dev.SetFeatures(1 << 60) },
		"protocol_features":     func() error { return g.dev.SetProtocolFeatures(1 << 9) },
		"mtu_67":                func() error { return g.dev.SetMTU(67) },
	}
}

// refusedOfMemory are messages about memory and the dirty log.
func (g *rig) refusedOfMemory() map[string]func() error {
	log := drivertest.NewMem(g.t, 1<<16)
	overlap := func() []proto.MemRegion { return append(g.regions(), g.regions()...) }
	short := func() []proto.MemRegion { r := g.regions(); r[0].Size *= 2; return r }
	many := func() (rs []proto.MemRegion) {
		for range 65 {
			rs = append(rs, g.regions()...)
		}
		return rs
	}
	return map[string]func() error{
		"29_no_regions":     func() error { return g.dev.SetMemTable(nil) },
		"29_overlap":        func() error { return g.dev.SetMemTable(overlap()) },
		"29_short_file":     func() error { return g.dev.SetMemTable(short()) },
		"29_too_many":       func() error { return g.dev.SetMemTable(many()) },
		"29_add_overlap":    func() error { return g.dev.AddMemRegion(short()[0]) },
		"29_remove_unknown": func() error { return g.dev.RemMemRegion(short()[0]) },
		"37_log_no_file":    func() error { return g.dev.SetLogBase(4096, 0, g.eventFD()) },
		"37_log_wraps":      func() error { return g.dev.SetLogBase(1<<63, 1<<63, log.DupFD(g.t)) },
		"37_log_behind_end": func() error { return g.dev.SetLogBase(1<<16, 4096, log.DupFD(g.t)) },
		"37_log_short":      func() error { return g.dev.SetLogBase(8, 0, log.DupFD(g.t)) },
	}
}

// 31..34 and others: what is refused changes nothing, and traffic goes on. No
// descriptor leaks.
func TestHostileMessagesAreRefused(t *testing.T) {
	g := newRig(t, func(c *netdev.Config) { c.MTU = 1442 })
	g.connect(modern)
	all := g.refusedOfRings()
	maps.Copy(all, g.refusedOfMemory())
	before := openFDs(t)
	for name, f := range all {
		if err := f(); err == nil || !strings.HasPrefix(err.Error(), "vhost vm1: ") {
			t.Errorf("%s: %v", name, err)
		}
		if n := openFDs(t); n != before {
			t.Fatalf("%s: %d descriptors, %d before", name, n, before)
		}
		g.passes()
	}
	if n := g.dev.Snapshot().Refused; n != uint64(len(all)) {
		t.Errorf("%d refused of %d", n, len(all))
	}
}

// 33: a ring that starts outside memory is refused at its kick and not started.
func TestHostile33_KickOutsideMemory(t *testing.T) {
	g := newRig(t, nil)
	g.ok(g.dev.SetFeatures(modern))
	g.ok(g.dev.SetMemTable(g.regions()))
	g.ok(g.dev.SetVringNum(1, ringNum))
	a := addr(1, g.tx)
	a.Used = drivertest.User + memSize
	g.ok(g.dev.SetVringAddr(a))
	before := openFDs(t)
	if err := g.dev.SetVringKick(1, g.eventFD()); err == nil {
		t.Fatal("started")
	}
	if openFDs(t) != before || g.dev.Snapshot().Rings[1].Started {
		t.Fatal("the refused message left something behind")
	}
}

// The guest breaks its TX ring: the device says so, its RX ring goes on, and a reset
// by the front end brings all back.
func TestBrokenRing(t *testing.T) {
	g := newRig(t, nil)
	g.connect(modern)
	errfd := g.eventFD()
	keep, err := unix.FcntlInt(uintptr(errfd), unix.F_DUPFD_CLOEXEC, 3)
	g.ok(err)
	defer unix.Close(keep)
	g.ok(g.dev.SetVringErr(1, errfd))
	g.tx.Push(ringNum)
	if g.recv() != 0 {
		t.Fatal("frames out of a broken ring")
	}
	if drivertest.Signals(keep) != 1 {
		t.Error("error descriptor not signalled")
	}
	eventually(t, "device down", func() bool { return !g.dev.Info().Up })
	s := g.dev.Snapshot()
	if s.Broken["bad_head"] != 1 || s.Rings[1].Broken != "bad_head" || s.Rings[0].Broken != "none" {
		t.Fatalf("%+v", s)
	}
	g.offerOne()
	if !g.send() {
		t.Fatal("the other ring stopped")
	}
	g.ok(g.dev.SetStatus(0))
	clear(g.mem.Bytes[:dataOff])
	g.tx, g.rx = drivertest.NewRing(g.mem, ringNum, txRing), drivertest.NewRing(g.mem, ringNum, rxRing)
	g.connect(modern)
	g.passes()
	if g.dev.Snapshot().Rings[1].LastBroken != "bad_head" {
		t.Error("the reason is forgotten")
	}
}

// 29: the memory file is cut short under a running port: only this port breaks.
func TestHostile29_TruncatedMemory(t *testing.T) {
	good, bad := newRig(t, nil), newRig(t, nil)
	good.connect(modern)
	bad.connect(modern)
	bad.sendOne(60)
	bad.offerOne()
	bad.ok(unix.Ftruncate(bad.mem.FD, 0))
	for range 10 {
		if bad.recv() != 0 || bad.send() {
			t.Fatal("frames out of nowhere")
		}
		bad.dev.Queue(0).Arm()
		bad.dev.Queue(0).Disarm()
		good.passes()
	}
	s := bad.dev.Snapshot()
	if s.Rings[0].Broken != "memory_gone" || s.Rings[1].Broken != "memory_gone" {
		t.Fatalf("%+v", s.Rings)
	}
	eventually(t, "device down", func() bool { return !bad.dev.Info().Up })
	bad.ok(unix.Ftruncate(bad.mem.FD, memSize)) // the driver's own mapping must live for the test's end
}

// Truncation in the middle of a burst gives the burst's buffers back (the rig checks).
func TestTruncatedMidBurst(t *testing.T) {
	g := newRig(t, nil)
	g.connect(modern)
	for range 8 {
		g.tx.Put(0)
	}
	g.sendOne(60)
	g.ok(unix.Ftruncate(g.mem.FD, dataOff)) // rings stay, frames go
	if g.recv() != 0 || g.dev.Snapshot().Rings[1].Broken != "memory_gone" {
		t.Fatal("not broken")
	}
	g.ok(unix.Ftruncate(g.mem.FD, memSize))
}

// Memory regions come and go one by one; an identical one again is no error.
func TestMemSlots(t *testing.T) {
	g := newRig(t, nil)
	g.connect(modern)
	g.passes()
	before := openFDs(t)
	same := g.regions()[0]
	g.ok(g.dev.AddMemRegion(same))
	more := same
	more.GuestAddr, more.UserAddr, more.FD = 1<<40, 1<<44, g.mem.DupFD(t)
	g.ok(g.dev.AddMemRegion(more))
	if n := len(g.dev.Snapshot().Regions); n != 2 {
		t.Fatal(n)
	}
	more.FD = -1
	g.ok(g.dev.RemMemRegion(more))
	if openFDs(t) != before {
		t.Error("descriptors leak")
	}
	g.passes()
	// The rings' own region goes and comes back: the rings wait for it.
	same.FD = -1
	g.ok(g.dev.RemMemRegion(same))
	if g.recv() != 0 || g.send() || g.dev.Info().Up {
		t.Fatal("works without memory")
	}
	g.ok(g.dev.AddMemRegion(g.regions()[0]))
	g.passes()
}

func TestFeaturesAndSnapshot(t *testing.T) {
	g := newRig(t, func(c *netdev.Config) { c.QueuePairs, c.MTU = 4, 1442 })
	if f := g.dev.Features(); f&proto.FeatureMQ == 0 || f&proto.FeatureMTU == 0 || f&(proto.FeatureHostUFO|proto.FeatureGuestUFO) != 0 {
		t.Errorf("features %#x", f)
	}
	if g.dev.NumRings() != 8 || g.dev.NumQueues() != 4 {
		t.Error("rings")
	}
	g.connect(modern)
	g.ok(g.dev.SetMTU(1400))
	if g.dev.Info().MTU != 1400 {
		t.Error("MTU")
	}
	g.passes()
	if _, err := json.Marshal(g.dev.Snapshot()); err != nil {
		t.Error(err)
	}
	s := g.dev.Snapshot()
	if r := s.Rings[1]; r.Indices.Used != 1 || r.Indices.Avail != 1 || r.Totals.Packets != 1 || r.Totals.Bytes != 60 || r.Kicks == 0 {
		t.Errorf("%+v", r)
	}
	// virtio_user: the same features again, then others, while the rings run.
	g.ok(g.dev.SetFeatures(modern))
	g.ok(g.dev.SetFeatures(modern | proto.FeatureEventIdx))
	g.passes()
}

func TestNoAllocations(t *testing.T) {
	g := newRig(t, nil)
	g.connect(modern)
	q := g.dev.Queue(0)
	if n := testing.AllocsPerRun(100, func() {
		g.passes()
		q.Arm()
		q.Disarm()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Memory is swapped, rings are stopped, started, enabled and called elsewhere while a
// worker polls: nothing is lost, sent twice or torn. For the race detector above all.
func TestControlUnderTraffic(t *testing.T) {
	l := newLoop()
	g := newRig(t, func(c *netdev.Config) { c.Quiescer = l })
	g.connect(modern)
	var got, sent int
	var bad bool
	q := g.dev.Queue(0)
	l.run(func() {
		n := q.Rx(g.cache, &g.vec)
		for i := range n {
			d := g.vec[i].Data()
			bad = bad || len(d) != 60 || d[0] != byte(got+i)
		}
		got += n
		// What came goes back to the guest, or is dropped.
		took := q.Tx(g.cache, &g.vec, n)
		for i := took; i < n; i++ {
			g.cache.Free(g.vec[i])
		}
	})
	push := func() {
		if g.tx.AvailIdx-g.tx.UsedIdx() < ringNum {
			i := int(g.tx.AvailIdx) % ringNum
			off := dataOff + 2048*i
			g.mem.Bytes[off+12] = byte(sent)
			g.tx.SetDesc(i, descOf(off, 72))
			g.tx.Push(uint16(i))
			sent++
		}
	}
	cuts := [][]uint64{nil, {128 << 10}, {64 << 10, dataOff}, {dataOff + 3*4096}}
	for lap := range 200 {
		for range 20 {
			push()
		}
		g.ok(g.dev.SetMemTable(g.regions(cuts[lap%len(cuts)]...)))
		push()
		g.ok(g.dev.SetVringCall(1, g.eventFD()))
		g.ok(g.dev.SetVringKick(1, g.eventFD()))
		push()
		if lap%10 == 0 {
			base, err := g.dev.GetVringBase(1)
			g.ok(err)
			g.startRing(1, g.tx, base)
		}
		g.ok(g.dev.SetVringEnable(0, lap%2 == 0))
		g.dev.Snapshot()
	}
	eventually(t, "all frames", func() bool { return g.tx.UsedIdx() == g.tx.AvailIdx })
	l.halt()
	if got != sent || bad {
		t.Fatalf("got %d of %d, torn %v", got, sent, bad)
	}
}

func descOf(off, n int) guestmem.Desc { return guestmem.Desc{Addr: at(off), Len: uint32(n)} }
