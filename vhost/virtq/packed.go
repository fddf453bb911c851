package virtq

import (
	"baton/dataplane/buf"
	"baton/vhost/guestmem"
)

// position is a place in a packed ring: a slot and the lap's wrap counter.
type position struct {
	slot uint16
	wrap bool
}

// word is the position as state words and event areas have it: bit 15 is the counter.
func (p position) word() uint16 {
	if p.wrap {
		return p.slot | 1<<15
	}
	return p.slot
}

// positionOf is the position that w names.
func positionOf(w uint16) position { return position{slot: w &^ (1 << 15), wrap: w>>15 != 0} }

// to is the number of slots from p on to other, less than two laps.
func (p position) to(other position, num uint32) uint32 {
	n := uint32(other.slot) + 2*num - uint32(p.slot)
	if p.wrap != other.wrap {
		n += num
	}
	return n % (2 * num)
}

// forward is the position n slots on, n <= num.
func (p position) forward(n uint16, num uint32) position {
	at := uint32(p.slot) + uint32(n)
	if at >= num {
		return position{uint16(at - num), !p.wrap}
	}
	return position{uint16(at), p.wrap}
}

// used and avail are the flags that mark a slot in the position's lap.
func (p position) used() uint16 {
	if p.wrap {
		return guestmem.DescAvail | guestmem.DescUsed
	}
	return 0
}

func (p position) avail() uint16 {
	if p.wrap {
		return guestmem.DescAvail
	}
	return guestmem.DescUsed
}

// holds tells whether a slot with these flags is available in the position's lap.
func (p position) holds(flags uint16) bool {
	return flags&(guestmem.DescAvail|guestmem.DescUsed) == p.avail()
}

// Packed is a packed virtqueue (virtio 1.2 section 2.8).
//
// A used element overwrites the first slot of its chain. What a burst completes is
// written at once, but for the flags of the first of its slots, which come last: the
// driver, which waits for that slot, sees the burst as a whole.
//
//	slot:   next                                   peeked
//	  | used | A-held | U | U | U |  available  ...  |
//	                    written, not yet seen
//
//	conc: as queue
type Packed struct {
	queue
	next  position // of the first slot not given back; all before are used
	doubt bool     // next is what the front end said, and memory told nothing of it

	held      bool     // a completed slot waits for its flags
	heldAt    position // its place
	heldSlot  guestmem.Slot
	signalled bool // as Split
}

var _ Ring = (*Packed)(nil)

// NewPacked is a ring over t. It goes on at the position that ring memory shows (see
// survey), or at cfg.Base's where that shows none, or that is sure. A base without used half (bits
// 16-31 are 0) means the same for both, as with DPDK's virtio_user; completions are in order, so
// that a stopped ring has nothing between the two. onBroken, which may be nil, is
// called by the worker when the ring breaks.
//
//	error: as guestmem.Table.PackedRing; ErrBase; guestmem.ErrFault
func NewPacked(t *guestmem.Table, cfg Config, onBroken func()) (*Packed, error) {
	q, err := makePacked(t, cfg, onBroken)
	if err == nil {
		err = q.Begin(cfg.Base, cfg.BaseSure)
	}
	if err != nil {
		return nil, err
	}
	return q, nil
}

func makePacked(t *guestmem.Table, cfg Config, onBroken func()) (*Packed, error) {
	q := &Packed{}
	if err := q.setup(q, t, &cfg, onBroken); err != nil {
		return nil, err
	}
	return q, nil
}

// Begin implements Ring.
//
//	error: ErrBase; guestmem.ErrFault
func (q *Packed) Begin(base uint32, sure bool) error {
	vw := q.made
	q.next = positionOf(uint16(base))
	if uint32(q.next.slot) >= q.num {
		return ErrBase
	}
	err := guestmem.Guard(func() {
		if !sure {
			q.next, q.doubt = resume(vw, q.next, q.inOrder)
		}
		q.disarm(vw)
	}, vw.fault)
	if err != nil {
		return err
	}
	q.begun()
	return nil
}

// Doubtful tells whether the ring went on at the base that the front end named for want
// of anything better. After a crash that is wrong, and the ring stands still.
func (q *Packed) Doubtful() bool { return q.doubt }

func (q *Packed) find(t *guestmem.Table, cfg *Config, vw *view) (err error) {
	vw.packed, err = t.PackedRing(cfg.Num, cfg.Desc, cfg.Avail, cfg.Used)
	vw.logPacked(t, cfg)
	return err
}

