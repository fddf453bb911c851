package netdev_test

import (
	"testing"

	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// 43: the device is reset under traffic, by each of the messages that do it, and set up
// again. What was taken came once and whole, what was not waits in the ring.
func TestHostile43_ResetUnderTraffic(t *testing.T) {
	l := newLoop()
	g := newRig(t, func(c *netdev.Config) { c.Quiescer = l })
	got, torn := 0, false
	l.run(func() {
		n := g.dev.Queue(0).Rx(g.cache, &g.vec)
		for i := range n {
			torn = torn || g.vec[i].Len() != 60 || g.vec[i].Data()[0] != byte(got+i)
		}
		got += n
		g.cache.FreeAll(&g.vec, n)
	})
	defer l.halt()
	const features = modern &^ proto.FeatureProtocol // else what waits is discarded until ENABLE
	before := openFDs(t)
	sent := 0
	for lap := range 200 {
		g.connect(features | proto.FeatureEventIdx*uint64(lap%2))
		for range 10 {
			for g.tx.AvailIdx-g.tx.UsedIdx() == ringNum {
			}
			i := int(g.tx.AvailIdx) % ringNum
			off := dataOff + 2048*i
			g.mem.Bytes[off+12] = byte(sent)
			g.tx.SetDesc(i, descOf(off, 72))
			g.tx.Push(uint16(i))
			sent++
		}
		switch lap % 3 {
		case 0:
			g.ok(g.dev.SetStatus(0))
		case 1:
			g.ok(g.dev.Reset())
		default:
			g.dev.Disconnected()
		}
		if g.dev.Info().Up || g.dev.Status() != 0 {
			t.Fatal("up after a reset")
		}
	}
	g.connect(features)
	eventually(t, "all frames", func() bool { return g.tx.UsedIdx() == g.tx.AvailIdx })
	g.dev.Disconnected()
	l.halt()
	if got != sent || torn {
		t.Errorf("got %d of %d, torn %v", got, sent, torn)
	}
	if n := openFDs(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}
