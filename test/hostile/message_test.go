package hostile_test

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"

	"baton/dataplane/stats"
	"baton/vhost/guest"
	"baton/vhost/proto"
)

// raw is a message with any size in its header.
func raw(r proto.Request, flags, size uint32, payload ...byte) []byte {
	return append(proto.AppendHeader(nil, proto.Header{Request: r, Flags: flags, Size: size}), payload...)
}

const ackWanted = proto.FlagVersion | proto.FlagNeedReply

func TestHostile25_PayloadLength(t *testing.T) {
	attack(t, nil, func(s *scene) {
		s.refused("4 bytes of features", s.g.Set(proto.SetFeatures, make([]byte, 4)))
		s.refused("16 bytes of features", s.g.Set(proto.SetFeatures, make([]byte, 16)))
		s.refused("empty table", s.g.Set(proto.SetMemTable, nil))
		s.refused("4096 bytes of address", s.g.Set(proto.SetVringAddr, make([]byte, 4096)))
		s.passes()
		s.h.ok(s.g.Conn.WriteRaw(raw(proto.SetFeatures, ackWanted, 1<<31)))
		s.hungUp("2 GiB announced")
		s.again()
	})
}

func TestHostile26_SizeField(t *testing.T) {
	attack(t, nil, func(s *scene) {
		s.h.ok(s.g.Conn.WriteRaw(raw(proto.SetFeatures, ackWanted, 8, 1, 2, 3)))
		s.g.Disconnect() // the rest never comes
		s.h.until("the device is down", func() bool { return !s.dev.Info().Up })
		s.again()
		s.h.ok(s.g.Conn.WriteRaw(raw(proto.SetFeatures, 2, 8, make([]byte, 8)...)))
		s.hungUp("version 2")
		s.again()
		s.h.ok(s.g.Conn.WriteRaw(raw(proto.SetFeatures, ackWanted|proto.FlagReply, 8, make([]byte, 8)...)))
		s.hungUp("a reply to nothing")
		s.again()
	})
}

func TestHostile27_UnknownRequest(t *testing.T) {
	attack(t, nil, func(s *scene) {
		for _, r := range []proto.Request{0, proto.IOTLBMsg, proto.GetConfig, proto.CreateCryptoSession, proto.PostcopyListen, 45, 46, 1 << 20, math.MaxUint32} {
			s.refused(r.String(), s.g.Set(r, make([]byte, 100)))
		}
		s.passes()
	})
}

func TestHostile28_Descriptors(t *testing.T) {
	attack(t, nil, func(s *scene) {
		fd, mem := s.g.Tx[0].KickFD(), s.g.MemFD()
		table := proto.AppendMemTable(nil, s.g.Regions())
		s.refused("table without descriptors", s.g.Set(proto.SetMemTable, table))
		s.refused("table with two", s.g.Set(proto.SetMemTable, table, mem, mem))
		s.refused("features with one", s.g.SetU64(proto.SetFeatures, s.g.Features(), fd))
		s.refused("no kick, though promised", s.g.SetU64(proto.SetVringKick, 1))
		s.refused("a kick, though denied", s.g.SetU64(proto.SetVringKick, 1|proto.VringNoFD, fd))
		s.refused("unknown request with 8", s.g.Set(99, nil, fd, fd, fd, fd, fd, fd, fd, fd))
		s.passes()
		nine := []int{fd, fd, fd, fd, fd, fd, fd, fd, fd}
		s.h.ok(s.g.Conn.WriteRaw(raw(proto.SetMemTable, ackWanted, 0), nine...))
		s.hungUp("nine descriptors")
		s.again()
		s.h.ok(s.g.Conn.WriteRaw(raw(proto.SetVringKick, ackWanted, 8, 1)))
		s.h.ok(s.g.Conn.WriteRaw(make([]byte, 7), s.g.Tx[0].KickFD()))
		s.hungUp("descriptors inside a message")
		s.again()
	})
}

