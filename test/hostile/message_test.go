package hostile_test

import (
	"context"
	"encoding/binary"
	"math"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	t.Run("rings", func(t *testing.T) {
		attack(t, nil, func(s *scene) {
			s.h.ok(s.g.Truncate(0))
			s.g.Tx[0].Kick()
			s.h.until("the ring breaks", func() bool { return s.dev.Snapshot().Broken["memory_gone"] >= 1 })
			s.pair.goesOn(100)
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
		s.pair.goesOn(100)
		s.h.ok(tell(good))
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
		_, err := s.g.StopRing(0x10000)
		if err == nil {
			s.Error("a ring that is none has a base")
		}
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

func TestHostile34_RingBase(t *testing.T) {
	attack(t, nil, func(s *scene) {
		s.refused("base of a running ring", s.g.SetVring(proto.SetVringBase, 1, 0))
		_, err := s.g.StopRing(1)
		s.h.ok(err)
		bases := []uint32{1 << 16, math.MaxUint32}
		if s.packed {
			bases = []uint32{0x7fff, 0xffff, ringSize}
		}
		for _, b := range bases {
			s.refused("base", s.g.SetVring(proto.SetVringBase, 1, b))
		}
		s.again()
	})
}

func TestHostile35_BaseOfNoRing(t *testing.T) {
	attack(t, nil, func(s *scene) {
		s.h.ok(s.g.Stop())
		for range 3 {
			_, err := s.g.StopRing(1)
			s.h.ok(err)
		}
		s.again()
	})
}

func TestHostile36_EnableBeforeSetUp(t *testing.T) {
	attack(t, nil, func(s *scene) {
		s.h.ok(s.g.Stop())
		for range 10 {
			s.h.ok(s.g.Enable(1, true))
			s.h.ok(s.g.Enable(0, false))
		}
		s.refused("enable 2", s.g.SetVring(proto.SetVringEnable, 1, 2))
		s.again()
	})
}

func TestHostile37_Log(t *testing.T) {
	attack(t, func(c *guest.Config) { c.Protocol = guest.DefaultProtocolFeatures | proto.ProtocolLogShmfd }, func(s *scene) {
		for _, v := range [][2]uint64{{math.MaxUint64, 4096}, {4096, math.MaxUint64 - 4095}, {1 << 62, 1 << 62}, {0, 0}} {
			if _, err := s.g.Get(proto.SetLogBase, proto.AppendLog(nil, v[0], v[1]), s.g.MemFD()); err == nil {
				s.Errorf("a log of %#x bytes at %#x is taken", v[0], v[1])
			}
			s.again()
		}
		log, err := s.g.StartLog()
		s.h.ok(err)
		s.passes()
		if len(log.Take()) == 0 {
			s.Error("nothing was logged")
		}
		before := s.totals(1).TooBig // a length that is a lie, while logging: CVE-2019-14835
		s.send(0, guest.Desc{Addr: s.spare(0), Len: math.MaxUint32})
		s.h.until("it is dropped, or the ring broken", func() bool {
			return s.totals(1).TooBig > before || s.dev.Snapshot().Broken["bad_address"] == 1
		})
		s.again()
	})
}

func TestHostile38_Inflight(t *testing.T) {
	attack(t, nil, func(s *scene) {
		for range 50 { // mmap_size, mmap_offset, num_queues, queue_size
			p := binary.NativeEndian.AppendUint64(nil, math.MaxUint64)
			p = append(p, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
			s.refused("GET_INFLIGHT_FD", s.g.Set(proto.GetInflightFD, p))
			s.refused("SET_INFLIGHT_FD", s.g.Set(proto.SetInflightFD, p, s.g.MemFD()))
		}
		s.passes()
	})
}

func TestHostile39_OtherFeatures(t *testing.T) {
	attack(t, nil, func(s *scene) {
		was := s.g.Features()
		s.refused("all bits", s.g.SetU64(proto.SetFeatures, math.MaxUint64))
		s.h.ok(s.g.SetU64(proto.SetFeatures, was))
		s.g.Disconnect()
		s.h.until("the device is down", func() bool { return !s.dev.Info().Up })
		s.h.ok(s.g.Reconnect(context.Background()))
		s.passes()
		// Forgotten by the front end while the rings run: headers keep their length.
		err := s.g.SetU64(proto.SetFeatures, proto.FeatureProtocol)
		s.pair.goesOn(50)
		s.Logf("features forgotten: %v, now %#x", err, s.dev.Snapshot().Features)
		s.again()
		if s.dev.Snapshot().HeaderSize != guest.HdrLen {
			s.Errorf("header of %d bytes", s.dev.Snapshot().HeaderSize)
		}
	})
}

func TestHostile40_SlowLoris(t *testing.T) {
	attack(t, nil, func(s *scene) {
		m := raw(proto.SetFeatures, ackWanted, 8)
		for _, b := range m {
			s.h.ok(s.g.Conn.WriteRaw([]byte{b}))
			s.pair.goesOn(20)
		}
		late := s.h.vm(4, guest.Config{Features: base, RingSize: 64})
		late.passes()
		began := time.Now()
		s.conn.Close() // does not wait for the rest
		if time.Since(began) > patience {
			s.Error("the half message held up the port's end")
		}
		s.conn = nil
	})
}

func TestHostile41_ConnectAndDescriptors(t *testing.T) {
	attack(t, nil, func(s *scene) {
		// Connections that never say anything; the session is the offender's already.
		var idle []net.Conn
		for range 5 {
			c, err := net.Dial("unix", s.cfg.Path)
			s.h.ok(err)
			idle = append(idle, c)
		}
		s.passes()
		for _, c := range idle {
			c.Close()
		}
		// No descriptor is left for a connection; the port comes back when there is one.
		s.g.Abandon()
		var limit unix.Rlimit
		s.h.ok(unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
		c, err := net.Dial("unix", s.cfg.Path)
		s.h.ok(err)
		low := limit
		low.Cur = 3
		s.h.ok(unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
		_, err = os.Open("/dev/null")
		s.pair.goesOn(100)
		s.h.ok(unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
		c.Close()
		if err == nil {
			s.Error("there were descriptors")
		}
		s.plug()
		s.passes()
	})
}

func TestHostile42_HandOver(t *testing.T) {
	attack(t, nil, func(s *scene) {
		hand := func() (int, proto.State) {
			fd, st, err := s.conn.Session().Detach(context.Background())
			s.h.ok(err)
			return fd, st
		}
		fd, st := hand()
		n, err := proto.NewSessionFromFD(fd, st, s.dev, nil)
		s.h.ok(err)
		s.passes()
		// A message of which only the head is there is no place to stop at.
		s.h.ok(s.g.Conn.WriteRaw(raw(proto.GetFeatures, proto.FlagVersion, 0)[:5]))
		sock, err := s.g.Conn.DupFD()
		s.h.ok(err)
		s.h.until("what was sent is read", func() bool {
			left, err := unix.IoctlGetInt(sock, unix.TIOCOUTQ)
			return err != nil || left == 0
		})
		unix.Close(sock)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		if _, _, err := n.Detach(ctx); err == nil {
			s.Error("handed over inside a message")
		}
		cancel()
		s.pair.goesOn(100)
		s.h.ok(s.g.Conn.WriteRaw(raw(proto.GetFeatures, proto.FlagVersion, 0)[5:]))
		s.pair.goesOn(20)
		s.g.Disconnect() // the peer goes while nobody reads
		<-n.Done()
		s.h.until("the device is down", func() bool { return !s.dev.Info().Up })
	})
}

func TestHostile43_StatusReset(t *testing.T) {
	attack(t, nil, func(s *scene) {
		f := [][]byte{makeFrame(3, 3, 60)}
		for range 3 {
			for range 100 {
				s.g.Tx[0].SendBurst(f, nil)
			}
			s.h.ok(s.g.SetU64(proto.SetStatus, 0))
			for range 20 {
				s.g.Tx[0].Kick()
			}
			s.again()
			s.whole()
		}
	})
}
