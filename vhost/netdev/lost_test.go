package netdev_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/netdev"
	"baton/vhost/proto"
	"baton/vhost/virtq/drivertest"
)

// driver is a driver's side of a ring of either format.
type driver interface {
	SetDesc(i int, d guestmem.Desc)
	Push(heads ...uint16)
	TakeUsed() (id, n uint32, ok bool)
}

const (
	lostFlight = 32   // chains in flight of a ring
	lostSize   = 2048 // of a buffer
)

// counted is a guest that sends and gets numbered frames.
type counted struct {
	*rig
	rx, tx           driver
	sent, back, seen int // by the guest: sent, given back to it, seen by the switch
	offered, got     int // to the switch: buffers; frames that the guest got
	given            int // by the switch
}

// send makes the guest send up to num frames.
func (c *counted) send(num int) {
	for range num {
		if c.sent-c.back == lostFlight {
			return
		}
		i := c.sent % lostFlight
		off := dataOff + i*lostSize
		binary.LittleEndian.PutUint32(c.mem.Bytes[off+12+14:], uint32(c.sent))
		c.tx.SetDesc(i, guestmem.Desc{Addr: at(off), Len: 12 + 60})
		c.tx.Push(uint16(i))
		c.sent++
	}
}

// offer makes the guest offer up to num buffers.
func (c *counted) offer(num int) {
	for range num {
		if c.offered-c.got == lostFlight {
			return
		}
		i := c.offered % lostFlight
		c.rx.SetDesc(i, guestmem.Desc{Addr: at(dataOff + (lostFlight+i)*lostSize), Len: lostSize, Flags: guestmem.DescWrite})
		c.rx.Push(uint16(i))
		c.offered++
	}
}

// take makes the guest take up to num of what came back in each ring.
func (c *counted) take(num int) {
	c.t.Helper()
	for range num {
		if id, _, ok := c.tx.TakeUsed(); ok {
			if int(id) != c.back%lostFlight {
				c.t.Fatalf("chain %d came back, want %d", id, c.back%lostFlight)
			}
			c.back++
		}
		if id, n, ok := c.rx.TakeUsed(); ok {
			off := dataOff + (lostFlight+int(id))*lostSize + 12 + 14
			if f := binary.LittleEndian.Uint32(c.mem.Bytes[off:]); int(f) != c.got || n != 12+60 {
				c.t.Fatalf("the guest got frame %d of %d bytes, want %d", f, n, c.got)
			}
			c.got++
		}
	}
}

// recv makes the switch take what the guest sent, a burst.
func (c *counted) recv() {
	c.t.Helper()
	n := c.dev.Queue(0).Rx(c.cache, &c.vec)
	for i := range n {
		if f := binary.LittleEndian.Uint32(c.vec[i].Data()[14:]); int(f) != c.seen {
			c.t.Fatalf("the switch got frame %d, want %d", f, c.seen)
		}
		c.seen++
	}
	c.cache.FreeAll(&c.vec, n)
}

// give makes the switch send num frames, at most a burst.
func (c *counted) give(num int) {
	for i := range num {
		b := c.cache.Alloc()
		f := make([]byte, 60)
		binary.LittleEndian.PutUint32(f[14:], uint32(c.given+i))
		b.SetFrame(f)
		c.vec[i] = b
	}
	n := c.dev.Queue(0).Tx(c.cache, &c.vec, num)
	for i := n; i < num; i++ {
		c.cache.Free(c.vec[i])
	}
	c.given += n
}

// step is something of all that guest and switch do.
func (c *counted) step(rnd *rand.Rand) {
	c.t.Helper()
	num := 1 + rnd.IntN(lostFlight-1)
	switch rnd.IntN(5) {
	case 0:
		c.send(num)
	case 1:
		c.offer(num)
	case 2:
		c.take(num)
	case 3:
		c.recv()
	case 4:
		c.give(num)
	}
}

