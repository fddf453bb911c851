package worker

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"baton/dataplane/port"
	"baton/dataplane/worker/slice"
)

// many is a port with half as many queues as a worker that dozes has, each of which is to settle something.
type many struct {
	looker
	settle func()
}

func (p *many) NumQueues() int       { return dozeQueues / 2 }
func (p *many) Queue(int) port.Queue { return p }
func (p *many) Settle()              { p.settle() }

func newMany(name string) *many {
	return &many{looker: looker{endless: endless{name: name, kind: port.KindVhost}}, settle: func() {}}
}

// A worker dozes if it shares its CPU, has many queues, and these are far from full.
func TestLight(t *testing.T) {
	a, b := newMany("a"), newMany("b")
	for _, c := range []struct {
		ports []port.Port
		share bool
		moved int
		full  bool
		want  bool
	}{
		{[]port.Port{a, b}, true, 1, false, true},
		{[]port.Port{a, b}, true, dozeQueues / 4, false, true},
		{[]port.Port{a, b}, true, dozeQueues/4 + 1, false, false},
		{[]port.Port{a, b}, true, 32, true, false},
		{[]port.Port{a, b}, false, 1, false, false},
		{[]port.Port{a}, true, 1, false, false},
	} {
		p, w := testLoop(t, c.ports...)
		p.Share(c.share)
		if w.full = c.full; w.light(c.moved) != c.want {
			t.Errorf("%d queues, shared %v, %d packets, one queue full %v: want %v", len(w.rxqs), c.share, c.moved, c.full, c.want)
		}
	}
}

// Before a doze guests are called and devices send; who wants something meanwhile does not wait.
func TestDoze_settles(t *testing.T) {
	vm, more := newMany("vm"), newMany("more")
	other := &looker{endless: endless{name: "other", kind: port.KindVhost}}
	nic := &stager{endless: endless{name: "nic", kind: port.KindNIC}}
	p, w := testLoop(t, vm, more, other, nic)
	p.Share(true)
	nic.staged = 1
	settled, looked, when := 0, 0, 0
	vm.settle = func() {
		if settled++; settled == 1 {
			p.Visit("other")
		}
	}
	other.look = func() { looked, when = looked+1, settled }
	more.settle = vm.settle
	w.doze(1, 0, 1)
	if settled != 2*dozeQueues || nic.staged != 0 {
		t.Errorf("settled %d times, want twice each of %d queues, and %d packets wait for the next poll", settled, dozeQueues, nic.staged)
	}
	if looked != other.NumQueues() || when >= 2*turnQueues {
		t.Errorf("%d queues of %d visited, after %d calls of Settle", looked, other.NumQueues(), when)
	}
}

// A device that has more to send after each poll keeps its worker awake.
func TestDoze_deviceSends(t *testing.T) {
	nic := &carrying{endless: endless{name: "nic", kind: port.KindNIC}, left: func() int { return 1 }}
	p, w := testLoop(t, newMany("a"), newMany("b"), nic)
	p.Share(true)
	slept := w.counters.SleepCycles.Load()
	w.doze(1, 0, 1)
	if now := w.counters.SleepCycles.Load(); now != slept {
		t.Error("it dozed, and counted as one that holds nothing")
	}
}

// A worker that finds something in each turn polls on without a pause while its CPU is its own, and
// dozes while it shares it.
func TestDoze(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers = 1 })
	for _, p := range []port.Port{&busy{*newMany("vm")}, newMany("more")} {
		if err := l.AddPort(p, PortOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w := l.workers[0]
	turns := func(num uint64) { // of the worker
		from := w.epoch.Load()
		eventually(t, "turns", func() bool { return w.epoch.Load() >= from+num })
	}
	turns(10)
	slept := w.counters.SleepCycles.Load()
	turns(1000)
	if now := w.counters.SleepCycles.Load(); now != slept {
		t.Errorf("slept for %d cycles with packets to move", now-slept)
	}
	l.Share(true)
	eventually(t, "doze", func() bool { return w.counters.SleepCycles.Load() > slept })
	eventually(t, "sight of it asleep", func() bool { return w.state.Load() == stateAsleep })
	l.Share(false)
	turns(10)
	slept = w.counters.SleepCycles.Load()
	turns(1000)
	if now := w.counters.SleepCycles.Load(); now != slept {
		t.Errorf("slept for %d cycles when it shared its CPU no more", now-slept)
	}
}

// busy is a port one queue of which carries a packet in each turn.
type busy struct{ many }

func (p *busy) Queue(i int) port.Queue {
	if i == 0 {
		return &carrying{left: func() int { return 1 }}
	}
	return p
}

// carrying is a queue by which packets cross.
type carrying struct {
	endless
	left func() int // that wait, as of the next look
}

func (q *carrying) Queue(int) port.Queue { return q }
func (q *carrying) Carried() int         { return q.left() }

// What crosses from another process is taken before a port that came from there is polled, all of it, and
// counts as moved.
func TestVisit_crossing(t *testing.T) {
	var order []string
	left := 0
	crosses := &carrying{endless: endless{name: "crossing", kind: port.KindRelay}, left: func() int {
		order = append(order, "crossing")
		if left == 0 {
			return 0
		}
		left--
		return 1
	}}
	vm := &looker{endless: endless{name: "vm", kind: port.KindVhost}}
	vm.look = func() { order = append(order, "vm") }
	p, w := testLoop(t, vm, crosses)
	order, left = nil, 3
	p.Visit("vm")
	w.serve()
	want := slices.Concat(slices.Repeat([]string{"crossing"}, 4), slices.Repeat([]string{"vm"}, vm.NumQueues()))
	if !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
	if moved := w.iterate(); moved != 3 {
		t.Errorf("%d packets moved, want 3", moved)
	}
}

// A worker that shares its CPU takes short naps, in which it keeps its Go processor, as long as somebody
// wakes it; else it sleeps until it is woken, and counts the time of who waits for its processor anew.
func TestRest(t *testing.T) {
	p, w := testLoop(t, newMany("vm"))
	for w.waker.wait(time.Microsecond) { // what the port's coming left
	}
	runtime.LockOSThread() // as a worker is
	defer runtime.UnlockOSThread()
	if w.keeps = slice.Check() == nil; !w.keeps {
		t.Log("this build lets workers keep no processor: they sleep in the ordinary way")
	}
	sleeps := func(when string) { // until somebody wakes it
		t.Helper()
		w.waited = 1
		done := make(chan struct{})
		go func() {
			lookAround()
			select {
			case <-done:
				t.Errorf("%s: woken by nobody", when)
			default:
			}
			w.waker.wake()
		}()
		woken := w.rest(-1)
		close(done)
		if !woken || w.waited != 0 {
			t.Errorf("%s: woken: %v, %d looks are counted", when, woken, w.waited)
		}
	}
	naps := func(when string) {
		t.Helper()
		if w.waited = 1; w.keeps && (w.rest(-1) || w.waited != 1) {
			t.Errorf("%s: a nap that nobody ends did not end by itself, or let go of the processor", when)
		}
	}
	sleeps("alone")
	p.Share(true)
	naps("beside another, woken before")
	if !w.keeps {
		return
	}
	for range 3 { // dozes say nothing of whether somebody wants it
		if w.rest(time.Microsecond) {
			t.Error("a doze was ended by nobody")
		}
	}
	sleeps("beside another, not woken by the last nap's end")
	naps("beside another, woken again")
}
