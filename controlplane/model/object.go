package model

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"baton/dataplane/flow"
)

// Kind is a kind of object, spelt as in the key kind of a document.
type Kind string

// The kinds.
const (
	KindHost   Kind = "Host"
	KindSwitch Kind = "Switch"
	KindRouter Kind = "Router"
	KindPort   Kind = "Port"
	KindRoute  Kind = "Route"
)

// Kinds lists the kinds in the order in which objects are best made: what is
// referred to comes before what refers to it.
func Kinds() []Kind { return []Kind{KindHost, KindSwitch, KindRouter, KindPort, KindRoute} }

// ParseKind finds a kind by its name in any case, singular or plural, as people type it.
func ParseKind(s string) (Kind, bool) {
	l := strings.ToLower(s)
	for _, k := range Kinds() {
		one := strings.ToLower(string(k))
		if l == one || l == one+"s" || k == KindSwitch && l == "switches" {
			return k, true
		}
	}
	return "", false
}

// Ref names one object.
type Ref struct {
	Kind Kind
	Name string
}

// String is the reference for people, such as "port vm1".
func (r Ref) String() string { return strings.ToLower(string(r.Kind)) + " " + r.Name }

// Object is a *Host, *Switch, *Router, *Port or *Route; no other type is one.
type Object interface {
	Ref() Ref
	// clone is a copy that shares nothing which can be changed.
	clone() Object
}

// Clone is a copy of o that may be changed.
func Clone[T Object](o T) T { return o.clone().(T) }

// New is an empty object of the kind, or nil if there is no such kind.
func New(k Kind) Object {
	switch k {
	case KindHost:
		return &Host{}
	case KindSwitch:
		return &Switch{}
	case KindRouter:
		return &Router{}
	case KindPort:
		return &Port{}
	case KindRoute:
		return &Route{}
	}
	return nil
}

// Host is a machine that runs VMs, or anything else on the underlay that speaks
// baton's Geneve.
type Host struct {
	Name     string   `json:"name"`
	Underlay Address  `json:"underlay"`     // VTEP's IPv4 address with its subnet's length
	MAC      flow.MAC `json:"mac,omitzero"` // VTEP's; absent = what its agent reports
	// Alternate is the address of a second VTEP, in the same subnet: the two are a pair, which the
	// host uses by turns. All take what comes from either and send to one: see VTEP. Absent = none.
	Alternate netip.Addr `json:"alternate,omitzero"`
	Gateway   *Gateway   `json:"gateway,omitzero"` // way to hosts in other subnets; absent = none
	MTU       uint16     `json:"mtu,omitzero"`     // bytes of L3 on the underlay; absent = DefaultMTU
	Status    HostState  `json:"status,omitzero"`  // filled in by baton
}

// Gateway is a router of the underlay. The kernel is never asked for its MAC.
type Gateway struct {
	IP  netip.Addr `json:"ip"`
	MAC flow.MAC   `json:"mac"`
}

// HostState is what baton knows of a running host.
type HostState struct {
	Connected bool     `json:"connected,omitzero"` // its agent has a session with a controller
	MAC       flow.MAC `json:"mac,omitzero"`       // VTEP's, as its agent last reported it; outlives the session
	// Of a host with a pair of VTEPs, both outlive the session: the second one's address, and
	// whether that is the one in use.
	AlternateMAC flow.MAC `json:"alternateMAC,omitzero"`
	AtAlternate  bool     `json:"atAlternate,omitzero"`
	Version      string   `json:"version,omitzero"` // of its batond
	Since        string   `json:"since,omitzero"`   // when the session began, RFC 3339
}

// Switch is a logical layer 2 network.
type Switch struct {
	Name   string        `json:"name"`
	VNI    uint32        `json:"vni,omitzero"` // 1..MaxVNI, one space with routers; absent = allocated
	Status DatapathState `json:"status,omitzero"`
}

// Router is a logical router, present on every host.
type Router struct {
	Name   string        `json:"name"`
	VNI    uint32        `json:"vni,omitzero"` // 1..MaxVNI, one space with switches; absent = allocated
	Status DatapathState `json:"status,omitzero"`
}

