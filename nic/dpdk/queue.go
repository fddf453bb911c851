package dpdk

import (
	"errors"
	"sync/atomic"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/ethdev"
	"baton/nic/dpdk/mempool"
)

// stuckPolls is after how many polls without progress staged packets are given
// up: 10 to 50 ms of a busy worker's loop, longer than a driver needs to reset,
// shorter than anyone's retransmission.
const stuckPolls = 1 << 16

// wake is how a sleeping worker hears of packets.
type wake uint8

const (
	wakePoll   wake = iota // not at all
	wakeIntr               // the driver's receive interrupt
	wakeSocket             // the driver's packet socket
)

// String is for logs.
func (w wake) String() string {
	switch w {
	case wakeIntr:
		return "interrupt"
	case wakeSocket:
		return "socket"
	}
	return "poll"
}

// Queue is one queue pair of a Port.
//
//	conc: the worker that polls it; Dropped from any goroutine
type Queue struct {
	burst *ethdev.Burst
	polls int // since staged packets last moved

	dev    ethdev.Port
	pool   *mempool.Pool
	stock  *mempool.Stock // nil: the pool has no cache for the queue
	index  int
	lcore  int
	desc   int // receive descriptors
	offers port.Offloads
	wake   wake
	fd     int // to be watched if wake is not wakePoll; the driver's
	waker  port.Waker
	closed bool

	dropped atomic.Uint64
}

var (
	_ port.Queue       = (*Queue)(nil)
	_ port.LateDropper = (*Queue)(nil)
	_ port.Offloader   = (*Queue)(nil)
)

// newQueue is queue i of the started port.
func newQueue(p *Port, i int, intr bool) (*Queue, error) {
	lcore, err := eal.AllocLcore()
	if errors.Is(err, eal.ErrNoLcore) {
		lcore = eal.NoLcore // without a cache, slower
	}
	burst, err := ethdev.NewBurst(p.dev, i, lcore)
	if err != nil {
		eal.FreeLcore(lcore)
		return nil, err
	}
	q := &Queue{burst: burst, dev: p.dev, pool: p.cfg.Pool, index: i, lcore: lcore, desc: p.cfg.RxDesc, offers: p.offloads.offers}
	q.stock = q.pool.Stock(lcore)
	if intr {
		if fd, err := p.dev.RxIntrFD(i); err == nil {
			q.wake, q.fd = wakeIntr, fd
		}
	}
	if iface := p.iface(); iface != nil && p.driver.Driver == packetDriver {
		if fd, err := p.dev.PacketSocket(i, iface.Index); err == nil {
			q.wake, q.fd = wakeSocket, fd
		}
	}
	return q, nil
}

// Rx implements port.Queue: it sends what Tx staged and receives, in one C call.
func (q *Queue) Rx(c *buf.Cache, v *buf.Vec) int {
	staged := q.burst.Staged()
	received := q.burst.Poll()
	if received == 0 && staged == 0 {
		return 0
	}
	if q.stock != nil && c != nil {
		q.stock.Even(c)
	}
	if staged > 0 {
		q.progress(staged)
	}
	return q.burst.Take(v)
}

// Tx implements port.Queue. The packets go out with the next Rx or Arm, or at
// once when the stage is full.
func (q *Queue) Tx(_ *buf.Cache, v *buf.Vec, n int) int {
	if q.offers != 0 {
		q.askAll(v, n)
	}
	took := q.burst.Stage(v, 0, n)
	if took < n {
		q.Flush()
		took += q.burst.Stage(v, took, n)
	}
	return took
}

// askAll readies what asks for offloads.
func (q *Queue) askAll(v *buf.Vec, n int) {
	work := false
	for i := range n {
		work = ask(v[i&(buf.Burst-1)]) || work
	}
	if work {
		q.burst.Prepare()
	}
}

// Offloads implements port.Offloader: what the device was configured for.
func (q *Queue) Offloads() port.Offloads { return q.offers }

// Flush sends what is staged, as far as the device takes it.
//
//	alloc: 0
func (q *Queue) Flush() {
	if staged := q.burst.Staged(); staged > 0 {
		q.burst.Flush()
		q.progress(staged)
	}
}

// progress watches that staged packets move; before is how many there were.
func (q *Queue) progress(before int) {
	after := q.burst.Staged()
	if q.offers != 0 {
		q.dropped.Add(uint64(q.burst.Refused()))
	}
	if after < before || after == 0 {
		q.polls = 0
		return
	}
	if q.polls++; q.polls >= stuckPolls {
		q.dropStaged()
	}
}

// dropStaged frees and counts what is staged. Received packets, if any wait, are
// taken by the same poll that calls it, so they are kept.
func (q *Queue) dropStaged() {
	q.dropped.Add(uint64(q.burst.DropStaged()))
	q.polls = 0
}

// Dropped implements port.LateDropper. Packets that the driver refused are among
// them: what they asked for its device cannot do, whatever it said that it can.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Attach implements port.Queue. If w refuses the descriptor the queue is polled.
func (q *Queue) Attach(w port.Waker) {
	if q.waker != nil {
		q.waker.Remove(q.fd)
		q.waker = nil
	}
	if w == nil || q.wake == wakePoll {
		return
	}
	if w.Add(q.fd) == nil {
		q.waker = w
	}
}

// Arm implements port.Queue. It flushes first; packets that the device did not
// take want a poll soon.
func (q *Queue) Arm() port.Armed {
	q.Flush()
	if q.waker == nil {
		return port.ArmPoll
	}
	if q.wake == wakeIntr && q.dev.RxIntrEnable(q.index) != nil {
		return port.ArmPoll
	}
	// A packet that came before the interrupt was armed does not fire it.
	if q.burst.Recv() > 0 {
		q.Disarm()
		return port.ArmReady
	}
	if q.burst.Staged() > 0 {
		return port.ArmPoll
	}
	return port.ArmSet
}

// Disarm implements port.Queue.
func (q *Queue) Disarm() {
	if q.waker != nil && q.wake == wakeIntr {
		// The driver's answer says nothing that polling does not find out.
		_ = q.dev.RxIntrDisable(q.index)
	}
}

// drop frees what waits in either direction, before the device stops.
func (q *Queue) drop() {
	q.Attach(nil)
	q.Flush() // a last chance
	q.dropped.Add(uint64(q.burst.Staged()))
	q.burst.Drop()
	// net_ring keeps for ever what its ring still holds: take out what a queue can
	// hold, no more, as packets may go on coming.
	for range (q.desc + buf.Burst - 1) / buf.Burst {
		if q.burst.Recv() == 0 {
			break
		}
		q.burst.Drop()
	}
}

// close frees the queue after the device has stopped and before it is closed.
func (q *Queue) close() error {
	if q.closed {
		return nil
	}
	q.closed = true
	err := q.burst.Close()
	q.pool.FlushLcore(q.lcore)
	eal.FreeLcore(q.lcore)
	return err
}
