package guestmem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Flags of a descriptor (virtio 1.2 section 2.7.5).
const (
	DescNext     uint16 = 1 // the chain goes on at Next
	DescWrite    uint16 = 2 // the device writes, else it reads
	DescIndirect uint16 = 4 // the buffer is a table of descriptors
)

// Flags of the rings (virtio 1.2 sections 2.7.6 and 2.7.8).
const (
	AvailNoInterrupt uint16 = 1 // driver: no calls, please
	UsedNoNotify     uint16 = 1 // device: no kicks, please
)

// DescSize is the size of a descriptor in bytes.
const DescSize = 16

// MaxSplitNum is the largest split ring (virtio 1.2 section 2.7).
const MaxSplitNum = 32768

// Errors of Table.SplitRing, for errors.Is.
var (
	ErrRingSize  = errors.New("ring size is not a power of two up to 32768")
	ErrAlign     = errors.New("ring address is not aligned")
	ErrNotMapped = errors.New("ring is not inside one memory region")
)

// Desc is one descriptor, as read: a private copy.
type Desc struct {
	Addr  uint64 // guest physical
	Len   uint32 // bytes
	Flags uint16
	Next  uint16 // number of the chain's next descriptor; of a packed ring: the buffer id
}

// SplitRing is the shared memory of one split virtqueue.
//
//	conc: one worker reads and writes; the fields themselves never change
type SplitRing struct {
	desc, avail, used unsafe.Pointer
	availEvent        unsafe.Pointer // at the used ring's end
	mask              uint16
}

// CheckSplitAddr checks a ring's addresses without memory (virtio 1.2 section 2.7: 16,
// 2 and 4 bytes).
func CheckSplitAddr(desc, avail, used uint64) error {
	if desc%16 != 0 || avail%2 != 0 || used%4 != 0 {
		return fmt.Errorf("%w: descriptors %#x (16), available %#x (2), used %#x (4)", ErrAlign, desc, avail, used)
	}
	return nil
}

// SplitRing finds the three parts of a ring of num entries at front-end addresses.
//
//	error: ErrRingSize, ErrAlign, ErrNotMapped
func (t *Table) SplitRing(num uint32, desc, avail, used uint64) (SplitRing, error) {
	if num == 0 || num > MaxSplitNum || num&(num-1) != 0 {
		return SplitRing{}, fmt.Errorf("%w: %d", ErrRingSize, num)
	}
	if err := CheckSplitAddr(desc, avail, used); err != nil {
		return SplitRing{}, err
	}
	n := uint64(num)
	r := SplitRing{
		desc:  t.user(desc, n*DescSize),
		avail: t.user(avail, 6+2*n),
		used:  t.user(used, 6+8*n),
		mask:  uint16(num - 1),
	}
	if r.desc == nil || r.avail == nil || r.used == nil {
		return SplitRing{}, fmt.Errorf("%w: %d entries, descriptors %#x, available %#x, used %#x", ErrNotMapped, num, desc, avail, used)
	}
	// The host address must be aligned too: a region may be mapped at any offset.
	if uintptr(r.desc)%16 != 0 || uintptr(r.avail)%2 != 0 || uintptr(r.used)%4 != 0 {
		return SplitRing{}, fmt.Errorf("%w: the region's file offset shifts it", ErrAlign)
	}
	// SAFETY: the used part is 6+8n bytes, the event its last two.
	r.availEvent = unsafe.Add(r.used, 4+8*n)
	return r, nil
}

// Num is the number of entries.
func (r *SplitRing) Num() uint32 { return uint32(r.mask) + 1 }

// AvailIdx is the driver's index (acquire: entries and descriptors before it are visible).
func (r *SplitRing) AvailIdx() uint16 {
	// SAFETY: offset 2 of the available ring.
	return load16(unsafe.Add(r.avail, 2))
}

// AvailFlags is the driver's flags word.
func (r *SplitRing) AvailFlags() uint16 { return load16(r.avail) }

// AvailEntry is the head at free-running index i.
func (r *SplitRing) AvailEntry(i uint16) uint16 {
	// SAFETY: i&mask < num.
	return load16(unsafe.Add(r.avail, 4+2*uintptr(i&r.mask)))
}

// UsedEvent is the index at which the driver wants a call.
func (r *SplitRing) UsedEvent() uint16 {
	// SAFETY: behind the num entries; part of the 6+2n bytes checked.
	return load16(unsafe.Add(r.avail, 4+2*uintptr(r.Num())))
}

// Desc is descriptor i, read in two loads, each field once. i must be below Num.
func (r *SplitRing) Desc(i uint16) Desc { return loadDesc(r.descAt(i)) }

// descAt is where descriptor i, below Num, begins.
func (r *SplitRing) descAt(i uint16) unsafe.Pointer {
	// SAFETY: i&mask < num; the table is 16-aligned.
	return unsafe.Add(r.desc, DescSize*uintptr(i&r.mask))
}

