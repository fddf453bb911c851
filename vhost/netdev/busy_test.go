package netdev_test

import (
	"testing"

	"baton/vhost/netdev"
)

// A control call that waits does not hold up who asks how the device is.
func TestSnapshotWhileBusy(t *testing.T) {
	var g *rig
	asked := false
	g = newRig(t, func(c *netdev.Config) {
		c.Quiescer = onQuiesce(func() { // called with the device locked
			if s := g.dev.Snapshot(); !s.Busy || s.Name != "vm1" || s.QueuePairs != 1 {
				t.Errorf("snapshot of a busy device: %+v", s)
			}
			asked = true
		})
	})
	g.connect(modern)
	if _, err := g.dev.GetVringBase(1); err != nil || !asked {
		t.Fatal(err, asked)
	}
	if s := g.dev.Snapshot(); s.Busy || len(s.Rings) != 2 {
		t.Errorf("snapshot of an idle device: %+v", s)
	}
}
