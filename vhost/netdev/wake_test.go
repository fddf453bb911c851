package netdev_test

import (
	"testing"

	"baton/dataplane/port"
	"baton/vhost/netdev"
	"baton/vhost/virtq/drivertest"

	"golang.org/x/sys/unix"
)

type fakeWaker map[int]bool

func (w fakeWaker) Add(fd int) error { w[fd] = true; return nil }
func (w fakeWaker) Remove(fd int)    { delete(w, fd) }

// Kick descriptors follow the worker and the front end.
func TestWaker(t *testing.T) {
	g := newRig(t, nil)
	q := g.dev.Queue(0)
	w := fakeWaker{}
	q.Attach(w)
	if q.Arm() != port.ArmSet || len(w) != 0 {
		t.Fatal("no ring: nothing to wait for")
	}
	g.connect(modern)
	if len(w) != 1 || q.Arm() != port.ArmSet {
		t.Fatalf("%d descriptors", len(w))
	}
	for fd := range w {
		if drivertest.Signals(fd) == 0 {
			t.Error("a ring that starts must wake its worker")
		}
	}
	g.sendOne(60)
	if q.Arm() != port.ArmReady {
		t.Fatal("a waiting frame was missed")
	}
	q.Disarm()
	g.recv()
	g.ok(g.dev.SetVringKick(1, g.eventFD()))
	if len(w) != 1 {
		t.Fatal("kick not replaced")
	}
	q.Attach(nil)
	if len(w) != 0 {
		t.Fatal("still registered")
	}
	q.Attach(w)
	g.ok(g.dev.SetVringKick(1, -1))
	if len(w) != 1 || q.Arm() != port.ArmPoll || g.dev.Snapshot().Rings[1].KickFD {
		t.Fatal("poll mode: the worker must not sleep")
	}
	g.dev.Disconnected()
	if len(w) != 0 {
		t.Fatal("still registered")
	}
}

// What goes on for a device that is dead wakes nobody, ring by ring: who resumes many devices does,
// once. The frames that wait are there for the worker's next poll.
func TestResumeLost_wakesNobody(t *testing.T) {
	g := newRig(t, nil)
	g.connect(modern)
	s := sent(t, g.dev.State())
	kick, err := unix.FcntlInt(uintptr(s.Rings[1].Kick), unix.F_DUPFD_CLOEXEC, 3)
	g.ok(err)
	defer unix.Close(kick)
	heir, err := netdev.Restore(netdev.Config{Name: "vm1", QueuePairs: 1}, s)
	g.ok(err)
	defer heir.Close()
	g.sendOne(60)
	drivertest.Signals(kick)
	heir.ResumeLostReceive()
	heir.ResumeLost()
	if n := drivertest.Signals(kick); n != 0 {
		t.Errorf("%d kicks", n)
	}
	q, w := heir.Queue(0), fakeWaker{}
	q.Attach(w)
	if q.Arm() != port.ArmReady {
		t.Error("the frame that waits is not there for the worker")
	}
	q.Disarm()
	g.ok(heir.SetVringKick(1, g.eventFD()))
	for fd := range w {
		if drivertest.Signals(fd) == 0 {
			t.Error("a ring that starts later wakes nobody")
		}
	}
	if len(w) != 1 {
		t.Errorf("%d descriptors", len(w))
	}
}

// A ring that nobody will kick starts while its worker sleeps, since there was no ring
// to wait for: something must wake the worker, which polls from then on.
func TestPolledRingWakesWorker(t *testing.T) {
	g := newRig(t, nil)
	w := fakeWaker{}
	q := g.dev.Queue(0)
	q.Attach(w)
	g.ok(g.dev.SetFeatures(modern))
	g.ok(g.dev.SetMemTable(g.regions()))
	g.ok(g.dev.SetVringNum(1, ringNum))
	g.ok(g.dev.SetVringAddr(addr(1, g.tx)))
	if q.Arm() != port.ArmSet {
		t.Fatal("no ring: nothing to wait for")
	}
	g.ok(g.dev.SetVringKick(1, -1))
	woken := false
	for fd := range w {
		woken = woken || drivertest.Signals(fd) > 0
	}
	if !woken {
		t.Fatal("the worker sleeps on")
	}
	if q.Arm() != port.ArmPoll {
		t.Error("nobody kicks: the worker must poll")
	}
}

// The process before us may have died between its last completion and the call for
// it: a guest that waits for that call gets one when the ring starts, also from front
// ends that send the call descriptor before everything else.
func TestStartCallsGuest(t *testing.T) {
	g := newRig(t, nil)
	g.ok(g.dev.SetFeatures(modern))
	g.ok(g.dev.SetMemTable(g.regions()))
	for i, r := range []*drivertest.Ring{g.rx, g.tx} {
		fd := g.eventFD()
		keep, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		g.ok(err)
		defer unix.Close(keep)
		g.ok(g.dev.SetVringCall(i, fd))
		g.ok(g.dev.SetVringNum(i, ringNum))
		g.ok(g.dev.SetVringAddr(addr(i, r)))
		if n := drivertest.Signals(keep); n != 0 {
			t.Errorf("ring %d: %d calls before it runs", i, n)
		}
		g.ok(g.dev.SetVringKick(i, g.eventFD()))
		if drivertest.Signals(keep) == 0 {
			t.Errorf("ring %d: the guest waits for ever", i)
		}
	}
}

// A guest that waits for a call gets one for all that it was given and all that was taken
// from it, once: by a later poll, when the worker goes to sleep, or when the ring stops.
func TestCallIsPaid(t *testing.T) {
	g := newRig(t, nil)
	g.connect(modern)
	q := g.dev.Queue(0)
	var calls [2]int
	for i := range calls {
		fd := g.eventFD()
		var err error
		calls[i], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		g.ok(err)
		defer unix.Close(calls[i])
		g.ok(g.dev.SetVringCall(i, fd))
	}
	expect := func(when string, rx, tx uint64) {
		t.Helper()
		if a, b := drivertest.Signals(calls[0]), drivertest.Signals(calls[1]); a != rx || b != tx {
			t.Errorf("%s: %d calls for received and %d for sent frames, want %d and %d", when, a, b, rx, tx)
		}
	}
	expect("a new descriptor", 1, 1)
	g.passes()
	expect("at once", 0, 0)
	g.recv()
	expect("a poll later", 0, 1)
	g.recv()
	expect("two polls later", 1, 0)
	g.recv()
	expect("three polls later", 0, 0)
	g.passes()
	q.(port.Settler).Settle()
	expect("a missed turn later", 0, 1)
	q.(port.Settler).Settle()
	expect("two missed turns later", 1, 0)
	g.passes()
	q.Arm()
	expect("before sleep", 1, 1)
	q.Disarm()
	g.passes()
	for i := range calls {
		_, err := g.dev.GetVringBase(i)
		g.ok(err)
	}
	expect("stopped", 1, 1)
}
