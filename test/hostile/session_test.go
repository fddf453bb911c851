package hostile_test

import (
	"context"
	"encoding/binary"
	"math"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"baton/vhost/guest"
	"baton/vhost/proto"
)

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

// rawFrontEnd is a connection to v's socket on which nothing was said; v has no other.
func (v *vm) rawFrontEnd() *guest.Frontend {
	v.h.t.Helper()
	c, err := net.Dial("unix", v.cfg.Path)
	v.h.ok(err)
	conn, err := proto.NewConn(c.(*net.UnixConn))
	v.h.ok(err)
	v.h.t.Cleanup(func() { conn.Close() })
	v.h.until("the session begins", v.conn.Connected)
	return &guest.Frontend{Conn: conn, Timeout: patience}
}

// state is the state word of a ring that has done n chains of one slot each since its start.
func (s *scene) state(n uint32) uint32 {
	if s.packed { // in the first lap
		return (n | 1<<15) | (n|1<<15)<<16
	}
	return n
}

// TestHostile35_BaseOfNoRing asks for the base of rings that run, that do not any more,
// that were reset, and that never were.
func TestHostile35_BaseOfNoRing(t *testing.T) {
	attack(t, nil, func(s *scene) {
		base := func(what string, want uint32) {
			s.Helper()
			if got, err := s.g.StopRing(1); err != nil || got != want {
				s.Errorf("%s: base %#x, %v; want %#x", what, got, err, want)
			}
		}
		s.passes()
		base("a ring of 20 frames", s.state(20))
		for range 3 {
			base("the same, stopped", s.state(20))
		}
		s.h.ok(s.g.Stop())
		base("a ring that was reset", 0)
		s.g.Abandon()
		s.h.until("the session ends", func() bool { return !s.conn.Connected() })

		f := s.rawFrontEnd()
		for i := range uint32(2) {
			p, err := f.Get(proto.GetVringBase, proto.AppendVringState(nil, proto.VringState{Index: i, Num: 0xdeadbeef}))
			s.h.ok(err)
			if v, err := proto.DecodeVringState(p); err != nil || v.Index != i || v.Num != 0 {
				s.Errorf("ring %d that never was: %+v, %v", i, v, err)
			}
		}
		f.Conn.Close()
		s.plug()
		s.passes()
		s.whole()
	})
}

// stopRings stops the offender's first two rings, and returns where they were.
func (s *scene) stopRings() (bases [2]uint32) {
	s.Helper()
	for i := range bases {
		var err error
		bases[i], err = s.g.StopRing(i)
		s.h.ok(err)
	}
	return bases
}

// TestHostile36_EnableBeforeSetUp enables rings of which nothing is known: that is taken,
// nothing runs, and when they are set up they need not be enabled again.
func TestHostile36_EnableBeforeSetUp(t *testing.T) {
	attack(t, nil, func(s *scene) {
		features := s.g.Features()
		s.passes()
		bases := s.stopRings()
		s.h.ok(s.g.SetU64(proto.SetStatus, 0))
		for range 10 {
			for i := range 2 {
				s.h.ok(s.g.Enable(i, false))
				s.h.ok(s.g.Enable(i, true))
			}
		}
		s.refused("enable 2", s.g.SetVring(proto.SetVringEnable, 1, 2))
		f := makeFrame(s.id, s.id, 60)
		sent := s.g.Tx[0].SendBurst([][]byte{f}, nil)
		s.pair.goesOn(100)
		for i := range 2 {
			if r := s.ring(i); r.Running || r.Started || !r.Enabled || r.Size != 0 || r.Totals.Packets != 20 {
				s.Errorf("enabled before it was set up: %+v", r)
			}
		}
		if s.dev.Info().Up || sent != 1 {
			s.Errorf("the device is up %v, %d sent", s.dev.Info().Up, sent)
		}
		s.h.ok(s.g.SetU64(proto.SetFeatures, features))
		s.setUp(0, s.g.Rx[0].Ring, s.g.Rx[0].KickFD(), bases[0])
		s.setUp(1, s.g.Tx[0].Ring, s.g.Tx[0].KickFD(), bases[1])
		s.receives(f)
		s.passes()
		s.whole()
	})
}