// State implements Ring: the available and the used position are the same.
func (q *Packed) State() uint32 {
	w := uint32(q.next.word())
	return w | w<<16
}

// Indices implements Ring, by a survey: a driver that writes all the while, or whose
// ring's memory does not tell where we are, leaves them unknown.
func (q *Packed) Indices() (i Indices, err error) {
	vw := q.view.Load()
	err = vw.table.Try(func() {
		s := takeSurvey(&vw.packed, q.inOrder, surveysForPeople)
		i = Indices{Avail: s.driver.word(), Used: s.device.word(), AvailKnown: s.stable, UsedKnown: s.exact}
	})
	return i, err
}

func (q *Packed) arm(vw *view) bool {
	if q.eventIdx {
		vw.packed.SetDeviceEvent(q.next.word(), guestmem.EventDesc)
	} else {
		vw.packed.SetDeviceEvent(0, guestmem.EventEnable)
	}
	vw.markArea()
	return q.next.holds(vw.packed.Slot(q.next.slot).Flags())
}

func (q *Packed) disarm(vw *view) {
	vw.packed.SetDeviceEvent(0, guestmem.EventDisable)
	vw.markArea()
}

// markSlot notes a write of a slot.
func (vw *view) markSlot(slot uint16) {
	vw.markRing(uint64(slot)*guestmem.DescSize, guestmem.DescSize)
}

// markArea notes a write of the device event area.
func (vw *view) markArea() {
	if vw.log != nil && vw.used.on {
		vw.log.Mark(vw.used.area, 4)
	}
}

func (q *Packed) run(vw *view, flags uint16, n int) (got int, odd bool) {
	n = min(n, int(q.num)) // a slot that turns available in the next lap meanwhile is not read twice
	got, odd = vw.packed.Run(&vw.cursor, q.next.slot, flags|q.next.avail(), &q.plain, 0, n)
	if at := q.next.forward(uint16(got), q.num); got < n && at.wrap != q.next.wrap {
		got, odd = vw.packed.Run(&vw.cursor, at.slot, flags|at.avail(), &q.plain, got, n)
	}
	return got, odd
}

func (q *Packed) giveRun(vw *view, n int, flags uint16) {
	at := q.next
	q.next = at.forward(uint16(n), q.num)
	if flags == 0 && q.inOrder { // see window.fold
		q.put(vw, at, guestmem.MakeSlot(uint32(n), q.plain.IDs[n-1], at.used()), at.avail())
		return
	}
	used := at.used() | flags
	for i, id := range q.plain.IDs[:n] {
		length := uint32(1)
		if flags != 0 {
			length = q.written[i%buf.Burst]
		}
		q.put(vw, at, guestmem.MakeSlot(length, id, used), at.avail()|flags)
		if at.slot++; uint32(at.slot) == q.num {
			at = position{0, !at.wrap}
			used = at.used() | flags
		}
	}
}

func (q *Packed) ahead(vw *view, n int) {
	vw.packed.Ahead(&vw.cursor, q.next.slot, guestmem.DescWrite|q.next.avail(), &q.plain, n)
}

func (q *Packed) peek(vw *view, n int) {
	w := &q.window
	at, ahead := q.next, q.unseen()
	for i := range w.chains {
		at = at.forward(w.chains[i].slots, q.num)
		ahead += uint32(w.chains[i].slots)
	}
	for ; n > 0 && ahead < q.num && w.room(); n-- {
		s, addr := vw.packed.Pair(at.slot)
		if !at.holds(s.Flags()) {
			return
		}
		d := guestmem.Desc{Addr: addr, Len: s.Len(), Flags: s.Flags() & guestmem.DescMeaning, Next: s.ID()}
		var slots uint16
		if slots, w.why = q.load(vw, at, &d, q.num-ahead); w.why != ReasonNone {
			return
		}
		ahead += uint32(slots)
		at = at.forward(slots, q.num)
	}
}

// unseen is how many slots were given back that the driver does not know of: no chain
// goes on in them.
func (q *Packed) unseen() uint32 {
	switch {
	case !q.held:
		return 0
	case q.next.wrap != q.heldAt.wrap:
		return q.num - uint32(q.heldAt.slot) + uint32(q.next.slot)
	}
	return uint32(q.next.slot - q.heldAt.slot)
}

