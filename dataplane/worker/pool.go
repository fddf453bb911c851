package worker

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// Pool is the workers of a host and the ports that they poll.
//
//	conc: all methods are safe for concurrent use, but not from a worker
type Pool struct {
	cfg     Config
	seed    uint64
	workers []*Worker
	layout  atomic.Pointer[layout]
	punts   chan Punt
	shared  atomic.Bool // see Share
	allowed unix.CPUSet // to the process

	mu      sync.Mutex // guards what follows, and changes of layout
	begun   bool
	closed  bool
	retired Totals            // of ports that are gone
	carried map[string]Totals // what other processes have counted, by port; not all need be attached

	preempted error
}

var _ port.Quiescer = (*Pool)(nil)

// New makes the workers; they begin with Start.
//
//	error: the configuration is wrong, a CPU cannot be used, no memory or descriptors; nothing is kept
func New(cfg Config) (*Pool, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	for _, cpu := range cfg.CPUs {
		if err := tryCPU(cpu); err != nil {
			return nil, err
		}
	}
	cyclesPerSecond()
	p := &Pool{cfg: cfg, seed: cmp.Or(cfg.Seed, rand.Uint64()), punts: make(chan Punt, cfg.Punts), carried: map[string]Totals{}}
	if err := unix.SchedGetaffinity(0, &p.allowed); err != nil {
		return nil, fmt.Errorf("workers: sched_getaffinity: %w", err)
	}
	p.shared.Store(cfg.Aside)
	p.layout.Store(&layout{uplink: slotDown, names: map[string]uint16{}})
	for i := range cfg.Workers {
		w, err := newWorker(p, i)
		if err != nil {
			for _, made := range p.workers {
				made.free()
			}
			return nil, fmt.Errorf("worker %d: %w", i, err)
		}
		p.workers = append(p.workers, w)
	}
	for _, a := range p.workers {
		for _, b := range p.workers {
			if a != b {
				r := newRing(cfg.Handoffs)
				a.to[b.id], b.from[a.id] = r, r
			}
		}
	}
	return p, nil
}

// tryCPU pins a thread to the CPU, to see whether that works, and lets the thread end.
func tryCPU(cpu int) error {
	got := make(chan error)
	go func() {
		runtime.LockOSThread()
		var set unix.CPUSet
		set.Set(cpu)
		got <- unix.SchedSetaffinity(0, &set)
	}()
	if err := <-got; err != nil {
		return fmt.Errorf("workers: cpu %d: %w: name a CPU of this machine that the process may use", cpu, err)
	}
	return nil
}

// Start lets the workers run. It sets GOMAXPROCS, so that it leaves processors beside
// those of all pools: Go does not lower it any more by itself when the process gets fewer
// CPUs, and nobody else may.
//
//	error: Config.Thread's; then Close is all that can be done
func (p *Pool) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun || p.closed {
		return nil
	}
	p.begun = true
	reserveProcs(len(p.workers))
	for _, w := range p.workers {
		// Seen as running from here on: who waits for all workers waits for this one too.
		w.state.Store(stateRunning)
		go w.run()
	}
	var bad error
	for i, w := range p.workers {
		if err := <-w.thread; err != nil {
			bad = cmp.Or(bad, fmt.Errorf("worker %d: %w", i, err))
		}
		p.preempted = cmp.Or(p.preempted, <-w.begun)
	}
	return bad
}

// Beat is a sign of a worker's life.
type Beat struct {
	Epoch uint64 // iterations begun
	Idle  bool   // it sleeps, or has ended
}

// Beats are the workers' now: one that is neither idle nor has another epoch after a long time
// is stuck.
func (p *Pool) Beats() []Beat {
	all := make([]Beat, len(p.workers))
	for i, w := range p.workers {
		s := w.state.Load()
		all[i] = Beat{w.epoch.Load(), s == stateAsleep || s == stateOff}
	}
	return all
}

// Preempted is why Go's scheduler takes the workers' processors from them every 10 ms
// (package slice); nil if it does not, or if they are not bound to threads and so lose
// little by it. It is known once the workers have been started.
func (p *Pool) Preempted() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.preempted
}

// Seed is that of the flows' hashes, see Config.Seed.
func (p *Pool) Seed() uint64 { return p.seed }

// PortOptions say how a port is used.
type PortOptions struct {
	// Owners is the worker of each queue; nil: they are spread. See PortStats.Workers.
	Owners []int
	// Underlay is for the port to the wire: its frames are outer frames, and
	// tunnels leave by it. A port of KindNIC always is one.
	Underlay bool
}

// AddPort lets the workers poll pt: each of its queues goes to the worker that
// has fewest of this port, and of those to the one with fewest of all. It
// returns when they do. pt stays the caller's: RemovePort comes before its Close.
//
//	error: the name is in use, too many ports or queues, the pool is closed; nothing was changed
func (p *Pool) AddPort(pt port.Port, o PortOptions) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	name, num := pt.Name(), pt.NumQueues()
	next := p.layout.Load().clone()
	if p.closed {
		return fmt.Errorf("port %s: the workers have ended", name)
	}
	if _, ok := next.names[name]; ok {
		return fmt.Errorf("port %s: there is a port of this name: remove it first", name)
	}
	if num < 1 || num > MaxQueues {
		return fmt.Errorf("port %s: %d queues: want 1 to %d", name, num, MaxQueues)
	}
	owners := o.Owners
	if owners == nil {
		owners = next.assign(num, len(p.workers))
	}
	if len(owners) != num || slices.ContainsFunc(owners, func(w int) bool { return w < 0 || w >= len(p.workers) }) {
		return fmt.Errorf("port %s: owners %v of %d queues: want one of %d workers for each", name, owners, num, len(p.workers))
	}
	at := next.free()
	if at == MaxPorts {
		return fmt.Errorf("port %s: there are %d ports already, the most that a host can have", name, MaxPorts)
	}
	s := slot{port: pt, name: name, underlay: o.Underlay || pt.Kind() == port.KindNIC, owner: owners}
	for i := range num {
		s.queues = append(s.queues, pt.Queue(i))
	}
	next.slots[at] = s
	next.names[name] = uint16(at)
	p.publish(next)
	return nil
}

