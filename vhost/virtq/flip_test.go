package virtq_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"baton/dataplane/buf"
	"baton/vhost/guestmem"
	"baton/vhost/virtq"
	"baton/vhost/virtq/drivertest"
)

// Number 16 of the hostile inputs, without a race: what a device has read of a
// descriptor it does not read again, shown by changing all of them at a moment that is
// known. Of a transmit ring that is when the device asks for buffers, between reading
// descriptors and reading frames; of a receive ring, when it writes a frame into a
// buffer that lies over the descriptors. Test/hostile has the race.

// flips is what each descriptor becomes.
var flips = []guestmem.Desc{
	{Addr: unmapped(), Len: 112}, {Addr: at(dataOff), Len: 0xffffffff}, {Addr: at(memSize - 8), Len: 112},
	{Addr: at(dataOff), Len: 112, Flags: next, Next: 9}, {Addr: at(dataOff), Len: 16, Flags: indirect},
	{Addr: at(dataOff), Len: 112, Flags: write, Next: 0xffff}, {Addr: at(dataOff + 4096), Len: 60, Next: 5}, {},
}

// flipper is a pool that does something when the first buffers are fetched.
type flipper struct {
	*buf.Pool
	flip func()
	num  int
}

func (f *flipper) Get(bufs []*buf.Buf) bool {
	if f.num == 0 {
		f.flip()
	}
	f.num++
	return f.Pool.Get(bufs)
}

// tableOff is where tests put an indirect table.
const tableOff = dataOff + 64<<10

// encode writes d into b as the ring's format has it, in the ring or in a table.
func (g *rig) encode(b []byte, d guestmem.Desc) {
	if g.pack != nil { // the id is in front of the flags
		d.Flags, d.Next = d.Next, d.Flags
	}
	drivertest.PutDesc(b, d)
}

// flipAll makes everything that ring and tables say of chains d.
func (g *rig) flipAll(d guestmem.Desc) {
	for i := range 8 {
		if g.split != nil {
			g.mem.Bytes[g.split.Avail+4+2*i] ^= 5 // which chain comes next
			g.encode(g.mem.Bytes[16*i:], d)
		} else {
			in := d
			in.Flags |= availBit // in this lap
			g.encode(g.mem.Bytes[16*i:], in)
		}
		g.encode(g.mem.Bytes[tableOff+16*i:], d)
	}
}

// offered puts three frames into a transmit ring, in chains of a shape, and returns them.
func (g *rig) offered(shape string) (frames [][]byte) {
	for i := range 3 {
		off := dataOff + 8192*(i+1)
		frames = append(frames, g.frame(off, 100+i, byte(i)))
		head := uint16(2 * i)
		n := 112 + i
		switch shape {
		case "plain":
			g.desc(2*i, at(off-12), n, 0, 0)
		case "chained":
			g.desc(2*i, at(off-12), 50, next, head+1)
			g.desc(2*i+1, at(off+38), n-50, 0, 0)
		case "indirect":
			tab := tableOff + 32*i
			g.encode(g.mem.Bytes[tab:], guestmem.Desc{Addr: at(off - 12), Len: 50, Flags: next, Next: 1})
			g.encode(g.mem.Bytes[tab+16:], guestmem.Desc{Addr: at(off + 38), Len: uint32(n - 50)})
			g.desc(2*i, at(tab), 32, indirect, 0)
		}
		g.drv.Push(head)
	}
	return frames
}

// eachFlip runs f for each format, with and without a dirty log (which has a path of its
// own), and each flip.
func eachFlip(t *testing.T, f func(t *testing.T, g *rig, d guestmem.Desc)) {
	both(t, func(t *testing.T, newRig maker) {
		for _, logging := range []bool{false, true} {
			for i, d := range flips {
				t.Run(fmt.Sprintf("log %v/%d", logging, i), func(t *testing.T) {
					g := newRig(t, 8, nil)
					if logging {
						g.cfg.Log, _ = newLog(t, logSize)
						if err := g.q.SetView(g.table, g.cfg); err != nil {
							t.Fatal(err)
						}
					}
					f(t, g, d)
				})
			}
		}
	})
}

func TestHostile16_TransmitReadOnce(t *testing.T) {
	for _, shape := range []string{"plain", "chained", "indirect"} {
		t.Run(shape, func(t *testing.T) {
			eachFlip(t, func(t *testing.T, g *rig, d guestmem.Desc) {
				want := g.offered(shape)
				source := &flipper{Pool: g.pool, flip: func() { g.flipAll(d) }}
				g.cache = buf.NewCache(source)
				got := g.take()
				if source.num == 0 {
					t.Fatal("nothing was flipped")
				}
				if !slices.EqualFunc(got, want, bytes.Equal) {
					t.Errorf("got %d frames %x, want %x", len(got), got, want)
				}
				for i := range want {
					if id, n, ok := g.drv.TakeUsed(); !ok || id != uint32(2*i) || n != 0 {
						t.Errorf("used element %d: id %d, %d bytes, %v", i, id, n, ok)
					}
				}
				if why := g.q.Broken(); why != virtq.ReasonNone {
					t.Errorf("broken: %v", why)
				}
			})
		})
	}
}

// TestHostile16_ReceiveReadOnce: the first buffer lies over the descriptors of the others,
// its header in front of them, so that the frame in it makes them what it says.
func TestHostile16_ReceiveReadOnce(t *testing.T) {
	const ringOff = 4096
	eachFlip(t, func(t *testing.T, g *rig, d guestmem.Desc) {
		g.driveAt(8, ringOff)
		q, err := virtq.New(g.table, g.cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		g.q = q
		for range 7 { // from here on the last entry is the first one's
			g.desc(7, at(dataOff), 200, write, 0)
			g.drv.Push(7)
			if n := g.give(t, make([]byte, 60)); n != 1 {
				t.Fatal("the ring does not work")
			}
			g.drv.TakeUsed()
		}
		buffers := []int{ringOff - 12, dataOff + 8192, dataOff + 2*8192}
		heads := []uint16{7, 2, 4}
		for i, head := range heads {
			g.desc(int(head), at(buffers[i]), 200, write, 0)
			g.drv.Push(head)
		}
		if d.Flags == write && g.pack != nil {
			d.Flags |= usedBit // available, in the lap that has begun
		}
		garbage := make([]byte, 16*7)
		for i := range 7 {
			g.encode(garbage[16*i:], d)
		}
		frames := [][]byte{garbage, bytes.Repeat([]byte{0xb}, 100), bytes.Repeat([]byte{0xc}, 90)}
		if n := g.give(t, frames...); n != 3 {
			t.Fatalf("%d frames taken", n)
		}
		for i, f := range frames {
			if id, n, ok := g.drv.TakeUsed(); !ok || id != uint32(heads[i]) || int(n) != 12+len(f) {
				t.Errorf("used element %d: id %d, %d bytes, %v", i, id, n, ok)
			}
			if off := buffers[i] + 12; i > 0 && !bytes.Equal(g.mem.Bytes[off:off+len(f)], f) {
				t.Errorf("frame %d is not where its buffer was", i)
			}
		}
		if why := g.q.Broken(); why != virtq.ReasonNone {
			t.Errorf("broken: %v", why)
		}
	})
}
