package netdev_test

import (
	"testing"

	"baton/dataplane/port"
	"baton/vhost/netdev"
	"baton/vhost/proto"
	"baton/vhost/virtq/drivertest"
)

// Rings are enabled from the start without PROTOCOL_FEATURES, else by SET_VRING_ENABLE;
// a started transmit ring that is not enabled is drained.
func TestEnable(t *testing.T) {
	g := newRig(t, nil)
	g.connect(modern &^ proto.FeatureProtocol)
	g.passes()
	g.dev.Disconnected()

	g.connect(modern)
	g.ok(g.dev.SetVringEnable(1, false))
	g.ok(g.dev.SetVringEnable(0, false))
	for _, _, ok := g.tx.TakeUsed(); ok; _, _, ok = g.tx.TakeUsed() {
		continue
	}
	g.sendOne(60)
	if g.recv() != 0 {
		t.Fatal("a disabled ring passes frames")
	}
	if _, _, ok := g.tx.TakeUsed(); !ok || g.dev.Snapshot().Rings[1].Totals.Discarded != 1 {
		t.Fatal("a disabled ring is not drained")
	}
	g.offerOne()
	if g.send() {
		t.Fatal("a disabled ring takes frames")
	}
	g.ok(g.dev.SetVringEnable(0, true))
	g.ok(g.dev.SetVringEnable(1, true))
	g.passes()
}

// onQuiesce calls itself when a worker would be waited for.
type onQuiesce func()

func (f onQuiesce) Quiesce() { f() }

// A worker that looked at a ring before it was enabled would discard what the guest
// sends once the front end has its answer: the answer waits for the worker, after the
// ring was shown to it anew.
func TestEnableWaitsForWorkers(t *testing.T) {
	var g *rig
	watch, passed := false, 0
	g = newRig(t, func(c *netdev.Config) {
		c.Quiescer = onQuiesce(func() {
			if watch {
				g.sendOne(60)
				passed += g.recv()
			}
		})
	})
	g.connect(modern)
	g.ok(g.dev.SetVringEnable(1, false))
	watch = true
	g.ok(g.dev.SetVringEnable(1, true))
	if passed != 1 {
		t.Fatalf("%d frames passed where workers are waited for, want 1", passed)
	}
	g.ok(g.dev.SetVringEnable(1, true))
	if passed != 1 {
		t.Error("waits although nothing has changed")
	}
}

// A guest that uses some of its pairs: each queue tells whether it is one of them,
// while rings are started, enabled, disabled, broken and reset.
func TestEnabledQueues(t *testing.T) {
	g := newRig(t, func(c *netdev.Config) { c.QueuePairs = 2 })
	second := [2]*drivertest.Ring{drivertest.NewRing(g.mem, ringNum, 128<<10), drivertest.NewRing(g.mem, ringNum, 192<<10)}
	want := func(when string, pairs ...bool) {
		t.Helper()
		for i, on := range pairs {
			if g.dev.Queue(i).(port.Enabler).Enabled() != on {
				t.Errorf("%s: queue %d enabled is %v", when, i, !on)
			}
		}
	}
	want("no session", false, false)
	g.connect(modern)
	want("one pair", true, false)
	g.ok(g.dev.SetVringEnable(2, true))
	want("enabled, not started", true, false)
	g.startRing(2, second[0], 0)
	g.startRing(3, second[1], 0)
	want("two pairs", true, true)
	g.ok(g.dev.SetVringEnable(2, false))
	want("pair 1 disabled", true, false)
	g.ok(g.dev.SetVringEnable(2, true))
	g.rx.Push(ringNum) // no such descriptor
	g.send()
	want("pair 0 broken", false, true)
	if n := g.dev.ActiveQueues(); n != 0 {
		t.Errorf("%d active queues without pair 0", n)
	}
	eventually(t, "down without pair 0", func() bool { return !g.dev.Info().Up })
	g.dev.Disconnected()
	want("disconnected", false, false)
	g.connect(modern &^ proto.FeatureProtocol)
	want("without protocol features", true, false)
}
