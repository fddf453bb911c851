package guestmem_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/virtq/drivertest"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func fds(t *testing.T) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(es)
}

// 29: what Map refuses; it closes the descriptor every time.
func TestHostile29_MapRefuses(t *testing.T) {
	m := drivertest.NewMem(t, 1<<16)
	disk, err := os.Create(filepath.Join("/proc/self/cwd", "testdata-not-memory"))
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(disk.Name())
	defer disk.Close()
	if err := disk.Truncate(1 << 16); err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(disk.Fd()), &fs); err != nil {
		t.Fatal(err)
	}
	onDisk := fs.Type != unix.TMPFS_MAGIC
	before := fds(t)
	for _, c := range []struct {
		name string
		r    guestmem.Region
		fd   func() int
		want error
	}{
		{"size_0", guestmem.Region{}, nil, guestmem.ErrRange},
		{"guest_wraps", guestmem.Region{GuestAddr: ^uint64(0) - 100, Size: 4096}, nil, guestmem.ErrRange},
		{"user_wraps", guestmem.Region{UserAddr: ^uint64(0) - 100, Size: 4096}, nil, guestmem.ErrRange},
		{"offset_plus_size_wraps", guestmem.Region{MmapOffset: ^uint64(0) - 100, Size: 4096}, nil, guestmem.ErrRange},
		{"file_too_short", guestmem.Region{Size: 1<<16 + 1}, nil, guestmem.ErrFile},
		{"offset_past_end", guestmem.Region{Size: 4096, MmapOffset: 1 << 16}, nil, guestmem.ErrFile},
		{"huge", guestmem.Region{Size: 1 << 62}, nil, guestmem.ErrFile},
		{"no_descriptor", guestmem.Region{Size: 4096}, func() int { return -1 }, guestmem.ErrFile},
		{"eventfd", guestmem.Region{Size: 4096}, func() int { fd, _ := unix.Eventfd(0, 0); return fd }, guestmem.ErrBacking},
		{"disk", guestmem.Region{Size: 4096}, func() int { fd, _ := unix.Dup(int(disk.Fd())); return fd }, guestmem.ErrBacking},
	} {
		if c.name == "disk" && !onDisk {
			continue
		}
		fd := -2
		if c.fd != nil {
			fd = c.fd()
		} else {
			fd = m.DupFD(t)
		}
		if mp, err := guestmem.Map(c.r, fd); !errors.Is(err, c.want) || mp != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if after := fds(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestHostile29_Overlap(t *testing.T) {
	m := drivertest.NewMem(t, 1<<16)
	mp := func(guest, user uint64) *guestmem.Mapping {
		x, err := guestmem.Map(guestmem.Region{GuestAddr: guest, UserAddr: user, Size: 8192}, m.DupFD(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(x.Close)
		return x
	}
	a := mp(0x10000, 0x90000)
	for _, b := range []*guestmem.Mapping{mp(0x10000, 0x1000), mp(0x11fff, 0x1000), mp(0x1000, 0x8e001), mp(0x1000, 0x90000)} {
		if _, err := guestmem.NewTable([]*guestmem.Mapping{a, b}); !errors.Is(err, guestmem.ErrOverlap) {
			t.Errorf("%#x %#x: %v", b.GuestAddr, b.UserAddr, err)
		}
	}
	if _, err := guestmem.NewTable([]*guestmem.Mapping{a, mp(0x12000, 0x8e000)}); err != nil {
		t.Error(err)
	}
	many := make([]*guestmem.Mapping, guestmem.MaxRegions+1)
	if _, err := guestmem.NewTable(many); !errors.Is(err, guestmem.ErrTooMany) {
		t.Error(err)
	}
}

// Reading through a table cut anywhere equals reading the file; unmapped is refused.
func TestReadGuestOracle(t *testing.T) {
	const size = 1 << 16
	m := drivertest.NewMem(t, size)
	for i := range m.Bytes {
		m.Bytes[i] = byte(i * 31 >> 3)
	}
	c := guestmem.NewCursor(m.Table(t, 4096, 8192, 40960))
	rapid.Check(t, func(rt *rapid.T) {
		off := rapid.IntRange(-100, size+100).Draw(rt, "off")
		n := rapid.IntRange(1, size).Draw(rt, "n")
		dst := make([]byte, n)
		ok := c.ReadGuest(dst, drivertest.Guest+uint64(int64(off)))
		inside := off >= 0 && off+n <= size
		if ok != inside || c.Mapped(drivertest.Guest+uint64(int64(off)), uint64(n)) != inside {
			rt.Fatalf("off %d n %d: %v", off, n, ok)
		}
		if ok && !bytes.Equal(dst, m.Bytes[off:off+n]) {
			rt.Fatal("wrong bytes")
		}
	})
	if c.ReadGuest(make([]byte, 100), ^uint64(0)-10) || c.Mapped(^uint64(0)-10, 100) {
		t.Error("a wrapping range is mapped")
	}
}

// A file offset that is no page multiple is mapped right.
func TestMapOddOffset(t *testing.T) {
	m := drivertest.NewMem(t, 1<<16)
	copy(m.Bytes[5000:], "here")
	mp, err := guestmem.Map(guestmem.Region{GuestAddr: 0x1000, UserAddr: 0x1000, Size: 100, MmapOffset: 5000}, m.DupFD(t))
	if err != nil {
		t.Fatal(err)
	}
	defer mp.Close()
	tab, err := guestmem.NewTable([]*guestmem.Mapping{mp})
	if err != nil {
		t.Fatal(err)
	}
	c := guestmem.NewCursor(tab)
	got := make([]byte, 4)
	if !c.ReadGuest(got, 0x1000) || string(got) != "here" {
		t.Fatalf("%q", got)
	}
}

// Huge pages: one 2 MiB page, mapped whole though the region is smaller.
func TestMapHugePage(t *testing.T) {
	fd, err := unix.MemfdCreate("huge", unix.MFD_CLOEXEC|unix.MFD_HUGETLB|unix.MFD_HUGE_2MB)
	if err != nil {
		t.Skipf("no huge pages: %v", err)
	}
	if err := unix.Ftruncate(fd, 2<<20); err != nil {
		t.Fatal(err)
	}
	probe, err := unix.Mmap(fd, 0, 2<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(fd)
		t.Skipf("no free huge page: %v", err)
	}
	copy(probe[4096:], "huge")
	defer func() { _ = unix.Munmap(probe) }()
	mp, err := guestmem.Map(guestmem.Region{GuestAddr: 0, UserAddr: 0x1000, Size: 8192, MmapOffset: 4096}, fd)
	if err != nil {
		t.Fatal(err)
	}
	defer mp.Close()
	if mp.PageSize != 2<<20 {
		t.Errorf("page size %d", mp.PageSize)
	}
	tab, _ := guestmem.NewTable([]*guestmem.Mapping{mp})
	c := guestmem.NewCursor(tab)
	got := make([]byte, 4)
	if !c.ReadGuest(got, 0) || string(got) != "huge" {
		t.Fatalf("%q", got)
	}
}

// 29: the file is cut short after it was mapped: an error, not the process's end;
// any other panic passes through.
func TestHostile29_Truncate(t *testing.T) {
	m := drivertest.NewMem(t, 1<<16)
	tab := m.Table(t)
	c := guestmem.NewCursor(tab)
	if err := unix.Ftruncate(m.FD, 4096); err != nil {
		t.Fatal(err)
	}
	err := tab.Try(func() { c.ReadGuest(make([]byte, 8192), drivertest.Guest) })
	if !errors.Is(err, guestmem.ErrFault) {
		t.Fatal(err)
	}
	defer func() {
		if p := recover(); p != "a bug" {
			t.Errorf("recovered %v", p)
		}
	}()
	_ = tab.Try(func() { panic("a bug") })
}

// The stores touch the fields they name and nothing beside them.
func TestSplitRingFields(t *testing.T) {
	m := drivertest.NewMem(t, 1<<16)
	d := drivertest.NewRing(m, 4, 0)
	desc, avail, used := d.UserAddrs()
	r, err := m.Table(t).SplitRing(4, desc, avail, used)
	if err != nil {
		t.Fatal(err)
	}
	r.SetUsed(5, 1, 2)
	r.Publish(6, 1)
	r.SetAvailEvent(0x1234)
	want := make([]byte, 6+8*4)
	binary.LittleEndian.PutUint16(want, 1)
	binary.LittleEndian.PutUint16(want[2:], 6)
	binary.LittleEndian.PutUint32(want[12:], 1)
	binary.LittleEndian.PutUint32(want[16:], 2)
	binary.LittleEndian.PutUint16(want[36:], 0x1234)
	if got := m.Bytes[d.Used : d.Used+38]; !bytes.Equal(got, want) {
		t.Fatalf("used ring\n%x want\n%x", got, want)
	}
	if r.UsedIdx() != 6 {
		t.Error(r.UsedIdx())
	}
	for _, b := range m.Bytes[d.Used+38:] {
		if b != 0 {
			t.Fatal("a store beside the ring")
		}
	}
	d.SetDesc(3, guestmem.Desc{Addr: 1 << 40, Len: 7, Flags: 5, Next: 9})
	if got := r.Desc(3); got != (guestmem.Desc{Addr: 1 << 40, Len: 7, Flags: 5, Next: 9}) {
		t.Error(got)
	}
	d.AvailFlags = 1
	d.Push(2, 3)
	d.SetUsedEvent(77)
	if r.AvailIdx() != 2 || r.AvailFlags() != 1 || r.AvailEntry(4) != 2 || r.AvailEntry(5) != 3 || r.UsedEvent() != 77 {
		t.Error("available ring")
	}
}

// 29: files may be larger than any memory, since they need not be filled. Guests
// together must not use up the process's addresses: the next mapping of its own would fail,
// and the process with it.
func TestHostile29_AddressesUsedUp(t *testing.T) {
	m := drivertest.NewMem(t, 4096)
	const size = 512 << 30
	if err := unix.Ftruncate(m.FD, size); err != nil {
		t.Fatal(err)
	}
	var maps []*guestmem.Mapping
	var err error
	for range guestmem.MaxMapped / size {
		var mp *guestmem.Mapping
		if mp, err = guestmem.Map(guestmem.Region{Size: size}, m.DupFD(t)); err != nil {
			t.Fatalf("after %d: %v", len(maps), err)
		}
		t.Cleanup(mp.Close)
		maps = append(maps, mp)
	}
	before := fds(t)
	if _, err := guestmem.Map(guestmem.Region{Size: 4096}, m.DupFD(t)); !errors.Is(err, guestmem.ErrTooMuch) || fds(t) != before {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(m.FD, 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := guestmem.Map(guestmem.Region{Size: 8192}, m.DupFD(t)); !errors.Is(err, guestmem.ErrFile) {
		t.Fatal(err)
	}
	for i, mp := range maps {
		mp.GuestAddr, mp.UserAddr = uint64(i*size), uint64(i*size)
	}
	if _, err := guestmem.NewTable(maps[:guestmem.MaxGuest/size]); err != nil {
		t.Error(err)
	}
	if _, err := guestmem.NewTable(maps[:guestmem.MaxGuest/size+1]); !errors.Is(err, guestmem.ErrTooMuch) {
		t.Error("one guest took more than it may: ", err)
	}
	maps[0].Close()
	maps[0].Close()
	mp, err := guestmem.Map(guestmem.Region{Size: 4096}, m.DupFD(t))
	if err != nil {
		t.Fatal("what a mapping took did not come back: ", err)
	}
	mp.Close()
}

// TestPutHeader: whatever is there, the header is there afterwards, and nothing behind it
// has changed.
func TestPutHeader(t *testing.T) {
	m := drivertest.NewMem(t, 4096)
	mp, err := guestmem.Map(guestmem.Region{Size: 4096}, m.DupFD(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mp.Close)
	table, err := guestmem.NewTable([]*guestmem.Mapping{mp})
	if err != nil {
		t.Fatal(err)
	}
	cur := guestmem.NewCursor(table)
	h := [guestmem.HeaderSize]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	for _, size := range []int{10, 12} {
		want := append(h[:size:size], 0xee, 0xee)
		for differs := -1; differs < size; differs++ { // -1: all is there
			copy(m.Bytes, want)
			if differs >= 0 {
				m.Bytes[differs] ^= 0x80
			}
			if s, ok := cur.Span(0, 64); !ok || !s.PutHeader(&h, size) {
				t.Fatal("it fits")
			}
			if got := m.Bytes[:len(want)]; !bytes.Equal(got, want) {
				t.Errorf("size %d, byte %d differed: %x, want %x", size, differs, got, want)
			}
		}
		if s, _ := cur.Span(0, uint32(size-1)); s.PutHeader(new([guestmem.HeaderSize]byte), size) || m.Bytes[0] != 1 {
			t.Errorf("size %d in %d bytes: written", size, size-1)
		}
	}
}
