package loopgap

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"baton/bench/tsc"
	"baton/dataplane/buf"
	"baton/dataplane/port"
)

// floorsPerSecond is how many of the shortest gaps that are noted make a second: what is
// below is the loop's own work.
const floorsPerSecond = 500_000 // 2 us

// slowPerSecond is how many of the shortest gaps make a second of which is noted whether
// the thread gave its CPU away meanwhile: to ask that takes a fraction of a microsecond.
const slowPerSecond = 200_000 // 5 us

// probe is a port without packets that notes the time between two looks at it.
//
//	conc: begin and end from one goroutine; the queue's methods from its worker
type probe struct {
	floor uint64 // cycles
	gaps  []uint64
	slow  uint64   // cycles
	given []uint64 // of the gaps, those in which the thread gave its CPU away
	gave  int64    // times that the thread gave its CPU away before its last slow gap's end

	recording atomic.Bool
	tid       atomic.Int64 // thread of the worker; 0 before its first look
	was       bool
	last      uint64
	num       int // of gaps; may exceed their room
	turns     uint64
}

var (
	_ port.Port  = (*probe)(nil)
	_ port.Queue = (*probe)(nil)
)

func (p *probe) Name() string         { return "probe" }
func (p *probe) Kind() port.Kind      { return port.KindMem }
func (p *probe) NumQueues() int       { return 1 }
func (p *probe) Queue(int) port.Queue { return p }
func (p *probe) Info() port.Info      { return port.Info{Up: true} }
func (p *probe) Close() error         { return nil }

// Rx implements port.Queue.
//
//	alloc: 0
func (p *probe) Rx(*buf.Cache, *buf.Vec) int {
	now := tsc.Read()
	on := p.recording.Load()
	if !on && p.tid.Load() == 0 {
		p.tid.Store(int64(unix.Gettid()))
	}
	if on && p.was {
		p.turns++
		if gap := now - p.last; gap >= p.floor {
			if p.num < len(p.gaps) {
				p.gaps[p.num] = gap
			}
			p.num++
			if gap >= p.slow && p.gaveAway() && len(p.given) < cap(p.given) {
				p.given = append(p.given, gap)
			}
			now = tsc.Read()
		}
	} else if on {
		p.gaveAway()
		now = tsc.Read()
	}
	p.was, p.last = on, now
	return 0
}

// gaveAway reports whether the calling thread has given its CPU away since it last asked:
// a thread that polls does so only when it has to wait for another.
func (p *probe) gaveAway() bool {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return false
	}
	before := p.gave
	p.gave = u.Nvcsw
	return u.Nvcsw != before
}

// Tx implements port.Queue: nobody sends to a probe.
func (p *probe) Tx(*buf.Cache, *buf.Vec, int) int { return 0 }

// Attach, Arm and Disarm implement port.Queue: a probe wakes nobody.
func (p *probe) Attach(port.Waker) {}
func (p *probe) Arm() port.Armed   { return port.ArmPoll }
func (p *probe) Disarm()           {}
