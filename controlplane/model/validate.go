package model

import (
	"fmt"
	"net/netip"
	"slices"

	"baton/dataplane/flow"
)

// Validate checks the network s, which already has the changed objects in it,
// and reports what is wrong with these: each by itself, and together with the
// rest. Problems between objects that are not among changed are none of this
// change's and stay out. The order is fixed. Cost: one pass over s.
func Validate(s *State, changed []Ref) Problems {
	v := validator{state: s, changed: make(map[Ref]bool, len(changed)), wrong: map[place]bool{}}
	for _, r := range changed {
		v.changed[r] = true
		if o := s.Get(r); o != nil {
			v.problems = append(v.problems, checkAlone(o)...)
		}
	}
	for _, p := range v.problems {
		v.wrong[place{p.Ref, p.Field}] = true
	}
	v.hosts()
	v.datapaths()
	v.ports()
	v.routes()
	return v.problems.sorted()
}

// validator collects the problems between objects.
type validator struct {
	state    *State
	changed  map[Ref]bool
	wrong    map[place]bool // keys that are wrong by themselves: whatever else they are wrong with follows from it
	problems Problems
}

// place is a key of an object.
type place struct {
	ref   Ref
	field string
}

func (v *validator) fail(r Ref, field, format string, args ...any) {
	if v.changed[r] && !v.wrong[place{r, field}] {
		v.problems = append(v.problems, Problem{Ref: r, Field: field, Text: fmt.Sprintf(format, args...)})
	}
}

// clash reports that a and b cannot both be, on the one that changed, or if both
// did on b. format has a verb for the other's reference.
func (v *validator) clash(a, b Ref, field, format string) {
	if !v.changed[b] {
		a, b = b, a
	}
	if v.changed[b] && !v.wrong[place{b, field}] {
		v.problems = append(v.problems, Problem{Ref: b, Other: a, Field: field, Text: fmt.Sprintf(format, a)})
	}
}

// unique finds objects that share what must be unique. The objects come in a fixed order.
type unique[K comparable] map[K]Ref

func claim[K comparable](v *validator, u unique[K], key K, by Ref, field, format string) {
	var zero K
	if key == zero {
		return
	}
	if first, taken := u[key]; taken {
		v.clash(first, by, field, format)
		return
	}
	u[key] = by
}

func (v *validator) hosts() {
	ips, macs := unique[netip.Addr]{}, unique[flow.MAC]{}
	for _, o := range v.state.List(KindHost) {
		h := o.(*Host)
		claim(v, ips, h.Underlay.Addr, h.Ref(), "underlay", h.Underlay.Addr.String()+" is already the underlay address of %s; give each host its own")
		if h.Alternate != h.Underlay.Addr { // said already
			claim(v, ips, h.Alternate, h.Ref(), "alternate", h.Alternate.String()+" is already the underlay address of %s; give each host its own")
		}
		claim(v, macs, h.MAC, h.Ref(), "mac", h.MAC.String()+" is already the MAC of %s; give each host its own")
	}
}

func (v *validator) datapaths() {
	vnis := unique[uint32]{}
	for _, o := range append(v.state.List(KindSwitch), v.state.List(KindRouter)...) {
		id := o.(interface{ ID() uint32 }).ID()
		claim(v, vnis, id, o.Ref(), "vni", fmt.Sprint(id)+" is already the id of %s; take another, or leave it out to have one allocated")
	}
}

// segment is what the ports of one switch share.
type segment struct {
	ips   unique[netip.Addr]
	macs  unique[flow.MAC]
	ids   unique[uint16]
	links []*Port
}

