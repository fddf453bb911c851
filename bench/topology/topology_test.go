package topology_test

import (
	"testing"

	"baton/bench/topology"
	"baton/controlplane/compile"
)

func TestNetwork(t *testing.T) {
	s, err := topology.Network("vm1", "vm2", "vm3")
	if err != nil {
		t.Fatal(err)
	}
	c := compile.Host(s, topology.Host)
	if len(c.Bindings) != 3 || len(c.Neighbours) != 1 || len(c.Rules) == 0 {
		t.Errorf("%d bindings, %d neighbours, %d rules", len(c.Bindings), len(c.Neighbours), len(c.Rules))
	}
	if _, err := topology.Network("vm9"); err == nil {
		t.Error("vm9: no error")
	}
}
