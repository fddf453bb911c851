package virtq

import (
	"baton/dataplane/buf"
	"baton/vhost/guestmem"
)

// Split is a split virtqueue (virtio 1.2 section 2.7).
//
//	conc: as queue
type Split struct {
	queue
	lastAvail uint16 // next available index to give back
	used      uint16 // next used index to write
	published uint16 // used index that the driver sees
	asked     uint16 // published when the driver's wish was last read
	flags     uint16 // our flags word in the used ring
	signalled bool   // asked is known: the event index may be trusted
	head      uint16 // of the next chain, if the driver takes them in turn
	inTurn    bool   // it did the last time
}

var _ Ring = (*Split)(nil)

// NewSplit is a ring over t. It takes the used index from memory: where that differs
// from cfg.Base the front end's memory of it is stale (the process before us died
// without being asked) and the used index is where to go on, since completions are
// in order. onBroken, which may be nil, is called by the worker when the ring breaks.
//
//	error: as guestmem.Table.SplitRing; guestmem.ErrFault
func NewSplit(t *guestmem.Table, cfg Config, onBroken func()) (*Split, error) {
	q, err := makeSplit(t, cfg, onBroken)
	if err == nil {
		err = q.Begin(cfg.Base, cfg.BaseSure)
	}
	if err != nil {
		return nil, err
	}
	return q, nil
}

func makeSplit(t *guestmem.Table, cfg Config, onBroken func()) (*Split, error) {
	q := &Split{}
	if err := q.setup(q, t, &cfg, onBroken); err != nil {
		return nil, err
	}
	return q, nil
}

// Begin implements Ring.
func (q *Split) Begin(base uint32, _ bool) error {
	vw := q.made
	err := guestmem.Guard(func() {
		q.lastAvail = startIndex(&vw.split, uint16(base))
		q.used, q.published = q.lastAvail, vw.split.UsedIdx()
		// The device polls: no kicks, unless the event index says so (then the flags
		// must be 0, virtio 1.2 section 2.7.10).
		if !q.eventIdx {
			q.flags = guestmem.UsedNoNotify
		}
		q.tell(vw, q.published)
	}, vw.fault)
	if err != nil {
		return err
	}
	q.begun()
	return nil
}

// startIndex is the index to go on with: the used index, unless that is no
// position inside what the driver has published.
func startIndex(ring *guestmem.SplitRing, base uint16) uint16 {
	used := ring.UsedIdx()
	if used != base && uint32(ring.AvailIdx()-used) > ring.Num() {
		return base
	}
	return used
}

func (q *Split) find(t *guestmem.Table, cfg *Config, vw *view) (err error) {
	vw.split, err = t.SplitRing(cfg.Num, cfg.Desc, cfg.Avail, cfg.Used)
	end := cfg.LogUsedAddr + 6 + 8*uint64(cfg.Num) // wraps only for what is no guest address
	vw.used = usedLog{on: cfg.LogUsed && end > cfg.LogUsedAddr, ring: cfg.LogUsedAddr}
	return err
}

// State implements Ring: the next available index.
func (q *Split) State() uint32 { return uint32(q.lastAvail) }

// Indices implements Ring.
func (q *Split) Indices() (i Indices, err error) {
	vw := q.view.Load()
	err = vw.table.Try(func() {
		i = Indices{Avail: vw.split.AvailIdx(), Used: vw.split.UsedIdx(), AvailKnown: true, UsedKnown: true}
	})
	return i, err
}

// tell stores our flags and used index.
func (q *Split) tell(vw *view, idx uint16) {
	vw.split.Publish(idx, q.flags)
	vw.markRing(0, 4)
}

func (q *Split) arm(vw *view) bool {
	if q.eventIdx {
		vw.split.SetAvailEvent(q.lastAvail)
		vw.markRing(4+8*uint64(q.num), 2)
	} else {
		q.flags = 0
		q.tell(vw, q.published)
		guestmem.Fence()
	}
	return vw.split.AvailIdx() != q.lastAvail
}

// disarm: with the event index there is nothing to do: the event stays behind, and
// the driver kicks at most once more.
func (q *Split) disarm(vw *view) {
	if !q.eventIdx {
		q.flags = guestmem.UsedNoNotify
		q.tell(vw, q.published)
	}
}

