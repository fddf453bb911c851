package gen

import (
	"fmt"
	"sync/atomic"
	"time"

	"baton/bench/tsc"
	"baton/dataplane/buf"
	"baton/nic/dpdk"
)

// end is a device at work.
type end struct {
	name  string
	port  *dpdk.Port
	queue *dpdk.Queue
	cache *buf.Cache
	v     *buf.Vec // off the heap

	senders []*sender
	to      *end // where what it receives is sent; nil: it is counted and freed
	swap    bool

	rx, foreign, stale, forwarded, unable uint64
}

// newEnd is the end of an open port.
func newEnd(name string, p *dpdk.Port, pool buf.Source) (*end, error) {
	v, err := buf.NewOffHeap[buf.Vec]()
	if err != nil {
		return nil, err
	}
	q := p.Queue(0).(*dpdk.Queue)
	return &end{name: name, port: p, queue: q, cache: buf.NewCache(pool), v: v}, nil
}

// close gives all back but the port.
func (e *end) close() error {
	for _, s := range e.senders {
		s.drop()
		_ = buf.FreeOffHeap(s.v)
	}
	e.senders = nil
	e.cache.Flush()
	return buf.FreeOffHeap(e.v)
}

// request is what the engine is asked for while it runs.
type request uint32

const (
	askNothing request = iota
	askCounts          // copy the counters
	askMark            // begin anew: what was sent before does not count
	askDrain           // send no more
	askHalt
)

// engine is the loop over all ends.
//
//	conc: turn, and all fields but ask and answer, on one thread; ask from one other
type engine struct {
	ends   []*end
	tracks [MaxStreams]tracker
	hz     uint64
	epoch  uint8
	quiet  bool // sends no more

	begun, ended uint64 // cycles: of what counts, the sending
	looked       uint64 // cycles: the last look at the clock
	resumed      uint64 // cycles: the end of the loop's last pause
	counts       Counts

	asked    atomic.Uint32
	answered chan struct{}
}

func newEngine(ends []*end, hz uint64) *engine {
	return &engine{ends: ends, hz: hz, answered: make(chan struct{}, 1)}
}

// load readies the ends for what they are to do; l.check has passed.
func (e *engine) load(l Load) error {
	for _, n := range e.ends {
		for _, s := range n.senders {
			s.pace.wait(e.ended) // if the thread did not run just before, nobody has counted yet what it missed
			s.drop()
			if err := buf.FreeOffHeap(s.v); err != nil {
				return err
			}
		}
		n.senders, n.to, n.swap = nil, nil, false
	}
	e.tracks = [MaxStreams]tracker{}
	for i, s := range l.Streams {
		s, err := s.withDefaults()
		if err != nil {
			return err
		}
		v, err := buf.NewOffHeap[buf.Vec]()
		if err != nil {
			return err
		}
		from := e.find(s.From)
		w := newWriter(s, i)
		from.senders = append(from.senders, &sender{writer: w, spec: s, queue: from.queue, cache: from.cache, pick: newPicker(s.Flows, uint64(i)+1), v: v})
		e.tracks[i].local = true
		if l.Verify {
			e.tracks[i].check = newChecker(s, w)
		}
	}
	for _, f := range l.Forwards {
		from := e.find(f.From)
		from.to, from.swap = e.find(f.To), f.SwapMAC
	}
	return nil
}

func (e *engine) find(name string) *end {
	for _, n := range e.ends {
		if n.name == name {
			return n
		}
	}
	return nil
}

// mark begins an epoch.
func (e *engine) mark() {
	now := tsc.Read()
	e.epoch++
	for i := range e.tracks {
		e.tracks[i].restart(e.epoch)
	}
	for _, n := range e.ends {
		n.rx, n.foreign, n.stale, n.forwarded, n.unable = 0, 0, 0, 0, 0
		for _, s := range n.senders {
			s.restart(now, e.epoch, e.hz)
		}
	}
	e.begun, e.ended, e.quiet = now, 0, false
}

// run is the loop, until askHalt.
//
//	alloc: 0
func (e *engine) run() {
	e.mark()
	for {
		e.turn()
		r := request(e.asked.Load())
		if r == askNothing {
			continue
		}
		switch r {
		case askCounts:
			e.count()
		case askMark:
			e.mark()
		case askDrain:
			e.drain()
		case askHalt:
			e.count()
		}
		e.asked.Store(uint32(askNothing))
		e.answered <- struct{}{}
		if r == askHalt {
			return
		}
	}
}

// drain ends the sending.
func (e *engine) drain() {
	e.ended, e.quiet = tsc.Read(), true
	for _, n := range e.ends {
		for _, s := range n.senders {
			s.pace.wait(e.ended) // if the thread did not run just before, nobody has counted yet what it missed
			s.drop()
		}
	}
}

// ask has the running loop do something and waits until it has.
func (e *engine) ask(r request) error {
	e.asked.Store(uint32(r))
	late := time.NewTimer(5 * time.Second)
	defer late.Stop()
	select {
	case <-e.answered:
		return nil
	case <-late.C:
		return fmt.Errorf("the sending thread does not answer: is CPU time taken from it?")
	}
}

// pausesPerSecond: a loop that does not come around in a second's part of this, some ten times
// what its longest turn takes, was not running.
const pausesPerSecond = 50_000

// now is the time. What was under way in a pause of the loop's own waited for the loop and
// not for the system, see tracker.record.
func (e *engine) now() uint64 {
	now := tsc.Read()
	if now-e.looked > e.hz/pausesPerSecond {
		e.resumed = now
	}
	e.looked = now
	return now
}

// turn is one look at all ends.
//
//	alloc: 0
func (e *engine) turn() {
	for _, n := range e.ends {
		if !e.quiet {
			now := e.now()
			for _, s := range n.senders {
				s.turn(now)
			}
		}
		num := n.queue.Rx(n.cache, n.v)
		switch {
		case num == 0:
		case n.to != nil:
			n.forward(num)
		default:
			e.receive(n, num)
		}
	}
}

// receive counts and frees n.v[:num].
func (e *engine) receive(n *end, num int) {
	now := e.now()
	n.rx += uint64(num)
	for i := range num {
		frame := n.v[i&(buf.Burst-1)].Data()
		inner, s, ok := read(frame)
		if !ok {
			n.foreign++
		} else if !e.tracks[s.tag.stream()].record(frame, inner, s, now, e.resumed) {
			n.stale++
		}
	}
	n.cache.FreeAll(n.v, num)
}

// forward sends n.v[:num] on; what the other end does not take is lost.
func (n *end) forward(num int) {
	n.rx += uint64(num)
	if n.swap {
		for i := range num {
			swapMAC(n.v[i&(buf.Burst-1)].Data())
		}
	}
	took := n.to.queue.Tx(n.cache, n.v, num)
	n.forwarded += uint64(took)
	n.unable += uint64(num - took)
	for i := took; i < num; i++ {
		n.cache.Free(n.v[i&(buf.Burst-1)])
	}
}

func swapMAC(b []byte) {
	if len(b) >= 12 {
		dst, src := [6]byte(b[0:6]), [6]byte(b[6:12])
		copy(b[0:6], src[:])
		copy(b[6:12], dst[:])
	}
}
