package relay

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
	"baton/dataplane/port"
)

// Device is a port that can stop at words, one for each of its rings, and go on at them in
// another process.
type Device interface {
	port.Port
	// Suspend stops all rings: when it returns, nobody touches them.
	Suspend()
	// Words is where the rings stand. Suspend came before.
	Words() []uint32
	// Resume goes on at the words, or where Suspend stopped with nil.
	Resume(words []uint32) error
	// ResumeLost goes on where the guest's memory says that the rings stand.
	ResumeLost()
}

// States of a Gate.
const (
	stateAway uint32 = iota
	stateHold
	stateDirect
)

// Gate is a port of this process or of the other one, whoever has its baton. It has the
// device's name and stands in its place among the workers' ports. Link.Gate makes one.
//
//	conc: the port.Port methods from any goroutine, the others from one at a time
type Gate struct {
	name  string
	index int
	link  *Link
	baton *baton

	state  atomic.Uint32
	spill  atomic.Bool          // what waits when the port goes away is lost
	behind atomic.Pointer[mark] // packets of the port from the other process come first
	queues []*gateQueue

	mu     sync.Mutex // guards what follows, and lanes and wakers of the queues
	device Device     // nil: of the other process, and not prepared here
	heard  bool       // the device's queues have the wakers
}

var _ port.Port = (*Gate)(nil)

// Name implements port.Port.
func (g *Gate) Name() string { return g.name }

// Kind implements port.Port.
func (g *Gate) Kind() port.Kind { return port.KindVhost }

// NumQueues implements port.Port.
func (g *Gate) NumQueues() int { return len(g.queues) }

// Queue implements port.Port.
func (g *Gate) Queue(i int) port.Queue { return g.queues[i] }

// Info implements port.Port.
func (g *Gate) Info() port.Info {
	if d := g.Device(); d != nil {
		return d.Info()
	}
	return port.Info{Up: g.queues[0].Enabled(), Detail: "of " + g.link.side.Other().String()}
}

// Close implements port.Port: the device is its owner's to close.
func (g *Gate) Close() error { return nil }

// Device is the port's device in this process, nil if there is none.
func (g *Gate) Device() Device {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.device
}

// Have reports whether this process has the port.
func (g *Gate) Have() bool { return g.baton.have(g.link.side) }

// Lanes are those of the workers that poll the queues here, for SetLanes of the other
// process' gate: a lane is a queue of the Inbox.
//
//	error: a worker polls a queue that has no lane, or nobody does
func (g *Gate) Lanes() ([]int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	lanes := make([]int, len(g.queues))
	for i, q := range g.queues {
		if lanes[i] = q.lane; q.lane < 0 {
			return nil, fmt.Errorf("relay: port %s: nobody polls queue %d", g.name, i)
		}
	}
	return lanes, nil
}