// DatapathState is what the store allocated for a switch or router.
type DatapathState struct {
	VNI uint32 `json:"vni,omitzero"` // id of the datapath
}

// Port is a VM's port on a switch, or with a router the link between the two.
type Port struct {
	Name   string   `json:"name"` // of a VM's port also the name of its vhost-user socket
	Switch string   `json:"switch"`
	Router string   `json:"router,omitzero"` // makes it a router's port
	IP     Address  `json:"ip"`              // IPv4; with the subnet's length on a router's port only
	MAC    flow.MAC `json:"mac,omitzero"`    // absent = 02:ba and the four bytes of the IP address
	Host   string   `json:"host,omitzero"`   // where the VM runs; absent = nowhere yet; never on a router's port
	// MigrateTo is where the VM is about to move: the port is on that host too, but
	// all send to Host until the VM is seen there. Then that host is Host, and
	// MigrateTo is absent again.
	MigrateTo string    `json:"migrateTo,omitzero"`
	ID        uint16    `json:"id,omitzero"` // port id on the switch, 1..MaxPortID; absent = allocated
	Status    PortState `json:"status,omitzero"`
}

// PortState is what the store allocated for a port.
type PortState struct {
	ID       uint16   `json:"id,omitzero"`       // port id on the switch
	RouterID uint16   `json:"routerID,omitzero"` // port id on the router, of a router's port
	MAC      flow.MAC `json:"mac,omitzero"`      // in use, given or derived
}

// Route is a static route of a router.
type Route struct {
	Name    string       `json:"name"`
	Router  string       `json:"router"`
	Prefix  netip.Prefix `json:"prefix"`  // IPv4, no host bits
	NextHop netip.Addr   `json:"nextHop"` // an address on a subnet of one of the router's ports
}

// Limits and defaults.
const (
	MaxVNI     = 1<<24 - 1 // 24 bits in the Geneve header (RFC 8926, 3.4)
	MaxPortID  = 1<<16 - 1 // 16 bits in baton's Geneve option; 0 means unknown there
	MaxName    = 63        // a DNS label (RFC 1035, 2.3.4); leaves room for a directory in a socket's 107 bytes
	DefaultMTU = 1500      // Ethernet's
	MinMTU     = 638       // 576 bytes (RFC 791, 3.1) for a guest, and TunnelOverhead
	MaxMTU     = 65535     // IPv4's total length

	// TunnelOverhead is how much smaller than the underlay's MTU a guest's is:
	// outer IPv4 20, UDP 8, Geneve 8, baton's option 12, inner Ethernet 14 bytes.
	TunnelOverhead = 62
)

// Ref names the host.
func (h *Host) Ref() Ref { return Ref{KindHost, h.Name} }

// Ref names the switch.
func (s *Switch) Ref() Ref { return Ref{KindSwitch, s.Name} }

// Ref names the router.
func (r *Router) Ref() Ref { return Ref{KindRouter, r.Name} }

// Ref names the port.
func (p *Port) Ref() Ref { return Ref{KindPort, p.Name} }

// Ref names the route.
func (r *Route) Ref() Ref { return Ref{KindRoute, r.Name} }

func (h *Host) clone() Object {
	c := *h
	if h.Gateway != nil {
		g := *h.Gateway
		c.Gateway = &g
	}
	return &c
}

func (s *Switch) clone() Object { c := *s; return &c }
func (r *Router) clone() Object { c := *r; return &c }
func (p *Port) clone() Object   { c := *p; return &c }
func (r *Route) clone() Object  { c := *r; return &c }

// VTEPMAC is the MAC of the VTEP at Underlay: the given one, else the one
// its agent reported, else zero.
func (h *Host) VTEPMAC() flow.MAC {
	if h.MAC != (flow.MAC{}) {
		return h.MAC
	}
	return h.Status.MAC
}

