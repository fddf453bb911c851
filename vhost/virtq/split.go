package virtq

import (
	"sync/atomic"

	"baton/dataplane/buf"
	"baton/vhost/guestmem"
)

// Split is a split virtqueue (virtio 1.2 section 2.7).
//
//	conc: the fields without lock are the worker's, see Ring
type Split struct {
	view   atomic.Pointer[view]
	call   EventFD
	errfd  EventFD
	broken atomic.Uint32
	active *view // what the worker uses now

	num       uint32
	hdrSize   int
	mergeable bool
	indirect  bool
	eventIdx  bool

	lastAvail uint16 // next available index to read
	used      uint16 // next used index to write
	published uint16 // used index that the driver sees
	flags     uint16 // our flags word in the used ring
	signalled bool   // published was seen by one call decision: event index may be trusted
	walked    int    // descriptors read in this burst
	filled    int    // buffers in a Dequeue's vector, for Fault

	pieces []guestmem.Span // one received frame's buffers
	heads  []usedElem      // and chains
	// onBroken pokes the control side; it does not block.
	onBroken func()

	stats Stats
}

var _ Ring = (*Split)(nil)

type usedElem struct{ id, n uint32 }

// NewSplit is a ring over t. It takes the used index from memory: where that differs
// from cfg.Base the front end's memory of it is stale (the process before us died
// without being asked) and the used index is where to go on, since completions are
// in order. onBroken, which may be nil, is called by the worker when the ring breaks.
//
//	error: as guestmem.Table.SplitRing; guestmem.ErrFault
func NewSplit(t *guestmem.Table, cfg Config, onBroken func()) (*Split, error) {
	ring, err := t.SplitRing(cfg.Num, cfg.Desc, cfg.Avail, cfg.Used)
	if err != nil {
		return nil, err
	}
	q := &Split{
		num: cfg.Num, hdrSize: cfg.HeaderSize, mergeable: cfg.Mergeable,
		indirect: cfg.Indirect, eventIdx: cfg.EventIdx, onBroken: onBroken,
		pieces: make([]guestmem.Span, 0, maxPieces),
		heads:  make([]usedElem, 0, maxPieces),
	}
	err = t.Try(func() {
		q.lastAvail = startIndex(&ring, uint16(cfg.Base))
		q.used, q.published = q.lastAvail, ring.UsedIdx()
		q.quiet(&ring)
	})
	if err != nil {
		return nil, err
	}
	q.view.Store(&view{table: t, log: cfg.Log, ring: ring, cursor: guestmem.NewCursor(t)})
	return q, nil
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

// quiet writes the flags word for a device that polls: no kicks, unless the event
// index says so (then the flags must be 0, virtio 1.2 section 2.7.10).
func (q *Split) quiet(ring *guestmem.SplitRing) {
	q.flags = guestmem.UsedNoNotify
	if q.eventIdx {
		q.flags = 0
	}
	ring.Publish(q.published, q.flags)
}

// SetView implements Ring.
func (q *Split) SetView(t *guestmem.Table, cfg Config) error {
	ring, err := t.SplitRing(cfg.Num, cfg.Desc, cfg.Avail, cfg.Used)
	if err != nil {
		return err
	}
	q.view.Store(&view{table: t, log: cfg.Log, ring: ring, cursor: guestmem.NewCursor(t)})
	return nil
}

// Call implements Ring.
func (q *Split) Call() *EventFD { return &q.call }

// Err implements Ring.
func (q *Split) Err() *EventFD { return &q.errfd }

// Stats implements Ring.
func (q *Split) Stats() *Stats { return &q.stats }

// Broken implements Ring.
func (q *Split) Broken() Reason { return Reason(q.broken.Load()) }

// State implements Ring: the next available index.
func (q *Split) State() uint32 { return uint32(q.lastAvail) }

// Indices implements Ring.
func (q *Split) Indices() (avail, used uint16, err error) {
	vw := q.view.Load()
	err = vw.table.Try(func() { avail, used = vw.ring.AvailIdx(), vw.ring.UsedIdx() })
	return avail, used, err
}

// Break marks the ring broken, tells the front end and pokes the control side. The
// first reason stays.
func (q *Split) Break(r Reason) {
	if !q.broken.CompareAndSwap(0, uint32(r)) {
		return
	}
	q.errfd.Signal()
	if q.onBroken != nil {
		q.onBroken()
	}
}

// Fault implements Ring.
func (q *Split) Fault(p any, c *buf.Cache, v *buf.Vec) bool {
	if q.active == nil || !q.active.table.Fault(p) {
		return false
	}
	if q.filled > 0 {
		c.FreeAll(v, q.filled)
		q.filled = 0
	}
	q.Break(ReasonMemoryGone)
	return true
}

// use is the view to work with until the method ends; Fault must know which it was.
func (q *Split) use() *view {
	vw := q.view.Load()
	if q.active != vw {
		q.active = vw
	}
	return vw
}

// pending is the number of chains that wait, or 0 after breaking the ring.
func (q *Split) pending(vw *view) int {
	n := uint32(vw.ring.AvailIdx() - q.lastAvail)
	if n > q.num {
		q.Break(ReasonAvailJump)
		return 0
	}
	return int(n)
}

// Arm implements Ring.
func (q *Split) Arm() bool {
	if q.broken.Load() != 0 {
		return false
	}
	vw := q.use()
	if q.eventIdx {
		vw.ring.SetAvailEvent(q.lastAvail)
	} else {
		q.flags = 0
		vw.ring.Publish(q.published, q.flags) // fences
	}
	return vw.ring.AvailIdx() != q.lastAvail
}

// Disarm implements Ring. With the event index there is nothing to do: the event
// stays behind, and the driver kicks at most once more.
func (q *Split) Disarm() {
	if q.broken.Load() != 0 || q.eventIdx {
		return
	}
	q.flags = guestmem.UsedNoNotify
	q.use().ring.Publish(q.published, q.flags)
}

// publish makes used elements visible, and calls the driver if it wants that.
func (q *Split) publish(vw *view) {
	old := q.published
	if q.used == old {
		return
	}
	q.published = q.used
	vw.ring.Publish(q.used, q.flags) // a full fence: the driver's wish is read after it
	want := vw.ring.AvailFlags()&guestmem.AvailNoInterrupt == 0
	if q.eventIdx {
		// vring_need_event, virtio 1.2 section 2.7.10: was the event among [old, used)?
		event := vw.ring.UsedEvent()
		want = q.used-event-1 < q.used-old || !q.signalled
		q.signalled = true
	}
	if !want {
		q.stats.Suppressed.Add(1)
		return
	}
	switch q.call.Signal() {
	case SignalSent:
		q.stats.Calls.Add(1)
	case SignalFull:
		q.stats.CallsFull.Add(1)
	case SignalBad:
		q.stats.CallsBad.Add(1)
	}
}
