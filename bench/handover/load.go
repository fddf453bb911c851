package handover

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"baton/bench/machine"
	"baton/bench/report"
	"baton/bench/topology"
	"baton/dataplane/worker/slice"
	"baton/vhost/guest"
)

// far is the number of the far host among those that flows are between; VMs count from 0.
const far = -1

// Rhythm of the load.
const (
	idle   = 100 * time.Microsecond // least sleep between two rounds: what batond has to do has the same CPU
	most   = 200 * time.Microsecond // longest
	behind = 32                     // packets of a flow at once after a pause, at the most: rings have room for more
	drain  = 500 * time.Millisecond // for packets under way to arrive
	burst  = 64                     // packets taken from a ring or the wire before the next one's turn
)

// stream is a flow: numbered packets from one to another.
type stream struct {
	from, to int // VMs' numbers, or far
	queue    int // that the sending VM uses
	frame    []byte
	inner    []byte // the part of frame that is without tunnel headers
	interval time.Duration
	next     time.Duration // when the next packet is due, on the load's clock
	sent     uint64
	track    Track
	ring     int      // by which the last one came
	late     []string // the first of those out of order, for people
}

// notes is how many of a flow's packets are told about.
const notes = 10

// load is all VMs and the wire.
//
//	conc: run from one goroutine at a time; see its own words for what another may do
type load struct {
	guests []*guest.Guest
	wire   *wire
	flows  []*stream
	cpu    int
	began  time.Time // of the clock

	// mark is a time on the clock; of packets that were sent later, each VM's first arrival
	// is noted. 0: none. Any goroutine sets it.
	mark atomic.Int64

	runs uint32
	run  *passage // the one under way
}

// passage is what one run of the load saw.
type passage struct {
	start    time.Duration // on the load's clock
	offered  []uint32      // packets sent in each millisecond from start on
	came     []uint32      // packets that came, the same
	first    []time.Duration
	wrong    uint64 // came to the wrong VM, or changed
	foreign  uint64 // none of ours
	deferred uint64 // times that a ring or the kernel had no room
}

// count adds an event to its millisecond's.
func (p *passage) count(all *[]uint32, now time.Duration) {
	i := int((now - p.start) / time.Millisecond)
	for len(*all) <= i {
		*all = append(*all, 0)
	}
	(*all)[i]++
}

// newLoad spreads a rate, packets a second, over the flows of some VMs.
func newLoad(guests []*guest.Guest, all []topology.VM, w *wire, rate, cpu int) *load {
	l := &load{guests: guests, wire: w, cpu: cpu, began: time.Now()}
	for i, v := range all {
		queues := len(guests[i].Tx)
		if n := len(all); n > 1 {
			l.add(i, (i+1)%n, i%queues, innerFrame(v, all[(i+1)%n], 5000))
		}
		l.add(i, far, (i+1)%queues, innerFrame(v, topology.Far1, 5001))
		l.add(far, i, 0, innerFrame(topology.Far1, v, 5002))
		if f := l.flows[len(l.flows)-1]; f.from == far {
			f.frame = tunnelled(topology.Far1, v, f.inner)
			f.inner = f.frame[outerSize:]
		}
	}
	for i, f := range l.flows {
		f.interval = time.Duration(len(l.flows)) * time.Second / time.Duration(rate)
		f.next = f.interval * time.Duration(i) / time.Duration(len(l.flows)) // not all at once
	}
	return l
}

func (l *load) add(from, to, queue int, frame []byte) {
	l.flows = append(l.flows, &stream{from: from, to: to, queue: queue, frame: frame, inner: frame})
}

// now is the load's clock.
func (l *load) now() time.Duration { return time.Since(l.began) }

// pass runs the load until stop is closed, and then until all has arrived, or for drain. It
// polls: the caller's goroutine gets a thread and the load's CPU, half of it, when
// it wants it: what prepares an upgrade is there too, and the kernel's fair shares had all VMs
// stand still for half a second then.
//
//	error: no such CPU; packets that are not what was sent
func (l *load) pass(stop <-chan struct{}) (*passage, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would take the CPU
	procs := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(procs + 1) // this one is not given away, see loop
	defer runtime.GOMAXPROCS(procs)
	err := machine.On(l.cpu, func() error { // the thread may be who started batond: it must not end
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)   // else it sleeps for longer
		defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // what it was
		defer machine.RealTime()()
		l.loop(stop)
		return nil
	})
	if err == nil && l.run.wrong > 0 {
		err = fmt.Errorf("%d packets came to the wrong VM, or with other headers than they were sent with", l.run.wrong)
	}
	return l.run, err
}

// loop is pass on its thread. It keeps Go's processor: one that was taken away, as from who sleeps
// in a system call or has run for long, comes back by way of a thread that has no real-time
// priority, and that one has been seen to wait for half a second.
func (l *load) loop(stop <-chan struct{}) {
	l.begin()
	keeps := slice.Check() == nil
	var until time.Duration
	for {
		if keeps {
			slice.Renew()
		}
		now := l.now()
		if until == 0 {
			l.send(now)
			select {
			case <-stop:
				until = now + drain
			default:
			}
		} else if now >= until || l.arrived() {
			return
		}
		l.receive()
		nap := unix.NsecToTimespec(int64(min(max(l.now()-now, idle), most)))
		// SAFETY: nap lives until the call returns. Shorter is as well.
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&nap)), 0, 0)
	}
}

