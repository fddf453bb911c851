package guestmem

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Flags of a packed ring's descriptor, beside those of a split one (virtio 1.2
// section 2.8.1). A slot is available in a lap if its AVAIL bit is the lap's wrap
// counter and its USED bit is not; it is used if both are.
const (
	DescAvail uint16 = 1 << 7
	DescUsed  uint16 = 1 << 15
)

// DescMeaning are the descriptor flags that say what a buffer is.
const DescMeaning = DescNext | DescWrite | DescIndirect

// Flags of an event area (virtio 1.2 section 2.8.14): the low 16 bits of its word are
// off_wrap, a slot with its wrap counter in bit 15; the high 16 the flags.
const (
	EventEnable  uint16 = 0 // notify always
	EventDisable uint16 = 1 // notify never
	EventDesc    uint16 = 2 // notify when off_wrap's slot is reached (EVENT_IDX)
)

// MaxPackedNum is the largest packed ring (virtio 1.2 section 2.8.10.1).
const MaxPackedNum = 32768

// ErrPackedSize is the error of Table.PackedRing for a size that no ring has.
var ErrPackedSize = errors.New("ring size is not 1 to 32768")

// PackedRing is the shared memory of one packed virtqueue.
//
//	conc: one worker reads and writes; the fields themselves never change
type PackedRing struct {
	desc           unsafe.Pointer
	driver, device unsafe.Pointer // event areas
	num            uint32
}

// CheckPackedAddr checks a ring's addresses without memory (virtio 1.2 section 2.8.10.1:
// 16, 4 and 4 bytes).
func CheckPackedAddr(desc, driver, device uint64) error {
	if desc%16 != 0 || driver%4 != 0 || device%4 != 0 {
		return fmt.Errorf("%w: descriptors %#x (16), driver area %#x (4), device area %#x (4)", ErrAlign, desc, driver, device)
	}
	return nil
}

// PackedRing finds the three parts of a ring of num slots at front-end addresses.
//
//	error: ErrPackedSize, ErrAlign, ErrNotMapped
func (t *Table) PackedRing(num uint32, desc, driver, device uint64) (PackedRing, error) {
	if num == 0 || num > MaxPackedNum {
		return PackedRing{}, fmt.Errorf("%w: %d", ErrPackedSize, num)
	}
	if err := CheckPackedAddr(desc, driver, device); err != nil {
		return PackedRing{}, err
	}
	r := PackedRing{
		desc:   t.user(desc, uint64(num)*DescSize),
		driver: t.user(driver, 4),
		device: t.user(device, 4),
		num:    num,
	}
	if r.desc == nil || r.driver == nil || r.device == nil {
		return PackedRing{}, fmt.Errorf("%w: %d slots, descriptors %#x, driver area %#x, device area %#x", ErrNotMapped, num, desc, driver, device)
	}
	// The host address must be aligned too: a region may be mapped at any offset.
	if uintptr(r.desc)%16 != 0 || uintptr(r.driver)%4 != 0 || uintptr(r.device)%4 != 0 {
		return PackedRing{}, fmt.Errorf("%w: the region's file offset shifts it", ErrAlign)
	}
	return r, nil
}

// Num is the number of slots.
func (r *PackedRing) Num() uint32 { return r.num }

// Slot is the second half of a slot: length, buffer id and flags, in one word.
type Slot uint64

// MakeSlot is the word of a slot.
func MakeSlot(n uint32, id, flags uint16) Slot {
	return Slot(n) | Slot(id)<<32 | Slot(flags)<<48
}

// Len is the length in bytes.
func (s Slot) Len() uint32 { return uint32(s) }

// ID is the buffer id.
func (s Slot) ID() uint16 { return uint16(s >> 32) }

// Flags are the flags, wrap bits included.
func (s Slot) Flags() uint16 { return uint16(s >> 48) }

// slot is where slot i, below num, begins.
func (r *PackedRing) slot(i uint16) unsafe.Pointer {
	// An index that is none reads slot 0; callers never have one, and a branch that is
	// never taken costs less than what it guards.
	if uint32(i) >= r.num {
		i = 0
	}
	// SAFETY: i < num; the ring is num*16 bytes.
	return unsafe.Add(r.desc, DescSize*uintptr(i))
}

// Slot reads the second half of slot i, which must be below Num, in one load with
// acquire order: if it is available, its other half and those of its chain are there.
func (r *PackedRing) Slot(i uint16) Slot {
	// SAFETY: 8-aligned and inside the ring.
	return Slot(atomic.LoadUint64((*uint64)(unsafe.Add(r.slot(i), 8))))
}

// Addr reads the first half of slot i: a buffer's guest address.
func (r *PackedRing) Addr(i uint16) uint64 {
	return atomic.LoadUint64((*uint64)(r.slot(i)))
}

// Pair is Slot and then Addr of slot i.
func (r *PackedRing) Pair(i uint16) (Slot, uint64) {
	p := r.slot(i)
	// SAFETY: as for Slot; the first half is read after the second, whose flags say
	// whether it is there.
	s := Slot(atomic.LoadUint64((*uint64)(unsafe.Add(p, 8))))
	return s, atomic.LoadUint64((*uint64)(p))
}

// SetSlot writes the second half of slot i in one store without order of its own: the
// driver must not look at it before a PublishSlot.
func (r *PackedRing) SetSlot(i uint16, s Slot) {
	// SAFETY: as for Slot.
	*(*uint64)(unsafe.Add(r.slot(i), 8)) = uint64(s)
}

// PublishSlot is SetSlot after all stores before it. It does not wait until the driver sees
// it: whoever then reads what the driver wishes, fences first.
func (r *PackedRing) PublishSlot(i uint16, s Slot) {
	// SAFETY: as for Slot.
	release64((*uint64)(unsafe.Add(r.slot(i), 8)), uint64(s))
}

// DriverEvent reads the driver's wish for calls.
func (r *PackedRing) DriverEvent() (offWrap, flags uint16) {
	w := atomic.LoadUint32((*uint32)(r.driver))
	return uint16(w), uint16(w >> 16)
}

// SetDeviceEvent writes our wish for kicks, and fences.
func (r *PackedRing) SetDeviceEvent(offWrap, flags uint16) {
	// SAFETY: 4-aligned; the whole word is ours alone.
	atomic.SwapUint32((*uint32)(r.device), uint32(offWrap)|uint32(flags)<<16)
}