// SetLanes are those of the other process' gate of this port.
//
//	error: not one for each queue, or out of range
func (g *Gate) SetLanes(lanes []int) error {
	if len(lanes) != len(g.queues) {
		return fmt.Errorf("relay: port %s: %d queues, and %d in the other process", g.name, len(g.queues), len(lanes))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, lane := range lanes {
		if lane < 0 || lane >= g.link.area.shape.Workers[g.link.side.Other()] {
			return fmt.Errorf("relay: port %s: lane %d is out of range", g.name, lane)
		}
		g.queues[i].far = lane
		g.queues[i].aim()
	}
	return nil
}

// Enable says which queues take packets, while the port is away; bit i is queue i.
func (g *Gate) Enable(queues uint64) {
	for i, q := range g.queues {
		q.takes.Store(queues>>i&1 != 0)
	}
}

// Enabled is what Enable of the other process is to be told.
func (g *Gate) Enabled() (queues uint64) {
	for i, q := range g.queues {
		if q.Enabled() {
			queues |= 1 << i
		}
	}
	return queues
}

// Prepare gives the gate a suspended device, in the state of the other process' one; nil
// takes it away again, and then no worker is in it any more.
func (g *Gate) Prepare(d Device) {
	g.mu.Lock()
	g.device = d
	for i, q := range g.queues {
		var in *inner
		if d != nil {
			in = newInner(d.Queue(i))
		}
		if was := q.inner.Swap(in); was != nil {
			was.q.Attach(nil)
		}
	}
	g.heard = false
	g.mu.Unlock()
	g.link.quiet.Quiesce()
}

// Hold begins to take the port: packets wait from now on. It returns when all that was
// under way to the other process has been taken there, which then may Give.
//
//	error: it has not, until limit; the gate is Away again
func (g *Gate) Hold(limit time.Duration) error {
	g.spill.Store(false)
	g.listen(true)
	g.state.Store(stateHold)
	g.link.quiet.Quiesce() // no worker is about to write any more
	if err := g.link.area.Drained(g.link.side, limit); err != nil {
		g.Unhold()
		return fmt.Errorf("port %s: %w", g.name, err)
	}
	return nil
}

// Unhold ends Hold: what waits goes by the ring.
func (g *Gate) Unhold() {
	if g.state.CompareAndSwap(stateHold, stateAway) {
		g.listen(false)
	}
}

// listen has the guest wake the workers, or no longer: one whose port is away would wake those of
// both processes.
func (g *Gate) listen(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.heard == on {
		return
	}
	g.heard = on
	for _, q := range g.queues {
		if in := q.inner.Load(); in != nil {
			in.q.Attach(q.hears())
		}
	}
}

// Give passes the port to the other process, which holds it.
//
//	error: it is not this process' to pass; or it came late, when Take had given up, and does not
//	resume. Nothing was passed
func (g *Gate) Give() error {
	if !g.Have() {
		return fmt.Errorf("port %s: not this process' to give", g.name)
	}
	if g.state.Load() != stateDirect {
		if err := g.resume(g.baton.read(2 * len(g.queues))); err != nil {
			return err
		}
	}
	defer Urgent()()
	g.Settle()
	g.spill.Store(true)
	g.Enable(g.Enabled())
	last := Now()
	g.state.Store(stateAway)
	g.link.quiet.Quiesce() // no worker gives packets to the device any more
	g.device.Suspend()
	// What they took from it last is sent, or in a ring to the other process, where the guest's next
	// packets wait for it: what one worker had handed to another, and what the last burst left for the
	// next poll, as to a NIC.
	g.link.quiet.Flush()
	g.baton.pass(g.link.side.Other(), g.device.Words(), last)
	g.listen(false)
	return nil
}

// noRoom is how often in a row a guest has no room before it is not waited for any more.
const noRoom = 100

// settleLimit is how long it is waited for all the same.
const settleLimit = time.Second

// Settle waits until the guest has taken what has waited for it since the port came, or has no
// room for long: later packets of the same flows may wait in the other process already, so that
// it is too late to send these there.
func (g *Gate) Settle() {
	g.link.quiet.Quiesce() // what a worker was about to let wait is known
	Until(settleLimit, false, func() bool {
		for _, q := range g.queues {
			if q.waiting.Load() > 0 && q.stuck.Load() < noRoom {
				return false
			}
		}
		return true
	})
}

// ErrNotPassed is the error of Take if the other process kept the port.
var ErrNotPassed = errors.New("relay: the other process has not passed the port")

// Take waits for the other process to Give, and goes on. Prepare and Hold came before.
//
//	error: ErrNotPassed until limit, and the gate holds on; the device's, and then the port
//	is this process' and stands still
func (g *Gate) Take(limit time.Duration) error {
	defer Urgent()()
	if !g.baton.await(g.link.side, limit) {
		return fmt.Errorf("port %s: %w", g.name, ErrNotPassed)
	}
	return g.resume(g.baton.read(2 * len(g.queues)))
}

// Seize goes on with the port when the other process is dead, whoever had it; false if this
// one had and has it. Prepare came before. One that was passed after Take had given up goes on at
// its words, one that was not, where the guest's memory says.
//
//	error: the device's, and then the port stands still
func (g *Gate) Seize() (bool, error) {
	if g.baton.seize(g.link.side) {
		return true, g.resume(nil)
	}
	if g.state.Load() == stateDirect {
		return false, nil
	}
	return true, g.resume(g.baton.read(2 * len(g.queues)))
}

func (g *Gate) resume(words []uint32) error {
	g.listen(true) // it does already, but after a death
	// What the guest sent before is under way from there, to other ports of this process.
	m := g.link.area.mark(g.link.side.Other())
	g.behind.Store(&m)
	for _, q := range g.queues {
		q.first.Store(0)
	}
	var err error
	if words == nil {
		g.device.ResumeLost()
	} else {
		err = g.device.Resume(words)
	}
	g.state.Store(stateDirect)
	g.link.quiet.Visit(g.name)
	g.nudge()
	if err != nil {
		return fmt.Errorf("port %s: %w", g.name, err)
	}
	return nil
}

// nudge wakes the workers that poll the queues: one that looked before the state was Direct may
// sleep now.
func (g *Gate) nudge() {
	g.mu.Lock()
	defer g.mu.Unlock()
	var lanes uint64
	for _, q := range g.queues {
		if q.lane >= 0 && lanes>>q.lane&1 == 0 {
			lanes |= 1 << q.lane
			signal(g.link.area.wakes[g.link.side][q.lane])
		}
	}
}

// Interruption is for how long no process polled the port's rings when this one took it: of
// its queues the longest; ok is false if some queue has not been polled yet.
func (g *Gate) Interruption() (d time.Duration, ok bool) {
	last := g.baton.last.Load()
	for _, q := range g.queues {
		first := q.first.Load()
		if first == 0 {
			return 0, false
		}
		d = max(d, time.Duration(first-last))
	}
	return d, true
}

// Counts are what a process' gate has seen of packets that were not its device's at once.
type Counts struct {
	Sent    uint64 `json:"sent"`    // into a ring
	Arrived uint64 `json:"arrived"` // out of a ring
	Waited  uint64 `json:"waited"`  // for the port to come
	Lost    uint64 `json:"lost"`    // of Arrived and Waited: the guest had no room
}

// Add adds o.
func (c *Counts) Add(o Counts) {
	c.Sent += o.Sent
	c.Arrived += o.Arrived
	c.Waited += o.Waited
	c.Lost += o.Lost
}

// Counts sums up the queues.
func (g *Gate) Counts() (c Counts) {
	for _, q := range g.queues {
		c.Add(Counts{q.sent.Load(), q.arrived.Load(), q.waited.Load(), q.lost.Load()})
	}
	return c
}

// Drop frees what waits, by a cache of the pool that its buffers came from. No worker has the gate
// any more.
func (g *Gate) Drop(c *buf.Cache) {
	for _, q := range g.queues {
		for _, b := range q.held {
			c.Free(b)
		}
		q.held = nil
		q.waiting.Store(0)
	}
}

// Waiting is the number of packets that wait in the gate.
func (g *Gate) Waiting() (n int) {
	for _, q := range g.queues {
		n += int(q.waiting.Load())
	}
	return n
}

// Now is the monotonic clock, which all processes of a host share, in nanoseconds.
func Now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // fails for no clock that exists
	return ts.Nano()
}