// begin makes everything new.
func (l *load) begin() {
	l.runs++
	start := l.now()
	l.run = &passage{start: start, first: make([]time.Duration, len(l.guests))}
	l.mark.Store(0)
	for i, f := range l.flows {
		f.sent, f.track, f.late = 0, Track{Interval: f.interval}, nil
		f.next = start + f.interval*time.Duration(i)/time.Duration(len(l.flows))
	}
}

// send sends what is due.
func (l *load) send(now time.Duration) {
	for i, f := range l.flows {
		if f.next < now-behind*f.interval {
			f.next = now - behind*f.interval
		}
		for ; f.next <= now; f.next += f.interval {
			at := l.now()
			mark{run: l.runs, flow: uint32(i), number: f.sent, stamp: at}.put(f.inner)
			if !l.sendOne(f) {
				l.run.deferred++
				break
			}
			f.sent++
			l.run.count(&l.run.offered, at)
		}
	}
}

func (l *load) sendOne(f *stream) (ok bool) {
	if f.from == far {
		return l.wire.send(f.frame)
	}
	q := l.guests[f.from].Tx[f.queue]
	return q.Pending() < maxPending && q.SendBurst([][]byte{f.frame}, nil) == 1
}

// receive takes what is there.
func (l *load) receive() {
	for i, g := range l.guests {
		for _, q := range g.Rx {
			q.Poll(burst, func(_ guest.Hdr, frame []byte) { l.take(i, q.Index()/2, frame) })
		}
	}
	for range burst {
		b := l.wire.recv()
		if b == nil {
			return
		}
		if inner := opened(b); inner != nil {
			l.take(far, 0, inner)
		}
	}
}

// take notes a packet that came to a VM by one of its rings, or to the far host.
func (l *load) take(at, ring int, frame []byte) {
	m, ours := readMark(frame)
	if !ours || m.run != l.runs || int(m.flow) >= len(l.flows) {
		l.run.foreign++
		return
	}
	f, now := l.flows[m.flow], l.now()
	highest, reordered := f.track.next, f.track.Reordered
	if f.to != at || !sameHeaders(frame, f.inner) || m.number >= f.sent || !f.track.Take(m.number, now) {
		l.run.wrong++
		return
	}
	l.run.count(&l.run.came, now)
	if f.track.Reordered > reordered && len(f.late) < notes {
		f.late = append(f.late, fmt.Sprintf("%d by ring %d, %v old, at %v, behind %d of ring %d", m.number, ring, (now-m.stamp).Round(time.Microsecond), (now-l.run.start).Round(time.Microsecond), highest-1, f.ring))
	}
	f.ring = ring
	if after := time.Duration(l.mark.Load()); at != far && after > 0 && m.stamp >= after && l.run.first[at] == 0 {
		l.run.first[at] = now
	}
}

// arrived says whether nothing is under way any more.
func (l *load) arrived() bool {
	for _, f := range l.flows {
		if f.track.Delivered < f.sent {
			return false
		}
	}
	return true
}

// passFor is pass for a time.
func (l *load) passFor(d time.Duration) (*passage, error) {
	stop := make(chan struct{})
	t := time.AfterFunc(d, func() { close(stop) })
	defer t.Stop()
	return l.pass(stop)
}

// sums adds the flows up.
func (l *load) sums() (offered, delivered, lost, duplicated, reordered uint64) {
	for _, f := range l.flows {
		offered += f.sent
		delivered += f.track.Delivered
		lost += f.track.Lost(f.sent)
		duplicated += f.track.Duplicated
		reordered += f.track.Reordered
	}
	return offered, delivered, lost, duplicated, reordered
}

// faults is a line for each flow of which packets were lost, doubled or out of order: what,
// and about when the lost ones were sent, from the first packet on.
func (l *load) faults() (lines []string) {
	for _, f := range l.flows {
		if f.track.Lost(f.sent)+f.track.Duplicated+f.track.Reordered == 0 {
			continue
		}
		line := fmt.Sprintf("%s to %s: lost %d, doubled %d, out of order %d", place(f.from), place(f.to), f.track.Lost(f.sent), f.track.Duplicated, f.track.Reordered)
		for _, n := range f.track.Missing(f.sent, notes) {
			line += fmt.Sprintf(", %d sent at %v", n, (time.Duration(n) * f.interval).Round(time.Millisecond))
		}
		lines = append(lines, strings.Join(append([]string{line}, f.late...), "; "))
	}
	return lines
}

// place is an end of a flow for people.
func place(n int) string {
	if n == far {
		return "far"
	}
	return fmt.Sprintf("vm%d", n+1)
}

// gaps is how long the flows' receivers got nothing.
func (l *load) gaps() report.Spread {
	var all []float64
	for _, f := range l.flows {
		all = append(all, float64(f.track.Excess())/1e3)
	}
	return report.SpreadOf(all)
}
