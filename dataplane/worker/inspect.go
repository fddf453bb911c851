package worker

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"baton/dataplane/cache"
	"baton/dataplane/flow"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// Totals are counts of packets and bytes. At any quiet moment
//
//	RxPackets + Generated = TxPackets + sum of Drops
//
// over a whole Pool. Generated are packets that the switch made because of one that
// came in: segments of a super-segment beyond the first, ICMP messages. A packet that a device took and could not send after all is
// no more in TxPackets, but in Drops as tx_full or too_big of the port that it was for.
type Totals struct {
	RxPackets, RxBytes uint64
	TxPackets, TxBytes uint64
	Generated          uint64
	Drops              [stats.NumDropReasons]uint64
}

// Dropped is the sum of the drops.
func (t *Totals) Dropped() (sum uint64) {
	for _, n := range t.Drops {
		sum += n
	}
	return sum
}

// Held is the number of packets inside: received or made, and neither sent nor dropped.
func (t *Totals) Held() int64 { return int64(t.RxPackets + t.Generated - t.TxPackets - t.Dropped()) }

// add adds o.
func (t *Totals) add(o *Totals) {
	t.RxPackets += o.RxPackets
	t.RxBytes += o.RxBytes
	t.TxPackets += o.TxPackets
	t.TxBytes += o.TxBytes
	t.Generated += o.Generated
	for i, n := range o.Drops {
		t.Drops[i] += n
	}
}

// PortStats is a port and its counters since it was added, and what was restored of it.
type PortStats struct {
	Totals
	Name     string
	Kind     port.Kind
	Underlay bool
	Number   flow.PortNo // of the logical port; PortNone while none is bound
	Info     port.Info
	Workers  []int // of each queue
}

// portTotals sums up slot at over all workers, and what was restored.
func (p *Pool) portTotals(s *slot, at int) (t Totals) {
	t = p.carried[s.name]
	for _, w := range p.workers {
		c := &w.ports[at]
		t.RxPackets += c.RxPackets.Load()
		t.RxBytes += c.RxBytes.Load()
		t.TxPackets += c.TxPackets.Load()
		t.TxBytes += c.TxBytes.Load()
		t.Generated += c.Generated.Load()
		for i := range c.Drops {
			t.Drops[i] += c.Drops[i].Load()
		}
	}
	for _, q := range s.queues {
		if l, ok := q.(port.LateDropper); ok {
			n := l.Dropped()
			t.TxPackets -= n
			t.Drops[stats.DropTxFull] += n
		}
		if l, ok := q.(port.TooBigDropper); ok {
			n := l.TooBig()
			t.TxPackets -= n
			t.Drops[stats.DropTooBig] += n
		}
	}
	return t
}

// Ports lists the attached ports by name. It stops no worker.
func (p *Pool) Ports() []PortStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	lay, snap := p.layout.Load(), p.cfg.Pipeline.Snapshot()
	var all []PortStats
	for i := range lay.slots {
		s := &lay.slots[i]
		if s.port == nil {
			continue
		}
		v := PortStats{
			Totals: p.portTotals(s, i), Name: s.name, Kind: s.port.Kind(), Underlay: s.underlay,
			Info: s.port.Info(), Workers: slices.Clone(s.owner),
		}
		if b, ok := snap.Binding(s.name); ok && !s.underlay {
			v.Number = b.Number
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b PortStats) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all
}

// Totals sums up all ports, those that are gone or not here yet (see Restore) included.
func (p *Pool) Totals() Totals {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.retired
	lay := p.layout.Load()
	for name, one := range p.carried {
		if _, ok := lay.names[name]; !ok {
			t.add(&one)
		}
	}
	for i := range lay.slots {
		if s := &lay.slots[i]; s.port != nil {
			one := p.portTotals(s, i)
			t.add(&one)
		}
	}
	return t
}

// Parcels is the number of packets that wait between two workers.
func (p *Pool) Parcels() (num int) {
	for _, w := range p.workers {
		for _, r := range w.from {
			if r != nil {
				num += r.held()
			}
		}
	}
	return num
}

// Buffers is the number of free buffers in the workers' caches. It is right
// while nothing moves, and may be off by some bursts otherwise.
func (p *Pool) Buffers() (num int) {
	for _, w := range p.workers {
		num += int(w.held.Load())
	}
	return num
}

// WorkerStats is a worker and its counters since the start. Cycles are of the
// time stamp counter, CyclesPerSecond its rate.
type WorkerStats struct {
	ID         int
	CPU        int      // -1: not pinned
	State      string   // off, running, asleep
	Queues     []string // that it polls, as "port/queue"
	Generation uint64   // of the rules in use

	Iterations, BusyIterations, Packets uint64
	MicroHits, MegaHits, Walks, Evicted uint64 // of the flow caches
	Sleeps, WakeUps, Handoffs           uint64
	Punts, PuntsFull                    uint64
	Supers, Cut, Segments               uint64 // super-segments sent whole, cut, and the frames made of those
	Checksums, Answers                  uint64 // checksums completed, ICMP messages about too big packets
	BusyCycles, IdleCycles, SleepCycles uint64
	MaxGapCycles                        uint64
	CyclesPerSecond                     float64
}

