package guest

import "encoding/binary"

// Descriptor flags (virtio 1.2, 2.7.5 and 2.8.13).
const (
	DescNext     uint16 = 1 << 0
	DescWrite    uint16 = 1 << 1 // the device writes this one
	DescIndirect uint16 = 1 << 2
	DescAvail    uint16 = 1 << 7  // packed: equals the driver's wrap counter when available
	DescUsed     uint16 = 1 << 15 // packed: equals AVAIL when used

	descSize = 16
	usedSize = 8
)

// Desc is one descriptor.
type Desc struct {
	Addr  uint64 // guest physical
	Len   uint32
	Flags uint16
	Next  uint16 // split: index of the next one; packed: buffer id
}

// Link makes descs one chain that begins at index at of a split ring's table: it sets
// NEXT and the indices. A packed ring wants the flags alone and ignores the indices.
func Link(at uint16, descs ...Desc) []Desc {
	for i := range descs {
		if i < len(descs)-1 {
			descs[i].Flags |= DescNext
			descs[i].Next = at + uint16(i) + 1
		}
	}
	return descs
}

// Ring is a virtqueue as the driver sees it, split (virtio 1.2, 2.7) or packed (2.8).
// It has no opinion on what is written: queues use it well, tests also otherwise.
//
//	conc: one goroutine
type Ring struct {
	mem    *memory
	num    int // entries; of a split ring a power of two
	desc   int // offsets into mem: descriptors,
	driver int // available ring or driver event area,
	device int // used ring or device event area
	packed bool
	event  bool // VIRTIO_F_EVENT_IDX

	split  splitState
	packd  packedState
	flight int // chains given and not taken back
}

// ringBytes is the room that a ring of num entries takes, each part on cache
// lines of its own. Event fields have padding behind them: they are accessed
// as 32-bit words.
func ringBytes(num int, packed bool) (desc, driver, device int) {
	if packed {
		return align(num*descSize, 64), 64, 64
	}
	return align(num*descSize, 64), align(4+num*2+4, 64), align(4+num*usedSize+4, 64)
}

func align(n, to int) int { return (n + to - 1) &^ (to - 1) }

func newRing(mem *memory, off, num int, packed, event bool) *Ring {
	d, a, _ := ringBytes(num, packed)
	r := &Ring{mem: mem, num: num, desc: off, driver: off + d, device: off + d + a, packed: packed, event: event}
	if packed {
		r.packd = packedState{next: position{wrap: true}, used: position{wrap: true}, spans: make([]uint16, num)}
	}
	return r
}

// Num is the number of entries.
func (r *Ring) Num() int { return r.num }

// Packed tells the ring's format.
func (r *Ring) Packed() bool { return r.packed }

// InFlight is the number of chains that the device has and has not given back.
func (r *Ring) InFlight() int { return r.flight }

// SetDesc writes descriptor i as it is; of a packed ring Next is the buffer id and
// nothing is added to Flags.
func (r *Ring) SetDesc(i int, d Desc) { r.putDesc(r.mem.data[r.desc+i*descSize:], d) }

// Desc reads descriptor i.
func (r *Ring) Desc(i int) Desc {
	p := r.mem.data[r.desc+i*descSize:]
	flags, next := r.places()
	return Desc{
		Addr: binary.LittleEndian.Uint64(p), Len: binary.LittleEndian.Uint32(p[8:]),
		Flags: binary.LittleEndian.Uint16(p[flags:]), Next: binary.LittleEndian.Uint16(p[next:]),
	}
}

// places are the offsets of a descriptor's flags and of its next or id: the two formats
// have them the other way round.
func (r *Ring) places() (flags, next int) {
	if r.packed {
		return 14, 12
	}
	return 12, 14
}

// putDesc writes a descriptor, of the ring or of an indirect table.
func (r *Ring) putDesc(p []byte, d Desc) {
	_ = p[descSize-1]
	flags, next := r.places()
	binary.LittleEndian.PutUint64(p, d.Addr)
	binary.LittleEndian.PutUint32(p[8:], d.Len)
	binary.LittleEndian.PutUint16(p[flags:], d.Flags)
	binary.LittleEndian.PutUint16(p[next:], d.Next)
}

// PutTable writes an indirect table of the ring's format at p.
func (r *Ring) PutTable(p []byte, table ...Desc) {
	for i, d := range table {
		r.putDesc(p[i*descSize:], d)
	}
}

// Offer gives the device a chain, which it sees after Publish. Of a split ring the
// descriptors go into the table from index id on, as they are; of a packed ring into
// the next entries, with the buffer id and the flags that make them available. Nothing
// is checked; Link makes a chain that is right.
func (r *Ring) Offer(id uint16, chain ...Desc) {
	for i, d := range chain {
		if r.packed {
			r.add(d, id)
		} else {
			r.SetDesc((int(id)+i)%r.num, d)
		}
	}
	if r.packed {
		r.endChain(id, len(chain))
	} else {
		r.Push(id)
	}
}

// Publish makes the offered chains the device's and reports whether it wants a kick.
func (r *Ring) Publish() (kick bool) {
	if r.packed {
		return r.publishPacked()
	}
	return r.publishSplit()
}

// Ready tells whether the device has given a chain back.
func (r *Ring) Ready() bool {
	if r.packed {
		return r.packd.used.given(r.mem.load32(r.desc + int(r.packd.used.slot)*descSize + 12))
	}
	return r.split.seen != r.split.lastUsed || r.look()
}

// element is the next used element: the id, and the bytes the device wrote. Ready was
// true.
func (r *Ring) element() (id, n uint32) {
	if r.packed {
		p := r.mem.data[r.desc+int(r.packd.used.slot)*descSize:]
		if binary.LittleEndian.Uint16(p[14:])&DescWrite != 0 {
			n = binary.LittleEndian.Uint32(p[8:])
		}
		return uint32(binary.LittleEndian.Uint16(p[12:])), n
	}
	e := r.mem.data[r.device+4+usedSize*(int(r.split.lastUsed)&(r.num-1)):]
	return binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:])
}

// skip moves behind one chain with the given id; of a batch of an in-order device it is
// called for each.
func (r *Ring) skip(id uint32) {
	r.flight--
	if !r.packed {
		r.split.lastUsed++
		return
	}
	n := uint16(1)
	if id < uint32(r.num) {
		n = max(1, r.packd.spans[id])
	}
	r.packd.used.forward(n, r.num)
}

// Used takes the next completed chain: its id and the bytes the device wrote. It is
// for tests that use the ring raw, without IN_ORDER; Ready was true.
func (r *Ring) Used() (id, n uint32) {
	id, n = r.element()
	r.skip(id)
	return id, n
}

// ArmCalls asks the device to call when it completes the next chain; it reports
// whether chains are complete already, in which case no call may come.
func (r *Ring) ArmCalls() (ready bool) {
	if r.packed {
		r.armPacked()
	} else {
		r.armSplit()
	}
	return r.Ready()
}

// DisarmCalls asks the device not to call.
func (r *Ring) DisarmCalls() {
	if r.packed {
		r.mem.store32(r.driver, uint32(eventDisable)<<16)
		return
	}
	r.disarmSplit()
}

// DescOffset and DriverOffset are where descriptor i and the part that the driver
// writes (available ring, driver event area) lie in the memory: for tests that write
// there as they like.
func (r *Ring) DescOffset(i int) int { return r.desc + i*descSize }
func (r *Ring) DriverOffset() int    { return r.driver }