func TestHostile29_Regions(t *testing.T) {
	attack(t, nil, func(s *scene) {
		mem := s.g.MemFD()
		good := s.g.Regions()[0]
		try := func(what string, regions ...proto.MemRegion) {
			fds := make([]int, 0, 8)
			for range min(8, len(regions)) {
				fds = append(fds, mem)
			}
			s.refused(what, s.g.Set(proto.SetMemTable, proto.AppendMemTable(nil, regions), fds...))
		}
		edit := func(f func(r *proto.MemRegion)) proto.MemRegion {
			r := good
			f(&r)
			return r
		}
		try("none")
		nine := make([]proto.MemRegion, 9)
		for i := range nine {
			nine[i] = good
		}
		try("nine", nine...)
		try("the same twice", good, good)
		try("overlap", good, edit(func(r *proto.MemRegion) { r.GuestAddr += 4096; r.UserAddr += 1 << 30 }))
		try("offset overflows", edit(func(r *proto.MemRegion) { r.MmapOffset = math.MaxUint64 - 4095 }))
		try("size overflows", edit(func(r *proto.MemRegion) { r.Size = math.MaxUint64 }))
		try("empty", edit(func(r *proto.MemRegion) { r.Size = 0 }))
		try("overlap in the front end's addresses", good, edit(func(r *proto.MemRegion) { r.GuestAddr += 1 << 40; r.UserAddr += 4096 }))
		try("front end's address wraps", edit(func(r *proto.MemRegion) { r.UserAddr = math.MaxUint64 - 100 }))
		try("guest address wraps", edit(func(r *proto.MemRegion) { r.GuestAddr = math.MaxUint64 - 100 }))
		try("file is smaller", edit(func(r *proto.MemRegion) { r.Size *= 2 }))
		s.passes()
		s.refused("a region of a pipe", func() error {
			var p [2]int
			s.h.ok(unix.Pipe2(p[:], unix.O_CLOEXEC))
			defer unix.Close(p[0])
			defer unix.Close(p[1])
			return s.g.Set(proto.SetMemTable, proto.AppendMemTable(nil, []proto.MemRegion{good}), p[0])
		}())
		s.passes()
	})
}

// TestHostile29_Truncated cuts the memory file while the rings run: rings, buffers and
// indirect tables are in turn in the part that is gone.
func TestHostile29_Truncated(t *testing.T) {
	t.Run("transmit_buffer", func(t *testing.T) {
		attack(t, nil, func(s *scene) {
			at := s.spare(0)
			s.h.ok(s.g.Truncate(s.g.Spare()))
			s.send(0, guest.Desc{Addr: at, Len: 100})
			s.broken("memory_gone")
			s.pair.goesOn(100)
			s.again()
		})
	})
	t.Run("indirect_table", func(t *testing.T) {
		attack(t, nil, func(s *scene) {
			at := s.spare(4096)
			s.h.ok(s.g.Truncate(s.g.Spare()))
			s.send(0, guest.Desc{Addr: at, Len: 32, Flags: indirect})
			s.broken("memory_gone")
			s.again()
		})
	})
	t.Run("receive_buffer", func(t *testing.T) {
		attack(t, nil, func(s *scene) {
			d := s.g.Rx[0].Desc(0)
			d.Addr, d.Len = s.spare(0), 2048
			s.g.Rx[0].SetDesc(0, d)
			s.h.ok(s.g.Truncate(s.g.Spare()))
			s.g.Tx[0].SendBurst([][]byte{makeFrame(3, 3, 100)}, nil)
			s.broken("memory_gone")
			s.again()
		})
	})
	t.Run("transmit_ring", func(t *testing.T) {
		attack(t, nil, func(s *scene) {
			s.h.ok(s.g.Truncate(0))
			s.g.Tx[0].Kick()
			s.broken("memory_gone") // the receive ring is not: nobody sent to it
			s.again()
		})
	})
	t.Run("receive_ring", func(t *testing.T) {
		attack(t, nil, func(s *scene) {
			sender := s.h.vm(4, guest.Config{Features: base, RingSize: ringSize})
			s.h.ok(s.g.Enable(1, false))
			_, err := s.g.StopRing(1) // its transmit ring is not there to break first
			s.h.ok(err)
			s.h.ok(s.g.Truncate(0))
			sender.g.Tx[0].SendBurst([][]byte{makeFrame(4, 3, 100)}, nil)
			s.broken("memory_gone")
			s.h.until("the frame is counted where it came from", func() bool {
				return sender.drops(stats.DropTxFull)+sender.drops(stats.DropPortDown) == 1
			})
			sender.passes()
			sender.whole()
			s.again()
		})
	})
}

