package netdev_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/netdev"
	"baton/vhost/proto"
	"baton/vhost/virtq/drivertest"

	"golang.org/x/sys/unix"
)

// sent is a State as another process gets it: with copies of the descriptors.
func sent(t testing.TB, s netdev.State) netdev.State {
	t.Helper()
	s.EachFD(func(fd *int) {
		if *fd < 0 {
			return
		}
		dup, err := unix.FcntlInt(uintptr(*fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		*fd = dup
	})
	return s
}

// heir is another device for the rig's guest, which goes on where the rig's stopped.
func (g *rig) heir() *netdev.Device {
	g.t.Helper()
	g.dev.Suspend()
	d, err := netdev.Restore(netdev.Config{Name: "vm1", QueuePairs: 1}, sent(g.t, g.dev.State()))
	g.ok(err)
	return d
}

// A guest goes to another device and back: nothing is sent twice or lost, both
// directions work with either, figures go on, and the port is up all the while.
func TestHandover(t *testing.T) {
	for _, features := range []uint64{modern, packedFeatures} {
		g := newRig(t, nil)
		before := openFDs(t)
		old := g.dev
		passes := g.passes
		push := func() { g.sendOne(60) }
		if features == packedFeatures {
			rx, tx := drivertest.NewPacked(g.mem, 64, rxRing), drivertest.NewPacked(g.mem, 64, txRing)
			g.connectPacked(features, rx, tx, 0x80008000)
			passes = func() { g.passesPacked(rx, tx) }
			push = nil // TakeUsed is passesPacked's
		} else {
			g.connect(features)
		}
		passes()
		passes()
		heir := g.heir()
		if !old.Info().Up || old.Queue(0).Rx(g.cache, &g.vec) != 0 || g.send() {
			t.Errorf("suspended: up %v, or it still passes frames", old.Info().Up)
		}
		want := uint64(2)
		if push != nil {
			push()
			push() // while nobody has the guest
			want += 2
		}
		g.dev = heir
		g.ok(heir.Resume(nil))
		if n := g.recv(); n != int(want-2) {
			t.Errorf("the heir got %d frames, want %d", n, want-2)
		}
		passes()
		want++
		s := heir.Snapshot()
		if s.Rings[1].Totals.Packets != want || s.Rings[0].Totals.Packets != 3 || s.Features != features || !s.Up || !s.Connected {
			t.Errorf("features %#x: after: %+v", features, s)
		}
		heir.Suspend()
		g.dev = old
		g.ok(old.Resume(heir.Words()))
		g.ok(heir.Close())
		passes()
		passes()
		if n := g.recv(); n != 0 {
			t.Errorf("%d frames came twice", n)
		}
		g.ok(old.Resume(nil)) // nothing is suspended
		old.Disconnected()
		if after := openFDs(t); after != before {
			t.Errorf("%d descriptors were open, and %d are", before, after)
		}
	}
}

// A guest sends numbered frames all the while it is handed from device to device: each
// arrives once, in order.
func TestHandover_underLoad(t *testing.T) {
	g := newRig(t, nil)
	g.connect(modern)
	const frames, inFlight = 20000, 32
	var taken atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range frames {
			for int64(i)-taken.Load() >= inFlight {
				runtime.Gosched()
			}
			off := dataOff + i%inFlight*2048
			binary.LittleEndian.PutUint32(g.mem.Bytes[off+12+14:], uint32(i))
			g.tx.SetDesc(i%inFlight, guestmem.Desc{Addr: at(off), Len: 12 + 60})
			g.tx.Push(uint16(i % inFlight))
		}
	}()
	first, devices := g.dev, 1
	for next := 0; next < frames; {
		for range rand.IntN(20) {
			n := g.dev.Queue(0).Rx(g.cache, &g.vec)
			for i := range n {
				if got := int(binary.LittleEndian.Uint32(g.vec[i].Data()[14:])); got != next {
					t.Fatalf("frame %d, want %d, from device %d", got, next, devices)
				}
				next++
			}
			g.cache.FreeAll(&g.vec, n)
			taken.Store(int64(next))
			if n == 0 {
				runtime.Gosched()
			}
		}
		heir := g.heir()
		g.ok(heir.Resume(nil))
		if g.dev != first { // that is the rig's to close
			g.ok(g.dev.Close())
		}
		g.dev = heir
		devices++
	}
	<-done
	if got := g.dev.Snapshot().Rings[1].Totals.Packets; got != frames {
		t.Errorf("%d frames counted by %d devices, want %d", got, devices, frames)
	}
	g.ok(g.dev.Close())
	g.dev = first
	t.Logf("%d devices", devices)
}

// What a device cannot go on with is refused; the one before it goes on, and no descriptor
// is left.
func TestRestore_refused(t *testing.T) {
	disk, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := disk.Truncate(memSize); err != nil {
		t.Fatal(err)
	}
	swap := func(t *testing.T, fd *int, with int) {
		unix.Close(*fd)
		dup, err := unix.FcntlInt(uintptr(with), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		*fd = dup
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, s *netdev.State)
		want   error
	}{
		"features":        {func(t *testing.T, s *netdev.State) { s.Features |= 1 << 40 }, netdev.ErrLacksFeatures},
		"pinned features": {func(t *testing.T, s *netdev.State) { s.Pinned |= 1 << 41 }, netdev.ErrLacksFeatures},
		"queue pairs": {func(t *testing.T, s *netdev.State) {
			s.Rings = append(s.Rings, s.Rings[0])
			s.Rings[2].Kick, s.Rings[2].Call, s.Rings[2].Err = -1, -1, -1
		}, netdev.ErrQueuePairs},
		"memory on a disk": {func(t *testing.T, s *netdev.State) { swap(t, &s.Regions[0].FD, int(disk.Fd())) }, nil},
		"memory too short": {func(t *testing.T, s *netdev.State) { s.Regions[1].Size *= 2 }, guestmem.ErrFile},
		"memory overlaps":  {func(t *testing.T, s *netdev.State) { s.Regions[1].GuestAddr = s.Regions[0].GuestAddr }, guestmem.ErrOverlap},
		"kick is no event": {func(t *testing.T, s *netdev.State) { swap(t, &s.Rings[0].Kick, int(disk.Fd())) }, nil},
		"call is no event": {func(t *testing.T, s *netdev.State) { swap(t, &s.Rings[1].Call, int(disk.Fd())) }, nil},
		"request socket":   {func(t *testing.T, s *netdev.State) { s.ReqFD = -1; swap(t, &s.ReqFD, int(disk.Fd())) }, nil},
		"log on a disk": {func(t *testing.T, s *netdev.State) {
			s.Log = &netdev.LogState{Size: 4096, FD: -1}
			swap(t, &s.Log.FD, int(disk.Fd()))
		}, nil},
		"more memory": {nil, guestmem.ErrTooMuch},
		"no name":     {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			g.ok(g.dev.SetFeatures(modern))
			g.ok(g.dev.SetMemTable(g.regions(memSize / 2)))
			g.startRing(0, g.rx, 0)
			g.startRing(1, g.tx, 0)
			g.ok(g.dev.SetVringEnable(0, true))
			g.ok(g.dev.SetVringEnable(1, true))
			g.passes()
			g.dev.Suspend()
			before := openFDs(t)
			s := sent(t, g.dev.State())
			cfg := netdev.Config{Name: "vm1", QueuePairs: 1}
			switch {
			case c.change != nil:
				c.change(t, &s)
			case name == "no name":
				cfg.Name = ""
			default:
				cfg.MaxMemory = memSize / 2
			}
			if _, err := netdev.Restore(cfg, s); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if after := openFDs(t); after != before {
				t.Errorf("%d descriptors were open, and %d are", before, after)
			}
			if err := g.dev.Resume([]uint32{1}); err == nil {
				t.Error("too few words were taken")
			}
			g.ok(g.dev.Resume(nil))
			g.passes()
		})
	}
}

