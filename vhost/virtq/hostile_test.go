package virtq_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/virtq"
	"baton/vhost/virtq/drivertest"

	"golang.org/x/sys/unix"
)

// table writes an indirect table at offset off.
func (g *rig) table16(off int, descs ...guestmem.Desc) {
	for i, d := range descs {
		if g.pack != nil { // id and flags lie the other way round (virtio 1.2, 2.8.13)
			d.Flags, d.Next = d.Next, d.Flags
		}
		drivertest.PutDesc(g.mem.Bytes[off+16*i:], d)
	}
}

func unmapped() uint64 { return drivertest.Guest + memSize + 4096 }

// splitOnly are the cases that a packed ring cannot express: it has no next, no
// available ring, and its indirect tables are no chains.
var splitOnly = regexp.MustCompile(`^(01_|04_|13_indirect_next_out_of_table|14_|15_)`)

// hostileTx are transmit rings that no driver makes. The number is that of the list
// of bad inputs. num is 8.
var hostileTx = []struct {
	name  string
	setup func(g *rig)
	want  virtq.Reason
}{
	{"01_next_out_of_ring", func(g *rig) { g.desc(0, at(dataOff), 20, next, 8); g.drv.Push(0) }, virtq.ReasonBadNext},
	{"01_next_ffff", func(g *rig) { g.desc(0, at(dataOff), 20, next, 0xffff); g.drv.Push(0) }, virtq.ReasonBadNext},
	{"02_self_loop_len_0", func(g *rig) { g.desc(0, at(dataOff), 0, next, 0); g.drv.Push(0) }, virtq.ReasonChainTooLong},
	{"03_two_node_loop", func(g *rig) {
		g.desc(0, at(dataOff), 20, next, 1)
		g.desc(1, at(dataOff), 20, next, 0)
		g.drv.Push(0)
	}, virtq.ReasonChainTooLong},
	{"04_indirect_chain_longer_than_ring", func(g *rig) {
		g.table16(dataOff, guestmem.Desc{Addr: at(dataOff), Len: 1, Flags: next, Next: 0})
		g.desc(0, at(dataOff), 16, indirect, 0)
		g.drv.Push(0)
	}, virtq.ReasonChainTooLong},
	{"06_unmapped", func(g *rig) { g.desc(0, unmapped(), 100, 0, 0); g.drv.Push(0) }, virtq.ReasonBadAddress},
	{"06_end_unmapped", func(g *rig) { g.desc(0, at(memSize-50), 100, 0, 0); g.drv.Push(0) }, virtq.ReasonBadAddress},
	{"07_unmapped_len_0", func(g *rig) { g.desc(0, unmapped(), 0, 0, 0); g.drv.Push(0) }, virtq.ReasonBadAddress},
	{"09_range_wraps", func(g *rig) { g.desc(0, ^uint64(0)-10, 100, 0, 0); g.drv.Push(0) }, virtq.ReasonBadAddress},
	{"12_writable_in_tx", func(g *rig) { g.desc(0, at(dataOff), 100, write, 0); g.drv.Push(0) }, virtq.ReasonWritable},
	{"13_indirect_len_odd", func(g *rig) { g.desc(0, at(dataOff), 17, indirect, 0); g.drv.Push(0) }, virtq.ReasonIndirectLen},
	{"13_indirect_len_0", func(g *rig) { g.desc(0, at(dataOff), 0, indirect, 0); g.drv.Push(0) }, virtq.ReasonIndirectLen},
	{"13_indirect_nested", func(g *rig) {
		g.table16(dataOff, guestmem.Desc{Addr: at(dataOff), Len: 16, Flags: indirect})
		g.desc(0, at(dataOff), 16, indirect, 0)
		g.drv.Push(0)
	}, virtq.ReasonIndirectNested},
	{"13_indirect_and_next", func(g *rig) { g.desc(0, at(dataOff), 16, indirect|next, 1); g.drv.Push(0) }, virtq.ReasonIndirectNext},
	{"13_indirect_longer_than_ring", func(g *rig) { g.desc(0, at(dataOff), 16*9, indirect, 0); g.drv.Push(0) }, virtq.ReasonIndirectSize},
	{"13_indirect_len_4G", func(g *rig) { g.desc(0, at(dataOff), 0xfffffff0, indirect, 0); g.drv.Push(0) }, virtq.ReasonIndirectSize},
	{"13_indirect_unmapped", func(g *rig) { g.desc(0, unmapped(), 16, indirect, 0); g.drv.Push(0) }, virtq.ReasonBadAddress},
	{"13_indirect_end_unmapped", func(g *rig) { g.desc(0, at(memSize-16), 32, indirect, 0); g.drv.Push(0) }, virtq.ReasonBadAddress},
	{"13_indirect_next_out_of_table", func(g *rig) {
		g.table16(dataOff, guestmem.Desc{Addr: at(dataOff), Len: 1, Flags: next, Next: 1})
		g.desc(0, at(dataOff), 16, indirect, 0)
		g.drv.Push(0)
	}, virtq.ReasonBadNext},
	{"14_avail_jump", func(g *rig) { g.split.AvailIdx = 9; g.drv.Publish() }, virtq.ReasonAvailJump},
	{"14_avail_back", func(g *rig) { g.split.AvailIdx = 0xffff; g.drv.Publish() }, virtq.ReasonAvailJump},
	{"15_head_out_of_ring", func(g *rig) { g.drv.Push(8) }, virtq.ReasonBadHead},
	{"15_head_ffff", func(g *rig) { g.drv.Push(0xffff) }, virtq.ReasonBadHead},
}

