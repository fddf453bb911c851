package compile_test

import (
	"net/netip"
	"slices"
	"testing"

	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// pairNet is a network of which host "old" has a pair of VTEPs, and uses the second if at.
func pairNet(t *testing.T, at bool) *model.State {
	t.Helper()
	s := movingNet(t)
	h := model.Clone(s.Hosts["old"])
	h.Alternate = netip.MustParseAddr("192.168.100.111")
	h.Status.MAC, h.Status.AlternateMAC, h.Status.AtAlternate = flow.MAC{2, 1}, flow.MAC{2, 2}, at
	s.Set(h)
	return s
}

// TestPair: all send to the VTEP that is in use, take what comes from either, and know the way
// to both; the host itself knows neither, as both are its own.
func TestPair(t *testing.T) {
	for _, at := range []bool{false, true} {
		s := pairNet(t, at)
		h := s.Hosts["old"]
		first, second := flow.IPv4(h.Underlay.Addr), flow.IPv4(h.Alternate)
		inUse := first
		if at {
			inUse = second
		}
		for name := range s.Hosts {
			cfg := compile.Host(s, name)
			to, from := map[uint32]int{}, map[uint32]int{}
			for _, ip := range []uint32{first, second} {
				match := flow.Match{}.WithUint(flow.FieldInPort, uint64(flow.PortTunnel)).WithUint(flow.FieldTunSrc, uint64(ip))
				for _, r := range cfg.Rules {
					if slices.Contains(r.Actions, flow.SetUint(flow.FieldTunDst, uint64(ip))) {
						to[ip]++
					}
					if r.Match == match {
						from[ip]++
					}
				}
			}
			macs := map[uint32]flow.MAC{}
			for _, n := range cfg.Neighbours {
				macs[n.IP] = n.MAC
			}
			if name == "old" {
				if len(macs) != len(s.Hosts)-1 || to[first]+to[second]+from[first]+from[second] != 0 {
					t.Errorf("at %v: %s: neighbours %v, sends to %v, takes from %v", at, name, macs, to, from)
				}
				continue
			}
			if to[inUse] == 0 || to[first+second-inUse] != 0 || from[first] != 1 || from[second] != 1 {
				t.Errorf("at %v: %s sends to %v, takes from %v", at, name, to, from)
			}
			if macs[first] != (flow.MAC{2, 1}) || macs[second] != (flow.MAC{2, 2}) {
				t.Errorf("at %v: neighbours of %s: %v", at, name, macs)
			}
		}
	}
}

// TestPairTurns: when a host turns to its other VTEP, the others get the rules of its ports, and
// nothing else changes anywhere.
func TestPairTurns(t *testing.T) {
	s := pairNet(t, false)
	c := compile.NewCompiler(s.Clone())
	now := pairNet(t, true).Hosts["old"]
	changes := c.Apply([]model.Change{{Ref: now.Ref(), Object: now}})
	for name, ch := range changes {
		if name == "old" || len(ch.SetRules) == 0 || len(ch.DelRules)+len(ch.SetBindings)+len(ch.DelBindings)+len(ch.SetNeighbours)+len(ch.DelNeighbours) != 0 {
			t.Errorf("%s: %+v", name, ch)
		}
	}
	if len(changes) != len(s.Hosts)-1 {
		t.Errorf("%d hosts are told, want %d", len(changes), len(s.Hosts)-1)
	}
}
