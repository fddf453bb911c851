package relay

import (
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/nic/mem"
)

// late is a worker that is in the middle of something whenever it is waited for, and ends it then.
type late struct {
	end, flush func()
}

// Quiesce and Flush implement Workers.
func (l *late) Quiesce() { l.end() }

func (l *late) Visit(string) {}

func (l *late) Flush() {
	if l.flush != nil {
		l.flush()
	}
}

// still is a device that stands still or does not.
type still struct {
	*mem.Port
	stands bool
}

var _ Device = (*still)(nil)

func (d *still) Suspend()              { d.stands = true }
func (d *still) Words() []uint32       { return []uint32{0, 0} }
func (d *still) Resume([]uint32) error { d.stands = false; return nil }
func (d *still) ResumeLost()           { d.stands = false }

func newStill(t *testing.T) *still {
	t.Helper()
	p, err := mem.New("vm0", mem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return &still{Port: p}
}

// ends are both ends of an area for one port, with one worker each; that of side is w.
func ends(t *testing.T, side Side, w *late) (its, other *Link) {
	t.Helper()
	a, err := New(Shape{Workers: [2]int{1, 1}, Ports: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return NewLink(a, side, w), NewLink(a, side.Other(), &late{end: func() {}})
}

// waker is a worker's that polls all the time.
type waker struct{}

func (*waker) Add(int) error { return nil }
func (*waker) Remove(int)    {}

// polled is the gate of port 0, polled by lane 0 on both sides.
func polled(t *testing.T, l *Link, d Device) *Gate {
	t.Helper()
	g, err := l.Gate("vm0", 0, 1, d)
	if err != nil {
		t.Fatal(err)
	}
	w := new(waker)
	l.Inbox().Queue(0).Attach(w)
	g.Queue(0).Attach(w)
	if err := g.SetLanes([]int{0}); err != nil {
		t.Fatal(err)
	}
	return g
}

// A port is passed when its worker has ended two turns: one in which it may give packets to the
// device still, and after Suspend one in which it sends what it had taken from it last.
func TestGive_waitsForWorkers(t *testing.T) {
	c := buftest.NewCache(t, 16)
	d := newStill(t)
	var w late
	l, _ := ends(t, First, &w)
	g := polled(t, l, d)
	var v buf.Vec
	v[0] = frame(t, c, 60)
	begun, took := true, 0 // when it looked, the port was here
	w.end = func() {
		if begun && g.state.Load() == stateAway && !d.stands { // one that stands still takes nothing
			took = g.queues[0].put(c, &v, 1, stateDirect)
			begun = false
		}
	}
	sent := false
	w.flush = func() { sent = d.stands && g.Have() }
	if err := g.Give(); err != nil {
		t.Fatal(err)
	}
	if took != 1 || len(d.Sent()) != 1 {
		t.Error("suspended, with a worker about to give a packet to the device")
	}
	if !sent {
		t.Error("passed before the worker has sent what it took from the device last")
	}
	if !d.stands || g.Have() {
		t.Errorf("given: the device stands still %v, it is ours %v", d.stands, g.Have())
	}
}

// A worker that looked before the port was held puts packets into the ring still: Hold returns
// only when the other process has taken those, too.
func TestHold_waitsForWorkers(t *testing.T) {
	c, its := buftest.NewCache(t, 16), buftest.NewCache(t, 16)
	var w late
	l, other := ends(t, Second, &w)
	g, giver := polled(t, l, nil), polled(t, other, newStill(t))
	var v, scratch buf.Vec
	w.end = func() {
		if g.state.Load() != stateHold {
			return
		}
		v[0] = frame(t, c, 60)
		if g.queues[0].put(c, &v, 1, stateAway) != 1 {
			t.Error("no room in the ring")
		}
	}
	if err := g.Hold(time.Millisecond); err == nil {
		t.Error("held, with a packet under way that nobody takes")
	}
	inbox := other.Inbox().Queue(0)
	inbox.Rx(its, &scratch)
	if n := giver.Counts().Arrived; n != 1 {
		t.Fatalf("%d packets came, want 1", n)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				inbox.Rx(its, &scratch)
			}
		}
	}()
	err := g.Hold(20 * time.Second)
	arrived := giver.Counts().Arrived
	close(stop)
	<-stopped
	if err != nil || arrived != 2 {
		t.Errorf("held: %v, %d packets came, want 2", err, arrived)
	}
}