// heirOf is another device for the guest, from what c's device told before it served any
// frame. lost: nobody asked c's device for its words.
func (c *counted) heirOf(s netdev.State, lost bool) *netdev.Device {
	c.t.Helper()
	heir, err := netdev.Restore(netdev.Config{Name: "vm1", QueuePairs: 1}, s)
	c.ok(err)
	if n := heir.Running(); n != 0 {
		c.t.Fatalf("%d rings run before they are resumed", n)
	}
	if lost {
		if c.seen&1 == 0 { // in two steps
			heir.ResumeLostReceive()
			if n := heir.Running(); n != 1 || heir.Queue(0).Rx(c.cache, &c.vec) != 0 {
				c.t.Fatalf("%d rings run, want the one by which the guest receives", n)
			}
			heir.ResumeLostReceive()
		}
		heir.ResumeLost()
	} else {
		c.dev.Suspend()
		c.ok(heir.Resume(c.dev.Words()))
	}
	if n := heir.Running(); n != 2 {
		c.t.Fatalf("%d rings run, want 2; %+v", n, heir.Snapshot().Rings)
	}
	heir.ResumeLost() // nothing is suspended
	return heir
}

// A device that serves a guest is gone at any moment, and told nothing but what it was like
// before it served a frame: the next one goes on, and no frame is lost or comes twice.
func TestResumeLost(t *testing.T) {
	for name, features := range map[string]uint64{
		"split": modern, "split, event index": modern | proto.FeatureEventIdx,
		"packed": packedFeatures, "packed, event index": packedFeatures | proto.FeatureEventIdx,
	} {
		t.Run(name, func(t *testing.T) {
			c := &counted{rig: newRig(t, nil)}
			if features&proto.FeatureRingPacked != 0 {
				rx, tx := drivertest.NewPacked(c.mem, ringNum, rxRing), drivertest.NewPacked(c.mem, ringNum, txRing)
				c.connectPacked(features, rx, tx, 0x80008000)
				c.rx, c.tx = rx, tx
			} else {
				c.connect(features)
				c.rx, c.tx = c.rig.rx, c.rig.tx
			}
			rnd := rand.New(rand.NewPCG(uint64(features), 1)) // always the same
			first, gone := c.dev, []*netdev.Device(nil)
			for i := range 60 {
				s := sent(t, c.dev.State())
				for range rnd.IntN(60) {
					c.step(rnd)
				}
				heir := c.heirOf(s, i%4 != 3) // what an orderly one was told is stale for the next
				gone = append(gone, c.dev)    // nobody asks it any more; closed when all is over
				c.dev = heir
			}
			for range 10 {
				c.recv()
				c.take(lostFlight)
			}
			if c.seen != c.sent || c.back != c.sent || c.got != c.given || c.sent < 200 || c.given < 200 {
				t.Errorf("the guest sent %d, %d came back, the switch got %d; it sent %d, the guest got %d", c.sent, c.back, c.seen, c.given, c.got)
			}
			for _, d := range append(gone[1:], c.dev) {
				c.ok(d.Close())
			}
			c.dev = first // that is the rig's to close
		})
	}
}

// Running counts what runs: not what lacks something, is suspended or was broken.
func TestRunning(t *testing.T) {
	g := newRig(t, nil)
	want := func(n int) {
		t.Helper()
		if got := g.dev.Running(); got != n {
			t.Errorf("%d rings run, want %d", got, n)
		}
	}
	want(0)
	g.ok(g.dev.SetFeatures(modern))
	g.ok(g.dev.SetMemTable(g.regions()))
	g.startRing(0, g.rx, 0)
	want(1)
	g.startRing(1, g.tx, 0)
	g.ok(g.dev.SetVringEnable(1, true))
	want(2)
	g.dev.Suspend()
	want(0)
	g.ok(g.dev.Resume(nil))
	want(2)
	g.tx.SetDesc(0, guestmem.Desc{Addr: at(dataOff), Len: 72, Flags: guestmem.DescNext, Next: 0}) // a loop
	g.tx.Push(0)
	g.recv()
	want(1)
}