func (v *validator) ports() {
	segments := map[string]*segment{}
	all := v.state.List(KindPort)
	for _, o := range all {
		p := o.(*Port)
		v.references(p)
		seg := segments[p.Switch]
		if seg == nil {
			seg = &segment{ips: unique[netip.Addr]{}, macs: unique[flow.MAC]{}, ids: unique[uint16]{}}
			segments[p.Switch] = seg
		}
		on := " on switch " + p.Switch
		claim(v, seg.ips, p.IP.Addr, p.Ref(), "ip", p.IP.Addr.String()+" is already the IP of %s"+on+"; take another")
		if p.MAC != (flow.MAC{}) || seg.ips[p.IP.Addr] == p.Ref() { // a derived MAC clashes along with its IP: said already
			claim(v, seg.macs, p.HW(), p.Ref(), "mac", p.HW().String()+" is already the MAC of %s"+on+"; take another")
		}
		claim(v, seg.ids, p.SwitchID(), p.Ref(), "id", fmt.Sprint(p.SwitchID())+" is already the port id of %s"+on+"; take another, or leave it out to have one allocated")
		if p.IsLink() {
			seg.links = append(seg.links, p)
		}
	}
	for _, o := range all {
		if p := o.(*Port); !p.IsLink() {
			v.inside(p, segments[p.Switch].links)
		}
	}
	v.links()
}

func (v *validator) references(p *Port) {
	if p.Switch != "" && v.state.Switches[p.Switch] == nil {
		v.fail(p.Ref(), "switch", "there is no switch %.80q; make it first, or in the same file", p.Switch)
	}
	if p.Host != "" && !p.IsLink() && v.state.Hosts[p.Host] == nil {
		v.fail(p.Ref(), "host", "there is no host %.80q; make it first, or in the same file", p.Host)
	}
	if p.MigrateTo != "" && !p.IsLink() && v.state.Hosts[p.MigrateTo] == nil {
		v.fail(p.Ref(), "migrateTo", "there is no host %.80q; make it first, or in the same file", p.MigrateTo)
	}
	if p.IsLink() && v.state.Routers[p.Router] == nil {
		v.fail(p.Ref(), "router", "there is no router %.80q; make it first, or in the same file", p.Router)
	}
}

// inside checks that a VM's address lies in the subnet of one of the routers'
// ports on its switch. A switch without routers has no subnet.
func (v *validator) inside(p *Port, links []*Port) {
	if len(links) == 0 || !p.IP.Addr.Is4() {
		return
	}
	for _, l := range links {
		if sub := l.IP.Prefix(); sub.IsValid() && sub.Contains(p.IP.Addr) {
			if isEdge(p.IP.Addr, sub) {
				v.clash(l.Ref(), p.Ref(), "ip", fmt.Sprintf("%s is the network or broadcast address of %s", p.IP.Addr, sub)+" (%s); take one between")
			}
			return
		}
	}
	if v.changed[p.Ref()] {
		v.fail(p.Ref(), "ip", "%s lies outside the subnets of switch %s (%s of %s); take one inside", p.IP.Addr, p.Switch, links[0].IP.Prefix(), links[0].Ref())
		return
	}
	for _, l := range links {
		if v.changed[l.Ref()] {
			v.clash(p.Ref(), l.Ref(), "ip", fmt.Sprintf("subnet %s leaves out %s of ", l.IP.Prefix(), p.IP.Addr)+"%s; move that port first")
			return
		}
	}
}

// links checks what the ports of one router share: ids, and subnets that do not overlap.
func (v *validator) links() {
	ids := map[string]unique[uint16]{}
	for router, ports := range v.linksByRouter() {
		ids[router] = unique[uint16]{}
		// By first address, a subnet that overlaps another overlaps its neighbour or a wider one before it.
		slices.SortStableFunc(ports, func(a, b *Port) int { return a.IP.Prefix().Compare(b.IP.Prefix()) })
		var widest *Port
		for _, p := range ports {
			claim(v, ids[router], p.Status.RouterID, p.Ref(), "", fmt.Sprint(p.Status.RouterID)+" is already the port id of %s on router "+router)
			sub := p.IP.Prefix()
			if !sub.IsValid() {
				continue
			}
			if widest != nil && widest.IP.Prefix().Overlaps(sub) {
				v.overlap(router, widest, p)
				continue
			}
			widest = p
		}
	}
}

// overlap reports two ports of a router in one subnet.
func (v *validator) overlap(router string, a, b *Port) {
	if !v.changed[b.Ref()] {
		a, b = b, a
	}
	v.clash(a.Ref(), b.Ref(), "ip", fmt.Sprintf("subnet %s overlaps %s of ", b.IP.Prefix(), a.IP.Prefix())+"%s on router "+router+"; give each port of a router its own subnet")
}

