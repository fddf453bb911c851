package netdev_test

import (
	"bytes"
	"testing"

	"baton/dataplane/port"
	"baton/vhost/virtq/drivertest"
)

// SEND_RARP: the switch gets one broadcast with the guest's address, at the next poll,
// beside the guest's own frames, and a worker that sleeps is woken for it.
func TestSendRARP(t *testing.T) {
	g := newRig(t, nil)
	w := fakeWaker{}
	q := g.dev.Queue(0)
	q.Attach(w)
	g.connect(modern)
	g.passes()
	for fd := range w {
		drivertest.Signals(fd)
	}
	if q.Arm() != port.ArmSet {
		t.Fatal("something waits already")
	}
	g.ok(g.dev.SendRARP([6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}))
	woken := false
	for fd := range w {
		woken = woken || drivertest.Signals(fd) > 0
	}
	if !woken {
		t.Error("the worker sleeps on")
	}
	if q.Arm() != port.ArmReady {
		t.Error("a worker would go to sleep before it fetched the announcement")
	}
	g.sendOne(60)
	if n := q.Rx(g.cache, &g.vec); n != 1 {
		t.Fatalf("%d frames, want the announcement", n)
	}
	want := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x80, 0x35,
		0, 1, 8, 0, 6, 4, 0, 3, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0x52, 0x54, 0, 0x12, 0x34, 0x56}
	if got := g.vec[0].Data(); len(got) != 60 || !bytes.HasPrefix(got, want) {
		t.Errorf("announcement is % x", got)
	}
	g.cache.FreeAll(&g.vec, 1)
	if g.recv() != 1 || g.recv() != 0 {
		t.Error("the guest's own frame is lost, or the announcement comes again")
	}
}

// An announcement before the rings run goes out when they do.
func TestRARPBeforeRings(t *testing.T) {
	g := newRig(t, nil)
	g.ok(g.dev.SendRARP([6]byte{2, 0, 0, 0, 0, 1}))
	g.connect(modern)
	if g.recv() != 1 || g.recv() != 0 {
		t.Error("no announcement")
	}
	send := func() { g.ok(g.dev.SendRARP([6]byte{2, 0, 0, 0, 0, 1})) }
	both := func() { send(); g.recv() }
	if a, b := testing.AllocsPerRun(100, send), testing.AllocsPerRun(100, both); b > a {
		t.Errorf("the worker allocates: %v without it, %v with it", a, b)
	}
}