// A ring that the guest broke is off with the heir too, and with the old device again, until
// the front end sets it up anew; the other one works.
func TestHandover_brokenRing(t *testing.T) {
	g := newRig(t, nil)
	g.connect(modern)
	g.passes()
	g.tx.SetDesc(0, guestmem.Desc{Addr: at(dataOff), Len: 72, Flags: guestmem.DescNext, Next: 0}) // a loop
	g.tx.Push(0)
	g.recv()
	if s := g.dev.Snapshot().Rings[1]; s.Broken == "none" {
		t.Fatalf("%+v", s)
	}
	old := g.dev
	heir := g.heir()
	off := func(d *netdev.Device) {
		t.Helper()
		g.dev = d
		s := d.Snapshot().Rings
		g.offerOne()
		if s[1].Running || s[1].LastBroken == "none" || !s[0].Running || !g.send() {
			t.Errorf("%+v", s)
		}
	}
	g.ok(heir.Resume(nil))
	off(heir)
	heir.Suspend()
	g.ok(old.Resume(heir.Words()))
	g.ok(heir.Close())
	off(old)
	g.startRing(1, g.tx, uint32(g.tx.UsedIdx()))
	if s := old.Snapshot().Rings[1]; !s.Running {
		t.Errorf("set up anew: %+v", s)
	}
}

// The dirty log goes along: what the heir writes is noted in it.
func TestHandover_log(t *testing.T) {
	g := newRig(t, nil)
	g.connect(modern)
	fd, err := unix.MemfdCreate("log", unix.MFD_CLOEXEC)
	g.ok(err)
	const size = (drivertest.Guest + memSize) / guestmem.LogPage / 8
	g.ok(unix.Ftruncate(fd, int64(size+4096)))
	bits, err := unix.Mmap(fd, 0, int(size+4096), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	g.ok(err)
	defer unix.Munmap(bits)
	g.ok(g.dev.SetLogBase(size, 0, fd))
	g.ok(g.dev.SetFeatures(modern | proto.FeatureLogAll))
	old := g.dev
	g.dev = g.heir()
	g.ok(g.dev.Resume(nil))
	clear(bits)
	g.offerOne()
	if !g.send() {
		t.Fatal("not taken")
	}
	page := at(dataOff+8192) / guestmem.LogPage
	if bits[page/8]&(1<<(page%8)) == 0 {
		t.Error("a page that the heir wrote is not in the log")
	}
	g.ok(g.dev.Close())
	g.dev = old
}

// BenchmarkResume is how long a guest waits for the device that goes on for it: two rings.
func BenchmarkResume(b *testing.B) {
	g := newRig(b, nil)
	g.connect(modern)
	first := g.dev
	b.StopTimer()
	for range b.N {
		d, err := netdev.Restore(netdev.Config{Name: "vm1", QueuePairs: 1}, sent(b, g.dev.State()))
		g.ok(err)
		g.dev.Suspend()
		words := g.dev.Words()
		b.StartTimer()
		g.ok(d.Resume(words))
		b.StopTimer()
		if g.dev != first {
			g.ok(g.dev.Close())
		}
		g.dev = d
	}
	if g.dev != first {
		g.ok(g.dev.Close())
	}
	g.dev = first
}
