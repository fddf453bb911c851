package model

import (
	"fmt"
	"net/netip"

	"baton/dataplane/flow"
)

// checkAlone finds what is wrong with an object whatever the rest of the network is.
func checkAlone(o Object) Problems {
	c := alone{ref: o.Ref()}
	c.name("name", c.ref.Name)
	switch o := o.(type) {
	case *Host:
		c.host(o)
	case *Switch:
		c.vni(o.VNI, o.Status.VNI)
	case *Router:
		c.vni(o.VNI, o.Status.VNI)
	case *Port:
		if o.Name == Underlay {
			c.fail("name", "%q is the name of each host's NIC; choose another", o.Name)
		}
		c.port(o)
	case *Route:
		c.route(o)
	}
	return c.problems.sorted()
}

type alone struct {
	ref      Ref
	problems Problems
}

func (c *alone) fail(field, format string, args ...any) {
	c.problems = append(c.problems, Problem{Ref: c.ref, Field: field, Text: fmt.Sprintf(format, args...)})
}

// Underlay is the name that each host's NIC has among its ports: no Port may
// have it.
const Underlay = "underlay"

// name checks that a name can be a DNS label and a file's name (RFC 1035, 2.3.1, with a digit in front allowed).
func (c *alone) name(field, s string) {
	ok := len(s) > 0 && len(s) <= MaxName && s[0] != '-' && s[len(s)-1] != '-'
	for i := range len(s) {
		b := s[i]
		ok = ok && (b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-')
	}
	if !ok {
		c.fail(field, "%.80q is no name; use 1 to %d of a-z, 0-9 and -, with no - at either end", s, MaxName)
	}
}

func (c *alone) reference(field, s string) {
	if s == "" {
		c.fail(field, "missing; name one")
		return
	}
	c.name(field, s)
}

func (c *alone) vni(given, allocated uint32) {
	if given > MaxVNI || allocated > MaxVNI {
		c.fail("vni", "%d is too large; a VNI is 1 to %d", max(given, allocated), MaxVNI)
	}
}

func (c *alone) mac(field string, m flow.MAC) {
	if m.IsMulticast() {
		c.fail(field, "%s is a group address; the first byte must be even", m)
	}
}

// ipv4 checks that a is one machine's IPv4 address, and in its subnet neither the network's nor the broadcast address.
func (c *alone) ipv4(field string, a Address) bool {
	switch ip := a.Addr; {
	case !ip.IsValid():
		c.fail(field, "missing; give an IPv4 address")
	case !ip.Is4():
		c.fail(field, "%s is not IPv4; addresses are IPv4 for now", ip)
	case ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		c.fail(field, "%s cannot be the address of one machine", ip)
	case a.Bits > 32:
		c.fail(field, "/%d is too long; a prefix of IPv4 has 1 to 32 bits", a.Bits)
	case isEdge(ip, a.Prefix()):
		c.fail(field, "%s is the network or broadcast address of %s; take one between", ip, a.Prefix())
	default:
		return true
	}
	return false
}

// isEdge reports whether ip is the first or last address of the subnet p; /31
// and /32 have no such (RFC 3021).
func isEdge(ip netip.Addr, p netip.Prefix) bool {
	if !p.IsValid() || p.Bits() >= 31 || !p.Contains(ip) {
		return false
	}
	return ip == p.Addr() || !p.Contains(ip.Next())
}

func (c *alone) host(h *Host) {
	if c.ipv4("underlay", h.Underlay) && h.Underlay.Bits == 0 {
		c.fail("underlay", "%s lacks the length of its subnet; write it as %s/24", h.Underlay, h.Underlay)
	}
	c.mac("mac", h.MAC)
	c.mac("mac", h.Status.MAC)
	c.alternate(h)
	if h.MTU != 0 && h.MTU < MinMTU {
		c.fail("mtu", "%d is too small; at least %d leaves a guest 576 bytes", h.MTU, MinMTU)
	}
	g := h.Gateway
	if g == nil {
		return
	}
	if c.ipv4("gateway.ip", Address{Addr: g.IP}) && h.Underlay.Bits != 0 {
		if p := h.Underlay.Prefix(); !p.Contains(g.IP) || g.IP == h.Underlay.Addr || isEdge(g.IP, p) {
			c.fail("gateway.ip", "%s is no other machine in the host's subnet %s", g.IP, p)
		}
	}
	if g.MAC == (flow.MAC{}) {
		c.fail("gateway.mac", "missing; the kernel is not asked for it")
	}
	c.mac("gateway.mac", g.MAC)
}

// alternate checks that the second VTEP is another machine in the host's subnet.
func (c *alone) alternate(h *Host) {
	c.mac("alternate", h.Status.AlternateMAC)
	p := h.Underlay.Prefix()
	switch a := h.Alternate; {
	case !a.IsValid() || !c.ipv4("alternate", Address{Addr: a}):
	case a == h.Underlay.Addr:
		c.fail("alternate", "%s is the host's underlay address; give the second tunnel end point its own, or leave it out", a)
	case p.IsValid() && (!p.Contains(a) || isEdge(a, p)):
		c.fail("alternate", "%s is no machine's address in the host's subnet %s", a, p)
	case h.Gateway != nil && a == h.Gateway.IP:
		c.fail("alternate", "%s is the gateway's", a)
	}
}

func (c *alone) port(p *Port) {
	c.reference("switch", p.Switch)
	c.mac("mac", p.MAC)
	ok := c.ipv4("ip", p.IP)
	if !p.IsLink() {
		if ok && p.IP.Bits != 0 {
			c.fail("ip", "%s has a prefix length; a VM's port takes the address alone, %s", p.IP, p.IP.Addr)
		}
		if p.Host != "" {
			c.name("host", p.Host)
		}
		c.migrateTo(p)
		return
	}
	c.name("router", p.Router)
	if ok && p.IP.Bits == 0 {
		c.fail("ip", "%s lacks the length of its subnet, which a router's port needs; write it as %s/24", p.IP, p.IP)
	}
	if p.Host != "" {
		c.fail("host", "a router's port is on every host; leave it out")
	}
	if p.MigrateTo != "" {
		c.fail("migrateTo", "a router's port is on every host and does not move; leave it out")
	}
}

// migrateTo checks that a port that is to move has somewhere else to go.
func (c *alone) migrateTo(p *Port) {
	switch {
	case p.MigrateTo == "":
	case p.Host == "":
		c.fail("migrateTo", "the port is on no host yet; give it host: %.80s instead", p.MigrateTo)
	case p.MigrateTo == p.Host:
		c.fail("migrateTo", "the port is on %.80s already; name another host, or leave it out", p.Host)
	default:
		c.name("migrateTo", p.MigrateTo)
	}
}

func (c *alone) route(r *Route) {
	c.reference("router", r.Router)
	switch {
	case !r.Prefix.IsValid():
		c.fail("prefix", "missing; write it as 10.0.0.0/8, or 0.0.0.0/0 for all")
	case !r.Prefix.Addr().Is4():
		c.fail("prefix", "%s is not IPv4; addresses are IPv4 for now", r.Prefix)
	case r.Prefix != r.Prefix.Masked():
		c.fail("prefix", "%s has bits behind its length; write it as %s", r.Prefix, r.Prefix.Masked())
	}
	c.ipv4("nextHop", Address{Addr: r.NextHop})
}
