package worker

import "math/bits"

// turnQueues is how many queues a worker polls between two looks at what others want of it. With
// hundreds of rings an iteration takes as long as all else that a port's hand-over consists of; with
// few queues there is no look within an iteration, which costs the fast path nothing.
const turnQueues = 8

// pass is called between two queues, when the worker holds nothing of any port: who waits for it to
// let go need not wait for the iteration's end.
func (w *Worker) pass() {
	w.turns.Store(w.turns.Load() + 1)
	w.serve()
}

// serve does what was asked for since it was called last: some ports come first, what other workers
// handed over is sent, and what devices send with the next poll.
func (w *Worker) serve() {
	asked := w.asked.Load()
	if asked == w.served.Load() {
		return
	}
	fetched := false
	for i := range w.visits {
		if !fetched && w.visits[i].Load() != 0 {
			w.fetch()
			fetched = true
		}
		for set := w.visits[i].Swap(0); set != 0; set &= set - 1 {
			w.poll(func(r *rxQueue) bool { return int(r.slot) == 64*i+bits.TrailingZeros64(set) })
		}
	}
	w.between += w.drain()
	if w.told != 0 {
		w.tell()
	}
	w.poll(func(r *rxQueue) bool { return r.underlay })
	w.served.Store(asked)
}

// fetchBursts bounds how long fetch keeps all else waiting.
const fetchBursts = 8

// fetch takes what crossed from another process: a port that has come from there gives nothing before.
func (w *Worker) fetch() {
	for range fetchBursts {
		before := w.between
		w.poll(func(r *rxQueue) bool { return r.carrier != nil })
		if w.between == before {
			return
		}
	}
}

// poll polls some queues out of their turn.
func (w *Worker) poll(which func(*rxQueue) bool) {
	for i := range w.rxqs {
		if r := &w.rxqs[i]; which(r) {
			w.between += w.receive(r)
		}
	}
}

// Visit has the workers poll a port's queues before others', and wakes those that sleep. A port that
// nobody polled for a while is not to wait for hundreds of others' turns.
func (p *Pool) Visit(name string) {
	slot, ok := p.layout.Load().names[name]
	if !ok {
		return
	}
	for _, w := range p.workers {
		w.visits[slot/64].Or(1 << (slot % 64))
		w.asked.Add(1)
		if w.state.Load() == stateAsleep {
			w.waker.wake()
		}
	}
}

// Wake has each worker poll all its queues once more from now on, one that sleeps or is about to, too:
// for who has given many ports something to be polled without a word to their workers.
//
//	conc: safe
func (p *Pool) Wake() {
	p.mu.Lock() // keeps Close from closing what they are woken by
	defer p.mu.Unlock()
	for _, w := range p.workers {
		if w.state.Load() != stateOff {
			w.waker.wake()
		}
	}
}

// Flush returns when all parcels that were handed over before it was called are sent or counted, and
// what devices send with the next poll, too: each worker has seen to it, or sleeps and has none. Twice,
// as a worker hands on what came for a queue that is off.
func (p *Pool) Flush() {
	for range min(2, len(p.workers)) {
		var want [MaxWorkers]uint64
		for n, w := range p.workers {
			want[n] = w.asked.Add(1)
		}
		for n, w := range p.workers {
			for i := 0; w.served.Load() < want[n] && !w.idle(true); i++ {
				backOff(i)
			}
		}
	}
}