// RemovePort takes the port from the workers. When it returns, no worker holds
// anything of it, and packets that were on their way to it are sent or counted.
//
//	error: there is no such port
func (p *Pool) RemovePort(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.layout.Load()
	at, ok := now.names[name]
	if !ok {
		return fmt.Errorf("port %s: there is no port of this name", name)
	}
	next := now.clone()
	next.slots[at] = slot{}
	delete(next.names, name)
	p.publish(next)
	p.Flush() // parcels that name the slot, as source or destination
	p.retire(&now.slots[at], int(at))
	return nil
}

// retire adds up the counters of a slot that nobody counts in any more, and clears them.
func (p *Pool) retire(s *slot, at int) {
	t := p.portTotals(s, at)
	p.retired.add(&t)
	delete(p.carried, s.name)
	for _, w := range p.workers {
		c := &w.ports[at]
		for _, n := range []*stats.Counter{&c.RxPackets, &c.RxBytes, &c.TxPackets, &c.TxBytes, &c.Generated} {
			n.Restore(0)
		}
		for i := range c.Drops {
			c.Drops[i].Restore(0)
		}
	}
}

// publish makes next the layout and waits until all workers have taken it up.
func (p *Pool) publish(next *layout) {
	next.settle()
	p.layout.Store(next)
	for _, w := range p.workers {
		if w.state.Load() != stateOff { // else nobody sleeps, and after Close there is no descriptor
			w.waker.wake()
		}
	}
	for _, w := range p.workers {
		for i := 0; w.state.Load() != stateOff && w.taken.Load() < next.epoch; i++ {
			backOff(i)
		}
	}
}

// backOff waits between looks at a worker: first without a pause, for some 20 us, then by sleeping for
// longer and longer. The thread itself sleeps: Go's scheduler would hand a goroutine that is bound
// to its thread (relay.Urgent) from thread to thread each time, which takes as long as what is waited
// for.
func backOff(i int) {
	if i < 32 {
		pause(32)
		return
	}
	nap := unix.NsecToTimespec(int64(min(time.Duration(i-31)*5*time.Microsecond, 200*time.Microsecond)))
	_ = unix.Nanosleep(&nap, nil) // one that ends early is as well
}

// Quiesce implements port.Quiescer.
func (p *Pool) Quiesce() {
	type at struct{ epoch, turns uint64 }
	var from [MaxWorkers]at
	for n, w := range p.workers {
		from[n] = at{w.epoch.Load(), w.turns.Load()}
	}
	for n, w := range p.workers {
		for i := 0; from[n] == (at{w.epoch.Load(), w.turns.Load()}) && !w.idle(false); i++ {
			backOff(i)
		}
	}
}

// passed waits until every worker has begun num more iterations, or holds nothing: parcels that
// wait for a worker count as held by it.
func (p *Pool) passed(ctx context.Context, num uint64) error {
	var from [MaxWorkers]uint64
	for i, w := range p.workers {
		from[i] = w.epoch.Load()
	}
	for n, w := range p.workers {
		for i := 0; w.epoch.Load() < from[n]+num && !w.idle(true); i++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			backOff(i)
		}
	}
	return nil
}

// idle reports whether the worker holds nothing.
func (w *Worker) idle(parcels bool) bool {
	switch w.state.Load() {
	case stateRunning:
		return false
	case stateOff:
		return true
	case stateSettle:
		return !parcels
	}
	if parcels {
		for _, r := range w.from {
			if r != nil && !r.empty() {
				return false
			}
		}
	}
	return true
}

// Barrier returns when no packet will leave any more by rules older than
// generation gen: every worker has taken up that generation, and what was
// decided before is sent, unless a device that takes nothing holds it up. A
// sleeping worker has passed: it takes up the newest generation when it wakes.
//
//	error: ctx's, when it ended first; it is not known then which rules are in use
func (p *Pool) Barrier(ctx context.Context, gen uint64) error {
	for n, w := range p.workers {
		for i := 0; w.gen.Load() < gen; i++ {
			if w.state.Load() != stateRunning && p.cfg.Pipeline.Snapshot().Generation() >= gen {
				break
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("barrier: worker %d does not run generation %d yet: %w", n, gen, err)
			}
			backOff(i)
		}
	}
	// One whole iteration sends what was handed over, the next one polls the devices
	// that send once a poll.
	if err := p.passed(ctx, 3); err != nil {
		return fmt.Errorf("barrier: packets are still on their way between workers: %w", err)
	}
	return nil
}

// Punts is where the control plane reads the frames that rules punt.
func (p *Pool) Punts() <-chan Punt { return p.punts }

// Close stops the workers, takes all ports from them and frees what the pool
// holds. Counters can still be read.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	next := p.layout.Load().clone()
	next.stop = true
	p.publish(next)
	if p.begun {
		for _, w := range p.workers {
			<-w.done
		}
		releaseProcs(len(p.workers))
	}
	for _, w := range p.workers {
		w.work.tx.n = 0
		w.drain() // no output is left: all are counted as port_down
		w.refuse()
	}
	for _, w := range p.workers {
		w.free()
	}
	return nil
}
