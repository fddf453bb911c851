package virtq

import (
	"sync/atomic"

	"baton/dataplane/buf"
	"baton/vhost/guestmem"
)

// format is what split and packed rings do each in their own way. It is called a few
// times a burst, never once a packet.
type format interface {
	// find is the ring at cfg's addresses in t.
	find(t *guestmem.Table, cfg *Config, vw *view) error
	// run reads up to n plain chains, whose descriptors have flags, into plain. odd: a
	// chain that is not plain waits behind them.
	run(vw *view, flags uint16, n int) (got int, odd bool)
	// giveRun gives the first n > 0 chains of plain back, so far unseen by the driver:
	// those of a run with flags DescWrite with the bytes in written.
	giveRun(vw *view, n int, flags uint16)
	// ahead starts loading the buffers of up to n chains that wait to be written to, if
	// giveRun gave back what was before them.
	ahead(vw *view, n int)
	// peek reads up to n chains behind those in the window into it, as far as it has
	// room. A bad chain ends it: window.why.
	peek(vw *view, n int)
	// complete gives the window's first n chains back, so far unseen by the driver,
	// and takes them out of the window.
	complete(vw *view, n int)
	// publish shows the driver what was completed; false if there was nothing.
	publish(vw *view) bool
	// wanted reads whether the driver wants a call for what was published since the last
	// time, after a fence.
	wanted(vw *view) bool
	// arm asks for a kick; true if a chain waits already.
	arm(vw *view) bool
	// disarm asks for none.
	disarm(vw *view)
}

// queue is all that rings of both formats share.
//
//	conc: the fields without lock are the worker's, see Ring
type queue struct {
	format format
	view   atomic.Pointer[view]
	made   *view // until Begin, which stores it
	call   EventFD
	errfd  EventFD
	broken atomic.Uint32
	active *view // what the worker uses now

	num       uint32
	hdrSize   int
	mergeable bool
	allowed   uint16 // descriptor flags that the features allow
	eventIdx  bool
	inOrder   bool
	net       uint64 // Net... masks

	plain   guestmem.Run
	written [buf.Burst]uint32 // bytes that we wrote to each chain of plain
	window  window
	hdr     NetHeader       // private copy of the present frame's
	pieces  []guestmem.Span // one received frame's buffers
	filled  int             // buffers in a Dequeue's vector, for Fault
	owed    bool            // something was published, and the driver not asked yet whether it wants a call
	// onBroken pokes the control side; it does not block.
	onBroken func()

	stats Stats
}

// view is all that changes with the memory table.
type view struct {
	table  *guestmem.Table
	log    *guestmem.Log // nil: off
	split  guestmem.SplitRing
	packed guestmem.PackedRing
	cursor guestmem.Cursor // the worker's
	used   usedLog
}

// setup makes q a ring over t; f is the ring that q is in. Begin reads its start from the memory
// of the view that was made, and then calls begun.
func (q *queue) setup(f format, t *guestmem.Table, cfg *Config, onBroken func()) (err error) {
	q.format = f
	q.num, q.hdrSize, q.mergeable = cfg.Num, cfg.HeaderSize, cfg.Mergeable
	q.eventIdx, q.inOrder, q.net, q.onBroken = cfg.EventIdx, cfg.InOrder, cfg.Net, onBroken
	q.window = newWindow()
	q.pieces = make([]guestmem.Span, 0, fewPieces)
	q.allowed = guestmem.DescNext | guestmem.DescWrite
	if cfg.Indirect {
		q.allowed |= guestmem.DescIndirect
	}
	q.made, err = q.newView(t, cfg)
	return err
}

// begun shows the view to the worker.
func (q *queue) begun() {
	q.view.Store(q.made)
	q.made = nil
}

