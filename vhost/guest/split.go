package guest

import "encoding/binary"

// Ring flags of a split ring (virtio 1.2, 2.7.6 and 2.7.8).
const (
	availNoInterrupt uint16 = 1 << 0
	usedNoNotify     uint16 = 1 << 0
)

// splitState is where the driver is in a split ring.
type splitState struct {
	availIdx  uint16 // next entry of the available ring to write
	published uint16 // what the device knows
	lastUsed  uint16 // next entry of the used ring to read
	seen      uint16 // the device's used index when it was last read
	flags     uint16 // our flags, without EVENT_IDX
}

// Push puts a chain's head into a split ring's available ring; the device sees it after
// Publish.
func (r *Ring) Push(head uint16) {
	s := &r.split
	slot := int(s.availIdx) & (r.num - 1)
	binary.LittleEndian.PutUint16(r.mem.data[r.driver+4+2*slot:], head)
	s.availIdx++
	r.flight++
}

// SetAvailIdx sets the index that a split ring's Publish tells.
func (r *Ring) SetAvailIdx(v uint16) { r.split.availIdx = v }

// AvailIdx is the index that a split ring's Publish tells; UsedIdx what the device has told.
func (r *Ring) AvailIdx() uint16 { return r.split.availIdx }

// UsedIdx is a split ring's used index, read now.
func (r *Ring) UsedIdx() uint16 { return uint16(r.mem.load32(r.device) >> 16) }

// look reads the device's used index; true if it is ahead.
func (r *Ring) look() bool {
	r.split.seen = r.UsedIdx()
	return r.split.seen != r.split.lastUsed
}

func (r *Ring) publishSplit() (kick bool) {
	s := &r.split
	old, now := s.published, s.availIdx
	s.published = now
	r.mem.store32(r.driver, uint32(s.flags)|uint32(now)<<16)
	if !r.event {
		return uint16(r.mem.load32(r.device))&usedNoNotify == 0
	}
	event := uint16(r.mem.load32(r.device + 4 + r.num*usedSize))
	return now-event-1 < now-old
}

func (r *Ring) armSplit() {
	if r.event {
		r.mem.store32(r.driver+4+2*r.num, uint32(r.split.lastUsed))
		return
	}
	r.setFlags(0)
}

func (r *Ring) disarmSplit() {
	if r.event {
		// An index that was passed just now is the furthest from being reached.
		r.mem.store32(r.driver+4+2*r.num, uint32(r.split.lastUsed-1))
		return
	}
	r.setFlags(availNoInterrupt)
}

func (r *Ring) setFlags(f uint16) {
	r.split.flags = f
	r.mem.store32(r.driver, uint32(f)|uint32(r.split.published)<<16)
}
