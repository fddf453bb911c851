package virtq_test

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/offload/offloadtest"
	"baton/vhost/virtq"

	"pgregory.net/rapid"
)

func net(c *virtq.Config) { c.Net = allNet }

// lay puts header and frame at offset off, cut into count pieces at random places, and
// pushes them as one chain.
func (g *rig) lay(rt *rapid.T, h *virtq.NetHeader, frame []byte, off int) {
	all := append(h[:g.cfg.HeaderSize:g.cfg.HeaderSize], frame...)
	copy(g.mem.Bytes[off:], all)
	n, at0 := 0, 0
	for at0 < len(all) {
		size := len(all) - at0
		if n < 30 {
			size = min(size, rapid.SampledFrom([]int{1, 2, 11, 300, 5000, 1 << 16}).Draw(rt, "piece"))
		}
		flags := uint16(0)
		if at0+size < len(all) {
			flags = next
		}
		g.desc(n, at(off+at0), size, flags, uint16(n+1))
		at0 += size
		n++
	}
	g.drv.Push(0)
}

// Super-segments and frames with partial checksums come out of a transmit ring and go
// into a receive ring as they were, however header and frame are cut on either side.
func TestOffloadsThroughRings(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		tx := newRig(t, 64, net, cutOff)
		rx := newRig(t, 256, net, cutOff)
		scratch := buftest.NewCache(t, 128)
		rapid.Check(t, func(rt *rapid.T) {
			frame := offloadtest.TCP(rt, rapid.SampledFrom([]int{100, 3000, 60000}).Draw(rt, "most"))
			payload, size := len(frame)-offloadtest.Locate(frame).Payload, 0
			if payload > 1400 {
				size = rapid.IntRange(max(48, payload/virtq.MaxSegments+1), payload-1).Draw(rt, "size")
			}
			want := offloadtest.Ask(scratch, frame, size, 2048)
			defer scratch.Free(want)
			var h virtq.NetHeader
			if !h.Encode(want, allNet, 0) {
				rt.Fatal("no header")
			}
			tx.lay(rt, &h, buftest.Frame(want), cutOff-rapid.IntRange(12, 4000).Draw(rt, "off"))
			if n := tx.q.Dequeue(tx.cache, &tx.vec); n != 1 {
				rt.Fatalf("%d frames, %v, %d bad", n, tx.q.Broken(), tx.q.Stats().BadHeader.Load())
			}
			got := tx.vec[0]
			if got.OlFlags != want.OlFlags || got.Lengths() != want.Lengths() || !bytes.Equal(buftest.Frame(got), buftest.Frame(want)) {
				rt.Fatalf("flags %x %+v, want %x %+v", got.OlFlags, got.Lengths(), want.OlFlags, want.Lengths())
			}
			tx.drv.TakeUsed()
			rx.receiveOne(rt, got, &h, tx.cache)
		})
		s := tx.q.Stats()
		if s.GSO.Load() == 0 || s.PartialCsum.Load() == 0 || s.GSO.Load() != rx.q.Stats().GSO.Load() {
			t.Errorf("%d super-segments, %d partial checksums, %d received", s.GSO.Load(), s.PartialCsum.Load(), rx.q.Stats().GSO.Load())
		}
	})
}

// receiveOne enqueues b into random buffers; the driver must find h and the frame.
func (g *rig) receiveOne(rt *rapid.T, b *buf.Buf, h *virtq.NetHeader, c *buf.Cache) {
	want := buftest.Frame(b)
	n := rapid.SampledFrom([]int{300, 1536, 4096, 66000}).Draw(rt, "buffer")
	chains := (len(want)+12+n-1)/n + 1
	for i := range chains {
		g.desc(i, at(dataOff+i*n), n, write, 0)
		g.drv.Put(uint16(i))
	}
	g.drv.Publish()
	g.vec[0] = b
	if took := g.q.Enqueue(c, &g.vec, 1); took != 1 {
		rt.Fatalf("took %d, %v", took, g.q.Broken())
	}
	var got []byte
	for id, k, ok := g.drv.TakeUsed(); ok; id, k, ok = g.drv.TakeUsed() {
		got = append(got, g.mem.Bytes[dataOff+int(id)*n:][:k]...)
	}
	binary.LittleEndian.PutUint16(h[10:], uint16((len(want)+12+n-1)/n))
	if !bytes.Equal(got, append(h[:], want...)) {
		rt.Fatalf("header %x, want %x; %d bytes, want %d", got[:12], h[:], len(got), len(want)+12)
	}
	g.resync()
}

// A frame that the driver cannot take is dropped and counted; its buffers stay.
func TestUnfinishedNeverReachesGuest(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		for _, features := range []uint64{0, virtq.NetGuestCsum, virtq.NetGuestCsum | virtq.NetGuestTSO6} {
			g := newRig(t, 64, func(c *virtq.Config) { c.Net = features })
			for i := range 64 {
				g.desc(i, at(dataOff+2048*i), 2048, write, 0)
				g.drv.Put(uint16(i))
			}
			g.drv.Publish()
			rapid.Check(t, func(rt *rapid.T) {
				frame := offloadtest.TCP(rt, 5000)
				l := offloadtest.Locate(frame)
				if len(frame)-l.Payload < 100 || l.V6 && features&virtq.NetGuestTSO6 != 0 {
					return
				}
				g.vec[0] = offloadtest.Ask(g.cache, frame, 60, 2048)
				if n := g.q.Enqueue(g.cache, &g.vec, 1); n != 1 {
					rt.Fatal(n, g.q.Broken())
				}
			})
			if _, _, ok := g.drv.TakeUsed(); ok || g.q.Stats().Unfinished.Load() == 0 || g.q.Stats().Packets.Load() != 0 {
				t.Errorf("%#x: %d refused, %d reached the guest", features, g.q.Stats().Unfinished.Load(), g.q.Stats().Packets.Load())
			}
		}
	})
}