// linksByRouter is the routers' ports, in order of their names.
func (v *validator) linksByRouter() map[string][]*Port {
	by := map[string][]*Port{}
	for _, o := range v.state.List(KindPort) {
		if p := o.(*Port); p.IsLink() {
			by[p.Router] = append(by[p.Router], p)
		}
	}
	return by
}

func (v *validator) routes() {
	type key struct {
		router string
		prefix netip.Prefix
	}
	prefixes := unique[key]{}
	links := v.linksByRouter()
	for _, o := range v.state.List(KindRoute) {
		r := o.(*Route)
		if r.Router != "" && v.state.Routers[r.Router] == nil {
			v.fail(r.Ref(), "router", "there is no router %.80q; make it first, or in the same file", r.Router)
			continue
		}
		claim(v, prefixes, key{r.Router, r.Prefix}, r.Ref(), "prefix", r.Prefix.String()+" is already the prefix of %s on router "+r.Router+"; a router has one route a prefix")
		v.nextHop(r, links[r.Router])
	}
}

// nextHop checks that a route's next hop is another machine on a subnet of the router.
func (v *validator) nextHop(r *Route, links []*Port) {
	if !r.NextHop.Is4() {
		return
	}
	if via := Via(r, links); via != nil {
		switch sub := via.IP.Prefix(); {
		case via.IP.Addr == r.NextHop:
			v.clash(via.Ref(), r.Ref(), "nextHop", r.NextHop.String()+" is the router's own address (%s); name the machine behind it")
		case isEdge(r.NextHop, sub):
			v.clash(via.Ref(), r.Ref(), "nextHop", fmt.Sprintf("%s is the network or broadcast address of %s", r.NextHop, sub)+" (%s); take one between")
		}
		return
	}
	v.fail(r.Ref(), "nextHop", "%s is on no subnet of router %s; give the router a port there first", r.NextHop, r.Router)
	for _, l := range links { // one of them may just have been moved away
		if v.changed[l.Ref()] && !v.changed[r.Ref()] {
			v.clash(r.Ref(), l.Ref(), "ip", fmt.Sprintf("subnet %s leaves out the next hop %s of ", l.IP.Prefix(), r.NextHop)+"%s; change that route first")
			return
		}
	}
}

// Via is the one of a router's ports whose subnet has the route's next hop, nil if none.
func Via(r *Route, links []*Port) *Port {
	for _, l := range links {
		if l.Router == r.Router && l.IP.Prefix().IsValid() && l.IP.Prefix().Contains(r.NextHop) {
			return l
		}
	}
	return nil
}

// Duplicates finds objects that are given more than once in one change.
func Duplicates(docs []Document) Problems {
	var ps Problems
	first := map[Ref]Pos{}
	for i := range docs {
		r := docs[i].Object.Ref()
		if at, ok := first[r]; ok {
			text := "given twice; keep one"
			if at != (Pos{}) {
				text = fmt.Sprintf("given twice, first at %s; keep one", at)
			}
			ps = append(ps, Problem{Pos: docs[i].At("name"), Ref: r, Field: "name", Text: text})
			continue
		}
		first[r] = docs[i].At("name")
	}
	return ps.sorted()
}

// Users lists the objects that need r, and so keep it from being deleted, in order.
func (s *State) Users(r Ref) []Ref {
	var users []Ref
	for _, o := range s.List("") {
		switch o := o.(type) {
		case *Port:
			if r == (Ref{KindSwitch, o.Switch}) || r == (Ref{KindHost, o.Host}) || r == (Ref{KindHost, o.MigrateTo}) || r == (Ref{KindRouter, o.Router}) {
				users = append(users, o.Ref())
			}
		case *Route:
			if r == (Ref{KindRouter, o.Router}) || r.Kind == KindPort && s.carries(r.Name, o) {
				users = append(users, o.Ref())
			}
		}
	}
	return users
}

// carries reports whether the route's next hop is behind the router's port of that name.
func (s *State) carries(port string, r *Route) bool {
	p := s.Ports[port]
	return p != nil && p.IsLink() && Via(r, []*Port{p}) != nil
}
