// Package drivertest is the driver side of split and packed rings over a memory file,
// as bare as it gets, so that tests can write anything a guest could write.
//
//	memfd:  0        desc | avail | used ...      buffers ...       Size
//	        guest address Guest+offset, front-end address User+offset
//
// Callers: tests of vhost rooms. One goroutine a ring.
package drivertest

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"

	"baton/vhost/guestmem"

	"golang.org/x/sys/unix"
)

// Addresses of offset 0 of a Mem.
const (
	Guest uint64 = 0x4000_0000
	User  uint64 = 0x7f12_0000_0000
)

// Mem is a guest's memory: a memfd that the test has mapped too.
type Mem struct {
	FD    int
	Bytes []byte
}

// NewMem makes size bytes of memory; the test's end frees it.
func NewMem(t testing.TB, size int) *Mem {
	t.Helper()
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Munmap(b)
		_ = unix.Close(fd)
	})
	return &Mem{FD: fd, Bytes: b}
}

// DupFD is another descriptor of the file, to give away.
func (m *Mem) DupFD(t testing.TB) int {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(m.FD), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// Regions are the memory cut at the given offsets, page aligned, into regions that
// adjoin in guest and front-end addresses but are mapped apart.
func (m *Mem) Regions(cuts ...uint64) []guestmem.Region {
	var rs []guestmem.Region
	at := uint64(0)
	for _, end := range append(cuts, uint64(len(m.Bytes))) {
		rs = append(rs, guestmem.Region{GuestAddr: Guest + at, Size: end - at, UserAddr: User + at, MmapOffset: at})
		at = end
	}
	return rs
}

// Table maps the regions; the test's end closes them.
func (m *Mem) Table(t testing.TB, cuts ...uint64) *guestmem.Table {
	t.Helper()
	var maps []*guestmem.Mapping
	for _, r := range m.Regions(cuts...) {
		mp, err := guestmem.Map(r, m.DupFD(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(mp.Close)
		maps = append(maps, mp)
	}
	tab, err := guestmem.NewTable(maps)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// Ring is a split ring's driver. Offsets are into Mem.
type Ring struct {
	Mem               *Mem
	Num               int
	Desc, Avail, Used int
	AvailIdx          uint16 // next index to publish
	LastUsed          uint16 // next used element to take
	AvailFlags        uint16
	// InOrder: a used element may stand for all chains up to the one that it names.
	InOrder bool

	flight []uint16 // heads in flight, oldest first
	until  int      // chains of a batch that are not taken yet
}

// NewRing lays a ring of num entries at offset off (page aligned) of m.
func NewRing(m *Mem, num, off int) *Ring {
	r := &Ring{Mem: m, Num: num, Desc: off, Avail: off + 16*num}
	r.Used = (r.Avail + 6 + 2*num + 3) &^ 3
	return r
}

// End is the first offset behind the ring.
func (r *Ring) End() int { return (r.Used + 6 + 8*r.Num + 63) &^ 63 }

// UserAddrs are the front-end addresses of descriptors, available and used ring.
func (r *Ring) UserAddrs() (desc, avail, used uint64) {
	return User + uint64(r.Desc), User + uint64(r.Avail), User + uint64(r.Used)
}

// SetDesc writes descriptor i.
func (r *Ring) SetDesc(i int, d guestmem.Desc) { PutDesc(r.Mem.Bytes[r.Desc+16*i:], d) }

// PutDesc writes a descriptor at the start of b.
func PutDesc(b []byte, d guestmem.Desc) {
	binary.LittleEndian.PutUint64(b, d.Addr)
	binary.LittleEndian.PutUint32(b[8:], d.Len)
	binary.LittleEndian.PutUint16(b[12:], d.Flags)
	binary.LittleEndian.PutUint16(b[14:], d.Next)
}

func (r *Ring) word(off int) *uint32 {
	// SAFETY: callers pass 4-aligned offsets inside the mapping.
	return (*uint32)(unsafe.Pointer(&r.Mem.Bytes[off]))
}

// Put writes head to the next available entry, unpublished.
func (r *Ring) Put(head uint16) {
	binary.LittleEndian.PutUint16(r.Mem.Bytes[r.Avail+4+2*(int(r.AvailIdx)%r.Num):], head)
	r.AvailIdx++
	if r.InOrder {
		r.flight = append(r.flight, head)
	}
}

// Publish makes what Put wrote visible.
func (r *Ring) Publish() {
	atomic.StoreUint32(r.word(r.Avail), uint32(r.AvailFlags)|uint32(r.AvailIdx)<<16)
}

// Push is Put of each head and Publish.
func (r *Ring) Push(heads ...uint16) {
	for _, h := range heads {
		r.Put(h)
	}
	r.Publish()
}

// UsedIdx is the device's index.
func (r *Ring) UsedIdx() uint16 { return uint16(atomic.LoadUint32(r.word(r.Used)) >> 16) }

// UsedFlags is the device's flags word.
func (r *Ring) UsedFlags() uint16 { return uint16(atomic.LoadUint32(r.word(r.Used))) }

// TakeUsed returns the next used element, if there is one.
func (r *Ring) TakeUsed() (id, n uint32, ok bool) {
	if r.UsedIdx() == r.LastUsed {
		return 0, 0, false
	}
	e := r.Mem.Bytes[r.Used+4+8*(int(r.LastUsed)%r.Num):]
	id, n = binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:])
	if r.InOrder { // the element of a batch's first stands for all
		if r.until == 0 {
			r.until = slices.Index(r.flight, uint16(id)) + 1
		}
		id = uint32(r.flight[0])
		r.until--
		r.flight = r.flight[1:]
	}
	r.LastUsed++
	return id, n, true
}

// SetUsedEvent asks for a call at index v.
func (r *Ring) SetUsedEvent(v uint16) {
	binary.LittleEndian.PutUint16(r.Mem.Bytes[r.Avail+4+2*r.Num:], v)
}

// AvailEvent is where the device asked for a kick.
func (r *Ring) AvailEvent() uint16 {
	return binary.LittleEndian.Uint16(r.Mem.Bytes[r.Used+4+8*r.Num:])
}

// EventFD is a non-blocking eventfd; the test's end closes it.
func EventFD(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// Signals drains eventfd fd and returns its count.
func Signals(fd int) uint64 {
	var b [8]byte
	if _, err := unix.Read(fd, b[:]); err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}
