package worker

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
	"baton/dataplane/cache"
	"baton/dataplane/hdr"
	"baton/dataplane/overlay"
	"baton/dataplane/pipeline"
	"baton/dataplane/port"
	"baton/dataplane/stats"
	"baton/dataplane/worker/slice"
)

// States of a worker, as others see them.
const (
	stateOff     uint32 = iota // has not begun, or has ended
	stateRunning               // may hold whatever it could reach at its last iteration's start
	stateAsleep                // holds nothing; takes up everything anew when it wakes
	stateSettle                // changes its ports; holds nothing
)

// Worker is one poll loop. All that is not said to be otherwise belongs to the
// loop's goroutine.
type Worker struct {
	_      [64]byte
	epoch  atomic.Uint64 // iterations begun
	state  atomic.Uint32
	taken  atomic.Uint64 // epoch of the layout in use
	gen    atomic.Uint64 // generation of the snapshot in use
	held   atomic.Int64  // free buffers in the cache, as of the last iteration
	ask    atomic.Pointer[question]
	turns  atomic.Uint64                // times that it held nothing, within iterations
	asked  atomic.Uint64                // errands
	served atomic.Uint64                // of asked, those that are done
	visits [MaxPorts / 64]atomic.Uint64 // slots of ports that come first
	_      [64]byte

	id, cpu int
	tid     atomic.Int64 // of its thread; 0: not known
	pool    *Pool
	pulse   *atomic.Uint64 // Config.Pulse's; nil: none
	waker   *waker
	done    chan struct{}
	thread  chan error // one: of Config.Thread
	begun   chan error // one: nil, or why the worker does not keep its processor

	lay   *layout
	snap  *pipeline.Snapshot
	cache *buf.Cache
	flows *cache.Cache
	work  *work
	peers overlay.Peers
	rxqs  []rxQueue
	outs  []output // by slot
	known [resolveSlots]resolved
	from  []*ring // by worker; nil for itself
	to    []*ring
	told  uint64  // set of workers that got parcels in this iteration
	quota []quota // of ICMP messages, by slot of the ingress port

	spreads bool // some port has several queues: which one a packet goes by, its flow's hash says
	hashed  bool // this burst's flows have hashes

	tunnelFrame int // bytes of the largest frame that fits into the tunnel

	alone    bool   // the last iteration moved no packet
	full     bool   // a queue gave a whole burst in this one
	between  int    // packets that errands moved in this iteration
	segments int    // made of super-segments in this turn of a queue
	effort   uint64 // of finishing frames in this turn, in steps

	counters stats.WorkerCounters
	ports    []stats.PortCounters // by slot

	pollWait  time.Duration
	nextChore uint64 // cycles
	nextTick  uint64 // cycles
	shown     int64  // of held
	unswept   int    // flow entries whose packets the rules may not know of

	keeps  bool // its processor
	bored  bool // its last long sleep was ended by nobody
	waited int  // looks in a row at which somebody waited for the processor
}

// newWorker is worker id of the pool, not yet running.
func newWorker(p *Pool, id int) (*Worker, error) {
	k, err := newWaker()
	if err != nil {
		return nil, err
	}
	flows, err := cache.New(cache.Config{MicroFlows: p.cfg.MicroFlows, MegaFlows: p.cfg.MaxFlows, Seed: p.seed}, p.cfg.Pipeline.Counters())
	if err != nil {
		k.close()
		return nil, err
	}
	mem, err := buf.NewOffHeap[work]()
	if err != nil {
		flows.Close()
		k.close()
		return nil, err
	}
	w := &Worker{
		id: id, cpu: -1, pool: p, waker: k, done: make(chan struct{}), begun: make(chan error, 1), thread: make(chan error, 1),
		lay: &layout{uplink: slotDown}, cache: buf.NewCache(p.cfg.Source), flows: flows, work: mem,
		outs: make([]output, MaxPorts), ports: make([]stats.PortCounters, MaxPorts), pollWait: p.cfg.Poll,
		quota: make([]quota, MaxPorts),
		from:  make([]*ring, p.cfg.Workers), to: make([]*ring, p.cfg.Workers),
	}
	w.tunnelFrame = noLimit
	if e := p.cfg.Endpoint; e != nil {
		w.tunnelFrame = e.MaxFrame()
	}
	if len(p.cfg.CPUs) > 0 {
		w.cpu = p.cfg.CPUs[id]
	}
	if p.cfg.Pulse != nil {
		w.pulse = p.cfg.Pulse(id)
	}
	return w, nil
}

// free gives back what newWorker took; the loop has ended.
func (w *Worker) free() {
	w.cache.Flush()
	w.held.Store(0)
	w.flows.Close()
	_ = buf.FreeOffHeap(w.work) // fails only for what was not mapped
	w.waker.close()
}