var stateNames = map[uint32]string{stateOff: "off", stateRunning: "running", stateAsleep: "asleep", stateSettle: "running"}

// Workers lists the workers. It stops none of them.
func (p *Pool) Workers() []WorkerStats {
	lay := p.layout.Load()
	all := make([]WorkerStats, len(p.workers))
	for i, w := range p.workers {
		c, f := &w.counters, &w.flows.Counters
		all[i] = WorkerStats{
			ID: i, CPU: w.cpu, State: stateNames[w.state.Load()], Generation: w.gen.Load(),
			Iterations: c.Iterations.Load(), BusyIterations: c.BusyIterations.Load(), Packets: c.Packets.Load(),
			MicroHits: f.MicroHits.Load(), MegaHits: f.MegaHits.Load(), Walks: f.Misses.Load() + f.Stale.Load(),
			Evicted: f.Evicted.Load(), Sleeps: c.Sleeps.Load(), WakeUps: c.WakeUps.Load(), Handoffs: c.Handoffs.Load(),
			Punts: c.Punts.Load(), PuntsFull: c.PuntsFull.Load(),
			Supers: c.Supers.Load(), Cut: c.Cut.Load(), Segments: c.Segments.Load(),
			Checksums: c.Checksums.Load(), Answers: c.Answers.Load(),
			BusyCycles: c.BusyCycles.Load(), IdleCycles: c.IdleCycles.Load(), SleepCycles: c.SleepCycles.Load(),
			MaxGapCycles: c.MaxGapCycles.Load(), CyclesPerSecond: cyclesPerSecond(),
		}
		for n := range lay.slots {
			for q, owner := range lay.slots[n].owner {
				if owner == i {
					all[i].Queues = append(all[i].Queues, lay.slots[n].name+"/"+strconv.Itoa(q))
				}
			}
		}
	}
	return all
}

// FlowStats is one entry of a worker's megaflow cache.
type FlowStats struct {
	Worker int
	cache.Flow
}

// question asks a worker for a part of its flows.
type question struct {
	at    int          // in: where to begin
	out   []cache.Flow // in: room; out: the flows
	next  int          // out: where to go on, -1 at the end
	ended bool         // out: the worker is ending and gave no answer
	done  chan struct{}
}

// flowsAtOnce is how many flows a worker copies between two bursts: some microseconds.
const flowsAtOnce = 64

// errEnded is for questions to workers that do not run.
var errEnded = errors.New("workers: they have ended")

// Flows lists the megaflow caches' entries. Workers copy them in small portions
// between bursts, so that the list is of no single moment.
//
//	error: ctx's; the workers do not run
func (p *Pool) Flows(ctx context.Context) ([]FlowStats, error) {
	var all []FlowStats
	for _, w := range p.workers {
		for at := 0; at >= 0; {
			q := &question{at: at, out: make([]cache.Flow, flowsAtOnce), done: make(chan struct{})}
			if err := w.put(ctx, q); err != nil {
				return nil, err
			}
			for _, f := range q.out {
				all = append(all, FlowStats{Worker: w.id, Flow: f})
			}
			at = q.next
		}
	}
	return all, nil
}

// put asks the worker and waits for the answer.
func (w *Worker) put(ctx context.Context, q *question) error {
	for i := 0; !w.ask.CompareAndSwap(nil, q); i++ { // somebody else asks
		if err := ctx.Err(); err != nil {
			return err
		}
		backOff(i)
	}
	if w.state.Load() == stateOff {
		w.refuse() // it ended before it could see the question, or will have seen it
	}
	w.rouse()
	select {
	case <-q.done:
	case <-ctx.Done():
		w.ask.CompareAndSwap(q, nil)
		return ctx.Err()
	}
	if q.ended {
		return errEnded
	}
	return nil
}

// rouse wakes the worker if it sleeps. The lock keeps Close from closing what it
// is woken by meanwhile.
func (w *Worker) rouse() {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	if w.state.Load() == stateAsleep {
		w.waker.wake()
	}
}

// answer fills in the answer to q.
func (w *Worker) answer(q *question) {
	if !w.ask.CompareAndSwap(q, nil) {
		return // withdrawn
	}
	next, num := w.flows.Dump(q.at, q.out)
	q.next, q.out = next, q.out[:num]
	close(q.done)
}

// refuse ends a question that nobody will answer.
func (w *Worker) refuse() {
	if q := w.ask.Swap(nil); q != nil {
		q.ended = true
		close(q.done)
	}
}