func TestHostile37_Log(t *testing.T) {
	attack(t, func(c *guest.Config) { c.Protocol = guest.DefaultProtocolFeatures | proto.ProtocolLogShmfd }, func(s *scene) {
		for _, v := range [][2]uint64{{math.MaxUint64, 4096}, {4096, math.MaxUint64 - 4095}, {1 << 62, 1 << 62}, {0, 0}} {
			if _, err := s.g.Get(proto.SetLogBase, proto.AppendLog(nil, v[0], v[1]), s.g.MemFD()); err == nil {
				s.Errorf("a log of %#x bytes at %#x is taken", v[0], v[1])
			}
			s.hungUp("a log that cannot be, asked for without an answer that says no")
			s.again()
		}
		log, err := s.g.StartLog()
		s.h.ok(err)
		s.passes()
		if len(log.Take()) == 0 {
			s.Error("nothing was logged")
		}
		s.again()
	})
}

// TestHostile37_Length: descriptors whose length is a lie, while logging (CVE-2019-14835).
func TestHostile37_Length(t *testing.T) {
	logging := func(c *guest.Config) { c.Protocol = guest.DefaultProtocolFeatures | proto.ProtocolLogShmfd }
	t.Run("transmit", func(t *testing.T) {
		attack(t, logging, func(s *scene) {
			_, err := s.g.StartLog()
			s.h.ok(err)
			s.send(0, guest.Desc{Addr: s.spare(0), Len: math.MaxUint32})
			s.h.until("the frame is dropped", func() bool { return s.totals(1).TooBig == 1 })
			s.whole()
			s.again()
		})
	})
	t.Run("receive", func(t *testing.T) {
		attack(t, logging, func(s *scene) {
			log, err := s.g.StartLog()
			s.h.ok(err)
			for i := range ringSize {
				d := s.g.Rx[0].Desc(i)
				d.Len = math.MaxUint32
				s.g.Rx[0].SetDesc(i, d)
			}
			log.Take()
			f := makeFrame(s.id, s.id, 1000)
			s.h.until("the frame is sent", func() bool { return s.g.Tx[0].SendBurst([][]byte{f}, nil) == 1 })
			s.broken("bad_address")
			s.logged(log)
			s.again()
		})
	})
}

// logged checks that the pages in the log are the guest's, and few.
func (s *scene) logged(log *guest.DirtyLog) {
	s.Helper()
	pages := log.Take()
	first, end := s.g.GuestAddr(0), s.g.GuestAddr(0)+uint64(len(s.g.Mem()))
	for _, p := range pages {
		if p+4096 <= first || p >= end {
			s.Errorf("page %#x is logged and not the guest's", p)
		}
	}
	if len(pages) > 4 { // those of the rings
		s.Errorf("%d pages are logged: %#x", len(pages), pages)
	}
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
		s.whole()
	})
}

// TestHostile39_Reconnect: features that were not offered are refused, and those of the
// session before are good for the next one.
func TestHostile39_Reconnect(t *testing.T) {
	attack(t, nil, func(s *scene) {
		was := s.g.Features()
		s.refused("all bits", s.g.SetU64(proto.SetFeatures, math.MaxUint64))
		s.h.ok(s.g.SetU64(proto.SetFeatures, was))
		s.passes()
		s.g.Disconnect()
		s.h.until("the device is down", func() bool { return !s.dev.Info().Up })
		s.h.ok(s.g.Reconnect(context.Background()))
		s.passes()
		s.whole()
	})
}

