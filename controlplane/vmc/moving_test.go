package vmc_test

import (
	"testing"

	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// A port is found by its number and the host that it is about to move to, and by
// nothing else, as long as the network says so.
func TestMoving(t *testing.T) {
	moves := port("a", 1)
	moves.MigrateTo = "h2"
	v, f, s := start(t, host(1), host(2), &model.Switch{Name: "a", VNI: 1}, moves, port("a", 2))
	wait(t, v, 5)
	number := flow.LogicalPort(1, 1)
	if p := v.Moving("h2", number); p == nil || p.Name != "a1" {
		t.Fatalf("found %+v", p)
	}
	for _, c := range []struct {
		host   string
		number flow.PortNo
	}{{"h1", number}, {"", number}, {"h2", flow.LogicalPort(1, 2)}, {"h2", flow.LogicalPort(2, 1)}, {"h1", flow.LogicalPort(1, 2)}} {
		if p := v.Moving(c.host, c.number); p != nil {
			t.Errorf("%s on %q: found %s", c.number, c.host, p.Name)
		}
	}
	s.check(t, f)
	moved := port("a", 1)
	moved.Host = "h2"
	wait(t, v, f.change(set(moved)))
	if p := v.Moving("h2", number); p != nil {
		t.Errorf("after the move: found %+v", p)
	}
	s.check(t, f)
}