// VTEPs are the addresses of the host's tunnel end points: of one, or of a pair.
func (h *Host) VTEPs() []netip.Addr {
	if h.Alternate.Is4() && h.Alternate != h.Underlay.Addr {
		return []netip.Addr{h.Underlay.Addr, h.Alternate}
	}
	return []netip.Addr{h.Underlay.Addr}
}

// VTEP is the one that others send to.
func (h *Host) VTEP() netip.Addr {
	if h.Status.AtAlternate && h.Alternate.Is4() {
		return h.Alternate
	}
	return h.Underlay.Addr
}

// MACOf is the MAC of the VTEP with this address, zero if it is not known or not the host's.
func (h *Host) MACOf(vtep netip.Addr) flow.MAC {
	switch vtep {
	case h.Underlay.Addr:
		return h.VTEPMAC()
	case h.Alternate:
		return h.Status.AlternateMAC
	}
	return flow.MAC{}
}

// UnderlayMTU is the host's MTU with the default filled in, bytes.
func (h *Host) UnderlayMTU() uint16 {
	if h.MTU == 0 {
		return DefaultMTU
	}
	return h.MTU
}

// ID is the switch's datapath id: the given VNI, else the allocated one, else 0.
func (s *Switch) ID() uint32 { return cmp.Or(s.VNI, s.Status.VNI) }

// ID is the router's datapath id: the given VNI, else the allocated one, else 0.
func (r *Router) ID() uint32 { return cmp.Or(r.VNI, r.Status.VNI) }

// SwitchID is the port's id on its switch: the given one, else the allocated one, else 0.
func (p *Port) SwitchID() uint16 { return cmp.Or(p.ID, p.Status.ID) }

// HW is the port's MAC, derived from its IP if none is given. Derived addresses
// are as unique in a switch as the IP addresses are.
func (p *Port) HW() flow.MAC {
	if p.MAC != (flow.MAC{}) || !p.IP.Addr.Is4() {
		return p.MAC
	}
	a := p.IP.Addr.As4()
	return flow.MAC{0x02, 0xba, a[0], a[1], a[2], a[3]}
}

// IsLink reports whether the port joins a router to its switch.
func (p *Port) IsLink() bool { return p.Router != "" }

// Hosts lists the hosts that have the port of a VM: the one that it runs on, and
// the one that it is about to move to.
func (p *Port) Hosts() []string {
	var all []string
	for _, h := range []string{p.Host, p.MigrateTo} {
		if h != "" {
			all = append(all, h)
		}
	}
	return all
}

// Address is an IP address, with the length of its subnet's prefix where it has
// one: 10.0.1.11 or 10.0.1.1/24.
type Address struct {
	Addr netip.Addr
	Bits uint8 // length of the subnet's prefix, 0 = none given
}

// ParseAddress reads an address with or without a prefix length.
func ParseAddress(s string) (Address, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil || p.Bits() == 0 {
			return Address{}, fmt.Errorf("%q is no IP address with a prefix length; write it as 10.0.1.1/24", s)
		}
		return Address{p.Addr(), uint8(p.Bits())}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return Address{}, fmt.Errorf("%q is no IP address; write it as 10.0.1.11", s)
	}
	return Address{a, 0}, nil
}

// Prefix is the subnet that the address is in, without host bits; the zero
// Prefix if none was given.
func (a Address) Prefix() netip.Prefix {
	if a.Bits == 0 || !a.Addr.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a.Addr, int(a.Bits)).Masked()
}

// String is the form that ParseAddress reads.
func (a Address) String() string {
	if a.Bits == 0 {
		return a.Addr.String()
	}
	return netip.PrefixFrom(a.Addr, int(a.Bits)).String()
}

// MarshalText is String, empty for the zero Address.
func (a Address) MarshalText() ([]byte, error) {
	if a == (Address{}) {
		return nil, nil
	}
	return []byte(a.String()), nil
}

// UnmarshalText is ParseAddress; a stays as it was on an error.
func (a *Address) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*a = Address{}
		return nil
	}
	p, err := ParseAddress(string(b))
	if err == nil {
		*a = p
	}
	return err
}