func (q *queue) newView(t *guestmem.Table, cfg *Config) (*view, error) {
	vw := &view{table: t, log: cfg.Log, cursor: guestmem.NewCursor(t)}
	if err := q.format.find(t, cfg, vw); err != nil {
		return nil, err
	}
	return vw, nil
}

// SetView implements Ring.
func (q *queue) SetView(t *guestmem.Table, cfg Config) error {
	vw, err := q.newView(t, &cfg)
	if err != nil {
		return err
	}
	q.view.Store(vw)
	return nil
}

// Call implements Ring.
func (q *queue) Call() *EventFD { return &q.call }

// Err implements Ring.
func (q *queue) Err() *EventFD { return &q.errfd }

// Stats implements Ring.
func (q *queue) Stats() *Stats { return &q.stats }

// Broken implements Ring.
func (q *queue) Broken() Reason { return Reason(q.broken.Load()) }

// Break marks the ring broken, tells the front end and pokes the control side. The
// first reason stays.
func (q *queue) Break(r Reason) {
	if !q.broken.CompareAndSwap(0, uint32(r)) {
		return
	}
	q.errfd.Signal()
	if q.onBroken != nil {
		q.onBroken()
	}
}

// fault tells whether the recovered panic p is a fault in memory of vw.
func (vw *view) fault(p any) bool { return vw.table.Fault(p) || vw.log.Fault(p) }

// Fault implements Ring.
func (q *queue) Fault(p any, c *buf.Cache, v *buf.Vec) bool {
	if q.active == nil || !q.active.fault(p) {
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
func (q *queue) use() *view {
	vw := q.view.Load()
	if q.active != vw {
		q.active = vw
	}
	return vw
}

// Arm implements Ring.
func (q *queue) Arm() bool {
	if q.broken.Load() != 0 {
		return false
	}
	vw := q.use()
	q.settle(vw)
	return q.format.arm(vw)
}

// Owes implements Ring.
func (q *queue) Owes() bool { return q.owed }

// Disarm implements Ring.
func (q *queue) Disarm() {
	if q.broken.Load() == 0 {
		q.format.disarm(q.use())
	}
}

// finish gives the window's first n chains back. What was written to them is logged
// after the writes, and before the driver may give the memory away.
func (q *queue) finish(vw *view, n int) {
	if vw.log != nil {
		for i := range q.window.chains[:n] {
			q.logChain(vw, &q.window.chains[i])
		}
	}
	q.format.complete(vw, n)
}

// show publishes what was completed; then it breaks the ring if the chain behind is bad.
// The call that the driver may want for it is owed.
func (q *queue) show(vw *view) {
	if q.format.publish(vw) {
		q.owed = true
	}
	if q.window.why != ReasonNone {
		q.settle(vw)
		q.Break(q.window.why)
	}
}

// Settle implements Ring.
func (q *queue) Settle() {
	if q.owed && q.broken.Load() == 0 {
		q.settle(q.use())
	}
}

// settle pays the call that is owed, if the driver wants it. What the driver wishes is only
// to be read once it sees what was published, and to wait for that right after the stores
// is most of what they cost: they go to lines that the driver's CPU has. So it is done when
// they are long through.
func (q *queue) settle(vw *view) {
	if !q.owed {
		return
	}
	q.owed = false
	guestmem.Fence()
	if !q.format.wanted(vw) {
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

// bad notes why the ring is to be broken at the burst's end, and returns false.
func (q *queue) bad(r Reason) bool {
	q.window.why = r
	return false
}

// Discard implements Ring.
func (q *queue) Discard() int {
	if q.broken.Load() != 0 {
		return 0
	}
	vw := q.use()
	q.settle(vw)
	q.window.reset()
	q.format.peek(vw, buf.Burst)
	n := len(q.window.chains)
	done := n
	if q.inOrder {
		done = q.window.fold(n)
	}
	q.finish(vw, done)
	q.show(vw)
	q.settle(vw)
	q.stats.Discarded.Add(uint64(n))
	return n
}
