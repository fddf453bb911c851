package guest

import "encoding/binary"

// Flags of a packed ring's event areas (virtio 1.2, 2.8.14).
const (
	eventEnable  uint16 = 0
	eventDisable uint16 = 1
	eventDesc    uint16 = 2 // at the descriptor that off_wrap names; with EVENT_IDX
)

// position is a place in a packed ring: an entry, and the wrap counter of the lap.
type position struct {
	slot uint16
	wrap bool
}

// word is the position as event areas and state words have it.
func (p position) word() uint16 {
	if p.wrap {
		return p.slot | 1<<15
	}
	return p.slot
}

// forward moves n entries on, n <= num.
func (p *position) forward(n uint16, num int) {
	at := int(p.slot) + int(n)
	if at >= num {
		at -= num
		p.wrap = !p.wrap
	}
	p.slot = uint16(at)
}

// avail are the flags of an entry that becomes available in the position's lap.
func (p position) avail() uint16 {
	if p.wrap {
		return DescAvail
	}
	return DescUsed
}

// given tells whether an entry whose last word is w (id, flags) was used in this lap.
func (p position) given(w uint32) bool {
	const bits = uint32(DescAvail|DescUsed) << 16
	if p.wrap {
		return w&bits == bits
	}
	return w&bits == 0
}

// packedState is where the driver is in a packed ring.
type packedState struct {
	next  position // the next entry to write
	used  position // the next entry that the device gives back
	spans []uint16 // entries that the chain of each buffer id takes
	added uint16   // entries since the last Publish

	// The batch's first entry stays unavailable until Publish.
	held     bool
	heldAt   uint16
	heldWord uint32
}

// Position is a packed ring's next entry to write, with the wrap counter in bit 15.
func (r *Ring) Position() uint16 { return r.packd.next.word() }

// add writes the next entry.
func (r *Ring) add(d Desc, id uint16) {
	s := &r.packd
	off := r.desc + int(s.next.slot)*descSize
	p := r.mem.data[off : off+descSize]
	binary.LittleEndian.PutUint64(p, d.Addr)
	binary.LittleEndian.PutUint32(p[8:], d.Len)
	w := uint32(id) | uint32(d.Flags|s.next.avail())<<16
	if s.held {
		binary.LittleEndian.PutUint32(p[12:], w)
	} else {
		s.held, s.heldAt, s.heldWord = true, s.next.slot, w
	}
	s.added++
	s.next.forward(1, r.num)
}

// endChain notes how many entries the chain just added took.
func (r *Ring) endChain(id uint16, n int) {
	if int(id) < r.num {
		r.packd.spans[id] = uint16(n)
	}
	r.flight++
}

// publishPacked makes the batch's first entry available, and with it all others: the
// store is a full fence, between the entries and the device's event area.
func (r *Ring) publishPacked() (kick bool) {
	s := &r.packd
	added := s.added
	if s.held {
		r.mem.store32(r.desc+int(s.heldAt)*descSize+12, s.heldWord)
		s.held, s.added = false, 0
	}
	w := r.mem.load32(r.device)
	switch flags := uint16(w >> 16); {
	case flags == eventDisable:
		return false
	case flags != eventDesc || !r.event:
		return true
	}
	// vring_need_event with indices of one lap (virtio 1.2, 2.8.10).
	event := uint16(w) &^ (1 << 15)
	if (w&(1<<15) != 0) != s.next.wrap {
		event -= uint16(r.num)
	}
	return s.next.slot-event-1 < added
}

func (r *Ring) armPacked() {
	if r.event {
		r.mem.store32(r.driver, uint32(r.packd.used.word())|uint32(eventDesc)<<16)
		return
	}
	r.mem.store32(r.driver, uint32(eventEnable)<<16)
}