func loadDesc(p unsafe.Pointer) Desc {
	// SAFETY: p is 8-aligned, and the 16 bytes behind it were checked.
	a := atomic.LoadUint64((*uint64)(p))
	b := atomic.LoadUint64((*uint64)(unsafe.Add(p, 8)))
	return Desc{Addr: a, Len: uint32(b), Flags: uint16(b >> 32), Next: uint16(b >> 48)}
}

// UsedIdx is our own index, as it stands in shared memory: where to go on after a restart.
func (r *SplitRing) UsedIdx() uint16 {
	// SAFETY: offset 2 of the used ring.
	return load16(unsafe.Add(r.used, 2))
}

// SetUsed writes the used element at free-running index i; it becomes visible with Publish.
func (r *SplitRing) SetUsed(i uint16, id, n uint32) {
	// SAFETY: i&mask < num; elements are 4-aligned, and an unaligned 64-bit store is fine.
	*(*uint64)(unsafe.Add(r.used, 4+8*uintptr(i&r.mask))) = uint64(id) | uint64(n)<<32
}

// Publish stores our flags and used index in one word, after all elements. It does not
// wait until the driver sees them: whoever then reads what the driver wishes, fences first.
func (r *SplitRing) Publish(idx, flags uint16) {
	// SAFETY: the used ring is 4-aligned; both halves of the word are ours alone.
	release32((*uint32)(r.used), uint32(flags)|uint32(idx)<<16)
}

// SetAvailEvent asks for a kick when the driver's index passes v, and fences.
func (r *SplitRing) SetAvailEvent(v uint16) {
	store16(r.availEvent, v)
	Fence()
}

// DescTable is an indirect table, checked to be mapped as a whole.
type DescTable struct {
	span Span // valid when direct
	addr uint64
	num  uint16
	// direct: one region holds the table and it is 8-aligned, so entries are read in place.
	direct bool
}

// DescTable checks that the num entries at guest address addr are mapped. They may
// cross regions.
//
//	alloc: 0
func (c *Cursor) DescTable(addr uint64, num uint16) (t DescTable, ok bool) {
	size := uint32(num) * DescSize
	s, ok := c.Span(addr, size)
	if !ok {
		return DescTable{}, false
	}
	t = DescTable{span: s, addr: addr, num: num, direct: s.n == size && uintptr(s.p)%8 == 0}
	if s.n < size && !c.Mapped(addr, uint64(size)) {
		return DescTable{}, false
	}
	return t, true
}

// Num is the number of entries.
func (t *DescTable) Num() uint16 { return t.num }

// TableDesc is entry i of t, each field read once; false if i is not below t's Num.
func (c *Cursor) TableDesc(t *DescTable, i uint16) (Desc, bool) {
	if i >= t.num {
		return Desc{}, false
	}
	if t.direct {
		// SAFETY: i < num, and the span holds num entries, 8-aligned.
		return loadDesc(unsafe.Add(t.span.p, DescSize*uintptr(i))), true
	}
	var raw [2]uint64
	// SAFETY: the 16 bytes of a local array.
	if !c.ReadGuest(unsafe.Slice((*byte)(unsafe.Pointer(&raw)), DescSize), t.addr+DescSize*uint64(i)) {
		return Desc{}, false
	}
	return Desc{Addr: raw[0], Len: uint32(raw[1]), Flags: uint16(raw[1] >> 32), Next: uint16(raw[1] >> 48)}, true
}

// HeaderSize is that of a virtio_net_hdr with num_buffers, in bytes; legacy drivers
// have two less.
const HeaderSize = 12

// PutHeader writes the first size bytes of h, a virtio_net_hdr, to the span's start:
// 12, or 10 for legacy drivers. False if the span is shorter. What is there already is not
// written: drivers use buffers again with the header that was in them last, and a cache
// line that nobody writes stays with both CPUs.
//
//	spec: virtio 1.2 section 5.1.6
func (s Span) PutHeader(h *[HeaderSize]byte, size int) bool {
	if int(s.n) < size {
		return false
	}
	// SAFETY: size <= n bytes; unaligned stores are fine on our platforms.
	at, rest := (*uint64)(s.p), unsafe.Add(s.p, 8)
	if lo := binary.LittleEndian.Uint64(h[:]); *at != lo {
		*at = lo
	}
	if size == HeaderSize {
		if hi := binary.LittleEndian.Uint32(h[8:]); *(*uint32)(rest) != hi {
			*(*uint32)(rest) = hi
		}
	} else if hi := binary.LittleEndian.Uint16(h[8:]); *(*uint16)(rest) != hi {
		*(*uint16)(rest) = hi
	}
	return true
}

// Header reads the first size bytes, as for PutHeader, each once: the first 8 as lo,
// the rest as hi. The span must not be shorter; of one that is, it reads nothing.
func (s Span) Header(size int) (lo uint64, hi uint32) {
	if int(s.n) < size {
		return 0, 0
	}
	// SAFETY: size <= n bytes; unaligned loads are fine on our platforms.
	if size == HeaderSize {
		hi = *(*uint32)(unsafe.Add(s.p, 8))
	} else {
		hi = uint32(*(*uint16)(unsafe.Add(s.p, 8)))
	}
	return *(*uint64)(s.p), hi
}