// TestHostile39_Forgotten: a front end comes back and acknowledges PROTOCOL_FEATURES
// alone, while the guest's rings are in use and its driver knows of nothing. Headers keep
// their length, and frames are whole in both directions.
func TestHostile39_Forgotten(t *testing.T) {
	attack(t, nil, func(s *scene) {
		s.passes()
		bases := s.stopRings()
		was := s.dev.Snapshot().Features
		s.g.Disconnect()
		s.h.until("the session ends", func() bool { return !s.conn.Connected() })

		s.g.Frontend = *s.rawFrontEnd()
		s.h.ok(s.g.SetU64(proto.SetProtocolFeatures, guest.DefaultProtocolFeatures))
		s.g.ReplyAck = true
		s.h.ok(s.g.SetU64(proto.SetFeatures, proto.FeatureProtocol))
		regions := s.g.Regions()
		s.h.ok(s.g.Set(proto.SetMemTable, proto.AppendMemTable(nil, regions), regions[0].FD))
		s.setUp(0, s.g.Rx[0].Ring, s.g.Rx[0].KickFD(), bases[0])
		s.setUp(1, s.g.Tx[0].Ring, s.g.Tx[0].KickFD(), bases[1])
		for i := range 2 {
			s.h.ok(s.g.Enable(i, true))
		}
		s.passes()
		if d := s.dev.Snapshot(); d.Recalled != 1 || d.HeaderSize != guest.HdrLen || d.Features != was {
			s.Errorf("features %#x, were %#x; recalled %d times, headers of %d bytes", d.Features, was, d.Recalled, d.HeaderSize)
		}
		s.whole()
	})
}

// TestHostile39_TakenBack: a front end that has said what its guest acknowledged says
// nothing of it in the same session. That is its word: the rings go on by it, and the
// guest is the only one to suffer. A reset and the right word mend it.
func TestHostile39_TakenBack(t *testing.T) {
	attack(t, nil, func(s *scene) {
		s.passes()
		s.h.ok(s.g.SetU64(proto.SetFeatures, proto.FeatureProtocol))
		if d := s.dev.Snapshot(); d.Recalled != 0 || d.HeaderSize != guest.HdrLen-2 || d.Features != proto.FeatureProtocol || d.Rings[1].Format != "split" {
			s.Errorf("features %#x, recalled %d times, headers of %d bytes, rings %s", d.Features, d.Recalled, d.HeaderSize, d.Rings[1].Format)
		}
		s.pair.goesOn(100)
		s.again()
		if n := s.dev.Snapshot().HeaderSize; n != guest.HdrLen {
			s.Errorf("header of %d bytes", n)
		}
	})
}

// TestHostile40_SlowLoris sends a message byte by byte and never the last ones. Nobody
// waits: neither a new VM's port nor the end of this one.
func TestHostile40_SlowLoris(t *testing.T) {
	attack(t, nil, func(s *scene) {
		m := raw(proto.SetFeatures, ackWanted, 8)
		for _, b := range m {
			s.h.ok(s.g.Conn.WriteRaw([]byte{b}))
			s.pair.goesOn(20)
		}
		before := s.dev.Snapshot().Features
		late := s.h.vm(4, guest.Config{Features: base, RingSize: 64})
		late.passes()
		s.passes() // its own rings do not wait for it either
		if s.dev.Snapshot().Features != before {
			s.Error("half a message has changed the features")
		}
		s.whole()
		s.ends()
	})
}