// 05: what is larger than a buffer must be a super-segment, and no longer than one can
// be; a bad header is counted as such. The chains come back.
func TestHostile05_20_LargeFrames(t *testing.T) {
	tcp := netHeader(1, 1, 0, 1000, 34, 16)
	for _, c := range []struct {
		name     string
		net      uint64
		h        *virtq.NetHeader
		size     int
		big, bad uint64
	}{
		{"no_gso", allNet, &virtq.NetHeader{}, 9000, 1, 0},
		{"gso_not_negotiated", virtq.NetCsum, tcp, 9000, 1, 0},
		{"gso_of_what_is_no_tcp", allNet, tcp, 9000, 0, 1},
		{"longer_than_ip", allNet, tcp, 200000, 1, 0},
		{"unknown_gso", allNet, netHeader(1, 77, 0, 1000, 34, 16), 500, 0, 1},
	} {
		both(t, func(t *testing.T, newRig maker) {
			g := newRig(t, 8, func(v *virtq.Config) { v.Net = c.net })
			copy(g.mem.Bytes[dataOff:], c.h[:])
			g.desc(0, at(dataOff), 12+c.size, 0, 0)
			g.drv.Push(0)
			n := g.q.Dequeue(g.cache, &g.vec)
			s := g.q.Stats()
			if n != 0 || s.TooBig.Load() != c.big || s.BadHeader.Load() != c.bad {
				t.Errorf("%s: %d frames, %d too big, %d bad", c.name, n, s.TooBig.Load(), s.BadHeader.Load())
			}
			if _, _, ok := g.drv.TakeUsed(); !ok {
				t.Errorf("%s: the chain did not come back", c.name)
			}
		})
	}
}

// Without buffers for all of a super-segment the chain stays for a later burst.
func TestSuperSegmentWithoutBuffers(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 8, net)
		var held []*buf.Buf
		for g.pool.Available()+g.cache.Held() > 3 {
			held = append(held, g.cache.Alloc())
		}
		copy(g.mem.Bytes[dataOff:], netHeader(1, 1, 0, 1000, 34, 16)[:])
		g.desc(0, at(dataOff), 60000, 0, 0)
		g.drv.Push(0)
		if n := g.q.Dequeue(g.cache, &g.vec); n != 0 || g.q.Stats().NoBuffer.Load() != 1 {
			t.Fatal(n)
		}
		if _, _, ok := g.drv.TakeUsed(); ok {
			t.Error("the chain was given back")
		}
		for _, b := range held {
			g.cache.Free(b)
		}
		g.q.Dequeue(g.cache, &g.vec)
		if _, _, ok := g.drv.TakeUsed(); !ok {
			t.Error("the chain was not taken with buffers at hand")
		}
	})
}

// 16: the guest changes the header while it is read: what was checked is what is
// used, since there is one copy. Lengths in the flags always fit the frame.
func TestHostile16_FlippedHeader(t *testing.T) {
	both(t, func(t *testing.T, newRig maker) {
		g := newRig(t, 8, net)
		g.q.Call().Set(-1)
		var frame []byte
		rapid.Check(t, func(rt *rapid.T) { frame = offloadtest.TCP(rt, 1400) })
		l := offloadtest.Locate(frame)
		good, bad := netHeader(1, 0, 0, 0, l.L4, 16), netHeader(1, 1, 0xffff, 9, 0xffff, 0xffff)
		copy(g.mem.Bytes[dataOff+12:], frame)
		g.desc(0, at(dataOff), 12+len(frame), 0, 0)
		// SAFETY: dataOff is 8-aligned and inside the mapping.
		word := (*uint64)(unsafe.Pointer(&g.mem.Bytes[dataOff]))
		stop := atomic.Bool{}
		var wg sync.WaitGroup
		wg.Go(func() {
			for !stop.Load() {
				for _, h := range []*virtq.NetHeader{good, bad, {}} {
					atomic.StoreUint64(word, binary.LittleEndian.Uint64(h[:]))
				}
			}
		})
		seen := map[uint64]int{}
		for range 5000 {
			g.drv.Push(0)
			for range g.q.Dequeue(g.cache, &g.vec) {
				b := g.vec[0]
				seen[b.OlFlags]++
				if k := b.Lengths(); b.OlFlags&buf.TxWork != 0 && (k.L2+k.L3 != l.L4 || k.SegSize != 0) {
					t.Errorf("lengths %+v of no header that was ever there", k)
				}
				g.cache.Free(b)
			}
			g.drv.TakeUsed()
		}
		stop.Store(true)
		wg.Wait()
		t.Logf("frames by flags %v, %d bad headers, %v", seen, g.q.Stats().BadHeader.Load(), g.q.Broken())
		if g.q.Broken() != virtq.ReasonNone || len(seen) > 2 {
			t.Error("flags of no header that was ever there")
		}
	})
}
