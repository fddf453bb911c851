package hostile_test

import (
	"encoding/binary"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/dataplane/stats"
	"baton/vhost/guest"
	"baton/vhost/proto"
)

func TestHostile14_AvailJumps(t *testing.T) {
	attack(t, nil, func(s *scene) {
		if s.packed {
			s.Skip("packed rings have no available index")
		}
		tx := s.g.Tx[0]
		tx.SetAvailIdx(tx.AvailIdx() + ringSize + 1)
		tx.Publish()
		tx.Kick()
		s.broken("avail_jump")
		s.again()
	})
}

func TestHostile15_AvailEntryOutOfRange(t *testing.T) {
	attack(t, nil, func(s *scene) {
		want := s.frameAt(0, 60)
		if s.packed { // any 16 bits are an id: it comes back as it is
			s.send(0xffff, guest.Desc{Addr: s.spare(0), Len: 72})
			s.receives(want)
			s.h.until("it is used", s.g.Tx[0].Ready)
			if id, _ := s.g.Tx[0].Used(); id != 0xffff {
				s.Errorf("id %#x came back", id)
			}
			s.whole()
			return
		}
		s.g.Tx[0].Push(ringSize)
		s.g.Tx[0].Publish()
		s.g.Tx[0].Kick()
		s.broken("bad_head")
		s.again()
	})
}

// TestHostile16_Flips has a guest that rewrites its descriptors and headers all the
// time while it sends: whatever the worker reads, it reads once.
func TestHostile16_Flips(t *testing.T) {
	attack(t, func(c *guest.Config) { c.Features |= tso }, func(s *scene) {
		for round := range 6 {
			stop := make(chan struct{})
			var wg sync.WaitGroup
			mem, at := s.g.Mem(), s.g.Spare()
			s.frameAt(0, 200)
			good := guest.Desc{Addr: s.spare(0), Len: 212}
			tx := s.g.Tx[0]
			wg.Go(func() { // another CPU of the guest
				for i := uint64(round); ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					d := good
					switch i % 7 {
					case 0:
						d.Addr = i * 0x9e3779b97f4a7c15
					case 1:
						d.Len = uint32(i * 0x9e3779b1)
					case 2, 3:
						binary.LittleEndian.PutUint64(mem[at:], i*0x9e3779b97f4a7c15)
					case 4:
						clear(mem[at : at+12])
					}
					if !s.packed {
						tx.SetDesc(int(i)%8, d)
					} else {
						binary.LittleEndian.PutUint32(mem[tx.DescOffset(int(i)%8)+8:], d.Len)
						binary.LittleEndian.PutUint64(mem[tx.DescOffset(int(i)%8):], d.Addr)
					}
				}
			})
			for i := range 2000 {
				if tx.InFlight() < ringSize/2 {
					s.send(uint16(i%8), good)
				}
				for tx.Ready() {
					tx.Used()
				}
				s.g.Rx[0].Discard(64)
			}
			close(stop)
			wg.Wait()
			s.g.Abandon()
			s.plug()
		}
		s.passes()
	})
}

func TestHostile17_PackedGarbage(t *testing.T) {
	attack(t, func(c *guest.Config) { c.Features |= proto.FeatureEventIdx }, func(s *scene) {
		if !s.packed {
			s.Skip("of packed rings")
		}
		tx := s.g.Tx[0]
		for _, flags := range []uint16{guest.DescAvail | guest.DescUsed, guest.DescUsed, 0, 0xffff} {
			for i := range ringSize {
				tx.SetDesc(i, guest.Desc{Addr: s.spare(0), Len: 72, Flags: flags, Next: 0xffff})
			}
			for word := range uint32(4) { // event suppression
				binary.LittleEndian.PutUint32(s.g.Mem()[tx.DriverOffset():], word<<16|0x7fff)
			}
			tx.Kick()
			s.pair.goesOn(100)
		}
		s.again()
		for i := range ringSize { // all available, chain without end, used bits garbage
			s.g.Tx[0].SetDesc(i, guest.Desc{Addr: s.spare(0), Len: 1, Flags: guest.DescAvail | next})
		}
		s.g.Tx[0].Kick()
		s.broken("chain_too_long")
		s.again()
	})
}

func TestHostile18_RingZeroed(t *testing.T) {
	attack(t, nil, func(s *scene) {
		s.passes()
		clear(s.g.Mem()[:s.g.Spare()])
		s.g.Tx[0].Kick()
		s.pair.goesOn(200)
		s.again()
	})
}

// offload sends frames with headers that lie and returns how many were dropped for it.
func offload(s *scene, frames []guest.HdrFields, f []byte) uint64 {
	s.Helper()
	before := s.totals(1)
	for _, h := range frames {
		hdr := []guest.Hdr{guest.MakeHdr(h)}
		s.h.until("room", func() bool { return s.g.Tx[0].SendBurst([][]byte{f}, hdr) == 1 })
	}
	s.h.until("all are taken", func() bool { s.g.Rx[0].Discard(32); return s.g.Tx[0].Pending() == 0 })
	s.whole()
	after := s.totals(1)
	return after.BadHeader - before.BadHeader
}

func TestHostile19_ChecksumBeyondFrame(t *testing.T) {
	attack(t, func(c *guest.Config) { c.Features |= tso }, func(s *scene) {
		bad := []guest.HdrFields{
			{Flags: guest.HdrNeedsCsum, CsumStart: 60, CsumOffset: 0},
			{Flags: guest.HdrNeedsCsum, CsumStart: 59, CsumOffset: 0},
			{Flags: guest.HdrNeedsCsum, CsumStart: 0xffff, CsumOffset: 0xffff},
			{Flags: guest.HdrNeedsCsum, CsumStart: 20, CsumOffset: 39},
			{Flags: guest.HdrNeedsCsum, CsumStart: 0, CsumOffset: 0xffff},
		}
		if n := offload(s, bad, makeFrame(3, 3, 60)); n != uint64(len(bad)) {
			s.Errorf("%d of %d dropped", n, len(bad))
		}
		s.passes()
	})
}

