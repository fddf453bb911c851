package guest

import "encoding/binary"

// Descriptor flags (virtio 1.2, 2.7.5) and ring flags (2.7.6, 2.7.8).
const (
	DescNext     uint16 = 1 << 0
	DescWrite    uint16 = 1 << 1 // the device writes this one
	DescIndirect uint16 = 1 << 2

	availNoInterrupt uint16 = 1 << 0
	usedNoNotify     uint16 = 1 << 0

	descSize = 16
	usedSize = 8
)

// Desc is one descriptor.
type Desc struct {
	Addr  uint64 // guest physical
	Len   uint32
	Flags uint16
	Next  uint16
}

// Ring is a split virtqueue as the driver sees it. It has no opinion on what is
// written: queues use it well, tests also otherwise.
//
//	conc: one goroutine
type Ring struct {
	mem   *memory
	num   int // entries, a power of two
	desc  int // offsets into mem
	avail int
	used  int
	event bool // VIRTIO_F_EVENT_IDX

	availIdx  uint16 // next entry of the available ring to write
	published uint16 // what the device knows
	lastUsed  uint16 // next entry of the used ring to read
	flags     uint16 // our flags, without EVENT_IDX
}

// ringBytes is the room that a ring of num entries takes, each part on cache
// lines of its own. The event fields have padding behind them: they are accessed
// as 32-bit words.
func ringBytes(num int) (desc, avail, used int) {
	return align(num*descSize, 64), align(4+num*2+4, 64), align(4+num*usedSize+4, 64)
}

func align(n, to int) int { return (n + to - 1) &^ (to - 1) }

func newRing(mem *memory, off, num int) *Ring {
	d, a, _ := ringBytes(num)
	return &Ring{mem: mem, num: num, desc: off, avail: off + d, used: off + d + a}
}

// Num is the number of entries.
func (r *Ring) Num() int { return r.num }

// SetDesc writes descriptor i.
func (r *Ring) SetDesc(i int, d Desc) { putDesc(r.mem.data[r.desc+i*descSize:], d) }

func putDesc(p []byte, d Desc) {
	_ = p[descSize-1]
	binary.LittleEndian.PutUint64(p, d.Addr)
	binary.LittleEndian.PutUint32(p[8:], d.Len)
	binary.LittleEndian.PutUint16(p[12:], d.Flags)
	binary.LittleEndian.PutUint16(p[14:], d.Next)
}

// SetLen writes a descriptor's length alone.
func (r *Ring) SetLen(i int, n uint32) {
	binary.LittleEndian.PutUint32(r.mem.data[r.desc+i*descSize+8:], n)
}

// Push puts a chain's head into the available ring; the device sees it after Publish.
func (r *Ring) Push(head uint16) {
	slot := int(r.availIdx) & (r.num - 1)
	binary.LittleEndian.PutUint16(r.mem.data[r.avail+4+2*slot:], head)
	r.availIdx++
}

// SetAvailIdx sets the index that Publish tells.
func (r *Ring) SetAvailIdx(v uint16) { r.availIdx = v }

// AvailIdx is the index that Publish tells; UsedIdx what the device has told.
func (r *Ring) AvailIdx() uint16 { return r.availIdx }

// UsedIdx is the device's index, read now.
func (r *Ring) UsedIdx() uint16 { return uint16(r.mem.load32(r.used) >> 16) }

// Publish makes the pushed chains the device's and reports whether it wants a kick.
func (r *Ring) Publish() (kick bool) {
	old, now := r.published, r.availIdx
	r.published = now
	r.mem.store32(r.avail, uint32(r.flags)|uint32(now)<<16)
	if !r.event {
		return uint16(r.mem.load32(r.used))&usedNoNotify == 0
	}
	event := uint16(r.mem.load32(r.used + 4 + r.num*usedSize))
	return now-event-1 < now-old
}

// Used is the next completed chain: its head and the bytes the device wrote.
func (r *Ring) Used() (id, n uint32) {
	slot := int(r.lastUsed) & (r.num - 1)
	e := r.mem.data[r.used+4+usedSize*slot:]
	r.lastUsed++
	return binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:])
}

// Completed is the number of chains that Used can give now.
func (r *Ring) Completed() int { return int(r.UsedIdx() - r.lastUsed) }

// InFlight is the number of chains that the device has and has not given back.
func (r *Ring) InFlight() int { return int(r.availIdx - r.lastUsed) }

// ArmCalls asks the device to call when it completes the next chain; it reports
// whether chains are complete already, in which case no call may come.
func (r *Ring) ArmCalls() (ready bool) {
	if r.event {
		r.mem.store32(r.avail+4+2*r.num, uint32(r.lastUsed))
	} else {
		r.setFlags(0)
	}
	return r.Completed() > 0
}

// DisarmCalls asks the device not to call.
func (r *Ring) DisarmCalls() {
	if r.event {
		// An index that was passed just now is the furthest from being reached.
		r.mem.store32(r.avail+4+2*r.num, uint32(r.lastUsed-1))
	} else {
		r.setFlags(availNoInterrupt)
	}
}

func (r *Ring) setFlags(f uint16) {
	r.flags = f
	r.mem.store32(r.avail, uint32(f)|uint32(r.published)<<16)
}
