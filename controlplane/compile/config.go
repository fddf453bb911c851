package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// Config is all that one host is given. The slices are sorted: rules by table,
// falling priority and match; bindings by name; neighbours by address.
type Config struct {
	Rules      []flow.Rule
	Bindings   []flow.Binding
	Neighbours []flow.Neighbour
}

// Change is the change that gives a host this configuration whatever it had.
func (c Config) Change() flow.Change {
	return flow.Change{Replace: true, SetRules: c.Rules, SetBindings: c.Bindings, SetNeighbours: c.Neighbours}
}

// Host compiles a network for one host from scratch; the zero Config if there is
// no such host. It is pure and takes any network: what refers to what is not
// there has no rules. Compiler gives the same, and changes besides.
func Host(s *model.State, host string) Config {
	c, _ := NewCompiler(s.Clone()).Config(host)
	return c
}

// compareRules orders rules as in Config.
func compareRules(a, b flow.Rule) int { return compareIDs(a.RuleID, b.RuleID) }

func compareIDs(a, b flow.RuleID) int {
	return cmp.Or(
		cmp.Compare(a.Table, b.Table), cmp.Compare(b.Priority, a.Priority),
		slices.Compare(a.Match.Mask.Words()[:], b.Match.Mask.Words()[:]),
		slices.Compare(a.Match.Value.Words()[:], b.Match.Value.Words()[:]))
}

// binding is the port as the host on has it.
func (p place) binding(on *model.Host) flow.Binding {
	b := flow.Binding{Name: p.port.Name, Number: flow.LogicalPort(p.vni, p.id), MAC: p.port.HW()}
	if on.MTU > model.TunnelOverhead {
		b.MTU = on.MTU - model.TunnelOverhead
	}
	return b
}

// bindings is the ports of a host by name. Of two ports with one number, which no
// valid network has, the first by name is bound: a host refuses the two together.
func (x *index) bindings(host string) map[string]flow.Binding {
	taken := map[flow.PortNo]bool{}
	all := map[string]flow.Binding{}
	on := x.state.Hosts[host]
	if on == nil {
		return all
	}
	for _, name := range x.portsOfHost[host].sorted() {
		p, ok := x.placeOf(x.state.Ports[name])
		if !ok || on != p.host && on != p.next {
			continue
		}
		if b := p.binding(on); !taken[b.Number] {
			taken[b.Number] = true
			all[name] = b
		}
	}
	return all
}

// neighbour is the way from a host to an underlay address; false if the address
// is nobody's or its own, or the MAC to send to is not known (yet).
func (x *index) neighbour(from *model.Host, ip netip.Addr) (flow.Neighbour, bool) {
	owners := x.hostsByIP[ip].sorted()
	if len(owners) == 0 || !ip.Is4() || slices.Contains(from.VTEPs(), ip) {
		return flow.Neighbour{}, false
	}
	to := x.state.Hosts[owners[0]]
	n := flow.Neighbour{Host: to.Name, IP: flow.IPv4(ip)}
	switch {
	case from.Underlay.Prefix().Contains(ip):
		n.MAC = to.MACOf(ip)
	case from.Gateway != nil:
		n.MAC = from.Gateway.MAC
	}
	return n, n.MAC != (flow.MAC{}) && !n.MAC.IsMulticast()
}

// neighbours is the ways from a host to all others.
func (x *index) neighbours(host string) map[uint32]flow.Neighbour {
	all := map[uint32]flow.Neighbour{}
	from := x.state.Hosts[host]
	if from == nil {
		return all
	}
	for ip := range x.hostsByIP {
		if n, ok := x.neighbour(from, ip); ok {
			all[n.IP] = n
		}
	}
	return all
}
