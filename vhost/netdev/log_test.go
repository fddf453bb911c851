package netdev_test

import (
	"testing"

	"baton/vhost/netdev"
	"baton/vhost/proto"
	"baton/vhost/virtq/drivertest"
)

// logBytes is a dirty log that covers the rig's memory.
const logBytes = 1 << 16

// dirty tells whether the page of guest address gpa is noted, and clears the note.
func dirty(log *drivertest.Mem, gpa uint64) bool {
	at, bit := gpa/4096/8, byte(1)<<(gpa/4096%8)
	was := log.Bytes[at]&bit != 0
	log.Bytes[at] &^= bit
	return was
}

// A migration as QEMU has it: LOG_BASE, LOG_ALL, addresses with the log's flag, while
// the rings run; then it is called off. The rings keep their places, nothing is lost,
// and what the device writes is noted exactly while it should be.
func TestLiveMigrationLog(t *testing.T) {
	g := newRig(t, nil)
	log := drivertest.NewMem(t, logBytes)
	g.connect(modern)
	g.passes()
	before := openFDs(t)
	received := at(dataOff + 8192) // where passes has its receive buffer
	if dirty(log, received) {
		t.Fatal("logged without a log")
	}
	g.ok(g.dev.SetLogBase(logBytes, 0, log.DupFD(t)))
	g.passes()
	if dirty(log, received) {
		t.Fatal("logged without LOG_ALL")
	}
	g.sendOne(60) // waits in the ring while features change
	g.ok(g.dev.SetFeatures(modern | proto.FeatureLogAll))
	if n := g.recv(); n != 1 {
		t.Fatalf("%d frames out of the ring over LOG_ALL, want 1", n)
	}
	g.passes()
	if !dirty(log, received) {
		t.Fatal("a received frame is not logged")
	}
	for i, r := range []*drivertest.Ring{g.rx, g.tx} {
		a := addr(i, r)
		a.Flags, a.Log = 1, at(64<<10)+uint64(r.Used-r.Desc)
		g.ok(g.dev.SetVringAddr(a))
		dirty(log, a.Log)
		g.passes()
		if !dirty(log, a.Log) {
			t.Errorf("ring %d: the used ring is not logged", i)
		}
	}
	// Another log: the old one is let go, and not written any more.
	log2 := drivertest.NewMem(t, logBytes)
	g.ok(g.dev.SetLogBase(logBytes, 0, log2.DupFD(t)))
	dirty(log, received)
	g.passes()
	if dirty(log, received) || !dirty(log2, received) {
		t.Error("the new log is not in use")
	}
	g.ok(g.dev.SetFeatures(modern))
	g.passes()
	if dirty(log2, received) {
		t.Error("logged after LOG_ALL went")
	}
	if got := openFDs(t); got != before+2 { // the test's second log, and the device's one
		t.Errorf("%d descriptors, want %d", got, before+2)
	}
	if s := g.dev.Snapshot(); s.Rings[1].Totals.Discarded != 0 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
}

// 37: memory that the log has no bits for is refused while it is in use, and features
// that would put it to use.
func TestHostile37_ShortLog(t *testing.T) {
	g := newRig(t, nil)
	log := drivertest.NewMem(t, logBytes)
	g.ok(g.dev.SetFeatures(modern))
	g.ok(g.dev.SetLogBase(16, 0, log.DupFD(t))) // no memory yet: long enough
	g.ok(g.dev.SetMemTable(g.regions()))
	if g.dev.SetFeatures(modern|proto.FeatureLogAll) == nil {
		t.Error("LOG_ALL with a short log is accepted")
	}
	g.ok(g.dev.SetLogBase(logBytes, 0, log.DupFD(t)))
	g.ok(g.dev.SetFeatures(modern | proto.FeatureLogAll))
	more := g.regions()[0]
	more.GuestAddr, more.UserAddr = 1<<40, 1<<44
	if g.dev.AddMemRegion(more) == nil {
		t.Error("memory beyond the log is accepted")
	}
}

// LOG_ALL comes and goes under traffic: no frame is lost or comes twice.
func TestLogUnderTraffic(t *testing.T) {
	l := newLoop()
	g := newRig(t, func(c *netdev.Config) { c.Quiescer = l })
	log := drivertest.NewMem(t, logBytes)
	g.connect(modern)
	got, sent, torn := 0, 0, false
	l.run(func() {
		n := g.dev.Queue(0).Rx(g.cache, &g.vec)
		for i := range n {
			torn = torn || g.vec[i].Data()[0] != byte(got+i)
		}
		got += n
		g.cache.FreeAll(&g.vec, n)
	})
	for lap := range 300 {
		for g.tx.AvailIdx-g.tx.UsedIdx() < ringNum {
			i := int(g.tx.AvailIdx) % ringNum
			off := dataOff + 2048*i
			g.mem.Bytes[off+12] = byte(sent)
			g.tx.SetDesc(i, descOf(off, 72))
			g.tx.Push(uint16(i))
			sent++
		}
		if lap%3 == 0 {
			g.ok(g.dev.SetLogBase(logBytes, 0, log.DupFD(t)))
		}
		g.ok(g.dev.SetFeatures(modern | proto.FeatureLogAll*uint64(lap%2)))
	}
	eventually(t, "all frames", func() bool { return g.tx.UsedIdx() == g.tx.AvailIdx })
	l.halt()
	if got != sent || torn {
		t.Fatalf("got %d of %d, torn %v", got, sent, torn)
	}
}