// run is the worker's goroutine.
func (w *Worker) run() {
	defer close(w.done)
	var err error
	if f := w.pool.cfg.Thread; f != nil && !w.pool.cfg.Unlocked {
		runtime.LockOSThread()
		end, err := f(w.id)
		if w.thread <- err; err != nil {
			w.begun <- err
			w.state.Store(stateOff)
			return
		}
		defer end()
	} else {
		w.thread <- nil
	}
	if !w.pool.cfg.Unlocked {
		// The thread is never unlocked: it ends with the goroutine, and its
		// affinity with it.
		runtime.LockOSThread()
		w.pin()
		err = slice.Check()
		w.keeps = err == nil
		w.flows.Populate() // from its CPU, and before any packet waits
	}
	w.begun <- err
	w.state.Store(stateRunning)
	w.loop()
	w.state.Store(stateOff)
}

// pin binds the thread to its CPU and lets short sleeps end on time.
func (w *Worker) pin() {
	// One microsecond instead of fifty; a kernel that refuses costs latency only.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1000, 0, 0, 0)
	w.tid.Store(int64(unix.Gettid()))
	if w.cpu < 0 {
		return
	}
	var set unix.CPUSet
	set.Set(w.cpu)
	if w.pool.cfg.Aside {
		set = w.pool.aside()
	}
	// New has tried the CPU; it can go away later, and then anywhere is better than nowhere.
	_ = unix.SchedSetaffinity(0, &set)
}

// loop polls until it is told to stop.
func (w *Worker) loop() {
	spin := toCycles(w.pool.cfg.Spin)
	most := max(2*spin, toCycles(MaxSpin))
	last := cycles()
	lastWork, busy := last, uint64(0) // since the last sleep
	for w.begin() {
		moved := w.iterate()
		now := cycles()
		w.count(moved, now-last, now)
		if moved > 0 {
			busy += now - last
			lastWork, w.pollWait = now, w.pool.cfg.Poll
			last = w.doze(moved, last, now)
			continue
		}
		last = now
		if !w.pool.shared.Load() {
			if w.pool.cfg.BusyPoll || now-lastWork < spin {
				continue
			}
			if now-lastWork < endurance(busy, 2*spin, most) {
				pause(64)
				continue
			}
		}
		w.sleep()
		busy = 0
		last = cycles()
		w.counters.SleepCycles.Add(last - now)
	}
}

// endurance is how long a worker polls with nothing to do before it sleeps: as long as it was
// busy since it last slept, between least and most. What is spent so is no more than what was
// of use, and a load of some weight that pauses finds the worker awake: a ring of 256 is full
// after 100 us of a few million packets a second, and half of that goes into waking up.
func endurance(busy, least, most uint64) uint64 { return min(max(busy, least), most) }

// begin starts an iteration: what was reachable before it and is not now, is not
// held any more. It returns false when the worker is to end.
func (w *Worker) begin() bool {
	w.epoch.Store(w.epoch.Load() + 1)
	if w.pulse != nil {
		w.pulse.Add(1)
	}
	lay := w.pool.layout.Load()
	if lay != w.lay {
		w.settle(lay)
		w.taken.Store(lay.epoch)
		if lay.stop {
			return false
		}
		w.snap = nil // what was resolved holds for the old layout
	}
	if snap := w.pool.cfg.Pipeline.Snapshot(); snap != w.snap {
		w.refresh(snap)
		w.gen.Store(snap.Generation())
	}
	if q := w.ask.Load(); q != nil {
		w.answer(q)
	}
	w.serve()
	return true
}

// iterate polls everything once and returns how many packets were moved.
func (w *Worker) iterate() (moved int) {
	w.full = false
	for i := range w.rxqs {
		if i%turnQueues == turnQueues-1 {
			w.pass()
		}
		r := &w.rxqs[i]
		if !r.waits(w.alone) {
			moved += w.receive(r)
		} else if r.settler != nil { // its guest may sleep until it is called
			r.settler.Settle()
		}
	}
	moved += w.drain() + w.between
	w.between = 0
	if w.told != 0 {
		w.tell()
	}
	w.alone = moved == 0
	return moved
}

// count publishes what an iteration did; took is its length, now its end.
func (w *Worker) count(moved int, took, now uint64) {
	c := &w.counters
	c.Iterations.Add(1)
	if moved > 0 {
		c.BusyIterations.Add(1)
		c.BusyCycles.Add(took)
		w.unswept = w.flows.Size()
		w.sweep(sweepBusy)
	} else {
		c.IdleCycles.Add(took)
		w.sweep(sweepIdle)
	}
	// A NIC's queue gives and takes free buffers in an iteration that moves no packet too.
	if n := int64(w.cache.Held()); n != w.shown {
		w.shown = n
		w.held.Store(n)
	}
	c.MaxGapCycles.Raise(took)
	if now >= w.nextChore {
		w.chores(now)
	}
}