func TestHostileTransmitRing(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		for _, c := range hostileTx {
			if strings.HasSuffix(t.Name(), "packed") && splitOnly.MatchString(c.name) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				g := newRig(t, 8, nil)
				c.setup(g)
				if n := g.q.Dequeue(g.cache, &g.vec); n != 0 {
					t.Fatalf("took %d frames", n)
				}
				if got := g.q.Broken(); got != c.want {
					t.Fatalf("ring: %v, want %v", got, c.want)
				}
				if n := drivertest.Signals(g.err); n != 1 {
					t.Errorf("error descriptor signalled %d times", n)
				}
				if g.q.Dequeue(g.cache, &g.vec) != 0 || g.q.Arm() || g.q.Discard() != 0 {
					t.Error("a broken ring moved")
				}
			})
		}
	})
}

// A frame before the bad chain is delivered, and its chain given back.
func TestHostileKeepsWhatCameBefore(t *testing.T) {
	g := newRig(t, 8, nil)
	want := g.frame(dataOff+12, 60, 1)
	g.desc(0, at(dataOff), 72, 0, 0)
	g.drv.Push(0, 99)
	if got := g.take(); len(got) != 1 || !bytes.Equal(got[0], want) {
		t.Fatalf("got %x", got)
	}
	if id, _, ok := g.drv.TakeUsed(); !ok || id != 0 {
		t.Fatal("the good chain did not come back")
	}
	if g.q.Broken() != virtq.ReasonBadHead {
		t.Fatal(g.q.Broken())
	}
}

func TestHostileIndirectWithoutFeature(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 8, func(c *virtq.Config) { c.Indirect = false })
		g.desc(0, at(dataOff), 16, indirect, 0)
		g.drv.Push(0)
		g.take()
		if g.q.Broken() != virtq.ReasonIndirectOff {
			t.Fatal(g.q.Broken())
		}
	})
}

// Frames that are merely useless are dropped, counted, and their chains come back.
func TestHostileDroppedFrames(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		for _, c := range []struct {
			name   string
			n      int
			tooBig bool
		}{
			{"10_empty", 0, false}, {"10_shorter_than_header", 11, false}, {"10_header_only", 12, false},
			{"10_13_bytes_of_frame", 25, false}, {"05_larger_than_a_buffer", 12 + 2049, true}, {"05_64K", 1 << 16, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				g := newRig(t, 8, nil)
				g.desc(0, at(dataOff), c.n, 0, 0)
				g.drv.Push(0)
				if got := g.take(); len(got) != 0 {
					t.Fatalf("%d frames", len(got))
				}
				if id, n, ok := g.drv.TakeUsed(); !ok || id != 0 || n != 0 {
					t.Error("the chain did not come back")
				}
				s := g.q.Stats()
				if short, big := s.ShortFrame.Load(), s.TooBig.Load(); short+big != 1 || (big == 1) != c.tooBig {
					t.Errorf("short %d, too big %d", short, big)
				}
				if g.q.Broken() != virtq.ReasonNone {
					t.Error(g.q.Broken())
				}
			})
		}
	})
}

// 05: lengths that overflow 32 bits in sum do not fool the bound.
func TestHostile05_SumOverflows(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 8, nil)
		g.desc(0, at(dataOff), 600, next, 1)
		g.desc(1, at(dataOff), 0xffffffff, 0, 0)
		g.drv.Push(0)
		if len(g.take()) != 0 || g.q.Broken() == virtq.ReasonNone && g.q.Stats().TooBig.Load() != 1 {
			t.Fatal("accepted")
		}
	})
}

var hostileRx = []struct {
	name  string
	setup func(g *rig)
	want  virtq.Reason
}{
	{"12_read_only_in_rx", func(g *rig) { g.desc(0, at(dataOff), 2000, 0, 0); g.drv.Push(0) }, virtq.ReasonReadOnly},
	{"06_unmapped", func(g *rig) { g.desc(0, unmapped(), 2000, write, 0); g.drv.Push(0) }, virtq.ReasonBadAddress},
	{"07_unmapped_len_0", func(g *rig) { g.desc(0, unmapped(), 0, write, 0); g.drv.Push(0) }, virtq.ReasonBadAddress},
	{"09_range_wraps", func(g *rig) { g.desc(0, ^uint64(0)-10, 100, write, 0); g.drv.Push(0) }, virtq.ReasonBadAddress},
	{"02_self_loop_len_0", func(g *rig) { g.desc(0, at(dataOff), 0, write|next, 0); g.drv.Push(0) }, virtq.ReasonChainTooLong},
	{"21_buffer_smaller_than_header", func(g *rig) { g.desc(0, at(dataOff), 11, write, 0); g.drv.Push(0, 0) }, virtq.ReasonTinyBuffers},
	{"15_head_out_of_ring", func(g *rig) { g.drv.Push(8) }, virtq.ReasonBadHead},
	{"14_avail_jump", func(g *rig) { g.split.AvailIdx = 9; g.drv.Publish() }, virtq.ReasonAvailJump},
}