func (q *Split) run(vw *view, flags uint16, n int) (int, bool) {
	waiting := uint32(vw.split.AvailIdx() - q.lastAvail)
	if waiting > q.num {
		return 0, true // peek says why
	}
	if n = min(n, int(waiting)); n == 0 {
		return 0, false
	}
	if q.inTurn {
		used := n
		if flags == 0 && q.inOrder {
			used = 1 // see giveRun
		}
		vw.split.Expect(q.lastAvail, q.head, n, used)
	}
	got, odd := vw.split.Run(&vw.cursor, q.lastAvail, flags, &q.plain, n)
	if got > 0 {
		q.inTurn = q.plain.IDs[0] == q.head
		q.head = (q.plain.IDs[got-1] + 1) & uint16(q.num-1)
	}
	return got, odd
}

func (q *Split) ahead(vw *view, n int) {
	if waiting := uint32(vw.split.AvailIdx() - q.lastAvail); waiting <= q.num {
		vw.split.Ahead(&vw.cursor, q.lastAvail, &q.plain, min(n, int(waiting)))
	}
}

func (q *Split) giveRun(vw *view, n int, flags uint16) {
	used, ids := q.used, q.plain.IDs[:n]
	switch {
	case flags != 0:
		for i, id := range ids {
			vw.split.SetUsed(used+uint16(i), uint32(id), q.written[i%buf.Burst])
		}
	case q.inOrder: // the last one's id, where the first one's would be (see window.fold)
		vw.split.SetUsed(used, uint32(ids[n-1]), 0)
	default:
		for i, id := range ids {
			vw.split.SetUsed(used+uint16(i), uint32(id), 0)
		}
	}
	q.used += uint16(n)
	q.lastAvail += uint16(n)
}

func (q *Split) peek(vw *view, n int) {
	w := &q.window
	at := q.lastAvail + uint16(len(w.chains))
	waiting := uint32(vw.split.AvailIdx() - q.lastAvail)
	if waiting > q.num {
		w.why = ReasonAvailJump
		return
	}
	for left := min(n, int(waiting)-len(w.chains)); left > 0 && w.room(); left-- {
		head := vw.split.AvailEntry(at)
		if uint32(head) >= q.num {
			w.why = ReasonBadHead
			return
		}
		d := vw.split.Desc(head)
		if w.why = q.load(vw, head, &d); w.why != ReasonNone {
			return
		}
		at++
	}
}

// load reads the rest of the chain whose first descriptor is d.
func (q *Split) load(vw *view, head uint16, d *guestmem.Desc) Reason {
	w := &q.window
	first, cut := w.open(), false
	for range q.num {
		var why Reason
		switch {
		case d.Flags&guestmem.DescIndirect == 0:
			cut = !w.add(first, *d)
		case d.Flags&q.allowed&guestmem.DescIndirect == 0:
			why = ReasonIndirectOff
		default:
			cut, why = w.indirect(&vw.cursor, first, d, q.num, true)
		}
		if why != ReasonNone {
			w.descs = w.descs[:first]
			return why
		}
		if cut || d.Flags&guestmem.DescIndirect != 0 || d.Flags&guestmem.DescNext == 0 {
			w.close(first, chain{id: head, slots: 1, cut: cut})
			return ReasonNone
		}
		next := d.Next
		if uint32(next) >= q.num {
			w.descs = w.descs[:first]
			return ReasonBadNext
		}
		*d = vw.split.Desc(next)
	}
	w.descs = w.descs[:first]
	return ReasonChainTooLong
}

func (q *Split) complete(vw *view, n int) {
	if n == 0 {
		return
	}
	first, used := q.used, q.used
	chains := q.window.chains[:n]
	for i := range chains {
		c := &chains[i]
		vw.split.SetUsed(used, uint32(c.id), c.written)
		used += c.slots
	}
	q.used = used
	q.lastAvail += used - first
	q.window.drop(n)
	vw.markEntries(4, 8, uint64(first)%uint64(q.num), uint64(q.used-first), uint64(q.num))
}

func (q *Split) publish(vw *view) bool {
	if q.used == q.published {
		return false
	}
	q.published = q.used
	q.tell(vw, q.used)
	return true
}

func (q *Split) wanted(vw *view) bool {
	old := q.asked
	q.asked = q.published
	if !q.eventIdx {
		return vw.split.AvailFlags()&guestmem.AvailNoInterrupt == 0
	}
	// vring_need_event, virtio 1.2 section 2.7.10: was the event among [old, published)?
	first := !q.signalled
	q.signalled = true
	return first || q.published-vw.split.UsedEvent()-1 < q.published-old
}
