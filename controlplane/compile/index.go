package compile

import (
	"maps"
	"net/netip"
	"slices"

	"baton/controlplane/model"
)

// names is a set of objects' names.
type names map[string]struct{}

func (n names) sorted() []string { return slices.Sorted(maps.Keys(n)) }

// index is a network and the ways through it against the references' direction.
// It takes any network, also one that breaks the model's rules: what is stored
// need not have come through Validate.
type index struct {
	state         *model.State
	portsOfSwitch map[string]names
	linksOfSwitch map[string]names
	linksOfRouter map[string]names
	routesOf      map[string]names // by router
	portsOfHost   map[string]names
	hostsByIP     map[netip.Addr]names
}

// newIndex takes over s.
func newIndex(s *model.State) *index {
	x := &index{
		state:         s,
		portsOfSwitch: map[string]names{},
		linksOfSwitch: map[string]names{},
		linksOfRouter: map[string]names{},
		routesOf:      map[string]names{},
		portsOfHost:   map[string]names{},
		hostsByIP:     map[netip.Addr]names{},
	}
	for _, o := range s.List("") {
		x.note(o, addName)
		x.noteVTEPs(o, addName)
	}
	return x
}

func addName[K comparable](m map[K]names, key K, name string) {
	if m[key] == nil {
		m[key] = names{}
	}
	m[key][name] = struct{}{}
}

func removeName[K comparable](m map[K]names, key K, name string) {
	delete(m[key], name)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

// note enters o into the ways, or with removeName takes it out.
func (x *index) note(o model.Object, edit func(m map[string]names, key, name string)) {
	switch o := o.(type) {
	case *model.Port:
		edit(x.portsOfSwitch, o.Switch, o.Name)
		if o.IsLink() {
			edit(x.linksOfSwitch, o.Switch, o.Name)
			edit(x.linksOfRouter, o.Router, o.Name)
			break
		}
		for _, h := range o.Hosts() {
			edit(x.portsOfHost, h, o.Name)
		}
	case *model.Route:
		edit(x.routesOf, o.Router, o.Name)
	}
}

// set puts an object in, or with o nil takes out what has the reference.
func (x *index) set(r model.Ref, o model.Object) {
	if old := x.state.Get(r); old != nil {
		x.note(old, removeName)
		x.noteVTEPs(old, removeName)
		x.state.Remove(r)
	}
	if o == nil {
		return
	}
	x.state.Set(o)
	x.note(o, addName)
	x.noteVTEPs(o, addName)
}

// noteVTEPs is note for the addresses of hosts.
func (x *index) noteVTEPs(o model.Object, edit func(m map[netip.Addr]names, key netip.Addr, name string)) {
	if h, ok := o.(*model.Host); ok {
		for _, ip := range h.VTEPs() {
			edit(x.hostsByIP, ip, h.Name)
		}
	}
}

// place is a port of a VM with all that its rules refer to.
type place struct {
	port *model.Port
	vni  uint32
	id   uint16
	host *model.Host // where others send to
	next *model.Host // where the VM is about to move, nil if nowhere
}

// placeOf is false if the port has no place yet, or refers to what is not there.
func (x *index) placeOf(p *model.Port) (place, bool) {
	s, h := x.state.Switches[p.Switch], x.state.Hosts[p.Host]
	if s == nil || h == nil || p.IsLink() || !p.IP.Addr.Is4() || !h.Underlay.Addr.Is4() {
		return place{}, false
	}
	pl := place{port: p, vni: s.ID(), id: p.SwitchID(), host: h}
	if n := x.state.Hosts[p.MigrateTo]; n != nil && n != h && n.Underlay.Addr.Is4() {
		pl.next = n
	}
	return pl, pl.vni != 0 && pl.id != 0
}

// link is a port of a router with all that its rules refer to.
type link struct {
	port     *model.Port
	sw       uint32 // the switch's datapath
	swID     uint16 // port id there
	router   uint32 // the router's datapath
	routerID uint16 // port id there
}

// linkOf is false if the port refers to what is not there.
func (x *index) linkOf(p *model.Port) (link, bool) {
	s, r := x.state.Switches[p.Switch], x.state.Routers[p.Router]
	if s == nil || r == nil || !p.IP.Addr.Is4() || !p.IP.Prefix().IsValid() {
		return link{}, false
	}
	l := link{p, s.ID(), p.SwitchID(), r.ID(), p.Status.RouterID}
	return l, l.sw != 0 && l.swID != 0 && l.router != 0 && l.routerID != 0
}

// links is the links with these names, in the order of the names.
func (x *index) links(n names) []link {
	var all []link
	for _, name := range n.sorted() {
		if l, ok := x.linkOf(x.state.Ports[name]); ok {
			all = append(all, l)
		}
	}
	return all
}
