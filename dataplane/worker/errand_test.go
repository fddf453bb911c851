package worker

import (
	"slices"
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/port"
)

// looker is a port of several queues that calls look when it is polled.
type looker struct {
	endless
	look func()
}

func (p *looker) NumQueues() int       { return 3 * turnQueues }
func (p *looker) Queue(int) port.Queue { return p }

func (p *looker) Rx(*buf.Cache, *buf.Vec) int {
	if p.look != nil {
		p.look()
	}
	return 0
}

// testLoop is the worker of a pool with some ports, in the state of one that runs; the test is its loop.
func testLoop(t *testing.T, ports ...port.Port) (*Pool, *Worker) {
	t.Helper()
	p, _ := stillPool(t, Config{Workers: 1, Unlocked: true}, ports, flow.Change{})
	w := p.workers[0]
	w.turn()
	w.state.Store(stateRunning)
	return p, w
}

// until waits for done, while the loop stands still in an iteration.
func until(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("no end of " + what)
	}
}

// Who waits for a worker to let go of a port does not wait for the end of an iteration over many
// queues, but for the queue that is being polled.
func TestQuiesce_withinIteration(t *testing.T) {
	vm := &looker{endless: endless{name: "vm", kind: port.KindVhost}}
	p, w := testLoop(t, vm)
	at, done := 0, make(chan struct{})
	vm.look = func() {
		switch at++; at {
		case 2:
			go func() { p.Quiesce(); close(done) }()
			lookAround() // it has begun, or is about to
			select {
			case <-done:
				t.Error("the worker may hold what it polls, and was not waited for")
			default:
			}
		case 2*turnQueues + 1:
			until(t, done, "Quiesce")
		}
	}
	w.iterate()
	if at != vm.NumQueues() {
		t.Errorf("%d queues polled, want %d", at, vm.NumQueues())
	}
}

// A port that is to be visited comes first, once, and in the middle of an iteration too.
func TestVisit(t *testing.T) {
	var order []string
	first := &looker{endless: endless{name: "a", kind: port.KindVhost}}
	last := &looker{endless: endless{name: "b", kind: port.KindVhost}}
	p, w := testLoop(t, first, last)
	first.look = func() { order = append(order, "a") }
	last.look = func() { order = append(order, "b") }
	n := first.NumQueues()
	a, b := slices.Repeat([]string{"a"}, n), slices.Repeat([]string{"b"}, n)
	check := func(when string, want ...[]string) {
		t.Helper()
		if all := slices.Concat(want...); !slices.Equal(order, all) {
			t.Errorf("%s: %v, want %v", when, order, all)
		}
		order = nil
	}
	p.Visit("b")
	p.Visit("c") // there is none
	if !w.pending() {
		t.Error("a worker that is about to sleep does not see it")
	}
	w.turn()
	check("visited", b, a, b)
	first.look = func() {
		if order = append(order, "a"); len(order) == 1 {
			p.Visit("b")
		}
	}
	w.turn()
	check("visited within", a[:turnQueues-1], b, a[turnQueues-1:], b)
	first.look = func() { order = append(order, "a") }
	w.turn()
	check("not visited", a, b)
}

// All workers poll what they are woken for, once.
func TestWake(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Workers = 2 })
	a := newDouble(t, "a", port.KindVhost, 2)
	l.addPort(1, a)
	for range 100 {
		for _, w := range l.workers {
			eventually(t, "sleep", func() bool { return w.state.Load() == stateAsleep })
		}
		before := [2]uint64{a.queues[0].polled.Load(), a.queues[1].polled.Load()}
		l.Wake()
		for i, q := range a.queues {
			eventually(t, "poll", func() bool { return q.polled.Load() > before[i] })
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Wake() // nobody, and nothing that is closed
}

// A worker that has looked at its queues and is about to sleep is woken, too.
func TestWake_beforeSleep(t *testing.T) {
	p, w := testLoop(t, newDouble(t, "a", port.KindVhost, 1))
	for w.waker.wait(time.Microsecond) { // what the port's coming left
	}
	p.Wake()
	done := make(chan struct{})
	go func() { w.sleep(); close(done) }()
	until(t, done, "sleep")
}

// What was left for a device to send with the next poll is sent when Flush returns, within an
// iteration too.
func TestFlush_sendsStaged(t *testing.T) {
	vm := &looker{endless: endless{name: "vm", kind: port.KindVhost}}
	nic := &stager{endless: endless{name: "nic", kind: port.KindNIC}}
	p, w := testLoop(t, vm, nic)
	at, done := 0, make(chan struct{})
	vm.look = func() {
		switch at++; at {
		case 1:
			nic.staged = 1
			go func() { p.Flush(); close(done) }()
			for w.asked.Load() == w.served.Load() { // it has not begun
				lookAround()
			}
		case 3*turnQueues - 1:
			w.pass()
			until(t, done, "Flush")
			if nic.staged != 0 {
				t.Error("Flush returned, and something waits for the next poll")
			}
		}
	}
	w.iterate()
}
