package hostile_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"baton/dataplane/stats"
	"baton/vhost/eventfd"
	"baton/vhost/guest"
	"baton/vhost/proto"
)

func TestHostile14_AvailJumps(t *testing.T) {
	attackSplit(t, nil, func(s *scene) {
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
// time while it sends. Whatever the worker reads, it reads once, so that each chain is a
// frame of memory that the guest has, or dropped and counted, or breaks the ring for the
// address that it has.
func TestHostile16_Flips(t *testing.T) {
	attack(t, func(c *guest.Config) { c.Features |= tso }, func(s *scene) {
		for round := range 6 {
			before := s.totals(1)
			broken := s.dev.Snapshot().Broken["bad_address"]
			sent := s.flip(round)
			now := s.totals(1)
			done := now.Packets + now.ShortFrame + now.TooBig + now.BadHeader -
				(before.Packets + before.ShortFrame + before.TooBig + before.BadHeader)
			if s.ring(1).Broken != "none" { // it is counted a little later
				s.h.until("it is counted", func() bool { return s.dev.Snapshot().Broken["bad_address"] > broken })
			}
			b := s.dev.Snapshot().Broken
			switch n := b["bad_address"] - broken; {
			case len(b) > 1 || len(b) == 1 && b["bad_address"] == 0 || n > 1:
				s.Errorf("broken %v", b)
			case n == 0 && done != sent, done > sent:
				s.Errorf("%d chains sent, %d done, ring broken %d times", sent, done, n)
			}
			s.g.Abandon()
			s.plug()
		}
		s.passes()
	})
}

// flip sends 2000 chains while another CPU of the guest rewrites them, waits for all of
// them, or for the ring to break, and returns how many there were.
func (s *scene) flip(round int) (sent uint64) {
	s.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	s.frameAt(0, 200)
	good := guest.Desc{Addr: s.spare(0), Len: 212}
	tx := s.g.Tx[0]
	wg.Go(func() {
		for i := uint64(round); ; i++ {
			select {
			case <-stop:
				return
			default:
				s.flipOne(i, good)
			}
		}
	})
	broken := func() bool { return s.ring(1).Broken != "none" }
	for i := range 2000 {
		if tx.InFlight() < ringSize/2 {
			s.send(uint16(i%8), good)
			sent++
		}
		for tx.Ready() {
			tx.Used()
		}
		s.g.Rx[0].Discard(64)
	}
	s.h.until("all chains are back, or the ring is broken", func() bool {
		for tx.Ready() {
			tx.Used()
		}
		return tx.InFlight() == 0 || broken()
	})
	close(stop)
	wg.Wait()
	return sent
}

// flipOne changes a descriptor or the header.
func (s *scene) flipOne(i uint64, d guest.Desc) {
	mem, at, tx := s.g.Mem(), s.g.Spare(), s.g.Tx[0]
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
		return
	}
	binary.LittleEndian.PutUint32(mem[tx.DescOffset(int(i)%8)+8:], d.Len)
	binary.LittleEndian.PutUint64(mem[tx.DescOffset(int(i)%8):], d.Addr)
}

// TestHostile17_PackedGarbage writes all that a packed ring's flags can be wrong in. What
// is not available in this lap is not looked at, whatever else it says.
func TestHostile17_PackedGarbage(t *testing.T) {
	attackPacked(t, nil, func(s *scene) {
		tx := s.g.Tx[0]
		for _, flags := range []uint16{guest.DescAvail | guest.DescUsed, guest.DescUsed, 0, 0xffff} {
			for i := range ringSize {
				tx.SetDesc(i, guest.Desc{Addr: s.spare(0), Len: 72, Flags: flags, Next: 0xffff})
			}
			tx.Kick()
			s.pair.goesOn(100)
			for i := range ringSize {
				if d := tx.Desc(i); d.Flags != flags || d.Len != 72 {
					s.Fatalf("slot %d with flags %#x is %+v now", i, flags, d)
				}
			}
		}
		if n := s.totals(1); n.Packets+n.ShortFrame+n.TooBig+n.Discarded != 0 {
			s.Errorf("taken from an empty ring: %+v", n)
		}
		s.whole()
		s.again()
		for i := range ringSize { // all available, chain without end, used bits garbage
			s.g.Tx[0].SetDesc(i, guest.Desc{Addr: s.spare(0), Len: 1, Flags: guest.DescAvail | next})
		}
		s.g.Tx[0].Kick()
		s.broken("chain_too_long")
		s.again()
	})
}

// TestHostile17_EventSuppression: the driver's event area is its wish and its word. It
// gets no call that it does not want, and what is no wish does no harm.
func TestHostile17_EventSuppression(t *testing.T) {
	attackPacked(t, func(c *guest.Config) { c.Features |= proto.FeatureEventIdx }, func(s *scene) {
		// off_wrap names no slot of the ring; the flags are in the upper half.
		for _, c := range []struct {
			name  string
			word  uint32
			calls bool
		}{
			{"enable", 0<<16 | 0x7fff, true}, {"disable", 1<<16 | 0x7fff, false},
			{"at the next slot", 2<<16 | uint32(s.g.Tx[0].Position()), true}, // the first wish of this kind
			{"at a slot that is none", 2<<16 | 0x7fff, false}, {"at one of the other lap", 2<<16 | 0xffff, false},
			{"reserved flags", 3<<16 | 0x7fff, true}, {"garbage", 0xfffd_ffff, true},
		} {
			binary.LittleEndian.PutUint32(s.g.Mem()[s.g.Tx[0].DriverOffset():], c.word)
			before := s.totals(1)
			s.passes() // 20 bursts of one frame each
			now := s.totals(1)
			calls, spared := now.Calls-before.Calls, now.Suppressed-before.Suppressed
			if n := now.Packets - before.Packets; n != 20 || calls+spared != 20 || c.calls != (calls > 0) || calls > 0 && calls < 20 && c.word>>16 != 2 {
				s.Errorf("%s: %d frames, %d calls, %d suppressed", c.name, n, calls, spared)
			}
			s.whole()
		}
	})
}

// TestHostile18_RingZeroed clears all of the guest's own memory under the running rings.
// A split ring's available index has gone back, which is a jump; a packed ring has
// nothing available.
func TestHostile18_RingZeroed(t *testing.T) {
	attack(t, nil, func(s *scene) {
		s.passes()
		before := s.totals(1).Packets
		clear(s.g.Mem()[:s.g.Spare()])
		s.g.Tx[0].Kick()
		s.pair.goesOn(200)
		if s.packed {
			s.whole()
		} else {
			s.broken("avail_jump")
		}
		if n := s.totals(1); n.Packets != before || n.ShortFrame+n.TooBig+n.BadHeader != 0 {
			s.Errorf("frames of a ring without any: %+v", n)
		}
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

// counter is the count of eventfd fd.
func counter(t testing.TB, fd int) (n uint64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "eventfd-count:")
	if _, err := fmt.Sscanf(rest, "%x", &n); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return n
}

// fill makes eventfd fd as full as write(2) makes it, so that another write waits, and
// blocking.
func fill(t testing.TB, fd int) {
	t.Helper()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	var b [8]byte
	unix.Read(fd, b[:]) // a count that is there
	binary.NativeEndian.PutUint64(b[:], math.MaxUint64-1)
	if _, err := unix.Write(fd, b[:]); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, false); err != nil { // shared with the back end
		t.Fatal(err)
	}
}

// TestHostile22_FullCall: a call descriptor that is full and blocking is signalled all
// the same, and nobody waits.
func TestHostile22_FullCall(t *testing.T) {
	attack(t, nil, func(s *scene) {
		if err := eventfd.Err(); err != nil {
			s.Skip(err) // the fallback sets the flag each time; a race is left, as vhost/README.md says
		}
		rx := s.g.Rx[0]
		rx.DisarmCalls()
		s.g.Tx[0].DisarmCalls()
		fill(s.T, rx.CallFD())
		before := s.totals(0)
		rx.ArmCalls()
		s.passes()
		now := s.totals(0)
		if n := now.Calls - before.Calls; n == 0 || now.CallsBad != before.CallsBad {
			s.Errorf("%d calls, %d went wrong", n, now.CallsBad-before.CallsBad)
		}
		// Only a signal brings the count to where no write can.
		if n := counter(s.T, rx.CallFD()); n != math.MaxUint64 {
			s.Errorf("the count is %#x: nobody signalled the full descriptor", n)
		}
		if f, err := unix.FcntlInt(uintptr(rx.CallFD()), unix.F_GETFL, 0); err != nil || f&unix.O_NONBLOCK != 0 {
			s.Errorf("the descriptor is not blocking any more: %#x, %v", f, err)
		}
		s.whole()
	})
}

func TestHostile22_Kicks(t *testing.T) {
	attack(t, nil, func(s *scene) {
		// A storm of kicks with nothing behind them, beside the pair's traffic.
		kicks := s.ring(1).Kicks
		for range 100 {
			for range 1000 {
				s.g.Tx[0].Kick()
			}
			s.pair.goesOn(10)
		}
		if n := s.ring(1).Kicks - kicks; n < 100_000 {
			s.Errorf("%d kicks", n)
		}
		s.passes()
		fill(s.T, s.g.Tx[0].KickFD()) // a kick more would wait: it is the guest that waits
		s.pair.goesOn(100)
		s.h.ok(unix.SetNonblock(s.g.Tx[0].KickFD(), true))
		s.passes()
		s.whole()
	})
}

// TestHostile22_NoEventFD: a pipe is no eventfd, and one whose other end is closed is none.
func TestHostile22_NoEventFD(t *testing.T) {
	attack(t, nil, func(s *scene) {
		var p [2]int
		s.h.ok(unix.Pipe2(p[:], unix.O_CLOEXEC))
		s.refused("a pipe as call", s.g.SetU64(proto.SetVringCall, 0, p[1]))
		s.refused("a pipe as kick", s.g.SetU64(proto.SetVringKick, 1, p[0]))
		unix.Close(p[0])
		s.refused("a pipe that nobody reads", s.g.SetU64(proto.SetVringCall, 0, p[1]))
		unix.Close(p[1])
		s.passes()
		s.whole()
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