func TestHostile30_TableWhileRunning(t *testing.T) {
	attack(t, nil, func(s *scene) {
		tell := func(regions ...proto.MemRegion) error {
			fds := []int{s.g.MemFD()}
			return s.g.Set(proto.SetMemTable, proto.AppendMemTable(nil, regions), fds...)
		}
		good := s.g.Regions()[0]
		for range 20 {
			s.h.ok(tell(good)) // no address follows
			s.passes()
		}
		moved := good // the rings are not where they were: they stop, and come back
		moved.UserAddr += 1 << 40
		s.h.ok(tell(moved))
		if s.g.Tx[0].SendBurst([][]byte{makeFrame(3, 3, 60)}, nil) != 1 {
			s.Error("no room in the ring")
		}
		s.pair.goesOn(100)
		for i := range 2 {
			if r := s.ring(i); r.Running || !r.Started {
				s.Errorf("ring %d is outside memory: running %v, started %v", i, r.Running, r.Started)
			}
		}
		s.h.ok(tell(good))
		s.receives(makeFrame(3, 3, 60)) // what was sent meanwhile is not lost
		s.passes()
		s.whole()
	})
}

func TestHostile31_RingIndex(t *testing.T) {
	attack(t, nil, func(s *scene) {
		for _, i := range []uint32{2, 255, 0x10000, 0x10001, math.MaxUint32} {
			state := proto.AppendVringState(nil, proto.VringState{Index: i, Num: 1})
			s.refused("size", s.g.Set(proto.SetVringNum, state))
			s.refused("base", s.g.Set(proto.SetVringBase, state))
			s.refused("enable", s.g.Set(proto.SetVringEnable, state))
			s.refused("address", s.g.Set(proto.SetVringAddr, proto.AppendVringAddr(nil, proto.VringAddr{Index: i})))
			s.refused("call", s.g.SetU64(proto.SetVringCall, uint64(i)<<16|2, s.g.Tx[0].CallFD()))
		}
		s.passes()
		if _, err := s.g.StopRing(0x10000); err == nil {
			s.Error("a ring that is none has a base")
		}
		s.hungUp("a question without an answer")
		s.again()
	})
}

func TestHostile32_RingSize(t *testing.T) {
	attack(t, nil, func(s *scene) {
		s.h.ok(s.g.Stop())
		s.h.ok(s.g.SetU64(proto.SetFeatures, s.g.Features()))
		sizes := []uint32{0, 32769, 65536, math.MaxUint32}
		if !s.packed {
			sizes = append(sizes, 3, 255)
		}
		for _, n := range sizes {
			s.refused("size", s.g.SetVring(proto.SetVringNum, 1, n))
		}
		for range 300 {
			s.h.ok(s.g.SetVring(proto.SetVringNum, 1, 32768))
		}
		s.again()
		s.refused("size of a running ring", s.g.SetVring(proto.SetVringNum, 1, 512))
		s.passes()
	})
}

func TestHostile33_RingAddress(t *testing.T) {
	attack(t, nil, func(s *scene) {
		good := s.g.VringAddr(s.g.Tx[0].Ring, 1)
		for _, f := range []func(a *proto.VringAddr){
			func(a *proto.VringAddr) { a.Desc++ },
			func(a *proto.VringAddr) { a.Avail++ },
			func(a *proto.VringAddr) { a.Used++ },
			func(a *proto.VringAddr) { a.Desc = 0 },
			func(a *proto.VringAddr) { a.Desc = math.MaxUint64 - 15 },
			func(a *proto.VringAddr) { a.Used = good.Used + 1<<40 },
		} {
			a := good
			f(&a)
			s.refused("address", s.g.Set(proto.SetVringAddr, proto.AppendVringAddr(nil, a)))
		}
		s.passes()
		s.h.ok(s.g.Set(proto.SetVringAddr, proto.AppendVringAddr(nil, good)))
		s.passes()
	})
}
