package compile

import (
	"hash/fnv"
	"net/netip"
	"slices"

	"baton/controlplane/model"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// Cookie is the mark on the rules that an object owns: 64 bits that follow from
// kind and name alone, so that they are the same in every controller and after
// every restart. The zero Ref owns what belongs to no object.
func Cookie(r model.Ref) uint64 {
	h := fnv.New64a()
	h.Write([]byte(r.Kind + "/"))
	h.Write([]byte(r.Name))
	return h.Sum64()
}

// scope says which hosts get a rule.
type scope struct {
	host   string // empty: all hosts
	except bool   // all hosts but this one
}

var everywhere = scope{}

func only(host string) scope   { return scope{host: host} }
func except(host string) scope { return scope{host, true} }

// admits reports whether host gets the rule.
func (s scope) admits(host string) bool {
	return s.host == "" || (s.host == host) != s.except
}

// item is one rule of an object and where it goes.
type item struct {
	scope scope
	rule  flow.Rule
}

func (a item) equal(b item) bool {
	return a.scope == b.scope && a.rule.RuleID == b.rule.RuleID && a.rule.Cookie == b.rule.Cookie &&
		slices.Equal(a.rule.Actions, b.rule.Actions)
}

// unit collects the rules of one object.
type unit struct {
	cookie uint64
	items  []item
}

func (u *unit) add(s scope, r flow.Rule) {
	r.Cookie = u.cookie
	u.items = append(u.items, item{s, r})
}

// compileUnit is the rules of one object for all hosts; the zero Ref has the
// base rules. It depends on: the object; of a port, its switch and hosts, the
// links on that switch and their routers; of a route, its router and the
// router's links. Compiler.dirty knows the same from the other end.
func compileUnit(x *index, r model.Ref) []item {
	u := unit{cookie: Cookie(r)}
	switch o := x.state.Get(r).(type) {
	case *model.Host:
		u.host(o)
	case *model.Switch:
		if vni := o.ID(); vni != 0 {
			u.add(everywhere, rule(pipeline.TablePipelineForward, prioObject, in(vni), flow.Goto(pipeline.TableLSPTraceEgressIn)))
		}
	case *model.Port:
		if o.IsLink() {
			u.link(x, o)
		} else {
			u.place(x, o)
		}
	case *model.Route:
		u.route(x, o)
	case nil:
		if r == (model.Ref{}) {
			for _, b := range baseRules() {
				u.add(everywhere, b)
			}
		}
	}
	return u.items
}

// host lets the others take tunnelled packets from this host, of a pair of VTEPs from either.
func (u *unit) host(h *model.Host) {
	for _, ip := range h.VTEPs() {
		if !ip.Is4() {
			continue
		}
		from := every().WithUint(flow.FieldInPort, uint64(flow.PortTunnel)).WithUint(flow.FieldTunSrc, uint64(flow.IPv4(ip)))
		u.add(except(h.Name), rule(pipeline.TableConvertPhyLogical, prioObject, from, flow.Goto(pipeline.TableExtractMetadata)))
	}
}

// PuntArrived is the reason with which a host hands up what a VM sends there that
// is about to move to it: the VM has arrived.
const PuntArrived = 1

// place is a VM's port: in and out on its own host, the way there on the others.
// A host that the VM is about to move to has the port too, and hands up what comes
// from it; for the rest it is one of the others. Its own host relays there what comes
// for a VM that does not run there any more, until all hosts know.
func (u *unit) place(x *index, p *model.Port) {
	pl, ok := x.placeOf(p)
	if !ok {
		return
	}
	here := only(pl.host.Name)
	u.attach(pl, here, pl.leaving())
	if pl.next != nil {
		u.attach(pl, only(pl.next.Name), arriving)
	}
	u.answer(arp(in(pl.vni)).With(flow.FieldIPDst, flow.Addr(p.IP.Addr)), p.HW())
	to := in(pl.vni).WithMAC(flow.FieldEthDst, p.HW())
	toPort := flow.SetUint(flow.FieldDstPort, uint64(pl.id))
	u.add(here, rule(pipeline.TableLSPIngressLookupDstPort, prioObject, to,
		toPort, flow.Goto(pipeline.TableLSPIngressOutputDstPort)))
	u.add(except(pl.host.Name), rule(pipeline.TableLSPIngressLookupDstPort, prioObject, to,
		toPort, flow.SetUint(flow.FieldTunDst, uint64(flow.IPv4(pl.host.VTEP()))),
		flow.Goto(pipeline.TableLSPIngressOutputDstPort)))
	u.neighbour(x, p)
}

// device says what is special about a VM's port on one of its hosts: actions before
// those of each way.
type device struct{ in, out []flow.Action }

// leaving is the device on the port's own host: while it is down there what comes for it
// goes to where the VM is about to move, if it is.
func (pl place) leaving() (d device) {
	if pl.next != nil {
		d.out = []flow.Action{flow.SetUint(flow.FieldTunDst, uint64(flow.IPv4(pl.next.VTEP())))}
	}
	return d
}

// arriving is the device on the host that the VM is about to move to.
var arriving = device{in: []flow.Action{{Op: flow.OpPunt, Num: PuntArrived}}}

// attach joins a VM's port to the tables of the hosts that have its device: the way
// in and the way out.
func (u *unit) attach(pl place, s scope, d device) {
	number := flow.LogicalPort(pl.vni, pl.id)
	u.add(s, rule(pipeline.TableConvertPhyLogical, prioObject, every().WithUint(flow.FieldInPort, uint64(number)),
		append(slices.Clip(d.in),
			flow.SetUint(flow.FieldDatapath, uint64(pl.vni)),
			flow.SetUint(flow.FieldSrcPort, uint64(pl.id)),
			flow.Goto(pipeline.TableLSPTraceIngressIn))...))
	// A guest that asks for its own address announces it or probes whether it is
	// taken (RFC 5227, 1.1 and 2.1.1); an answer would tell it that it is.
	own := arp(in(pl.vni)).With(flow.FieldIPDst, flow.Addr(pl.port.IP.Addr)).WithUint(flow.FieldSrcPort, uint64(pl.id))
	u.add(s, rule(pipeline.TableLSPIngressARPResponse, prioSpecial, own, flow.Drop(stats.DropUnknownARPTarget)))
	u.add(s, rule(pipeline.TableLSPEgressForwardPacket, prioObject, in(pl.vni).WithUint(flow.FieldDstPort, uint64(pl.id)),
		flow.SetUint(flow.FieldOutPort, uint64(number)), flow.Goto(pipeline.TableLSPEgressPushout)))
	u.add(s, rule(pipeline.TableLSPEgressPushout, prioObject, every().WithUint(flow.FieldOutPort, uint64(number)),
		append(slices.Clip(d.out), flow.Output(number))...))
}

// answer replies to the ARP requests that m matches and sends the reply back:
// past the lookup by MAC, since the port to send to is known.
func (u *unit) answer(m flow.Match, mac flow.MAC) {
	u.add(everywhere, rule(pipeline.TableLSPIngressARPResponse, prioObject, m,
		flow.ARPReply(mac), flow.SetFlags(flow.FlagLoopback),
		flow.Copy(flow.FieldDstPort, flow.FieldSrcPort),
		flow.Goto(pipeline.TableLSPIngressOutputDstPort)))
}

// neighbour tells the routers on the port's switch its MAC.
func (u *unit) neighbour(x *index, p *model.Port) {
	for _, l := range x.links(x.linksOfSwitch[p.Switch]) {
		if l.port.Name == p.Name || !l.port.IP.Prefix().Contains(p.IP.Addr) {
			continue
		}
		to := in(l.router).WithUint(flow.FieldDstPort, uint64(l.routerID)).With(flow.FieldNextHop, flow.Addr(p.IP.Addr))
		u.add(everywhere, rule(pipeline.TableLRPEgressUpdateEthDst, prioObject, to,
			flow.SetMAC(flow.FieldEthDst, p.HW()), flow.Goto(pipeline.TableLRPEgressForwardPacket)))
	}
}

// link is a router's port: the gateway of its switch, and a subnet of its router.
func (u *unit) link(x *index, p *model.Port) {
	l, ok := x.linkOf(p)
	if !ok {
		return
	}
	u.answer(arp(in(l.sw)).With(flow.FieldIPDst, flow.Addr(p.IP.Addr)), p.HW())
	u.add(everywhere, rule(pipeline.TableLSPIngressLookupDstPort, prioObject, in(l.sw).WithMAC(flow.FieldEthDst, p.HW()),
		flow.SetUint(flow.FieldDstPort, uint64(l.swID)), flow.Goto(pipeline.TableLSPIngressOutputDstPort)))
	u.add(everywhere, rule(pipeline.TableLSPEgressForwardPacket, prioObject, in(l.sw).WithUint(flow.FieldDstPort, uint64(l.swID)),
		flow.SetUint(flow.FieldNextDatapath, uint64(l.router)),
		flow.SetUint(flow.FieldNextPort, uint64(l.routerID)),
		flow.Goto(pipeline.TableLSPEgressPushout)))

	own := ipv4(in(l.router)).With(flow.FieldIPDst, flow.Addr(p.IP.Addr))
	// Only whole packets: a reply to the first fragment alone could not be put together.
	echo := own.WithUint(flow.FieldProto, uint64(flow.ProtoICMP)).WithUint(flow.FieldL4Src, icmpEchoRequest).
		WithUint(flow.FieldL4Dst, 0).WithMasked(flow.FieldFrag, flow.Uint(0, 1), flow.Uint(uint64(flow.FragAny), 1))
	u.add(everywhere, rule(pipeline.TableLRPIngressPktResponse, prioSpecial, echo,
		flow.Action{Op: flow.OpEchoReply}, flow.SetFlags(flow.FlagLoopback), flow.Goto(pipeline.TableLRPIngressDropUnexpect)))
	u.add(everywhere, rule(pipeline.TableLRPIngressPktResponse, prioObject, own, flow.Drop(stats.DropForRouter)))

	u.towards(l, p.IP.Prefix(), levelConnected, flow.Copy(flow.FieldNextHop, flow.FieldIPDst))
	u.add(everywhere, rule(pipeline.TableLRPEgressForwardPacket, prioObject, in(l.router).WithUint(flow.FieldDstPort, uint64(l.routerID)),
		flow.SetUint(flow.FieldDatapath, uint64(l.sw)),
		flow.SetUint(flow.FieldSrcPort, uint64(l.swID)),
		flow.SetUint(flow.FieldDstPort, 0),
		flow.SetAddr(flow.FieldNextHop, netip.IPv4Unspecified()),
		flow.Goto(pipeline.TableLRPTraceEgressOut)))
	u.neighbour(x, p)
}

// towards routes a prefix out of a router's port.
func (u *unit) towards(l link, prefix netip.Prefix, level uint16, nextHop flow.Action) {
	to := ipv4(in(l.router)).WithPrefix(flow.FieldIPDst, prefix)
	u.add(everywhere, rule(pipeline.TableLRPIngressIPRoute, prioRoute+4*uint16(prefix.Bits())+level, to,
		flow.SetUint(flow.FieldDstPort, uint64(l.routerID)),
		flow.SetMAC(flow.FieldEthSrc, l.port.HW()),
		nextHop,
		flow.Goto(pipeline.TableLRPIngressECMP)))
}

// route is a static route, by the router's port that has the next hop's subnet.
func (u *unit) route(x *index, r *model.Route) {
	if !r.Prefix.IsValid() || !r.Prefix.Addr().Is4() || !r.NextHop.Is4() {
		return
	}
	for _, l := range x.links(x.linksOfRouter[r.Router]) {
		if l.port.IP.Prefix().Contains(r.NextHop) {
			u.towards(l, r.Prefix, levelStatic, flow.SetAddr(flow.FieldNextHop, r.NextHop))
			return
		}
	}
}