// How many flow entries are swept at a time. One a busy iteration costs a cache
// line for up to a burst of packets each from all queues, and still comes round
// within a second.
const (
	sweepBusy   = 1
	sweepIdle   = 16
	sweepAsleep = 2048 // after a sleep that timed out
	sweepSleep  = 10 * time.Millisecond
	maxIdle     = 30 // ticks of a second, after which a flow is forgotten
)

// sweep credits the rules of the next num flow entries and forgets idle ones.
func (w *Worker) sweep(num int) {
	w.flows.Sweep(num, maxIdle)
	w.unswept -= min(num, w.unswept)
}

// settle takes up a layout: queues that are gone are detached, then new ones attached; in
// this order, since of a port that was replaced one may wrap the other (see ReplacePort).
// Others may wait for the worker meanwhile, and a queue's Attach for them: it
// counts as holding nothing, which is so.
func (w *Worker) settle(lay *layout) {
	w.state.Store(stateSettle)
	old := w.lay
	for i := range w.rxqs {
		r := &w.rxqs[i]
		if lay.stop || int(r.slot) >= len(lay.slots) || lay.slots[r.slot].port != old.slots[r.slot].port {
			r.q.Attach(nil)
		}
	}
	w.rxqs, w.spreads = nil, false
	clear(w.outs)
	w.lay = lay
	for i := range lay.slots {
		s := &lay.slots[i]
		if s.port == nil || lay.stop {
			continue
		}
		fresh := i >= len(old.slots) || old.slots[i].port != s.port
		for n, q := range s.queues {
			if s.owner[n] != w.id {
				continue
			}
			settler, _ := q.(port.Settler)
			carrier, _ := q.(port.Carrier)
			w.rxqs = append(w.rxqs, rxQueue{q: q, settler: settler, carrier: carrier, slot: uint16(i), underlay: s.underlay})
			if fresh {
				q.Attach(w.waker)
			}
		}
		w.outs[i] = outputOf(s, w.id)
		w.spreads = w.spreads || len(s.queues) > 1
	}
	w.state.Store(stateRunning)
}

// refresh takes up a snapshot: what depends on bindings and neighbours is found anew.
func (w *Worker) refresh(snap *pipeline.Snapshot) {
	w.snap = snap
	w.peers.Use(snap)
	clear(w.known[:])
	for i := range w.lay.slots {
		s := &w.lay.slots[i]
		if s.port == nil || s.underlay {
			continue
		}
		w.outs[i].maxFrame = w.guestMTU(snap, s.name) + hdr.EthernetSize
	}
	for i := range w.rxqs {
		r := &w.rxqs[i]
		r.number = 0
		if b, ok := snap.Binding(w.lay.slots[r.slot].name); ok && !r.underlay {
			r.number = b.Number
		}
	}
}

// guestMTU is the MTU that the guest of a port was told (flow.Binding.MTU): it gets
// nothing larger (virtio 1.2, 5.1.6.4).
func (w *Worker) guestMTU(snap *pipeline.Snapshot, name string) int {
	mtu := noLimit - hdr.EthernetSize
	if e := w.pool.cfg.Endpoint; e != nil {
		mtu = e.InnerMTU()
	}
	if b, ok := snap.Binding(name); ok && b.MTU != 0 {
		mtu = min(mtu, int(b.MTU))
	}
	return mtu
}

// sleep waits for packets, if every queue can say when they come; if not, for a
// short time.
func (w *Worker) sleep() {
	limit := time.Duration(-1)
	for i := range w.rxqs {
		switch w.rxqs[i].q.Arm() {
		case port.ArmReady:
			w.disarm(i + 1)
			return
		case port.ArmPoll:
			limit = w.pollWait
		}
	}
	if w.unswept > 0 && (limit < 0 || limit > sweepSleep) {
		limit = sweepSleep
	}
	if w.pulse != nil && (limit < 0 || limit > PulseEvery) {
		limit = PulseEvery
	}
	w.state.Store(stateAsleep)
	// Who gives the worker something after this sees that it sleeps, and wakes it;
	// what was given before is seen here.
	if !w.pending() {
		w.counters.Sleeps.Add(1)
		if w.rest(limit) {
			w.counters.WakeUps.Add(1)
		} else {
			w.pollWait = min(2*w.pollWait, w.pool.cfg.MaxPoll)
			w.sweep(min(sweepAsleep, w.unswept))
		}
	}
	w.state.Store(stateRunning)
	w.disarm(len(w.rxqs))
}

// disarm ends what Arm began for the first n queues.
func (w *Worker) disarm(n int) {
	for i := range n {
		w.rxqs[i].q.Disarm()
	}
}

// pending reports whether something waits that no descriptor tells of.
func (w *Worker) pending() bool {
	if w.pool.layout.Load() != w.lay || w.ask.Load() != nil || w.asked.Load() != w.served.Load() {
		return true
	}
	for _, r := range w.from {
		if r != nil && !r.empty() {
			return true
		}
	}
	return false
}

// toCycles is a time in cycles.
func toCycles(d time.Duration) uint64 { return uint64(d.Seconds() * cyclesPerSecond()) }