func TestHostile20_SegmentationLies(t *testing.T) {
	attack(t, func(c *guest.Config) { c.Features |= tso }, func(s *scene) {
		const csum = guest.HdrNeedsCsum
		bad := []guest.HdrFields{
			{Flags: csum, GSOType: guest.GSOTCPv4, GSOSize: 0, CsumStart: 34, CsumOffset: 16},
			{Flags: csum, GSOType: 77, GSOSize: 100, CsumStart: 34, CsumOffset: 16},
			{Flags: csum, GSOType: guest.GSOUDP, GSOSize: 100, CsumStart: 34, CsumOffset: 16},
			{Flags: csum, GSOType: guest.GSOTCPv4, GSOSize: 100, HdrLen: 0xffff, CsumStart: 34, CsumOffset: 16}, // not TCP
			{Flags: csum, GSOType: guest.GSOTCPv6, GSOSize: 1, CsumStart: 34, CsumOffset: 16},
		}
		n := offload(s, bad, makeFrame(3, 3, 600)) + s.drops(stats.DropBadOffload)
		if n != uint64(len(bad)) {
			s.Errorf("%d of %d dropped; ring %+v", n, len(bad), s.totals(1))
		}
		s.passes()
	})
}

func TestHostile21_TinyBuffers(t *testing.T) {
	attack(t, func(c *guest.Config) { c.BufSize, c.TxBufSize = 20, 2048 }, func(s *scene) {
		s.passes() // 200 bytes in 11 buffers
		hdr := []guest.Hdr{guest.MakeHdr(guest.HdrFields{NumBuffers: 0xffff})}
		s.g.Tx[0].SendBurst([][]byte{makeFrame(3, 3, 100)}, hdr)
		s.receives(makeFrame(3, 3, 100)) // its own num_buffers is nobody's business
		s.whole()
		for i := range ringSize { // none has room for a header
			d := s.g.Rx[0].Desc(i)
			d.Len = 4
			s.g.Rx[0].SetDesc(i, d)
		}
		s.g.Tx[0].SendBurst([][]byte{makeFrame(3, 3, 100)}, nil)
		s.broken("tiny_buffers")
		s.again()
	})
}

func TestHostile22_CallsAndKicks(t *testing.T) {
	attack(t, nil, func(s *scene) {
		full, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		s.h.ok(err)
		defer unix.Close(full)
		s.h.ok(s.g.SetU64(proto.SetVringCall, 0, full))
		s.h.ok(s.g.SetU64(proto.SetVringCall, 1, full))
		// Full, and made blocking again: the flag is shared with the back end.
		_, err = unix.Write(full, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		if err != nil && err != unix.EAGAIN {
			s.Fatal(err)
		}
		s.h.ok(unix.SetNonblock(full, false))
		s.g.Rx[0].DisarmCalls()
		s.g.Rx[0].ArmCalls()
		s.passes()
		s.pair.goesOn(200)
		// A storm of kicks with nothing behind them.
		stop := time.Now().Add(100 * time.Millisecond)
		for time.Now().Before(stop) {
			s.g.Tx[0].Kick()
		}
		s.pair.goesOn(200)
		// A pipe is no eventfd; one end of it closed.
		var p [2]int
		s.h.ok(unix.Pipe2(p[:], unix.O_CLOEXEC))
		s.refused("a pipe as call", s.g.SetU64(proto.SetVringCall, 0, p[1]))
		s.refused("a pipe as kick", s.g.SetU64(proto.SetVringKick, 1, p[0]))
		unix.Close(p[0])
		unix.Close(p[1])
		s.passes()
	})
}

func TestHostile23_NothingReturned(t *testing.T) {
	attack(t, nil, func(s *scene) {
		f := [][]byte{makeFrame(3, 3, 60)}
		sent := 0
		s.h.until("frames are dropped", func() bool {
			sent += s.g.Tx[0].SendBurst(f, nil)
			return s.drops(stats.DropTxFull) > 1000
		})
		s.whole()
		s.pair.goesOn(200)
		s.h.until("all is taken", func() bool { return s.g.Tx[0].Pending() == 0 })
		s.g.Rx[0].Discard(ringSize)
		s.passes()
	})
}

func TestHostile24_DriverDifferences(t *testing.T) {
	for name, change := range map[string]func(c *guest.Config){
		"chains":             func(c *guest.Config) { c.Features &^= proto.FeatureIndirectDesc; c.TxChain, c.RxChain = 4, 2 },
		"indirect":           func(c *guest.Config) { c.TxChain, c.RxChain = 3, 3 },
		"in_order":           func(c *guest.Config) { c.Features |= proto.FeatureInOrder },
		"not_mergeable":      func(c *guest.Config) { c.Features &^= proto.FeatureMrgRxbuf },
		"event_idx_blocking": func(c *guest.Config) { c.Features |= proto.FeatureEventIdx; c.Blocking = true },
		"small_ring":         func(c *guest.Config) { c.RingSize = 2 },
		"two_regions": func(c *guest.Config) {
			c.MemRegions = 2
			c.Protocol = guest.DefaultProtocolFeatures | proto.ProtocolConfigureMemSlots
		},
	} {
		t.Run(name, func(t *testing.T) {
			attack(t, change, func(s *scene) { // passes checks each used element's id and length
				s.passes()
				s.whole()
				runtime.Gosched()
			})
		})
	}
}
