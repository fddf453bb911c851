package worker

import (
	"testing"

	"baton/dataplane/flow"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// TestNoWayToTheWire: a logical port that has the name of the underlay's port is
// not that port. Otherwise whoever may name a port could write raw frames to the
// wire, forged tunnel packets among them.
func TestNoWayToTheWire(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Endpoint = tunnelEnd(t, 1) })
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	wire := newDouble(t, "wire", port.KindNIC, 1).sink(func(f []byte) { t.Errorf("a guest's frame is on the wire: %x", f) })
	if err := l.AddPort(wire, PortOptions{}); err != nil {
		t.Fatal(err)
	}
	l.apply(flow.Change{
		SetBindings: []flow.Binding{{Name: "wire", Number: number(2)}},
		SetRules:    []flow.Rule{toPort(2, number(2))},
	})
	a.queues[0].inject(frame(1, 2, 0))
	l.quiet(a)
	if n := l.stat("a").Drops[stats.DropPortDown]; n != 1 {
		t.Errorf("%d dropped as port_down, want 1", n)
	}
}
