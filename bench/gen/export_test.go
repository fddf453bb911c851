package gen

import (
	"time"

	"baton/bench/tsc"
	"baton/dataplane/buf"
	"baton/nic/dpdk"
)

// Writer is a stream's frames, for tests.
type Writer struct{ w *writer }

func NewWriter(s Stream, id int) (Writer, error) {
	s, err := s.withDefaults()
	if err != nil {
		return Writer{}, err
	}
	return Writer{newWriter(s, id)}, nil
}

func (w Writer) Write(b *buf.Buf, flow uint32, now uint64) bool {
	return w.w.writeBurst(&buf.Vec{b}, &[buf.Burst]uint32{flow}, 1, 0, now) == 1
}

// Checker looks at frames of one stream.
type Checker struct{ c *checker }

func NewChecker(s Stream) Checker {
	s, _ = s.withDefaults()
	return Checker{newChecker(s, newWriter(s, 0))}
}

func (c Checker) Good(frame []byte) bool {
	inner, s, ok := read(frame)
	return ok && c.c.good(frame, inner, s)
}

// Picker chooses flows.
type Picker struct{ p *picker }

func NewPicker(f Flows) Picker { return Picker{newPicker(f, 7)} }

func (p Picker) Start(now uint64, rate float64, hz uint64) { p.p.fresh.start(now, rate, hz) }

func (p Picker) Pick(n int, now uint64) (flows [buf.Burst]uint32, firsts uint32) {
	firsts = p.p.pick(&flows, n, now)
	return flows, firsts
}

// Pacer says what is due.
type Pacer struct{ p pacer }

func (p *Pacer) Start(now uint64, rate float64, hz uint64) { p.p.start(now, rate, hz) }
func (p *Pacer) Take(now uint64, least, most int) int      { return p.p.take(now, least, most) }
func (p *Pacer) GaveUp() uint64                            { return p.p.gaveUp }

const MaxBehind = maxBehind

// Tracker counts numbers.
type Tracker struct{ t tracker }

func (t *Tracker) Arrive(number uint64) bool { return t.t.arrive(number) }
func (t *Tracker) Nums() (received, doubles, late, missing uint64) {
	return t.t.received, t.t.doubles, t.t.late, t.t.top - t.t.received
}

// Record is of a frame with this number, made at stamp and come at now; it returns how many
// latencies there are, and packets without one.
func (t *Tracker) Record(number, stamp, now, resumed uint64) (latencies, paused uint64) {
	t.t.record(nil, nil, seen{number: number, stamp: stamp}, now, resumed)
	return t.t.latency.Count(), t.t.paused
}

const Window = windowBits

// Look has a loop look at the clock that did so last so many cycles ago, of as many as a
// second has; resumed is when its last pause ended.
func Look(ago, second uint64) (resumed, now uint64) {
	e := newEngine(nil, second)
	e.looked = tsc.Read() - ago
	now = e.now()
	return e.resumed, now
}

// Engine is the loop on an open port, in the test's own process.
type Engine struct{ e *engine }

func NewEngine(p *dpdk.Port, pool buf.Source, l Load) (Engine, error) {
	n, err := newEnd("a", p, pool)
	if err != nil {
		return Engine{}, err
	}
	e := newEngine([]*end{n}, 1e9)
	if err := e.load(l); err != nil {
		return Engine{}, err
	}
	e.mark()
	return Engine{e}, nil
}

func (e Engine) Turn()  { e.e.turn() }
func (e Engine) Drain() { e.e.drain() }
func (e Engine) Result(l Load) *Result {
	e.e.count()
	return e.e.result(l)
}
func (e Engine) Close() error { return e.e.ends[0].close() }

// OpenLoad is a load without warm-up.
func OpenLoad(s ...Stream) Load { return Load{Streams: s, Drain: 20 * time.Millisecond} }
