package relay

import (
	"fmt"
	"sync/atomic"

	"baton/dataplane/buf"
	"baton/dataplane/port"
)

// Inbox is the port by which packets come that the other process had for a port of this
// one. It gives them to the port's gate itself: the other process has looked them up. It
// has one queue, a lane, for each worker; the lane's number is how the other process names
// the worker.
//
//	conc: as port.Port
type Inbox struct {
	link  *Link
	lanes []*lane
}

var _ port.Port = (*Inbox)(nil)

// InboxName cannot be the name of a port of the model.
const InboxName = "relay:"

func newInbox(l *Link) *Inbox {
	in := &Inbox{link: l}
	shape := l.area.shape
	for i := range shape.Workers[l.side] {
		n := &lane{inbox: in, num: i, wake: l.area.wakes[l.side][i]}
		for from := range shape.Workers[l.side.Other()] {
			r := l.area.ring(l.side.Other(), from, i)
			n.rings = append(n.rings, &r)
		}
		in.lanes = append(in.lanes, n)
	}
	return in
}

// Name implements port.Port.
func (in *Inbox) Name() string { return InboxName }

// Kind implements port.Port.
func (in *Inbox) Kind() port.Kind { return port.KindRelay }

// NumQueues implements port.Port.
func (in *Inbox) NumQueues() int { return len(in.lanes) }

// Queue implements port.Port.
func (in *Inbox) Queue(i int) port.Queue { return in.lanes[i] }

// Info implements port.Port.
func (in *Inbox) Info() port.Info {
	return port.Info{Up: true, Detail: "from " + in.link.side.Other().String()}
}

// Close implements port.Port.
func (in *Inbox) Close() error { return nil }

// Err is what is wrong with the rings, nil if nothing is.
func (in *Inbox) Err() error {
	for _, n := range in.lanes {
		if n.broken.Load() {
			return fmt.Errorf("lane %d: %w", n.num, errRing)
		}
	}
	return nil
}

// Strays is the number of packets that came for a port that this process does not know.
func (in *Inbox) Strays() (n uint64) {
	for _, l := range in.lanes {
		n += l.strays.Load()
	}
	return n
}

// lane is a worker's rings from all workers of the other process.
//
//	conc: as port.Queue
type lane struct {
	inbox *Inbox
	num   int
	rings []*ring
	wake  int
	waker port.Waker
	deaf  bool // the waker does not know wake
	took  int  // by the last Rx

	broken atomic.Bool
	strays atomic.Uint64
}

var (
	_ port.Queue   = (*lane)(nil)
	_ port.Carrier = (*lane)(nil)
)

// Rx implements port.Queue. It returns none: the packets are gone to their ports.
func (n *lane) Rx(c *buf.Cache, v *buf.Vec) int {
	n.took = 0
	if n.broken.Load() {
		return 0
	}
	for _, r := range n.rings {
		if err := n.drain(c, v, r); err != nil {
			n.broken.Store(true)
		}
	}
	return 0
}

// Carried implements port.Carrier.
func (n *lane) Carried() int { return n.took }

// Tx implements port.Queue: nothing is sent to an inbox.
func (n *lane) Tx(*buf.Cache, *buf.Vec, int) int { return 0 }

// drain takes up to a burst out of one ring.
func (n *lane) drain(c *buf.Cache, v *buf.Vec, r *ring) error {
	if r.empty() {
		return nil
	}
	var to *gateQueue
	num := 0
	for range buf.Burst {
		before := r.at
		rec, ok, err := r.next()
		if err != nil {
			if num > 0 {
				to.arrive(c, v, num) // what came before is as good as ever
			}
			return err
		}
		if !ok {
			break
		}
		n.took++
		q := n.queue(&rec)
		if q == nil {
			n.strays.Add(1)
			continue
		}
		b := load(c, &rec)
		if b == nil { // it comes again when there are buffers
			r.at = before
			n.took--
			break
		}
		if q != to && num > 0 {
			to.arrive(c, v, num)
			num = 0
		}
		to = q
		v[num&(buf.Burst-1)] = b
		num++
	}
	if num > 0 {
		to.arrive(c, v, num)
	}
	r.done()
	return nil
}

// queue is where a record goes: the queue that it names, or if that takes nothing another one
// of the port that this worker polls. nil: there is none.
func (n *lane) queue(rec *record) *gateQueue {
	g := n.inbox.link.gate(rec.port)
	if g == nil || int(rec.queue) >= len(g.queues) {
		return nil
	}
	q := g.queues[rec.queue]
	if q.lane == n.num && (q.Enabled() || g.state.Load() != stateDirect) {
		return q
	}
	for _, other := range g.queues {
		if other.lane == n.num && other.Enabled() {
			return other
		}
	}
	if q.lane == n.num {
		return q // which waits, as the guest may enable it again, or loses it
	}
	return nil
}

// load is a record's frame in buffers; nil if there are none.
func load(c *buf.Cache, rec *record) *buf.Buf {
	head := c.Alloc()
	if head == nil {
		return nil
	}
	head.OlFlags, head.TxOffload = rec.flags, rec.tx
	rest := rec.frame
	n := min(len(rest), head.Tailroom())
	copy(head.Append(n), rest)
	last := head
	for rest = rest[n:]; len(rest) > 0; rest = rest[n:] {
		seg := c.AllocSegment()
		if seg == nil {
			c.Free(head)
			return nil
		}
		n = min(len(rest), seg.Tailroom())
		copy(seg.Append(n), rest)
		head.Link(last, seg)
		last = seg
	}
	return head
}

// Attach implements port.Queue.
func (n *lane) Attach(w port.Waker) {
	if n.waker != nil {
		n.waker.Remove(n.wake)
		n.inbox.link.leave(n.waker)
	}
	n.waker = w
	if w != nil {
		n.inbox.link.enter(w, n.num)
		n.deaf = w.Add(n.wake) != nil
	}
}

// Arm implements port.Queue.
func (n *lane) Arm() port.Armed {
	if n.broken.Load() {
		return port.ArmSet
	}
	for i, r := range n.rings {
		if r.arm() {
			continue
		}
		n.disarm(i)
		return port.ArmReady
	}
	if n.waker == nil || n.deaf {
		return port.ArmPoll
	}
	return port.ArmSet
}

// Disarm implements port.Queue.
func (n *lane) Disarm() { n.disarm(len(n.rings)) }

func (n *lane) disarm(num int) {
	for _, r := range n.rings[:num] {
		r.state.armed.Store(0)
	}
}