// load reads the chain that begins at at with descriptor d: slots in a row, at most
// max, the last of which has the buffer id.
func (q *Packed) load(vw *view, at position, d *guestmem.Desc, most uint32) (slots uint16, why Reason) {
	w := &q.window
	first, cut := w.open(), false
	c := chain{head: d.Flags | at.avail()}
	if d.Flags&guestmem.DescIndirect != 0 {
		if why = ReasonIndirectOff; d.Flags&q.allowed&guestmem.DescIndirect != 0 {
			cut, why = w.indirect(&vw.cursor, first, d, q.num, false)
		}
		c.id, c.slots, c.cut = d.Next, 1, cut
	} else {
		c.id, c.slots, why = q.row(vw, first, at, d, most)
	}
	if why != ReasonNone {
		w.descs = w.descs[:first]
		return 0, why
	}
	w.close(first, c)
	return c.slots, ReasonNone
}

// row reads a chain of slots. One longer than maxPieces could not be skipped, since
// its end is not known, and breaks the ring.
func (q *Packed) row(vw *view, first int, at position, d *guestmem.Desc, most uint32) (id, slots uint16, why Reason) {
	for ; ; slots++ {
		switch {
		case uint32(slots) == most, !q.window.add(first, *d):
			return 0, 0, ReasonChainTooLong
		case d.Flags&guestmem.DescIndirect != 0:
			return 0, 0, ReasonIndirectNext
		case d.Flags&guestmem.DescNext == 0:
			return d.Next, slots + 1, ReasonNone
		}
		at = at.forward(1, q.num)
		s := vw.packed.Slot(at.slot)
		*d = guestmem.Desc{Addr: vw.packed.Addr(at.slot), Len: s.Len(), Flags: s.Flags() & guestmem.DescMeaning, Next: s.ID()}
	}
}

func (q *Packed) complete(vw *view, n int) {
	if n == 0 {
		return
	}
	chains := q.window.chains[:n]
	at, slots := q.next, uint32(0)
	used := at.used()
	for i := range chains {
		c := &chains[i]
		flags, length := used, c.written
		if length != 0 {
			flags |= guestmem.DescWrite
		} else {
			// Without WRITE drivers ignore the length (virtio 1.2 section 2.8.5): it
			// tells our successor how many slots this element stands for.
			length = uint32(c.slots)
		}
		q.put(vw, at, guestmem.MakeSlot(length, c.id, flags), c.head)
		slots += uint32(c.slots)
		if at.slot += c.slots; uint32(at.slot) >= q.num {
			at = position{at.slot - uint16(q.num), !at.wrap}
			used = at.used()
		}
	}
	vw.markEntries(0, guestmem.DescSize, uint64(q.next.slot), uint64(slots), uint64(q.num))
	q.next = at
	q.window.drop(n)
}

// put writes the used element s of the chain at at, whose first slot has flags head.
// The first of a burst is kept for publish: in its slot are length and id already, for
// a successor that finds only the flags missing, with which it is used.
func (q *Packed) put(vw *view, at position, s guestmem.Slot, head uint16) {
	if !q.held {
		q.held, q.heldAt, q.heldSlot = true, at, s
		s = guestmem.MakeSlot(s.Len(), s.ID(), head)
	}
	vw.packed.SetSlot(at.slot, s)
}

func (q *Packed) publish(vw *view) bool {
	if !q.held {
		return false
	}
	q.held = false
	vw.packed.PublishSlot(q.heldAt.slot, q.heldSlot)
	vw.markSlot(q.heldAt.slot)
	return true
}

func (q *Packed) wanted(vw *view) bool {
	offWrap, flags := vw.packed.DriverEvent()
	switch {
	case flags == guestmem.EventDisable:
		return false
	case flags != guestmem.EventDesc || !q.eventIdx:
		return true
	}
	first := !q.signalled
	q.signalled = true
	return first || q.passed(positionOf(offWrap))
}

// passed tells whether the last burst published, from heldAt to next, went over event
// (virtio 1.2 section 2.8.10).
func (q *Packed) passed(event position) bool {
	num := int(q.num)
	to := int(q.next.slot)
	from, e := int(q.heldAt.slot), int(event.slot)
	if from >= to {
		from -= num
	}
	if event.wrap != q.next.wrap {
		e -= num
	}
	return from <= e && e < to
}