// ends closes the offender's connector, which waits for nothing that its front end
// would have to do.
func (s *scene) ends() {
	s.Helper()
	done := make(chan struct{})
	go func() { defer close(done); s.conn.Close() }()
	s.h.until("the port's connector ends", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	s.conn = nil
	s.h.until("the device is down", func() bool { return !s.dev.Info().Up })
}

// TestHostile41_Silent: front ends that connect and say nothing, or half a header, hold
// up their own port alone, which comes back when they go, and can be taken away before.
func TestHostile41_Silent(t *testing.T) {
	for name, start := range map[string][]byte{"nothing": nil, "half_a_header": raw(proto.GetFeatures, proto.FlagVersion, 0)[:6]} {
		t.Run(name, func(t *testing.T) {
			attack(t, nil, func(s *scene) {
				// While the port has its front end, others wait, whatever they are.
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
				s.g.Abandon()
				s.h.until("the session ends", func() bool { return !s.dev.Info().Up })
				hang := func() *guest.Frontend {
					f := s.rawFrontEnd()
					if len(start) > 0 {
						s.h.ok(f.Conn.WriteRaw(start))
					}
					s.pair.goesOn(200)
					return f
				}
				f := hang()
				s.h.vm(4, guest.Config{Features: base, RingSize: 64}).passes() // another port comes up
				f.Conn.Close()
				s.plug() // and so does this one again
				s.passes()
				s.whole()
				s.g.Abandon()
				s.h.until("the session ends", func() bool { return !s.dev.Info().Up })
				hang()
				s.ends()
			})
		})
	}
}

// TestHostile41_ConnectNeverAnswered: the front end listens and never accepts, with its
// queue full or not.
func TestHostile41_ConnectNeverAnswered(t *testing.T) {
	attack(t, nil, func(s *scene) {
		path := filepath.Join(s.h.dir, "deaf")
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		s.h.ok(err)
		defer unix.Close(fd)
		s.h.ok(unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
		s.h.ok(unix.Listen(fd, 0)) // one waits, the next one finds it full
		var ports []*vm
		for id := range 2 {
			v := s.h.port(5+id, 1)
			v.conn, err = proto.Start(context.Background(), proto.Config{Port: v.dev.Name(), Path: path, Backend: v.dev})
			s.h.ok(err)
			ports = append(ports, v)
		}
		s.h.until("one of them is connected", func() bool { return ports[0].conn.Connected() || ports[1].conn.Connected() })
		s.pair.goesOn(200)
		s.passes()
		for _, v := range ports {
			(&scene{vm: v, T: s.T, pair: s.pair}).ends()
		}
	})
}

// TestHostile41_NoDescriptors: no descriptor is left for a connection; the port comes back
// when there is one.
func TestHostile41_NoDescriptors(t *testing.T) {
	attack(t, nil, func(s *scene) {
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
		s.whole()
	})
}

// TestHostile43_StatusReset resets the device by status 0 while frames are under way: it
// forgets rings and features at once and takes nothing any more, until it is set up anew,
// in this session or the next.
func TestHostile43_StatusReset(t *testing.T) {
	attack(t, nil, func(s *scene) {
		f := makeFrame(3, 3, 60)
		for range 3 {
			s.passes()
			for range 100 {
				s.g.Tx[0].SendBurst([][]byte{f}, nil)
			}
			s.h.ok(s.g.SetU64(proto.SetStatus, 0))
			s.isReset()
			taken := s.totals(1).Packets
			s.g.Tx[0].SendBurst([][]byte{f, f, f, f}, nil)
			for range 20 {
				s.g.Tx[0].Kick()
			}
			s.pair.goesOn(100)
			if n := s.totals(1).Packets; n != taken {
				s.Errorf("%d frames taken after the reset", n-taken)
			}
			s.again()
			s.whole()
		}
	})
}

// isReset checks that the device is as before SET_FEATURES, its memory still mapped.
func (s *scene) isReset() {
	s.Helper()
	d := s.dev.Snapshot()
	if d.Up || d.Features != 0 || d.Status != 0 || !d.Connected || len(d.Regions) != 1 {
		s.Errorf("after a reset: up %v, features %#x, status %#x, connected %v, %d regions", d.Up, d.Features, d.Status, d.Connected, len(d.Regions))
	}
	for _, r := range d.Rings {
		if r.Running || r.Started || r.Size != 0 || r.KickFD {
			s.Errorf("after a reset: ring %+v", r)
		}
	}
}