func TestHostileReceiveRing(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		for _, c := range hostileRx {
			if strings.HasSuffix(t.Name(), "packed") && splitOnly.MatchString(c.name) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				g := newRig(t, 8, nil)
				c.setup(g)
				if n := g.give(t, make([]byte, 60)); n != 0 {
					t.Fatalf("took %d frames", n)
				}
				if got := g.q.Broken(); got != c.want {
					t.Fatalf("ring: %v, want %v", got, c.want)
				}
			})
		}
	})
}

// 21: one-byte buffers cost a bounded number of descriptors.
func TestHostile21_TinyBuffers(t *testing.T) {
	g := newRig(t, 4096, nil)
	g.desc(0, at(dataOff), 12, write, 0)
	for i := 1; i < 4096; i++ {
		g.desc(i, at(dataOff+i), 1, write, 0)
	}
	for i := range 4096 {
		g.drv.Put(uint16(i))
	}
	g.drv.Publish()
	if n := g.give(t, make([]byte, 1500)); n != 0 || g.q.Broken() != virtq.ReasonTinyBuffers {
		t.Fatalf("took %d, %v", n, g.q.Broken())
	}
}

// 02, 23: a burst walks a bounded number of descriptors, so one guest cannot hold the
// worker: after 1024 it ends, and a frame spread over more is dropped unread.
func TestHostileLongChainsEndTheBurst(t *testing.T) {
	for _, c := range []struct{ num, chain, frames int }{{2048, 1024, 1}, {2048, 1025, 0}, {32768, 32768, 0}, {32768, 700, 2}} {
		g := newRig(t, c.num, nil)
		for i := range c.chain - 1 {
			g.desc(i, at(dataOff), 0, next, uint16(i+1))
		}
		// Unmapped: whoever walks so far breaks the ring.
		last := at(dataOff)
		if c.frames == 0 {
			last = 0
		}
		g.desc(c.chain-1, last, 100, 0, 0)
		for range 8 {
			g.drv.Put(0)
		}
		g.drv.Publish()
		for left := 8; left > 0; {
			if n := len(g.take()); n != c.frames {
				t.Fatalf("%+v: %d frames in one burst, %v", c, n, g.q.Broken())
			}
			left -= max(c.frames, 1)
		}
		if n := g.split.UsedIdx(); n != 8 || g.q.Broken() != virtq.ReasonNone {
			t.Errorf("%+v: %d chains came back, %v", c, n, g.q.Broken())
		}
	}
}

// 02: the same of a receive ring, where a buffer of so many pieces is of no use.
func TestHostileLongReceiveChain(t *testing.T) {
	g := newRig(t, 4096, nil)
	for i := range 4095 {
		g.desc(i, at(dataOff), 0, write|next, uint16(i+1))
	}
	g.desc(4095, 0, 2048, write, 0) // unmapped: whoever comes here says so
	g.drv.Push(0)
	if n := g.give(t, make([]byte, 60)); n != 0 || g.q.Broken() != virtq.ReasonTinyBuffers {
		t.Fatalf("took %d, %v", n, g.q.Broken())
	}
}

// 18: the guest zeroes the ring while it runs.
func TestHostile18_RingZeroed(t *testing.T) {
	g := newRig(t, 8, nil)
	g.desc(0, at(dataOff), 100, 0, 0)
	g.drv.Push(0, 0, 0)
	if len(g.take()) != 3 {
		t.Fatal("no frames")
	}
	clear(g.mem.Bytes[:dataOff])
	g.take()
	if g.q.Broken() != virtq.ReasonAvailJump {
		t.Fatal(g.q.Broken())
	}
}

// 22: a wrong call descriptor is counted, a full one is as good as signalled.
func TestHostile22_CallFull(t *testing.T) {
	g := newRig(t, 8, nil)
	full := make([]byte, 8)
	for i := range full {
		full[i] = 0xff
	}
	full[0] = 0xfe
	mustWrite(t, g.call, full)
	g.desc(0, at(dataOff), 100, 0, 0)
	g.drv.Push(0)
	if err := unix.SetNonblock(g.call, false); err != nil { // what a front end may do at any time
		t.Fatal(err)
	}
	if len(g.take()) != 1 || g.q.Stats().Calls.Load() != 1 {
		t.Fatal("not called")
	}
	g.q.Call().Set(1 << 20) // no such descriptor
	g.drv.Push(0)
	if len(g.take()) != 1 || g.q.Stats().CallsBad.Load() != 1 {
		t.Fatal("not counted as bad")
	}
}
