package compile

import (
	"maps"
	"net/netip"
	"slices"

	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// Apply makes the changes in the network, in order, and returns by host what
// that changes there; hosts for which nothing changes are not in the map. A new
// host's change has all it needs, with Replace; a removed host's change takes
// all away. Lists are sorted. Changes of hosts share memory: read only.
//
//	cost: by what the changes touch: the objects themselves; with a router's port
//	      also the ports on its switch; with a host also the ports on it
func (c *Compiler) Apply(changes []model.Change) map[string]flow.Change {
	d := newDelta(c)
	for _, ch := range changes {
		old := c.x.state.Get(ch.Ref)
		if model.Equal(old, ch.Object) {
			continue
		}
		d.mark(ch.Ref, old, ch.Object) // with the references as they were
		if ch.Object == nil && ch.Ref.Kind == model.KindHost {
			d.hosts[ch.Ref.Name] = false // if it comes back, it comes back with nothing
		}
		c.x.set(ch.Ref, ch.Object)
		d.mark(ch.Ref, old, ch.Object) // and as they are
	}
	for _, r := range d.sortedUnits() {
		for id, before := range c.compile(r) {
			if _, ok := d.before[id]; !ok {
				d.before[id] = before
			}
		}
	}
	return d.changes()
}

// delta collects what a set of changes touches, with the state before them.
type delta struct {
	c          *Compiler
	units      map[model.Ref]struct{}
	before     map[flow.RuleID][]claim
	hosts      map[string]bool                    // those there were before; false: removed since
	bindings   map[string]map[string]flow.Binding // by host, of the hosts that may get others
	neighbours map[string]map[uint32]flow.Neighbour
}

func newDelta(c *Compiler) *delta {
	d := &delta{
		c:          c,
		units:      map[model.Ref]struct{}{},
		before:     map[flow.RuleID][]claim{},
		hosts:      map[string]bool{},
		bindings:   map[string]map[string]flow.Binding{},
		neighbours: map[string]map[uint32]flow.Neighbour{},
	}
	for name := range c.x.state.Hosts {
		d.hosts[name] = true
	}
	return d
}

// mark notes what depends on an object that changes from old to now; either may
// be nil. It is called before and after the change, and finds the dependants
// that the index has at that time.
func (d *delta) mark(r model.Ref, old, now model.Object) {
	d.unit(r)
	for _, o := range []model.Object{old, now} {
		switch o := o.(type) {
		case *model.Host:
			d.markHost(old, now)
		case *model.Switch:
			d.markPorts(o.Name)
			for name := range d.c.x.linksOfSwitch[o.Name] {
				d.markRoutes(d.c.x.state.Ports[name].Router)
			}
		case *model.Router:
			d.markRoutes(o.Name)
			for name := range d.c.x.linksOfRouter[o.Name] {
				d.markPorts(d.c.x.state.Ports[name].Switch)
			}
		case *model.Port:
			if o.IsLink() {
				d.markPorts(o.Switch)
				d.markRoutes(o.Router)
			} else {
				d.keepBindings(o.Hosts()...)
			}
		}
	}
}

func (d *delta) unit(r model.Ref) { d.units[r] = struct{}{} }

// markPorts notes all ports of a switch.
func (d *delta) markPorts(sw string) {
	for name := range d.c.x.portsOfSwitch[sw] {
		d.unit(model.Ref{Kind: model.KindPort, Name: name})
		d.keepBindings(d.c.x.state.Ports[name].Hosts()...)
	}
}

func (d *delta) markRoutes(router string) {
	for name := range d.c.x.routesOf[router] {
		d.unit(model.Ref{Kind: model.KindRoute, Name: name})
	}
}

// markHost notes what depends on a host: its ports if the address that others send to
// changes, its own and the others' ways, its bindings. A session that comes or goes
// touches nothing.
func (d *delta) markHost(old, now model.Object) {
	o, _ := old.(*model.Host)
	n, _ := now.(*model.Host)
	name := nameOf(o, n)
	if o == nil || n == nil || o.Underlay.Addr != n.Underlay.Addr || o.VTEP() != n.VTEP() {
		for port := range d.c.x.portsOfHost[name] {
			d.unit(model.Ref{Kind: model.KindPort, Name: port})
			d.keepBindings(d.c.x.state.Ports[port].Hosts()...) // one that is to move hangs on both its hosts
		}
	}
	if o == nil || n == nil || o.Underlay.Addr != n.Underlay.Addr || o.MTU != n.MTU {
		d.keepBindings(name)
	}
	if o == nil || n == nil || !sameWays(o, n) || !sameGateway(o, n) {
		d.keepNeighbours(name, nil)
	}
	if o == nil || n == nil || !sameWays(o, n) || o.VTEPMAC() != n.VTEPMAC() || o.Status.AlternateMAC != n.Status.AlternateMAC {
		var ips []netip.Addr
		for _, h := range []*model.Host{o, n} {
			if h != nil {
				ips = append(ips, h.VTEPs()...)
			}
		}
		for other := range d.c.x.state.Hosts {
			d.keepNeighbours(other, ips)
		}
	}
}

func nameOf(a, b *model.Host) string {
	if a != nil {
		return a.Name
	}
	return b.Name
}

// sameWays reports whether two states of a host have the same addresses.
func sameWays(a, b *model.Host) bool { return a.Underlay == b.Underlay && a.Alternate == b.Alternate }

func sameGateway(a, b *model.Host) bool {
	if a.Gateway == nil || b.Gateway == nil {
		return a.Gateway == b.Gateway
	}
	return *a.Gateway == *b.Gateway
}

// keepBindings keeps hosts' bindings as they were before the first change that touches them.
func (d *delta) keepBindings(hosts ...string) {
	for _, host := range hosts {
		if _, ok := d.bindings[host]; !ok {
			d.bindings[host] = d.c.x.bindings(host)
		}
	}
}

// keepNeighbours does so for a host's neighbours at some addresses, all if none are given.
func (d *delta) keepNeighbours(host string, ips []netip.Addr) {
	was := d.neighbours[host]
	if was == nil {
		was = map[uint32]flow.Neighbour{}
		d.neighbours[host] = was
	}
	from := d.c.x.state.Hosts[host]
	if from == nil {
		return
	}
	if ips == nil {
		ips = slices.Collect(maps.Keys(d.c.x.hostsByIP))
	}
	for _, ip := range ips {
		if !ip.Is4() {
			continue
		}
		key := flow.IPv4(ip)
		if _, ok := was[key]; !ok {
			n, _ := d.c.x.neighbour(from, ip) // the zero Neighbour where there was none
			was[key] = n
		}
	}
}

func (d *delta) sortedUnits() []model.Ref {
	return slices.SortedFunc(maps.Keys(d.units), func(a, b model.Ref) int {
		return compareClaims(claim{owner: a}, claim{owner: b})
	})
}

// changes is what differs for each host between before and now.
func (d *delta) changes() map[string]flow.Change {
	out := map[string]flow.Change{}
	rules := d.ruleChanges()
	for host, stayed := range d.hosts {
		if !stayed {
			out[host] = flow.Change{Replace: true}
			continue
		}
		ch, special := rules[host]
		if !special {
			ch = rules[ordinary]
		}
		d.addBindings(&ch, host)
		d.addNeighbours(&ch, host)
		if !ch.Empty() {
			out[host] = ch
		}
	}
	for host := range d.c.x.state.Hosts {
		if !d.hosts[host] {
			cfg, _ := d.c.Config(host)
			out[host] = cfg.Change()
		}
	}
	return out
}

// ordinary stands for all hosts that no touched rule names: they get the same.
const ordinary = ""

// ruleChanges is the changed rules, by host for those that differ from the rest.
func (d *delta) ruleChanges() map[string]flow.Change {
	ids := slices.SortedFunc(maps.Keys(d.before), compareIDs)
	out := map[string]flow.Change{ordinary: {}}
	for _, id := range ids {
		for _, claims := range [][]claim{d.before[id], d.c.claims[id]} {
			for _, cl := range claims {
				out[cl.scope.host] = flow.Change{}
			}
		}
	}
	for host := range out {
		var ch flow.Change
		for _, id := range ids {
			was, had := winner(d.before[id], host)
			now, has := winner(d.c.claims[id], host)
			switch {
			case had && !has:
				ch.DelRules = append(ch.DelRules, id)
			case has && (!had || was.Cookie != now.Cookie || !slices.Equal(was.Actions, now.Actions)):
				ch.SetRules = append(ch.SetRules, now)
			}
		}
		out[host] = ch
	}
	return out
}

func (d *delta) addBindings(ch *flow.Change, host string) {
	was, touched := d.bindings[host]
	if !touched {
		return
	}
	now := d.c.x.bindings(host)
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, ok := now[name]; !ok {
			ch.DelBindings = append(ch.DelBindings, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if b, ok := was[name]; !ok || b != now[name] {
			ch.SetBindings = append(ch.SetBindings, now[name])
		}
	}
}

func (d *delta) addNeighbours(ch *flow.Change, host string) {
	from := d.c.x.state.Hosts[host]
	was := d.neighbours[host]
	for _, ip := range slices.Sorted(maps.Keys(was)) {
		now, has := d.c.x.neighbour(from, addrOf(ip))
		switch {
		case !has && was[ip] != (flow.Neighbour{}):
			ch.DelNeighbours = append(ch.DelNeighbours, ip)
		case has && was[ip] != now:
			ch.SetNeighbours = append(ch.SetNeighbours, now)
		}
	}
}

// addrOf is flow.IPv4 the other way round.
func addrOf(ip uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(ip >> 24), byte(ip >> 16), byte(ip >> 8), byte(ip)})
}
