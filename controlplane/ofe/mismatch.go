package ofe

import (
	"fmt"
	"net/netip"
	"strings"

	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// Mismatch says how what a host's batond reports of itself differs from its
// object in the network, and what to do; empty if it does not. Such a host is
// served all the same: it forwards between its own VMs, but other hosts send to
// what the network says.
func Mismatch(h *model.Host, i HostInfo) string {
	if i.VTEPIP == 0 {
		return "" // it never said hello
	}
	var all []string
	say := func(key string, configured, modelled any) {
		all = append(all, fmt.Sprintf("%s %v in batond's configuration, but %v in the network", key, configured, modelled))
	}
	first, second := i.addresses()
	if h.Underlay.Addr.IsValid() && first != h.Underlay.Addr {
		say("underlay address", first, h.Underlay.Addr)
	}
	if second != h.Alternate {
		say("alternate underlay address", orNone(second), orNone(h.Alternate))
	}
	if h.MTU > i.MTU {
		say("MTU", i.MTU, h.MTU)
	}
	if h.MAC != (flow.MAC{}) && !i.AtAlternate && h.MAC != i.VTEPMAC {
		say("underlay MAC", i.VTEPMAC, h.MAC)
	}
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, "; ") + ": make both the same, or other hosts cannot reach it"
}

// addresses are the host's underlay address and its alternate, if it has one.
func (i *HostInfo) addresses() (first, second netip.Addr) {
	first, second = address(i.VTEPIP), address(i.OtherIP)
	if i.AtAlternate {
		first, second = second, first
	}
	return first, second
}

// address is the zero Addr for 0.
func address(ip uint32) netip.Addr {
	if ip == 0 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{byte(ip >> 24), byte(ip >> 16), byte(ip >> 8), byte(ip)})
}

func orNone(a netip.Addr) string {
	if !a.IsValid() {
		return "none"
	}
	return a.String()
}

// object is a host's, nil if it is not known.
func (s *Server) object(host string) *model.Host {
	if s.cfg.Object == nil {
		return nil
	}
	return s.cfg.Object(host)
}

// compare says how a host is not as the network has it, and warns of that; empty: it is.
func (x *session) compare() (problem string) {
	h := x.s.object(x.h.name)
	if h == nil {
		return "" // removed since it was admitted
	}
	var i HostInfo
	i.said(x.hello)
	if problem = Mismatch(h, i); problem != "" {
		x.s.log.Warn("host is not as the network has it", "host", x.h.name, "problem", problem)
	}
	return problem
}
