package drivertest

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"unsafe"

	"baton/vhost/guestmem"
)

// Packed is a packed ring's driver. Tests describe chains as for a split ring, in a
// private table, and Put lays them into slots. Offsets are into Mem.
type Packed struct {
	Mem                  *Mem
	Num                  int
	Desc, Driver, Device int
	Next                 int  // slot to write next
	Wrap                 bool // and its lap's counter
	UsedAt               int  // slot in which the next used element is awaited
	UsedWrap             bool

	// InOrder: a used element may stand for all chains up to the one that it names.
	InOrder bool

	flight []uint16 // ids in flight, oldest first
	until  int      // chains of a batch that are not taken yet
	lens   uint32   // their element's length

	table []guestmem.Desc
	slots map[uint16]int // taken by each chain in flight, by id
	first int            // slot whose flags Publish writes, -1 none
	word  uint64         // and its second half
}

// NewPacked lays a packed ring of num slots at offset off (page aligned) of m.
func NewPacked(m *Mem, num, off int) *Packed {
	return &Packed{
		Mem: m, Num: num, Desc: off, Driver: off + 16*num, Device: off + 16*num + 64,
		Wrap: true, UsedWrap: true, first: -1,
		table: make([]guestmem.Desc, num), slots: map[uint16]int{},
	}
}

// UserAddrs are the front-end addresses of descriptors, driver and device event area.
func (r *Packed) UserAddrs() (desc, driver, device uint64) {
	return User + uint64(r.Desc), User + uint64(r.Driver), User + uint64(r.Device)
}

// SetDesc writes entry i of the private table.
func (r *Packed) SetDesc(i int, d guestmem.Desc) { r.table[i] = d }

// Raw writes slot i as it is, flags with their wrap bits included; Desc.Next is the id.
func (r *Packed) Raw(i int, d guestmem.Desc) {
	b := r.Mem.Bytes[r.Desc+16*i:]
	binary.LittleEndian.PutUint64(b, d.Addr)
	r.store(i, uint64(d.Len)|uint64(d.Next)<<32|uint64(d.Flags)<<48)
}

func (r *Packed) word64(i int) *uint64 {
	// SAFETY: offset 8 of slot i < Num, 8-aligned, inside the mapping.
	return (*uint64)(unsafe.Pointer(&r.Mem.Bytes[r.Desc+16*i+8]))
}

func (r *Packed) store(i int, w uint64) { atomic.StoreUint64(r.word64(i), w) }

// Slot is the second half of slot i.
func (r *Packed) Slot(i int) guestmem.Slot { return guestmem.Slot(atomic.LoadUint64(r.word64(i))) }

// Free is the number of slots that no chain in flight takes.
func (r *Packed) Free() int {
	n := r.Num
	for _, k := range r.slots {
		n -= k
	}
	return n
}

// Put writes the chain that begins at table entry head, whose number is its id. The
// first chain after a Publish stays unseen until the next one.
func (r *Packed) Put(head uint16) {
	slots, d := 0, r.table[head]
	start, wrap := r.Next, r.Wrap
	var word uint64
	for {
		flags := d.Flags | guestmem.DescUsed
		if wrap {
			flags = d.Flags | guestmem.DescAvail
		}
		if r.Next < start { // behind the ring's end the next lap begins
			flags ^= guestmem.DescAvail | guestmem.DescUsed
		}
		w := uint64(d.Len) | uint64(head)<<32 | uint64(flags)<<48
		binary.LittleEndian.PutUint64(r.Mem.Bytes[r.Desc+16*r.Next:], d.Addr)
		if slots == 0 {
			word = w
		} else {
			r.store(r.Next, w)
		}
		slots++
		if r.Next++; r.Next == r.Num {
			r.Next, r.Wrap = 0, !r.Wrap
		}
		if d.Flags&guestmem.DescNext == 0 || slots == r.Num {
			break
		}
		d = r.table[d.Next]
	}
	r.slots[head] = slots
	if r.InOrder {
		r.flight = append(r.flight, head)
	}
	if r.first < 0 {
		r.first, r.word = start, word
	} else {
		r.store(start, word)
	}
}

// Publish makes what Put wrote visible.
func (r *Packed) Publish() {
	if r.first >= 0 {
		r.store(r.first, r.word)
		r.first = -1
	}
}

// Push is Put of each head and Publish.
func (r *Packed) Push(heads ...uint16) {
	for _, h := range heads {
		r.Put(h)
	}
	r.Publish()
}

// TakeUsed returns the next used element, if there is one.
func (r *Packed) TakeUsed() (id, n uint32, ok bool) {
	if r.until > 0 {
		return r.batch()
	}
	s := r.Slot(r.UsedAt)
	want := uint16(0)
	if r.UsedWrap {
		want = guestmem.DescAvail | guestmem.DescUsed
	}
	slots, known := r.slots[s.ID()]
	if s.Flags()&(guestmem.DescAvail|guestmem.DescUsed) != want || !known {
		return 0, 0, false
	}
	if n = s.Len(); s.Flags()&guestmem.DescWrite == 0 {
		n = 0 // reserved
	}
	if r.InOrder {
		r.lens = n
		r.until = slices.Index(r.flight, s.ID()) + 1
		return r.batch()
	}
	delete(r.slots, s.ID())
	r.Skip(slots)
	return uint32(s.ID()), n, true
}

// batch takes the next chain of a batch.
func (r *Packed) batch() (id, n uint32, ok bool) {
	h := r.flight[0]
	r.flight = r.flight[1:]
	r.until--
	r.Skip(r.slots[h])
	delete(r.slots, h)
	return uint32(h), r.lens, true
}

// Skip passes over n slots of used elements.
func (r *Packed) Skip(n int) {
	if r.UsedAt += n; r.UsedAt >= r.Num {
		r.UsedAt, r.UsedWrap = r.UsedAt-r.Num, !r.UsedWrap
	}
}

func (r *Packed) area(off int) *uint32 {
	// SAFETY: offsets of the two event areas, 4-aligned, inside the mapping.
	return (*uint32)(unsafe.Pointer(&r.Mem.Bytes[off]))
}

// SetEvent writes the driver's wish for calls.
func (r *Packed) SetEvent(offWrap, flags uint16) {
	atomic.StoreUint32(r.area(r.Driver), uint32(offWrap)|uint32(flags)<<16)
}

// DeviceEvent is the device's wish for kicks.
func (r *Packed) DeviceEvent() (offWrap, flags uint16) {
	w := atomic.LoadUint32(r.area(r.Device))
	return uint16(w), uint16(w >> 16)
}
